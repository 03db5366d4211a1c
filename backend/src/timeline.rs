//! What happens in a running emulator, as its control API tells it. The real hub has nothing like
//! it.

use bytes::{Buf as _, BytesMut};
use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde_json::Value;

use crate::transport::{Call, Transport};
use crate::{EmulatorAddress, Error, ErrorKind};

/// The timeline of a running emulator.
pub struct EmulatorTimeline {
    transport: Transport,
}

/// What to read of a timeline.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimelineRequest {
    /// `notice`, `refusal`, `operation`, `wire`; empty: what the emulator tells by itself.
    pub kinds: Vec<String>,
    /// Only notices of these names; empty: all.
    pub events: Vec<String>,
    /// Only this device and its modules, or this module: `d1`, `d1/m1`.
    pub client: Option<String>,
    /// Where to begin.
    pub from: TimelineFrom,
    /// Whether to go on with what happens then.
    pub follow: bool,
    /// So many bytes of each packet in hexadecimal.
    pub hex: usize,
}

/// Where to begin.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimelineFrom {
    /// With what happens from now on.
    #[default]
    Now,
    /// With the oldest that is kept.
    Start,
    /// After this place, the `seq` of a line.
    After(u64),
}

/// Lines of a timeline as they come. Each is an entry, or `{"missed":N}` where N entries were gone
/// before they could be read.
pub struct TimelineLines {
    body: Incoming,
    buffer: BytesMut,
    /// Bytes of the buffer that are known to hold no end of a line.
    looked_at: usize,
}

/// Bytes of a line that are waited for; a packet with all its bytes is shorter.
const LONGEST_LINE: usize = 16 * 1024 * 1024;
const PATH: &str = "/_emulator/timeline";

impl EmulatorTimeline {
    /// That of this emulator; a URL of its HTTP or HTTPS listener will do.
    pub fn at(emulator: impl Into<EmulatorAddress>) -> Result<Self, Error> {
        Ok(Self {
            transport: emulator.into().transport()?,
        })
    }

    /// Reads it.
    pub async fn read(&self, wanted: &TimelineRequest) -> Result<TimelineLines, Error> {
        let mut call = Call::to(Method::GET, PATH.into());
        for (name, list) in [("kinds", &wanted.kinds), ("events", &wanted.events)] {
            if !list.is_empty() {
                call = call.query(name, &list.join(","));
            }
        }
        if let Some(client) = &wanted.client {
            call = call.query("client", client);
        }
        if wanted.hex > 0 {
            call = call.query("hex", &wanted.hex.to_string());
        }
        let after = match wanted.from {
            TimelineFrom::Now => "latest".to_owned(),
            TimelineFrom::Start => "0".to_owned(),
            TimelineFrom::After(place) => place.to_string(),
        };
        let call = call.query("after", &after);
        let call = call.query("follow", &wanted.follow.to_string());
        Ok(TimelineLines {
            body: self.transport.open(call).await?,
            buffer: BytesMut::new(),
            looked_at: 0,
        })
    }
}

impl TimelineLines {
    /// The next line, as soon as it is there; `None` at the end. Safe to drop half-way.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Interrupted`] when the connection breaks, and [`ErrorKind::UnexpectedAnswer`] for
    /// a line that is not JSON.
    pub async fn next(&mut self) -> Result<Option<Value>, Error> {
        loop {
            let unseen = self.buffer[self.looked_at..].iter();
            if let Some(at) = unseen.clone().position(|&byte| byte == b'\n') {
                let line = self.buffer.split_to(self.looked_at + at);
                self.buffer.advance(1);
                self.looked_at = 0;
                return parse(&line).map(Some);
            }
            self.looked_at = self.buffer.len();
            if self.buffer.len() > LONGEST_LINE {
                let what = "a line of the timeline without an end".to_owned();
                return Err(Error::new(ErrorKind::UnexpectedAnswer(what)));
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(frame) => {
                    let frame =
                        frame.map_err(|error| Error::caused_by(ErrorKind::Interrupted, error))?;
                    if let Ok(data) = frame.into_data() {
                        self.buffer.extend_from_slice(&data);
                    }
                }
            }
        }
    }
}

fn parse(line: &[u8]) -> Result<Value, Error> {
    serde_json::from_slice(line).map_err(|error| {
        let what = "a line of the timeline that is not JSON".to_owned();
        Error::caused_by(ErrorKind::UnexpectedAnswer(what), error)
    })
}
