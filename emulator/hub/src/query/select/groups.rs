//! What aggregates have seen, group by group.

use std::cmp::Ordering;
use std::collections::HashMap;

use serde_json::{Number, Value};

use crate::query::ast::Aggregate;
use crate::query::item::{Item, numbers};

/// Groups by key, in the order in which they came.
#[derive(Default)]
pub(super) struct Groups {
    by_key: HashMap<String, usize>,
    ordered: Vec<Group>,
}

pub(super) struct Group {
    pub(super) key: Vec<Option<Value>>,
    /// One for each column.
    pub(super) tallies: Vec<Tally>,
}

impl Groups {
    /// The group whose key has this text; makes the key of a new one.
    pub(super) fn find(
        &mut self,
        text: &str,
        key: impl FnOnce() -> Vec<Option<Value>>,
        columns: usize,
    ) -> &mut Group {
        let index = match self.by_key.get(text) {
            Some(index) => *index,
            None => {
                let index = self.ordered.len();
                self.by_key.insert(text.to_owned(), index);
                self.ordered.push(Group {
                    key: key(),
                    tallies: vec![Tally::default(); columns],
                });
                index
            }
        };
        &mut self.ordered[index]
    }

    /// The first group, which is there.
    pub(super) fn only(&mut self) -> &mut Group {
        &mut self.ordered[0]
    }

    /// Adds those of rows that come behind.
    pub(super) fn add(&mut self, behind: Self) {
        let mut texts = vec![String::new(); behind.ordered.len()];
        for (text, index) in behind.by_key {
            texts[index] = text;
        }
        for (text, group) in texts.into_iter().zip(behind.ordered) {
            if let Some(index) = self.by_key.get(&text) {
                let tallies = &mut self.ordered[*index].tallies;
                for (tally, more) in tallies.iter_mut().zip(group.tallies) {
                    tally.add_all(more);
                }
            } else {
                self.by_key.insert(text, self.ordered.len());
                self.ordered.push(group);
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.ordered.len()
    }

    pub(super) fn into_ordered(self) -> impl Iterator<Item = Group> {
        self.ordered.into_iter()
    }
}

/// What an aggregate has seen of a group.
#[derive(Clone, Debug, Default)]
pub(super) struct Tally {
    /// Rows, or values that there are.
    count: u64,
    numbers: u64,
    sum: f64,
    least: Option<Number>,
    most: Option<Number>,
}

impl Tally {
    /// `None`: a row. Values that are no numbers are counted and otherwise skipped.
    pub(super) fn add(&mut self, value: Option<Item<'_>>) {
        match value {
            Some(Item::Undefined) => {}
            Some(Item::Number(number)) => {
                self.count += 1;
                self.numbers += 1;
                self.sum += number.as_f64().unwrap_or_default();
                if is(Ordering::Less, &number, self.least.as_ref()) {
                    self.least = Some(number.clone());
                }
                if is(Ordering::Greater, &number, self.most.as_ref()) {
                    self.most = Some(number);
                }
            }
            Some(_) | None => self.count += 1,
        }
    }

    /// Adds what another one has seen of rows that come behind.
    fn add_all(&mut self, behind: Self) {
        self.count += behind.count;
        self.numbers += behind.numbers;
        self.sum += behind.sum;
        if let Some(number) = behind.least
            && is(Ordering::Less, &number, self.least.as_ref())
        {
            self.least = Some(number);
        }
        if let Some(number) = behind.most
            && is(Ordering::Greater, &number, self.most.as_ref())
        {
            self.most = Some(number);
        }
    }

    /// `None`: there is nothing to tell.
    pub(super) fn result(self, how: Aggregate) -> Option<Value> {
        let number = |value: f64| Item::number(value).into_json();
        match how {
            Aggregate::Count => Some(self.count.into()),
            Aggregate::Sum => number(self.sum),
            Aggregate::Average if self.numbers == 0 => None,
            Aggregate::Average => number(self.sum / self.numbers as f64),
            Aggregate::Minimum => self.least.map(Value::Number),
            Aggregate::Maximum => self.most.map(Value::Number),
        }
    }
}

fn is(order: Ordering, number: &Number, than: Option<&Number>) -> bool {
    than.is_none_or(|than| numbers(number, than) == Some(order))
}
