//! What each partition of the event log holds.

use axum::extract::State;
use axum::response::Response;
use iothub_hub::PartitionId;
use serde_json::{Value, json};

use super::Control;
use crate::http::answer;

/// `GET /_emulator/partitions`: for each partition its oldest kept and its next sequence number, how
/// many events lie between, and when the newest came.
pub(super) async fn list(State(control): State<Control>) -> Response {
    let bounds = control.handle.event_bounds();
    let partitions: Vec<Value> = bounds
        .iter()
        .enumerate()
        .map(|(partition, &(first, next))| {
            let newest = next.checked_sub(1).filter(|&newest| newest >= first);
            let newest = newest.and_then(|newest| {
                let events = control
                    .handle
                    .read_events(partition as PartitionId, newest, 1);
                events.ok()?.pop()
            });
            json!({
                "partition": partition.to_string(),
                "first": first,
                "next": next,
                "events": next.saturating_sub(first),
                "newest": newest.map(|event| event.enqueued.to_iso()),
            })
        })
        .collect();
    answer::value(&partitions.into())
}
