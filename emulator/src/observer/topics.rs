//! The topics of one hub's part of the bus.

use bytes::Bytes;
use iothub_protocol::ClientId;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use super::channel::Channel;

/// What a topic level cannot hold, and the sign of the encoding itself, so that different names
/// stay different. Whatever is not ASCII is always encoded.
const ENCODED: &AsciiSet = &CONTROLS.add(b'#').add(b'+').add(b'/').add(b'%');

/// Makes topics below `hub/{name}`.
#[derive(Clone, Debug)]
pub(super) struct Topics {
    root: String,
}

impl Topics {
    pub(super) fn new(hub_name: &str) -> Self {
        Self {
            root: format!("hub/{}", utf8_percent_encode(hub_name, ENCODED)),
        }
    }

    /// Where one line stands for each thing that happened.
    pub(super) fn log(&self) -> Bytes {
        format!("{}/log", self.root).into()
    }

    /// Where an observer is told what it was not told.
    pub(super) fn losses(&self) -> Bytes {
        format!("{}/log/dropped", self.root).into()
    }

    /// Where a device or module has this kind of message.
    pub(super) fn of(&self, client: &ClientId, channel: Channel) -> Bytes {
        let device = utf8_percent_encode(client.device.as_str(), ENCODED);
        let (root, tail) = (&self.root, channel.name());
        match &client.module {
            None => format!("{root}/devices/{device}/{tail}"),
            Some(module) => {
                let module = utf8_percent_encode(module.as_str(), ENCODED);
                format!("{root}/devices/{device}/modules/{module}/{tail}")
            }
        }
        .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_topics_cannot_hold_are_encoded() {
        let topics = Topics::new("h\u{f6}b/1");
        let client = ClientId::parse("a+b#c%d$e/$edgeHub").unwrap();

        assert_eq!(
            topics.of(&client, Channel::Desired),
            "hub/h%C3%B6b%2F1/devices/a%2Bb%23c%25d$e/modules/$edgeHub/twin/desired"
        );
        assert_eq!(topics.losses(), "hub/h%C3%B6b%2F1/log/dropped");
    }
}
