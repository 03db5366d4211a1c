//! Queries, page by page (`spec/service.md` 5.1).

use std::collections::VecDeque;

use http::Method;
use iothub_protocol::http::{X_MS_CONTINUATION, X_MS_ITEM_TYPE, X_MS_MAX_ITEM_COUNT};
use serde_json::{Value, json};

use crate::document::{Document, unexpected};
use crate::transport::{Answer, Call, Transport};
use crate::{Error, Twin};

/// A query and how far it has been read. Rows come one by one from [`Self::next`], or as the pages
/// that the hub makes from [`Self::next_page`].
///
/// ```no_run
/// # async fn example(backend: iothub_backend::Backend) -> Result<(), iothub_backend::Error> {
/// let mut enabled = backend.query("SELECT * FROM devices WHERE status = 'enabled'");
/// while let Some(twin) = enabled.next_twin().await? {
///     println!("{} has desired version {}", twin.device_id(), twin.desired()["$version"]);
/// }
/// # Ok(())
/// # }
/// ```
#[must_use = "nothing is asked before a row or a page is"]
pub struct Query<'a> {
    transport: &'a Transport,
    subject: Subject,
    page_size: Option<usize>,
    next: Next,
    /// Rows of the last page that have not been handed out.
    rows: VecDeque<Value>,
}

/// What is asked.
enum Subject {
    /// The query language.
    Text(String),
    /// `GET` on this path with these parameters, which pages alike.
    List(&'static [&'static str], Vec<(&'static str, String)>),
}

/// Which page comes next.
enum Next {
    First,
    Continue(String),
    None,
}

/// One page of a query's result.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryPage {
    /// The rows, as the hub printed them.
    pub items: Vec<Value>,
    /// What they are: `Twin`, `DeviceJob`, `JobResponse` or `Raw`; empty when the hub does not say.
    pub item_type: String,
    /// What continues after this page, unless it is the last: for [`Query::continue_from`].
    pub continuation: Option<String>,
}

impl<'a> Query<'a> {
    pub(crate) fn new(transport: &'a Transport, text: String) -> Self {
        Self::about(transport, Subject::Text(text))
    }

    pub(crate) fn list(
        transport: &'a Transport,
        path: &'static [&'static str],
        parameters: Vec<(&'static str, String)>,
    ) -> Self {
        Self::about(transport, Subject::List(path, parameters))
    }

    fn about(transport: &'a Transport, subject: Subject) -> Self {
        Self {
            transport,
            subject,
            page_size: None,
            next: Next::First,
            rows: VecDeque::new(),
        }
    }

    /// How many rows a page shall have; the hub gives at most 100, which is also the default.
    pub fn page_size(mut self, rows: usize) -> Self {
        self.page_size = Some(rows);
        self
    }

    /// Goes on behind an earlier page of the same query.
    pub fn continue_from(mut self, continuation: impl Into<String>) -> Self {
        self.next = Next::Continue(continuation.into());
        self.rows.clear();
        self
    }

    /// The next page; `None` behind the last. Rows that [`Self::next`] has not handed out of an
    /// earlier page are skipped. Refused with `ArgumentInvalid` when the query cannot be understood.
    pub async fn next_page(&mut self) -> Result<Option<QueryPage>, Error> {
        self.rows.clear();
        let continuation = match &self.next {
            Next::First => None,
            Next::Continue(token) => Some(token.as_str()),
            Next::None => return Ok(None),
        };
        let call = self
            .subject
            .call()
            .header_if(
                X_MS_MAX_ITEM_COUNT,
                self.page_size.map(|rows| rows.to_string()).as_deref(),
            )
            .header_if(X_MS_CONTINUATION, continuation);
        let page = QueryPage::read(&self.transport.send(call).await?)?;
        self.next = match &page.continuation {
            Some(token) => Next::Continue(token.clone()),
            None => Next::None,
        };
        Ok(Some(page))
    }

    /// The next row; `None` behind the last.
    pub async fn next(&mut self) -> Result<Option<Value>, Error> {
        loop {
            if let Some(row) = self.rows.pop_front() {
                return Ok(Some(row));
            }
            match self.next_page().await? {
                // A page may be empty without being the last.
                Some(page) => self.rows = page.items.into(),
                None => return Ok(None),
            }
        }
    }

    /// The next row as a twin: for `SELECT *` from `devices` or `devices.modules`.
    pub async fn next_twin(&mut self) -> Result<Option<Twin>, Error> {
        match self.next().await? {
            Some(row) => Twin::from_value(row).map(Some),
            None => Ok(None),
        }
    }

    /// All rows that are left.
    pub async fn collect(mut self) -> Result<Vec<Value>, Error> {
        let mut all = Vec::from(std::mem::take(&mut self.rows));
        while let Some(page) = self.next_page().await? {
            all.extend(page.items);
        }
        Ok(all)
    }

    /// All rows that are left, as twins.
    pub async fn collect_twins(self) -> Result<Vec<Twin>, Error> {
        let rows = self.collect().await?;
        rows.into_iter().map(Twin::from_value).collect()
    }
}

impl Subject {
    fn call(&self) -> Call {
        match self {
            Self::Text(text) => {
                Call::new(Method::POST, &["devices", "query"]).json(&json!({"query": text}))
            }
            Self::List(path, parameters) => parameters
                .iter()
                .fold(Call::new(Method::GET, path), |call, (name, value)| {
                    call.query(name, value)
                }),
        }
    }
}

impl QueryPage {
    fn read(answer: &Answer) -> Result<Self, Error> {
        let Value::Array(items) = answer.json()? else {
            return Err(unexpected("a page of a query that is no array".into()));
        };
        let text = |name: &str| answer.header(name).map(str::to_owned);
        Ok(Self {
            items,
            item_type: text(X_MS_ITEM_TYPE).unwrap_or_default(),
            continuation: text(X_MS_CONTINUATION).filter(|token| !token.is_empty()),
        })
    }
}

impl Twin {
    /// A twin out of a list.
    fn from_value(value: Value) -> Result<Self, Error> {
        Document::from_value(value, "a twin").map(Self::from)
    }
}

/// Text as it stands between the quotes of the query language.
pub(crate) fn escape(text: &str) -> String {
    text.replace('\\', "\\\\").replace('\'', "\\'")
}
