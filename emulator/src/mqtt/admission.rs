//! From the first byte to the CONNACK: who comes, and whether the hub lets them in.

use std::sync::Arc;

use bytes::BytesMut;
use iothub_hub::{ConnectRequest, Credentials, End, Hub, SessionId};
use iothub_protocol::mqtt::codec::{DecodeError, decode_client, encode_server};
use iothub_protocol::mqtt::packet::{ClientPacket, ConnAckCode, Connect, ServerPacket};
use iothub_protocol::mqtt::username::UserName;
use iothub_protocol::{ClientId, Error, ErrorCode};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::refusal::connack_code;
use super::session::{Session, Violation, will_message};
use super::{ForeignWill, Settings};
use crate::certificates::certificate_facts;
use crate::handle::HubHandle;
use crate::mailbox::{Mailbox, Step};
use crate::timeline::without_secrets;
use crate::transport::{Peer, read_burst};

/// An MQTT 5 CONNACK with reason 0x84, Unsupported Protocol Version (`spec/device.md` 13).
const CONNACK_V5_UNSUPPORTED: [u8; 5] = [0x20, 0x03, 0x00, 0x84, 0x00];

/// A client that has been let in.
pub(super) struct Admitted {
    pub(super) session: Session,
    pub(super) id: SessionId,
    pub(super) mailbox: Arc<Mailbox>,
    pub(super) keep_alive: u16,
    /// Twin operations need an api-version in the user name (`spec/device.md` 2.3).
    pub(super) has_api_version: bool,
}

/// Reads the first packet. `None`: there is none that can be read; answered where an answer is due.
pub(super) async fn first_packet<S>(
    settings: &Settings,
    stream: &mut S,
    peer: &Peer,
    buffer: &mut BytesMut,
) -> Option<ClientPacket>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    loop {
        match decode_client(buffer, settings.packet_limit) {
            Ok(Some(packet)) => return Some(packet),
            Ok(None) => {}
            Err(error) => {
                tracing::info!(peer = %peer.address, ?error, "refused: not a CONNECT");
                refuse_undecodable(stream, &error).await;
                return None;
            }
        }
        match read_burst(stream, buffer).await {
            Ok(0) | Err(_) => {
                tracing::debug!(peer = %peer.address, "closed before its CONNECT");
                return None;
            }
            Ok(_) => {}
        }
    }
}

/// Takes the CONNECT, asks the hub, answers. `None`: refused, and answered.
pub(super) async fn admit<S>(
    handle: &HubHandle,
    settings: &Settings,
    stream: &mut S,
    peer: &Peer,
    packet: ClientPacket,
) -> Option<Admitted>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let ClientPacket::Connect(connect) = packet else {
        tracing::info!(peer = %peer.address, "closed: the first packet is not a CONNECT");
        return None;
    };
    match enter(handle, settings, peer, &connect).await {
        Ok((admitted, resumed, step)) => {
            let mut out = BytesMut::new();
            let code = ConnAckCode::Accepted;
            encode_server(
                &ServerPacket::ConnAck {
                    session_present: resumed,
                    code,
                },
                &mut out,
            );
            tracing::debug!(client = %admitted.session.client(), ?step, resumed, "connected");
            if stream.write_all(&out).await.is_err() {
                let client = admitted.session.client();
                handle.disconnect(admitted.id, client, End::Lost);
                return None;
            }
            Some(admitted)
        }
        Err(error) => {
            tracing::info!(
                peer = %peer.address,
                client = connect.client_id,
                reason = error.detail,
                "CONNECT refused"
            );
            let mut out = BytesMut::new();
            let code = connack_code(error.code, settings.disabled_connack);
            encode_server(
                &ServerPacket::ConnAck {
                    session_present: false,
                    code,
                },
                &mut out,
            );
            let _ = stream.write_all(&out).await;
            None
        }
    }
}

async fn refuse_undecodable<S: AsyncWrite + Unpin>(stream: &mut S, error: &DecodeError) {
    let mut out = BytesMut::new();
    match error {
        DecodeError::UnsupportedProtocol { name, level: 5 } if name == "MQTT" => {
            out.extend_from_slice(&CONNACK_V5_UNSUPPORTED);
        }
        DecodeError::UnsupportedProtocol { .. } => {
            let code = ConnAckCode::UnacceptableProtocolVersion;
            encode_server(
                &ServerPacket::ConnAck {
                    session_present: false,
                    code,
                },
                &mut out,
            );
        }
        DecodeError::TooLarge { .. } | DecodeError::Malformed(_) => return,
    }
    // The peer may be gone already.
    let _ = stream.write_all(&out).await;
}

/// Asks the hub to let a client in.
async fn enter(
    handle: &HubHandle,
    settings: &Settings,
    peer: &Peer,
    connect: &Connect,
) -> Result<(Admitted, bool, Step), Error> {
    let refused = |detail: String| {
        let error = Error::new(ErrorCode::IotHubUnauthorizedAccess, detail);
        let client = ClientId::parse(&connect.client_id).ok();
        handle.refuse_connect(client.as_ref(), &error);
        error
    };
    let text = connect.username.as_deref().unwrap_or_default();
    // Some give the password as the user name.
    let username = UserName::parse(text)
        .map_err(|error| refused(format!("user name {:?}: {error}", without_secrets(text))))?;
    let client = username.client;
    if connect.client_id != client.to_string() {
        return Err(refused(format!(
            "client id {:?} is not the {client} of the user name",
            connect.client_id
        )));
    }
    let will = match &connect.will {
        None => None,
        Some(will) => match will_message(will, &client) {
            Ok(message) => Some(message),
            Err(Violation(reason)) if settings.foreign_will == ForeignWill::Drop => {
                tracing::warn!(%client, reason, "the will is dropped");
                None
            }
            Err(Violation(reason)) => return Err(refused(reason)),
        },
    };
    let password = match connect.password.as_deref() {
        None | Some([]) => None,
        Some(password) => Some(
            std::str::from_utf8(password)
                .map_err(|_| refused("the password is not UTF-8".into()))?,
        ),
    };
    // Read before the lock is taken: a certificate is work, and who has a token needs none.
    let certificate = match (&peer.tls, password) {
        (Some(tls), None) => {
            certificate_facts(&tls.certificates, || handle.inspect(Hub::trust_anchors))
        }
        (None, _) | (_, Some(_)) => None,
    };
    let credentials = match (password, &certificate) {
        (Some(token), _) => Credentials::Token(token),
        (None, Some(facts)) => Credentials::Certificate(facts),
        (None, None) => Credentials::None,
    };
    let (presence, step) = handle
        .connect(&client, |hub, now| {
            let principal = hub.authenticate_client(now, &username.host, &client, credentials)?;
            Ok(ConnectRequest {
                client: client.clone(),
                principal,
                remember: !connect.clean_session,
                will,
                model_id: username.model_id.clone(),
                transport: "mqtt",
            })
        })
        .await?;
    let connected = presence.connected;
    let admitted = Admitted {
        session: Session::new(client, connected.subscriptions).with_choices(settings),
        id: connected.session,
        mailbox: presence.mailbox,
        keep_alive: connect.keep_alive,
        has_api_version: username.api_version.is_some(),
    };
    Ok((admitted, connected.resumed, step))
}
