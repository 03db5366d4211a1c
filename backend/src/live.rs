//! What a running emulator tells as it happens: server-sent events of its control API.

use http::Method;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use iothub_protocol::http::{ServerSent, ServerSentReader};

use crate::transport::Call;
use crate::{EmulatorAddress, Error, ErrorKind};

/// Bytes that an event may have.
const EVENT_LIMIT: usize = 4 * 1024 * 1024;

/// A stream of the control API. Dropping it ends it.
pub struct EmulatorStream {
    body: Incoming,
    reader: ServerSentReader,
}

impl EmulatorStream {
    /// Opens a stream of this emulator: `path` with its query, such as `/_emulator/stats`.
    pub async fn open(emulator: impl Into<EmulatorAddress>, path: &str) -> Result<Self, Error> {
        let call = Call::to(Method::GET, path.to_owned()).header("accept", "text/event-stream");
        let body = emulator.into().transport()?.open(call).await?;
        Ok(Self {
            body,
            reader: ServerSentReader::new(EVENT_LIMIT),
        })
    }

    /// The next event; `None` once the emulator has ended the stream.
    pub async fn next_event(&mut self) -> Result<Option<ServerSent>, Error> {
        loop {
            let event = self.reader.next_event().map_err(|error| {
                let what = "a stream that is not one of events".to_owned();
                Error::caused_by(ErrorKind::UnexpectedAnswer(what), error)
            })?;
            if event.is_some() {
                return Ok(event);
            }
            match self.body.frame().await {
                None => return Ok(None),
                Some(Ok(frame)) => {
                    if let Ok(bytes) = frame.into_data() {
                        self.reader.push(&bytes);
                    }
                }
                Some(Err(error)) => return Err(Error::caused_by(ErrorKind::Interrupted, error)),
            }
        }
    }
}
