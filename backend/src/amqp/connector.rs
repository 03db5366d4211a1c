//! The way to one hub or event hub: its connection, made when it is needed, and its token, renewed
//! before it expires.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use iothub_protocol::amqp::AmqpError;
use iothub_protocol::amqp::cbs::{PutToken, SAS_KINDS};
use iothub_protocol::amqp::connection::{ClientSasl, ConnectionConfig, SessionId};
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::value::Symbol;
use iothub_protocol::{Clock, Timestamp};
use tokio::sync::Mutex;
use tokio::task::AbortHandle;

use super::endpoint::Endpoint;
use super::refusal;
use super::request::Requester;
use super::retry::{Failures, RetryPolicy};
use super::wire::Wire;
use crate::Error;
use crate::credentials::Credentials;

/// The way to one hub or event hub.
pub(crate) struct Connector {
    endpoint: Endpoint,
    credentials: Credentials,
    /// What tokens are put for.
    audience: String,
    clock: Arc<dyn Clock>,
    retry: RetryPolicy,
    container_id: String,
    /// The connection in use; shared by everything that goes this way.
    current: Mutex<Option<Arc<Session>>>,
}

/// An open connection with its one session, authorised.
pub(crate) struct Session {
    pub(crate) wire: Arc<Wire>,
    pub(crate) id: SessionId,
    links: AtomicU64,
    /// Renews the token for as long as the session is held.
    renewal: Option<AbortHandle>,
}

/// How long it may take to be let in, in the machine's own time: a hub whose clock stands still
/// answers all the same.
const OPEN_LIMIT: Duration = Duration::from_secs(30);
/// Silence after which the hub is given up, sooner than it gives us up (`spec/amqp.md` 2.3).
const IDLE_TIMEOUT: Duration = Duration::from_secs(240);
/// As the hub's (`spec/amqp.md` 2.3).
const MAX_FRAME_SIZE: u32 = 64 * 1024;
const WINDOW: u32 = 5000;
/// Links that are open at the same time: readers of all partitions several times over.
const MAX_LINKS: u32 = 4096;
/// The largest message is 1 MiB (`spec/amqp.md` 4); several may be under way.
const MAX_UNFINISHED: usize = 16 * 1024 * 1024;

impl Connector {
    pub(crate) fn new(
        endpoint: Endpoint,
        credentials: Credentials,
        audience: String,
        clock: Arc<dyn Clock>,
        retry: RetryPolicy,
    ) -> Self {
        Self {
            endpoint,
            credentials,
            audience,
            clock,
            retry,
            container_id: container_id(),
            current: Mutex::default(),
        }
    }

    pub(crate) fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// The open connection; another one when there is none, or it is over.
    pub(crate) async fn session(&self) -> Result<Arc<Session>, Error> {
        let mut current = self.current.lock().await;
        if let Some(session) = &*current
            && session.wire.is_usable(self.clock.now())
        {
            return Ok(Arc::clone(session));
        }
        *current = None;
        let session = match tokio::time::timeout(OPEN_LIMIT, self.open()).await {
            Ok(opened) => Arc::new(opened?),
            Err(elapsed) => return Err(self.endpoint.unreachable(elapsed)),
        };
        *current = Some(Arc::clone(&session));
        Ok(session)
    }

    /// Says good-bye, if there is anybody to say it to.
    pub(crate) async fn close(&self) {
        if let Some(session) = self.current.lock().await.take() {
            let _ = tokio::time::timeout(CLOSE_LIMIT, session.wire.close()).await;
        }
    }

    /// Waits before another attempt.
    pub(crate) async fn pause(&self, failures: &mut Failures) {
        failures.pause(&self.retry, &*self.clock).await;
    }

    async fn open(&self) -> Result<Session, Error> {
        let stream = self.endpoint.dial().await?;
        let config = ConnectionConfig {
            container_id: self.container_id.clone(),
            hostname: Some(self.endpoint.host_name.clone()),
            max_frame_size: MAX_FRAME_SIZE,
            max_sessions: 1,
            max_links: MAX_LINKS,
            incoming_window: WINDOW,
            idle_timeout: Some(IDLE_TIMEOUT),
            sasl_mechanisms: Vec::new(),
            max_unfinished: MAX_UNFINISHED,
        };
        let sasl = ClientSasl::Mechanism {
            name: Symbol::of("ANONYMOUS"),
            initial_response: Some(Bytes::new()),
        };
        let wire = Arc::new(Wire::start(stream, config, sasl, Arc::clone(&self.clock)));
        wire.opened().await.map_err(refusal::of_connection)?;
        let id = wire.begin().await.map_err(refusal::of_connection)?;
        let mut cbs = Requester::attach(&wire, id, "$cbs").await?;
        let (token, renew_at) = self.credentials.token_until(self.clock.now());
        put_token(&mut cbs, &self.audience, token).await?;
        let renewal = renew_at.map(|renew_at| {
            let renewal = Renewal {
                cbs,
                credentials: self.credentials.clone(),
                audience: self.audience.clone(),
                clock: Arc::clone(&self.clock),
                wire: Arc::clone(&wire),
            };
            tokio::spawn(renewal.run(renew_at)).abort_handle()
        });
        Ok(Session {
            wire,
            id,
            links: AtomicU64::new(0),
            renewal,
        })
    }
}

/// How long the peer's good-bye is waited for.
const CLOSE_LIMIT: Duration = Duration::from_secs(2);

impl Session {
    /// A link's name; none is used twice.
    pub(crate) fn link_name(&self, stem: &str) -> String {
        let number = self.links.fetch_add(1, Ordering::Relaxed);
        format!("{stem}-{number}")
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(renewal) = &self.renewal {
            renewal.abort();
        }
    }
}

/// Puts the next token before the one in use expires.
struct Renewal {
    cbs: Requester,
    credentials: Credentials,
    audience: String,
    clock: Arc<dyn Clock>,
    wire: Arc<Wire>,
}

impl Renewal {
    async fn run(mut self, mut renew_at: Timestamp) {
        loop {
            self.clock.sleep_until(renew_at).await;
            let (token, next) = self.credentials.token_until(self.clock.now());
            if let Err(error) = put_token(&mut self.cbs, &self.audience, token).await {
                tracing::debug!(%error, "renew the token");
                // Whoever uses the connection makes another one, and hears what is wrong there.
                self.wire.fail(AmqpError::new(
                    condition::CONNECTION_FORCED,
                    "the token was not renewed",
                ));
                return;
            }
            match next {
                Some(next) => renew_at = next,
                None => return,
            }
        }
    }
}

async fn put_token(cbs: &mut Requester, audience: &str, token: String) -> Result<(), Error> {
    let asked = cbs.ask(|message_id, reply_to| {
        PutToken {
            kind: SAS_KINDS[0].to_owned(),
            audience: audience.to_owned(),
            token,
            message_id,
            reply_to: Some(reply_to),
        }
        .to_message()
    });
    asked.await.map(drop)
}

/// A name that no other container has: a new hasher is seeded by the operating system.
fn container_id() -> String {
    let number = RandomState::new().build_hasher().finish();
    format!("back-end-{number:016x}")
}
