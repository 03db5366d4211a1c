//! Running a SELECT: which rows, which columns, which groups, which page
//! (`spec/service.md` 5.1 to 5.3).

mod everything;
mod groups;
mod parts;

use std::ops::{Bound, RangeBounds as _};

use iothub_protocol::{ClientId, DeviceId, Error};
use serde_json::{Map, Value};

use super::ahead::{Looks, loaded_ahead};
use super::ast::{Aggregate, Comparison, Expr, Literal, Selected, Statement};
use super::eval::{Row, is_true};
use super::functions::{Dialect, Function};
use super::lexer::{refused, refused_at};
use super::paging::{Continuation, PageRequest, Position};
use super::parser::Parser;
use super::resolve::{Collection, Field, Reference};
use super::rows::{JobRow, TwinRow, View};
use super::snapshot::QuerySnapshot;
use super::workers::{InTurn, Workers};
use groups::Group;

type Range = (Bound<ClientId>, Bound<ClientId>);

/// Rows of a page when the caller does not say, and the most of `SELECT *`.
const PAGE: usize = 100;
/// The most rows of any other page.
const LARGEST_PAGE: usize = 1000;

/// A whole SELECT, read and bound.
#[derive(Clone, Debug, PartialEq)]
pub struct Query {
    text: Box<str>,
    collection: Collection,
    top: Option<u64>,
    /// `None`: everything.
    columns: Option<Vec<Column>>,
    filter: Option<Expr<Reference>>,
    group_by: Vec<Reference>,
    is_aggregate: bool,
    asks_who_is_connected: bool,
    looks: Looks,
}

#[derive(Clone, Debug, PartialEq)]
struct Column {
    name: Box<str>,
    value: ColumnValue,
}

#[derive(Clone, Debug, PartialEq)]
enum ColumnValue {
    Path(Reference),
    Aggregate(Aggregate, Option<Reference>),
}

/// What the elements of a page are: header `x-ms-item-type` (`spec/service.md` 5.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemType {
    /// Whole twins.
    Twin,
    /// What jobs did to devices.
    DeviceJob,
    /// Objects with the selected columns.
    Raw,
}

/// Some rows, and the way to the others.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// What the rows are.
    pub item_type: ItemType,
    /// The rows.
    pub items: Vec<Value>,
    /// The token of the next page, if there is one.
    pub continuation: Option<String>,
}

impl ItemType {
    /// The header's text.
    pub fn name(self) -> &'static str {
        match self {
            Self::Twin => "Twin",
            Self::DeviceJob => "DeviceJob",
            Self::Raw => "Raw",
        }
    }
}

impl Query {
    /// Reads a query; `strict` knows only the functions that are documented for twins
    /// (`spec/service.md` 5.2). Refuses with `ArgumentInvalid`, which tells the place and what was
    /// expected there.
    pub fn parse(text: &str, strict: bool) -> Result<Self, Error> {
        let statement = Parser::new(text, Dialect::Twins { strict })?.statement()?;
        let Statement {
            top,
            items,
            source: (source, source_at),
            alias,
            filter,
            group_by,
        } = statement;
        let collection = Collection::named(&source);
        if collection == Collection::DeviceJobs && (items.is_some() || !group_by.is_empty()) {
            let what = "devices.jobs knows only SELECT *, without GROUP BY";
            return Err(refused(text, source_at, what));
        }
        let mut asks_who_is_connected = false;
        let mut looks = Looks::default();
        let mut bind = |path| {
            let path = collection.resolve(text, path, alias.as_deref())?;
            asks_who_is_connected |=
                matches!(path.field, Field::ConnectionState | Field::LastActivityTime);
            looks.add(&path);
            Ok::<_, Error>(path)
        };
        let filter = filter.map(|filter| filter.try_map(&mut bind)).transpose()?;
        let group_by: Vec<Reference> = group_by
            .into_iter()
            .map(&mut bind)
            .collect::<Result<_, _>>()?;
        let is_aggregate = !group_by.is_empty()
            || items
                .iter()
                .flatten()
                .any(|item| matches!(item.value, Selected::Aggregate(..)));
        let mut unnamed = 0;
        let columns = items.map(|items| {
            items
                .into_iter()
                .map(|item| {
                    let (value, name) = match item.value {
                        Selected::Path(path) => {
                            let at = path.at;
                            let path = bind(path)?;
                            let is_grouped = group_by.iter().any(|group| is_same(group, &path));
                            if is_aggregate && !is_grouped {
                                let what =
                                    format!("{} is neither grouped nor aggregated", path.name);
                                return Err(refused(text, at, what));
                            }
                            let name = path.name.clone();
                            (ColumnValue::Path(path), name)
                        }
                        Selected::Aggregate(how, of) => {
                            if item.alias.is_none() {
                                unnamed += 1;
                            }
                            let of = of.map(&mut bind).transpose()?;
                            (
                                ColumnValue::Aggregate(how, of),
                                format!("${unnamed}").into(),
                            )
                        }
                    };
                    let name = item.alias.unwrap_or(name);
                    Ok(Column { name, value })
                })
                .collect::<Result<Vec<_>, Error>>()
        });
        let columns = columns.transpose()?;
        if columns.is_none() && !group_by.is_empty() {
            return Err(refused(text, 0, "GROUP BY needs columns, not *"));
        }
        Ok(Self {
            text: text.into(),
            collection,
            top,
            columns,
            filter,
            group_by,
            is_aggregate,
            asks_who_is_connected,
            looks,
        })
    }

    /// Where in its text a refused query is wrong, characters counted from 1; `None`: the refusal
    /// is about something else.
    pub fn position_of(refusal: &Error) -> Option<usize> {
        refused_at(refusal)
    }

    /// Whether its filter, columns or groups depend on who is connected. `SELECT *` alone does
    /// not: [`Hub::tell_presence`](crate::Hub::tell_presence) completes its pages.
    pub fn asks_who_is_connected(&self) -> bool {
        self.asks_who_is_connected
    }

    /// One page. Refuses with `ArgumentInvalid` a token that is not of this query, and a page of no
    /// rows.
    pub fn run(&self, snapshot: &QuerySnapshot, request: &PageRequest) -> Result<Page, Error> {
        self.run_by(&InTurn, snapshot, request)
    }

    /// The same page; `workers` share what there is to look at.
    pub fn run_by(
        &self,
        workers: &impl Workers,
        snapshot: &QuerySnapshot,
        request: &PageRequest,
    ) -> Result<Page, Error> {
        let view = snapshot.view();
        if request.size == Some(0) {
            return Err(Error::argument_invalid("A page needs at least one row"));
        }
        let largest = if self.columns.is_none() {
            PAGE
        } else {
            LARGEST_PAGE
        };
        let size = request.size.unwrap_or(PAGE).min(largest);
        let from = match &request.continuation {
            Some(token) => Some(Continuation::from_token(token, &self.text)?),
            None => None,
        };
        let left = match &from {
            Some(from) => from.left,
            None => self.top,
        };
        let wanted = left.map_or(size, |left| size.min(usize::try_from(left).unwrap_or(size)));
        let position = from.map(|from| from.position);
        let (item_type, items, next) = match (self.collection, &self.columns) {
            (Collection::DeviceJobs, _) => {
                let rows = self.job_rows(view).map(|row| row.0);
                let (items, next) = skipped(rows, position.as_ref(), wanted);
                (ItemType::DeviceJob, items, next)
            }
            (_, Some(columns)) if self.is_aggregate => {
                let groups = self.groups(view, columns, workers);
                let (items, next) = skipped(groups, position.as_ref(), wanted);
                (ItemType::Raw, items, next)
            }
            (_, columns) => {
                let item_type = if columns.is_none() {
                    ItemType::Twin
                } else {
                    ItemType::Raw
                };
                let (items, next) =
                    self.twin_page(view, columns.as_deref(), position, wanted, workers);
                (item_type, items, next)
            }
        };
        let left = left.map(|left| left - items.len() as u64);
        let continuation = next
            .filter(|_| left != Some(0))
            .map(|position| Continuation { position, left }.to_token(&self.text));
        Ok(Page {
            item_type,
            items,
            continuation,
        })
    }

    /// How many rows there are.
    pub(super) fn count(&self, view: View<'_>) -> u64 {
        let count = match (self.collection, &self.columns) {
            (Collection::DeviceJobs, _) => self.job_rows(view).count(),
            (_, Some(columns)) if self.is_aggregate => self.tallied(view, columns, &InTurn).len(),
            _ => self.count_twins(view, &InTurn),
        };
        self.top.map_or(count as u64, |top| top.min(count as u64))
    }

    fn twin_page(
        &self,
        view: View<'_>,
        columns: Option<&[Column]>,
        position: Option<Position>,
        wanted: usize,
        workers: &impl Workers,
    ) -> (Vec<Value>, Option<Position>) {
        let after = match position {
            Some(Position::After(client)) => Some(client),
            Some(Position::Skip(_)) | None => None,
        };
        if wanted == 0 {
            return (Vec::new(), None);
        }
        // One more tells whether there is another page.
        let rows = self.first_rows(view, after, wanted.saturating_add(1), workers);
        let of_page = &rows[..wanted.min(rows.len())];
        let document = |row: &TwinRow<'_>| match columns {
            None => row.document(),
            Some(columns) => project(columns, row),
        };
        let items = of_page.iter().map(document).collect();
        let last = of_page.last().filter(|_| rows.len() > wanted);
        (items, last.map(|row| Position::After(row.client.clone())))
    }

    fn twin_rows<'a>(&'a self, view: View<'a>, within: Range) -> impl Iterator<Item = TwinRow<'a>> {
        let filter = self.filter.as_ref();
        let looks = self.looks;
        let rows = candidates(view, self.collection, filter, within, looks.at_identities);
        loaded_ahead(rows, looks)
            .filter(move |row| filter.is_none_or(|filter| is_true(filter, row)))
    }

    fn job_rows<'a>(&'a self, view: View<'a>) -> impl Iterator<Item = JobRow> + 'a {
        let rows = view.hub.jobs.device_jobs().map(JobRow);
        rows.filter(|row| {
            self.filter
                .as_ref()
                .is_none_or(|filter| is_true(filter, row))
        })
    }

    /// One object for each group.
    fn groups(
        &self,
        view: View<'_>,
        columns: &[Column],
        workers: &impl Workers,
    ) -> impl Iterator<Item = Value> {
        let groups = self.tallied(view, columns, workers).into_ordered();
        groups.map(|group| self.group_object(columns, group))
    }

    fn group_object(&self, columns: &[Column], group: Group) -> Value {
        let mut object = Map::new();
        for (column, tally) in columns.iter().zip(group.tallies) {
            let value = match &column.value {
                ColumnValue::Aggregate(how, _) => tally.result(*how),
                ColumnValue::Path(path) => {
                    let index = self.group_by.iter().position(|it| is_same(it, path));
                    index.and_then(|index| group.key[index].clone())
                }
            };
            if let Some(value) = value {
                object.insert(column.name.to_string(), value);
            }
        }
        Value::Object(object)
    }
}

/// The selected columns of a row; what a row does not have is left out.
fn project(columns: &[Column], row: &TwinRow<'_>) -> Value {
    let mut object = Map::with_capacity(columns.len());
    for column in columns {
        if let ColumnValue::Path(path) = &column.value
            && let Some(value) = row.get(path).into_json()
        {
            object.insert(column.name.to_string(), value);
        }
    }
    Value::Object(object)
}

/// A page of rows that are counted off.
fn skipped(
    rows: impl Iterator<Item = Value>,
    position: Option<&Position>,
    wanted: usize,
) -> (Vec<Value>, Option<Position>) {
    let skip = match position {
        Some(Position::Skip(skip)) => *skip,
        Some(Position::After(_)) | None => 0,
    };
    if wanted == 0 {
        return (Vec::new(), None);
    }
    let mut rows = rows.skip(usize::try_from(skip).unwrap_or(usize::MAX));
    let items: Vec<_> = rows.by_ref().take(wanted).collect();
    let next = rows
        .next()
        .map(|_| Position::Skip(skip + items.len() as u64));
    (items, next)
}

/// The twins of a range that can satisfy `filter` as far as its device ids tell, in order. All of
/// the collection when it tells nothing. `with_identities`: each one's is wanted.
pub(super) fn candidates<'a>(
    view: View<'a>,
    collection: Collection,
    filter: Option<&Expr<Reference>>,
    within: Range,
    with_identities: bool,
) -> Box<dyn Iterator<Item = TwinRow<'a>> + 'a> {
    let wants_modules = collection == Collection::Modules;
    let wanted = move |row: &TwinRow<'_>| row.client.module.is_some() == wants_modules;
    match filter.map_or(Narrowed::All, Narrowed::of) {
        Narrowed::Ids(mut ids) => {
            ids.sort();
            ids.dedup();
            let twins = &view.hub.twins;
            let found = ids.into_iter().flat_map(move |id| twins.family(&id));
            let rows = found.map(move |(client, twin)| TwinRow {
                view,
                client,
                twin,
                identity: None,
            });
            let rows = rows.filter(wanted);
            Box::new(rows.filter(move |row| within.contains(row.client)))
        }
        Narrowed::Prefix(prefix) => {
            let within = (begin_of(&prefix, within.0), within.1);
            let rows = view.rows_within(within, with_identities);
            let rows = rows.take_while(move |row| {
                let device = row.client.device.as_str();
                device.starts_with(prefix.as_str())
            });
            Box::new(rows.filter(wanted))
        }
        Narrowed::All => Box::new(view.rows_within(within, with_identities).filter(wanted)),
    }
}

/// Where those begin whose names begin with `prefix`, not before `begin`.
fn begin_of(prefix: &DeviceId, begin: Bound<ClientId>) -> Bound<ClientId> {
    match &begin {
        Bound::Included(first) | Bound::Excluded(first) if first.device >= *prefix => begin,
        Bound::Included(_) | Bound::Excluded(_) | Bound::Unbounded => {
            Bound::Included(ClientId::device(prefix.clone()))
        }
    }
}

/// Whether a filter names the devices that can satisfy it.
pub(super) fn names_devices(filter: &Expr<Reference>) -> bool {
    matches!(Narrowed::of(filter), Narrowed::Ids(_))
}

/// What a filter says of device ids.
enum Narrowed {
    All,
    Ids(Vec<DeviceId>),
    /// All begin with this, which is itself a valid id.
    Prefix(DeviceId),
}

impl Narrowed {
    fn of(filter: &Expr<Reference>) -> Self {
        let is_id = |expression: &Expr<Reference>| {
            matches!(expression, Expr::Path(path)
                if matches!(path.field, Field::DeviceId | Field::Id) && path.below.is_empty())
        };
        // A text that is no id matches nothing.
        let id = |literal: &Literal| match literal {
            Literal::Text(text) => DeviceId::parse(text).ok(),
            Literal::Undefined | Literal::Null | Literal::Bool(_) | Literal::Number(_) => None,
        };
        match filter {
            Expr::And(all) => all
                .iter()
                .map(Self::of)
                .find(|it| !matches!(it, Self::All))
                .unwrap_or(Self::All),
            Expr::Compare(Comparison::Equal, left, right) => match (&**left, &**right) {
                (path, Expr::Literal(literal)) | (Expr::Literal(literal), path) if is_id(path) => {
                    Self::Ids(id(literal).into_iter().collect())
                }
                _ => Self::All,
            },
            Expr::In {
                value,
                among,
                negated: false,
            } if is_id(value) => Self::Ids(among.iter().filter_map(id).collect()),
            Expr::Call(Function::TwinStartsWith, of) => match of.as_slice() {
                [path, Expr::Literal(literal)] if is_id(path) => {
                    id(literal).map_or(Self::All, Self::Prefix)
                }
                _ => Self::All,
            },
            _ => Self::All,
        }
    }
}

fn is_same(left: &Reference, right: &Reference) -> bool {
    left.field == right.field && left.below == right.below
}
