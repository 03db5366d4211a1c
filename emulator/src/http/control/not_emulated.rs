//! What was asked for in vain.

use axum::extract::State;
use axum::response::Response;
use serde_json::json;

use super::Control;
use crate::http::answer;

/// `GET /_emulator/not-emulated`: each thing that was asked for and is not emulated, with how
/// often.
pub(super) async fn show(State(control): State<Control>) -> Response {
    answer::value(&json!(control.handle.activity().not_emulated()))
}
