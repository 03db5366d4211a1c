//! The observer bus: any MQTT client watches a hub live, read-only (`README.md`, "Watching a hub").
//!
//! What the hub tells its onlookers goes through rumqttd's `Router`, which does the fan-out and
//! keeps the last state for those who come late. Observers come in through the listener and the
//! strict codec of this package and never touch the router themselves. The bus is best effort:
//! what does not fit into a bounded queue or log is dropped, and nothing that happens here reaches
//! a device.
//!
//! | topic | payload | retained |
//! | --- | --- | --- |
//! | `hub/{name}/devices/{id}/telemetry` | the message's body | no |
//! | `hub/{name}/devices/{id}/connection` | `{"state":"connected"}`, `{"state":"disconnected","reason":…}` | yes |
//! | `hub/{name}/devices/{id}/twin/desired`, `…/twin/reported` | the section as the device sees it | yes |
//! | `hub/{name}/devices/{id}/methods` | `{"method","payload"}`, then `{"method","status","payload"}` or `{"method","error"}` | no |
//! | `hub/{name}/log` | one JSON object for each thing that happened | no |
//!
//! A module has the same topics below `hub/{name}/devices/{id}/modules/{module}`. Characters of
//! names that a topic level cannot hold, and `%`, are percent-encoded.

mod bus;
mod connection;
mod feed;
mod filter;
mod publisher;

use std::io;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::handle::HubHandle;
use crate::transport::{self, Bound};
use feed::Feed;

/// Lets observers watch the hub `hub_name` on `bound` until `stop` is cancelled, and returns once
/// the last observer and the feed have ended.
///
/// # Errors
///
/// When a socket cannot be registered with the runtime, or the feed's thread cannot be started.
pub async fn serve(
    bound: Bound,
    handle: HubHandle,
    hub_name: String,
    stop: CancellationToken,
) -> io::Result<()> {
    let feed = Arc::new(Feed::new(&hub_name));
    let published = publisher::start(handle.clone(), feed.clone(), stop.clone())?;
    let served = transport::tcp::serve(bound, stop, move |stream, peer, stop| {
        let (handle, feed) = (handle.clone(), feed.clone());
        async move { connection::serve(&handle, &feed, stream, &peer, &stop).await }
    })
    .await;
    // An error means that its thread has gone down, which is an end too.
    let _ = published.await;
    served
}
