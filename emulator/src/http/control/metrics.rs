//! The metrics as text, for those who fetch them.

use axum::extract::State;
use axum::response::Response;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};

use super::Control;
use crate::metrics::{self, Format};
use crate::stats::Totals;

/// `GET /_emulator/metrics`, and `GET /metrics`, where they are looked for.
pub(super) async fn read(State(control): State<Control>, headers: HeaderMap) -> Response {
    let accepted = headers.get_all(ACCEPT).iter();
    let format = Format::accepted(accepted.filter_map(|value| value.to_str().ok()));
    let totals = Totals::of(&control.handle);
    let families = metrics::families(&totals);
    let mut response = Response::new(metrics::exposition(&families, format).into());
    let headers = response.headers_mut();
    let content_type = HeaderValue::from_static(format.content_type());
    headers.insert(CONTENT_TYPE, content_type);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
