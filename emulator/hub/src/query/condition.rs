//! Conditions of jobs and configurations: WHERE bodies (`spec/service.md` 5.5).

use std::ops::Bound;

use iothub_protocol::{ClientId, Error};

use super::ahead::{Looks, loaded_ahead};
use super::ast::Expr;
use super::eval::is_true;
use super::functions::Dialect;
use super::parser::Parser;
use super::resolve::{Collection, Reference};
use super::rows::{TwinRow, View};
use super::select::{Query, candidates, names_devices};
use crate::Hub;

/// Which devices or modules are meant. The empty text means nobody, `*` all devices; in front of
/// the condition may stand `FROM devices.modules WHERE`.
#[derive(Clone, Debug, PartialEq)]
pub struct Condition {
    collection: Collection,
    who: Who,
    looks: Looks,
}

#[derive(Clone, Debug, PartialEq)]
enum Who {
    Nobody,
    Everybody,
    Those(Expr<Reference>),
}

impl Condition {
    /// Reads a condition; refuses with `ArgumentInvalid`, which tells the place and what was
    /// expected there.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let trimmed = text.trim();
        let of_devices = |who| {
            Ok(Self {
                collection: Collection::Devices,
                who,
                looks: Looks::default(),
            })
        };
        match trimmed {
            "" => return of_devices(Who::Nobody),
            "*" => return of_devices(Who::Everybody),
            _ => {}
        }
        let mut parser = Parser::new(text, Dialect::Twins { strict: false })?;
        let source = parser.condition_source()?;
        let collection = match source {
            None => Collection::Devices,
            Some((name, at)) => match Collection::named(&name) {
                Collection::DeviceJobs => {
                    let what = "a condition is about devices or devices.modules";
                    return Err(super::lexer::refused(text, at, what));
                }
                collection => collection,
            },
        };
        let expression = parser.condition()?;
        let mut looks = Looks::default();
        let bound = expression.try_map(&mut |path| {
            let path = collection.resolve(text, path, None)?;
            looks.add(&path);
            Ok::<_, Error>(path)
        })?;
        Ok(Self {
            collection,
            who: Who::Those(bound),
            looks,
        })
    }

    /// Whether it names the devices that it can mean, so that they need not be looked for.
    pub(crate) fn names_devices(&self) -> bool {
        match &self.who {
            Who::Nobody => true,
            Who::Everybody => false,
            Who::Those(expression) => names_devices(expression),
        }
    }

    /// Whether it is about modules, and not about devices.
    pub fn selects_modules(&self) -> bool {
        self.collection == Collection::Modules
    }
}

impl Hub {
    /// Whom a condition means, in order.
    pub(crate) fn clients_where(&self, condition: &Condition) -> Vec<ClientId> {
        let filter = match &condition.who {
            Who::Nobody => return Vec::new(),
            Who::Everybody => None,
            Who::Those(expression) => Some(expression),
        };
        let view = View {
            hub: self,
            present: None,
        };
        let everywhere = (Bound::Unbounded, Bound::Unbounded);
        let (collection, looks) = (condition.collection, condition.looks);
        let rows = candidates(view, collection, filter, everywhere, looks.at_identities);
        loaded_ahead(rows, looks)
            .filter(|row| filter.is_none_or(|filter| is_true(filter, row)))
            .map(|row| row.client.clone())
            .collect()
    }

    /// Whether a condition means this device or module, as it is now.
    pub(crate) fn satisfies(&self, condition: &Condition, client: &ClientId) -> bool {
        if condition.selects_modules() != client.module.is_some() {
            return false;
        }
        let Ok(twin) = self.twins.require(client) else {
            return false;
        };
        let view = View {
            hub: self,
            present: None,
        };
        match &condition.who {
            Who::Nobody => false,
            Who::Everybody => true,
            Who::Those(expression) => {
                let row = TwinRow {
                    view,
                    client,
                    twin,
                    identity: None,
                };
                is_true(expression, &row)
            }
        }
    }

    /// Whether a whole SELECT can be read; refuses with `ArgumentInvalid`.
    pub fn check_query(text: &str) -> Result<(), Error> {
        Query::parse(text, false).map(drop)
    }
}
