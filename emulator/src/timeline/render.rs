//! Entries as JSON, for people and their tools.

use iothub_hub::{IdentityChange, Twin, TwinParts};
use iothub_protocol::registry::{Authentication, Status};
use iothub_protocol::{ClientId, Error};
use serde_json::{Map, Value, json};

use super::decode::Packet;
use super::entry::{C2dStep, Entry, Excerpt, Kind, What};
use super::wire::Exchange;
use crate::activity::microseconds;
use crate::hex::hex;
use crate::transport::TransportKind;

/// An entry that is no exchange as a JSON document.
pub(super) fn entry(entry: &Entry) -> Value {
    let mut line = head(entry);
    match &entry.what {
        What::Connected { transport, .. } => line["protocol"] = (*transport).into(),
        What::Disconnected { reason, detail, .. } => {
            line["reason"] = (*reason).into();
            if let Some(detail) = detail {
                line["detail"] = (**detail).into();
            }
        }
        What::MethodInvoked {
            call,
            name,
            payload,
            ..
        } => {
            line["call"] = (*call).into();
            line["method"] = (**name).into();
            show_excerpt(&mut line, "payload", payload);
        }
        What::MethodEnded {
            call, name, result, ..
        } => {
            line["call"] = (*call).into();
            line["method"] = (**name).into();
            match result {
                Ok((status, payload)) => {
                    line["status"] = (*status).into();
                    show_excerpt(&mut line, "payload", payload);
                }
                Err(error) => line["error"] = refusal(error),
            }
        }
        What::TwinChanged { twin, written } => show_twin(&mut line, twin, *written),
        What::IdentityChanged { identity, how } => {
            line["change"] = match how {
                IdentityChange::Created => "created",
                IdentityChange::Updated => "updated",
                IdentityChange::Deleted => "deleted",
            }
            .into();
            line["status"] = match identity.status {
                Status::Enabled => "enabled",
                Status::Disabled => "disabled",
            }
            .into();
            line["authentication"] = authentication(&identity.authentication).into();
            line["generationId"] = (*identity.generation).into();
        }
        What::C2d {
            step,
            sequence,
            id,
            delivery_count,
            body,
            ..
        } => {
            line["sequence"] = (*sequence).into();
            line["messageId"] = id.as_deref().into();
            line["deliveryCount"] = (*delivery_count).into();
            match step {
                C2dStep::Delivered { redelivered } => line["redelivered"] = (*redelivered).into(),
                C2dStep::Ended(status) => line["outcome"] = status.name().into(),
                C2dStep::Sent | C2dStep::Returned => {}
            }
            show_excerpt(&mut line, "body", body);
        }
        What::Stored {
            source,
            partition,
            first,
            messages,
            bytes,
            last,
            ..
        } => {
            line["source"] = source.name().into();
            line["partition"] = (*partition).into();
            line["firstSequenceNumber"] = (*first).into();
            line["messages"] = (*messages).into();
            line["bytes"] = (*bytes).into();
            show_excerpt(&mut line, "lastBody", last);
        }
        What::FaultFired {
            operation, action, ..
        } => {
            line["operation"] = operation.name().into();
            line["action"] = (**action).into();
        }
        What::Operation {
            operation,
            items,
            elapsed,
            refusal: refused,
            ..
        } => {
            line["operation"] = operation.name().into();
            line["elapsed_us"] = microseconds(*elapsed).into();
            if *items > 1 {
                line["items"] = (*items).into();
            }
            if let Some(error) = refused {
                line["refusal"] = refusal(error);
            }
        }
        // Its packets say it.
        What::Exchange(_) => {}
    }
    line
}

/// A packet of an exchange as a JSON document, with up to `hex` of its bytes.
pub(super) fn packet(
    entry: &Entry,
    exchange: &Exchange,
    packet: &Packet,
    client: Option<&ClientId>,
    hex: usize,
) -> Value {
    let mut line = head(entry);
    if let Some(client) = client {
        line["client"] = name(client);
    }
    let connection = &exchange.connection;
    line["connection"] = connection.id.into();
    line["protocol"] = connection.protocol.name().into();
    line["transport"] = transport(connection.transport).into();
    line["direction"] = exchange.direction.name().into();
    line["peer"] = connection.peer.to_string().into();
    line["bytes"] = packet.bytes.len().into();
    line["summary"] = packet.summary.as_str().into();
    if !packet.detail.is_null() {
        line["packet"] = packet.detail.clone();
    }
    if hex > 0 {
        let shown = &packet.bytes[..packet.bytes.len().min(hex)];
        line["hex"] = self::hex(shown).into();
    }
    line
}

fn transport(kind: TransportKind) -> &'static str {
    match kind {
        TransportKind::Tcp => "tcp",
        TransportKind::Tls => "tls",
        TransportKind::WebSocket => "ws",
        TransportKind::SecureWebSocket => "wss",
    }
}

/// What every line begins with.
fn head(entry: &Entry) -> Value {
    let mut line = json!({"seq": entry.seq, "at": entry.at.to_iso()});
    match entry.what.kind() {
        Kind::Notice => {
            line["kind"] = "notice".into();
            line["event"] = entry.what.event().into();
        }
        Kind::Operation => line["kind"] = "operation".into(),
        Kind::Wire => line["kind"] = "wire".into(),
    }
    if let Some(client) = entry.what.client() {
        line["client"] = name(client);
    }
    line
}

fn name(client: &ClientId) -> Value {
    client.to_string().into()
}

fn refusal(error: &Error) -> Value {
    json!({"code": error.code.name(), "number": error.code.number(), "detail": error.detail})
}

/// Only what was written, as the device sees it.
fn show_twin(line: &mut Value, twin: &Twin, written: TwinParts) {
    line["version"] = twin.version.into();
    if written.tags {
        line["tags"] = Value::Object(twin.tags.clone());
    }
    if written.desired {
        line["desired"] = twin.desired.to_device_json();
    }
    if written.reported {
        line["reported"] = twin.reported.to_device_json();
    }
}

fn authentication(authentication: &Authentication) -> &'static str {
    match authentication {
        Authentication::Sas { .. } => "sas",
        Authentication::SelfSigned { .. } => "selfSigned",
        Authentication::CertificateAuthority => "certificateAuthority",
        Authentication::None => "none",
    }
}

/// JSON as JSON, text as text, and anything else as hexadecimal digits under a name that says so.
/// What is not whole says how long it was.
pub(super) fn show_excerpt(line: &mut Value, name: &str, excerpt: &Excerpt) {
    let members: &mut Map<String, Value> = line.as_object_mut().expect("a line is an object");
    if excerpt.length == 0 {
        members.insert(name.into(), Value::Null);
        return;
    }
    if !excerpt.is_cut()
        && let Ok(document) = serde_json::from_slice(&excerpt.bytes)
    {
        members.insert(name.into(), document);
        return;
    }
    match text(&excerpt.bytes, excerpt.is_cut()) {
        Some(text) => members.insert(format!("{name}_text"), text.into()),
        None => members.insert(format!("{name}_hex"), hex(&excerpt.bytes).into()),
    };
    if excerpt.is_cut() {
        members.insert(format!("{name}_bytes"), excerpt.length.into());
    }
}

/// The bytes as text, if they are; what is cut may end within a character.
pub(super) fn text(bytes: &[u8], cut: bool) -> Option<&str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if cut && error.error_len().is_none() => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}
