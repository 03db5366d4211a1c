//! The query language (`spec/service.md` 5).
//!
//! Text becomes [`Query`] (a whole SELECT), [`Condition`] (the WHERE of a job or configuration) or
//! [`RouteCondition`] (the dialect of message routes) in `lexer` and `parser`; `resolve` binds the
//! paths of the first two to the fields of twins; `eval` works out expressions over a row without
//! making a document of it; `select` filters, projects and groups; `paging` is the token between
//! two pages.

mod ahead;
mod ast;
mod condition;
mod eval;
mod functions;
mod item;
mod lexer;
mod paging;
mod parser;
mod resolve;
mod routing;
mod rows;
mod select;
mod snapshot;
mod workers;

pub use condition::Condition;
pub use paging::PageRequest;
pub(crate) use routing::json_body;
pub use routing::{RouteCondition, RouteSubject};
pub use select::{ItemType, Page, Query};
pub use snapshot::QuerySnapshot;
pub use workers::{InTurn, Workers};

/// Characters of a query (`spec/service.md` 5.1).
const MAX_QUERY_LENGTH: usize = 8192;
