//! A fresh start without a restart.

use axum::extract::State;
use axum::response::Response;

use super::Control;
use crate::http::answer;

/// `POST /_emulator/reset`: no devices, no events, no connections, no faults.
pub(super) async fn reset(State(control): State<Control>) -> Response {
    control.handle.faults().clear();
    let result = control
        .perform(|hub, cx, _| {
            hub.reset(cx);
            Ok(())
        })
        .await;
    control.answer(result.map(|()| answer::no_content()))
}
