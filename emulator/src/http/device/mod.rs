//! What a device asks for over HTTPS (`spec/device.md` 8 and 9), with a device's credentials.

mod c2d;
mod events;
mod files;

use axum::response::Response;
use hyper::body::Incoming;
use iothub_protocol::Error;

use super::call::Call;
use super::route::{DeviceRoute, Target};

/// Answers a request of a device or module.
pub(super) async fn perform(
    call: &Call<'_>,
    target: Target<'_>,
    route: DeviceRoute<'_>,
    body: Incoming,
) -> Result<Response, Error> {
    // A name that nobody can have is nobody's: the same answer as for one that is not registered.
    let client = &target
        .client()
        .map_err(|error| Error::unauthorized(error.detail))?;
    match route {
        DeviceRoute::SendEvents => events::send(call, client, body).await,
        DeviceRoute::ReceiveC2d => c2d::receive(call, client).await,
        DeviceRoute::CompleteC2d(lock) => c2d::complete(call, client, lock).await,
        DeviceRoute::AbandonC2d(lock) => c2d::abandon(call, client, lock).await,
        DeviceRoute::StartUpload => files::start(call, client, body).await,
        DeviceRoute::FinishUpload(id) => files::finish(call, client, id, body).await,
    }
}
