//! The observer bus: any MQTT client watches a hub live, read-only (`README.md`, "Watching a hub").
//!
//! What the hub tells its onlookers goes through rumqttd's `Router`, which does the fan-out.
//! Observers come in through the listener and the strict codec of this package and never touch the
//! router themselves. The bus is best effort:
//! what does not fit into a bounded queue or log is dropped, and nothing that happens here reaches
//! a device.
//!
//! | topic | payload | last state first |
//! | --- | --- | --- |
//! | `hub/{name}/devices/{id}/telemetry` | the message's body | no |
//! | `hub/{name}/devices/{id}/connection` | `{"state":"connected"}`, `{"state":"disconnected","reason":…}` | yes |
//! | `hub/{name}/devices/{id}/twin/desired`, `…/twin/reported` | the section as the device sees it | once written |
//! | `hub/{name}/devices/{id}/methods` | `{"method","payload"}`, then `{"method","status","payload"}` or `{"method","error"}` | no |
//! | `hub/{name}/devices/{id}/c2d` | `{"sequence","messageId","state","body"}`, `bodyBase64` for what is no text | no |
//! | `hub/{name}/log` | one JSON object for each thing that happened | no |
//! | `hub/{name}/log/dropped` | `{"dropped","missed","untold"}`: what this observer was not told | yes |
//!
//! A module has the same topics below `hub/{name}/devices/{id}/modules/{module}`. Characters of
//! names that a topic level cannot hold, and `%`, are percent-encoded. The last state comes with
//! the RETAIN flag, as from a broker, and out of the hub itself: of the clients that a filter
//! matches, up to 16,384 messages. Who watches when a client is deleted gets empty
//! messages where its state was.
//!
//! Nothing is started, observed or made before somebody subscribes, and of what happens only what
//! somebody watches.

mod bus;
mod channel;
mod connection;
mod feed;
mod filter;
mod publisher;
mod state;
mod subscriptions;
mod telling;
mod topics;

use std::io;
use std::sync::Arc;

use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::clock::HubClock;
use crate::handle::HubHandle;
use crate::secret::Secret;
use crate::transport::{self, Bound};
use feed::Feed;

/// Observers of one hub at a time. Others are told to come later.
pub const MAX_OBSERVERS: usize = 256;

/// What every observer of one hub meets.
struct Host {
    feed: Arc<Feed>,
    password: Option<Secret>,
    /// Observers' time is the world's: they must not be lost when the hub's time is moved, nor stay
    /// for ever when it stands.
    clock: Arc<HubClock>,
    places: Semaphore,
}

/// Lets observers who know the password, if there is one, watch the hub `hub_name` on `bound` until
/// `stop` is cancelled; the future ends once the last observer and the feed have.
///
/// # Errors
///
/// When a socket cannot be registered with the runtime.
pub async fn serve(
    bound: Bound,
    handle: HubHandle,
    hub_name: String,
    password: Option<Secret>,
    stop: CancellationToken,
) -> io::Result<()> {
    let host = Arc::new(Host {
        feed: Arc::new(Feed::new(handle, &hub_name, stop.clone())),
        password,
        clock: Arc::new(HubClock::system()),
        places: Semaphore::new(MAX_OBSERVERS),
    });
    let feed = host.feed.clone();
    tracing::debug!(
        hub = hub_name,
        port = bound.port(),
        "the observer bus is open"
    );
    let served = transport::tcp::serve(bound, stop, move |stream, peer, stop| {
        let host = host.clone();
        async move { connection::serve(&host, stream, &peer, &stop).await }
    })
    .await;
    feed.ended().await;
    served
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};

    use bytes::{Bytes, BytesMut};
    use iothub_hub::{Hub, HubConfig, Limits};
    use iothub_protocol::mqtt::codec::{decode_server, encode_client};
    use iothub_protocol::mqtt::packet::{ClientPacket, Connect, QoS, ServerPacket, Subscribe};
    use iothub_protocol::registry::{IdentitySpec, IfMatch};
    use iothub_protocol::{ClientId, DeviceId};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;
    use crate::activity::OperationKind;
    use crate::clock::HubClock;
    use crate::store::MemoryStore;

    struct Observer(TcpStream, BytesMut);

    impl Observer {
        async fn watching(address: SocketAddr, filter: &str) -> Self {
            let connect = Connect {
                level: 4,
                clean_session: true,
                keep_alive: 0,
                client_id: String::new(),
                username: None,
                password: None,
                will: None,
            };
            let filters = vec![(filter.to_owned(), QoS::AtMostOnce)];
            let mut out = BytesMut::new();
            encode_client(&ClientPacket::Connect(connect), &mut out);
            encode_client(
                &ClientPacket::Subscribe(Subscribe {
                    packet_id: 1,
                    filters,
                }),
                &mut out,
            );
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(&out).await.unwrap();
            Self(stream, BytesMut::new())
        }

        /// The next message; `None`: the connection was closed.
        async fn message(&mut self) -> Option<(String, Bytes)> {
            loop {
                match decode_server(&mut self.1, 1 << 20).unwrap() {
                    Some(ServerPacket::Publish(publish)) => {
                        return Some((publish.topic().to_owned(), publish.payload));
                    }
                    Some(_) => {}
                    None => {
                        if self.0.read_buf(&mut self.1).await.unwrap() == 0 {
                            return None;
                        }
                    }
                }
            }
        }
    }

    fn hub() -> HubHandle {
        let hub = Hub::new(HubConfig {
            name: "h".into(),
            host_names: Vec::new(),
            policies: Vec::new(),
            partitions: 1,
            seed: 1,
            limits: Limits::default(),
            ..HubConfig::default()
        });
        let store = Box::new(MemoryStore::new(1, 1 << 20));
        HubHandle::open(hub, store, Arc::new(HubClock::system())).unwrap()
    }

    /// Changes desired properties, which is told and kept.
    async fn patch(handle: &HubHandle, client: &ClientId, value: u32) {
        let patch = serde_json::json!({"properties": {"desired": {"value": value}}});
        let patch = iothub_protocol::twin::TwinPatch::parse(patch.to_string().as_bytes()).unwrap();
        handle
            .call(OperationKind::PatchTwin.on(client), |hub, cx| {
                let caller = iothub_hub::Principal::operator();
                hub.patch_twin(cx, &caller, client, patch, &IfMatch::Any)
            })
            .await
            .unwrap();
    }

    #[tokio::test]
    async fn a_dead_router_is_replaced_and_the_last_state_told_again() {
        let handle = hub();
        let device = DeviceId::parse("d1").unwrap();
        let client = ClientId::device(device.clone());
        handle
            .call(OperationKind::PutDevice.on(&client), |hub, cx| {
                let (caller, spec) = (iothub_hub::Principal::operator(), IdentitySpec::default());
                hub.put_device(cx, &caller, &device, spec, &IfMatch::Absent)
            })
            .await
            .unwrap();
        let bound = transport::bind(&[IpAddr::V4(Ipv4Addr::LOCALHOST)], 0).unwrap();
        let address = bound.addresses()[0];
        let stop = CancellationToken::new();
        let served = tokio::spawn(serve(bound, handle.clone(), "h".into(), None, stop.clone()));
        let mut early = Observer::watching(address, "hub/h/devices/d1/twin/#").await;
        patch(&handle, &client, 1).await;
        let told = early.message().await.unwrap();

        bus::attach(&[]).unwrap().poison();

        // Observers have to come again. What was just being subscribed to may be told twice: as what
        // was kept, and as what is new.
        while let Some(message) = early.message().await {
            assert_eq!(message, told);
        }
        let mut late = Observer::watching(address, "hub/h/devices/d1/twin/#").await;
        assert_eq!(late.message().await.unwrap(), told);
        patch(&handle, &client, 2).await;
        let after = loop {
            let message = late.message().await.unwrap();
            if message != told {
                break message;
            }
        };
        assert_eq!(after.0, told.0);
        stop.cancel();
        served.await.unwrap().unwrap();
    }
}
