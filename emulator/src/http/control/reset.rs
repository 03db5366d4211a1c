//! A fresh start without a restart.

use axum::extract::State;
use axum::response::Response;
use iothub_protocol::{Error, ErrorCode};

use super::Control;
use crate::http::answer;

/// `POST /_emulator/reset`: no devices, no events, no connections, no files, no faults.
pub(super) async fn reset(State(control): State<Control>) -> Response {
    control.handle.faults().clear();
    let result = control
        .perform(|hub, cx, _| {
            hub.reset(cx);
            Ok(())
        })
        .await;
    let result = match result {
        Ok(()) => control.handle.blobs().clear().await.map_err(|error| {
            tracing::error!(error = &error as &dyn std::error::Error, "files stay");
            Error::new(ErrorCode::ServerError, error.to_string())
        }),
        refused => refused,
    };
    control.answer(result.map(|()| answer::no_content()))
}
