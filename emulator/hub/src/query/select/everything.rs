//! All that a query finds, not page by page: for a reader who goes back and forth in it.

use std::ops::Bound;

use iothub_protocol::ClientId;
use serde_json::Value;

use super::{Collection, Query, Range, project};
use crate::query::snapshot::QuerySnapshot;
use crate::query::workers::InTurn;

pub(super) const EVERYBODY: Range = (Bound::Unbounded, Bound::Unbounded);

impl Query {
    /// Whether it finds whole devices or modules, which [`Query::clients`] names; otherwise its
    /// rows are its own.
    pub fn finds_clients(&self) -> bool {
        self.columns.is_none() && self.collection != Collection::DeviceJobs
    }

    /// The names of its columns in order; none when it asks for everything.
    pub fn columns(&self) -> Vec<&str> {
        let columns = self.columns.iter().flatten();
        columns.map(|column| &*column.name).collect()
    }

    /// Who satisfies it, in order: devices, or modules. Of a query that does not find clients, those
    /// that its rows are made of.
    pub fn clients<'a>(
        &'a self,
        snapshot: &'a QuerySnapshot,
    ) -> impl Iterator<Item = &'a ClientId> {
        let rows = self.twin_rows(snapshot.view(), EVERYBODY);
        rows.map(|row| row.client).take(self.most())
    }

    /// Its rows as its pages would have them.
    pub fn rows<'a>(&'a self, snapshot: &'a QuerySnapshot) -> Box<dyn Iterator<Item = Value> + 'a> {
        let view = snapshot.view();
        let most = self.most();
        match (self.collection, &self.columns) {
            (Collection::DeviceJobs, _) => {
                Box::new(self.job_rows(view).map(|row| row.0).take(most))
            }
            (_, None) => {
                let rows = self.twin_rows(view, EVERYBODY);
                Box::new(rows.map(|row| row.document()).take(most))
            }
            (_, Some(columns)) if self.is_aggregate => {
                Box::new(self.groups(view, columns, &InTurn).take(most))
            }
            (_, Some(columns)) => {
                let rows = self.twin_rows(view, EVERYBODY);
                Box::new(rows.map(|row| project(columns, &row)).take(most))
            }
        }
    }

    /// How many rows there are.
    pub fn row_count(&self, snapshot: &QuerySnapshot) -> u64 {
        self.count(snapshot.view())
    }

    fn most(&self) -> usize {
        let top = self.top.map(usize::try_from);
        top.map_or(usize::MAX, |top| top.unwrap_or(usize::MAX))
    }
}
