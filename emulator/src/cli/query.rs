//! `query`, with the words of `az iot hub query`.

use clap::Args;
use iothub_backend::Query;
use serde_json::Value;

use super::arguments::limit;
use super::context::CliContext;
use super::output::print;

/// Asks the hub in its query language.
#[derive(Debug, Args)]
pub(crate) struct QueryCommand {
    #[command(flatten)]
    context: CliContext,
    /// The query, such as `SELECT * FROM devices WHERE tags.site = 'A'`.
    #[arg(long, short = 'q')]
    query_command: String,
    /// How many rows at most; -1: all.
    #[arg(long, default_value_t = -1, allow_negative_numbers = true)]
    top: i64,
}

impl QueryCommand {
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let limit = limit(self.top)?;
        let backend = self.context.backend().await?;
        let rows = rows(backend.query(self.query_command), limit).await?;
        print(&rows, self.context.output)
    }
}

/// At most `limit` rows, over as many pages as there are.
pub(super) async fn rows(query: Query<'_>, limit: usize) -> anyhow::Result<Value> {
    let mut query = query.page_size(limit.min(PAGE));
    let mut rows = Vec::new();
    while rows.len() < limit
        && let Some(row) = query.next().await?
    {
        rows.push(row);
    }
    Ok(Value::Array(rows))
}

/// The most that the hub puts on a page (`spec/service.md` 5.1).
const PAGE: usize = 100;
