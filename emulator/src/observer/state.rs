//! The last state of devices and modules, which a new subscription is told first.
//!
//! It is not kept for the bus: the hub knows it, so that it is right after a restart, for who comes
//! late, and once a device is gone. Twins and identities are shared with the hub as they are at one
//! moment; who is connected is asked for a few clients at a time.

use iothub_hub::{Hub, Twin, TwinSnapshot};
use iothub_protocol::DeviceId;
use percent_encoding::percent_decode_str;
use tokio::sync::mpsc;

use super::channel::{Channel, Message};
use super::connection::Delivered;
use super::filter::Filter;
use super::telling::{connection_state, section_state};
use super::topics::Topics;
use crate::handle::HubHandle;

/// Messages of state for one subscription; a hub may have more devices than anybody wants to see.
pub(super) const LIMIT: usize = 16 * 1024;
/// Clients whose connection is asked for under one lock.
const CHUNK: usize = 256;

/// Tells the state that `filter` matches; answers of how many clients it was not told.
pub(super) async fn tell(
    handle: &HubHandle,
    topics: &Topics,
    filter: &Filter,
    sender: &mpsc::Sender<Delivered>,
) -> u64 {
    let channels = filter.channels();
    let wants = |channel| channels.contains(&channel);
    let wanted = Wanted {
        connection: wants(Channel::Connection),
        desired: wants(Channel::Desired),
        reported: wants(Channel::Reported),
    };
    if wanted == Wanted::default() {
        return 0;
    }
    let snapshot = handle.inspect(Hub::twin_snapshot);
    let mut told = 0;
    let mut untold = 0;
    let mut rest = candidates(&snapshot, filter);
    loop {
        let chunk: Vec<_> = rest.by_ref().take(CHUNK).collect();
        if chunk.is_empty() {
            return untold;
        }
        let told_of = match told < LIMIT {
            true => chunk.as_slice(),
            false => &[],
        };
        untold += (chunk.len() - told_of.len()) as u64;
        for message in messages(handle, topics, wanted, told_of) {
            let matches = std::str::from_utf8(&message.topic).is_ok_and(|it| filter.matches(it));
            if !matches {
                continue;
            }
            told += 1;
            let retain = true;
            if sender.send(Delivered { message, retain }).await.is_err() {
                return 0;
            }
        }
        // Others have their turn between two chunks of which nothing matches.
        tokio::task::yield_now().await;
    }
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Wanted {
    connection: bool,
    desired: bool,
    reported: bool,
}

/// Those whose topics the filter may match.
fn candidates<'a>(
    snapshot: &'a TwinSnapshot,
    filter: &Filter,
) -> Box<dyn Iterator<Item = Twin> + Send + 'a> {
    let Some(level) = filter.device() else {
        return Box::new(snapshot.all());
    };
    let name = percent_decode_str(level).decode_utf8().ok();
    match name.and_then(|name| DeviceId::parse(&name).ok()) {
        Some(device) => Box::new(snapshot.of_device(&device)),
        None => Box::new(std::iter::empty()),
    }
}

fn messages(handle: &HubHandle, topics: &Topics, wanted: Wanted, twins: &[Twin]) -> Vec<Message> {
    let connected: Vec<bool> = match wanted.connection {
        true => handle.inspect(|hub| {
            let of = |twin: &Twin| hub.is_connected(&twin.client);
            twins.iter().map(of).collect()
        }),
        false => Vec::new(),
    };
    let mut messages = Vec::with_capacity(twins.len());
    for (at, twin) in twins.iter().enumerate() {
        let mut push = |channel, payload| {
            let topic = topics.of(&twin.client, channel);
            messages.push(Message { topic, payload });
        };
        if let Some(&is_connected) = connected.get(at) {
            push(Channel::Connection, connection_state(is_connected, None));
        }
        let sections = [
            (wanted.desired, Channel::Desired, &twin.desired),
            (wanted.reported, Channel::Reported, &twin.reported),
        ];
        for (is_wanted, channel, section) in sections {
            // What was never written was never told either.
            if is_wanted && section.version > 1 {
                push(channel, section_state(section));
            }
        }
    }
    messages
}
