//! The IO loop of one connection: its stream, its timers, and whom an event concerns.

mod ending;

use std::collections::BTreeMap;
use std::future::{Future, pending};
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use iothub_hub::{Hub, Permission};
use iothub_protocol::amqp::address::Address;
use iothub_protocol::amqp::connection::Event;
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::performative::{Attach, Role};
use iothub_protocol::amqp::sasl::SaslCode;
use iothub_protocol::amqp::{AmqpError, LinkId};
use iothub_protocol::{Clock, Error, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use super::authority::Authority;
use super::nodes::{Node, Opening, Wake};
use super::output::write_all;
use super::shared::{Shared, shown, without_port};
use super::signals::Signals;
use super::{Settings, authority, devices};
use crate::certificates::certificate_facts;
use crate::handle::HubHandle;
use crate::timeline::Tapped;
use crate::transport::{Peer, read_burst};

/// How often links go on before the connection looks at everything else again, however fast its
/// peer reads.
const TURNS: u32 = 64;

/// Serves a connection to its end.
pub(super) async fn serve<S>(
    handle: &HubHandle,
    settings: &Arc<Settings>,
    stream: Tapped<S>,
    peer: Peer,
    shutdown: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let opening_until = handle.clock().now() + settings.open_timeout;
    let mut serving = Serving {
        stream,
        input: BytesMut::new(),
        shared: Shared::new(handle.clone(), settings.clone(), peer),
        nodes: BTreeMap::new(),
        signals: Signals::default(),
        stage: Stage::Opening(opening_until),
    };
    let ending = serving.run(&shutdown).await;
    Box::pin(serving.end(ending, &shutdown)).await;
}

struct Serving<S> {
    stream: Tapped<S>,
    /// What was read and not looked at.
    input: BytesMut,
    shared: Shared,
    nodes: BTreeMap<LinkId, Place>,
    signals: Signals,
    stage: Stage,
}

/// A link's far end, and what it rests on.
struct Place {
    node: Node,
    basis: Basis,
}

/// What a link needs for as long as it is there.
enum Basis {
    /// Nothing, or its client's session, which ends with its own token.
    Elsewhere,
    /// Someone who may act as a back end on this event hub, or on what is at this path of the hub.
    Service(String),
}

/// How far the peer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// It has until then to open the connection.
    Opening(Timestamp),
    /// It has until then to prove anything.
    Unproven(Timestamp),
    /// It is somebody, until it is not any more.
    Proven,
}

/// Why a connection ends.
#[derive(Debug)]
enum Ending {
    /// The peer closed it, or broke the protocol and was told.
    Closed(Option<AmqpError>),
    /// It is to be closed with this error.
    ByUs(AmqpError),
    /// It broke.
    Lost(String),
    /// The peer was not let in, and was told.
    Refused,
    /// The emulator stops.
    Shutdown,
}

type Alarm<'a> = Option<(Timestamp, Pin<Box<dyn Future<Output = ()> + Send + 'a>>)>;

impl<S> Serving<S>
where
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    async fn run(&mut self, shutdown: &CancellationToken) -> Ending {
        let clock = self.shared.handle.clock().clone();
        let wake = self.shared.wake.clone();
        let mut alarm: Alarm<'_> = None;
        loop {
            let deadline = self.deadline();
            // One that rings too early is set again then; most deadlines only move back.
            if deadline < alarm.as_ref().map(|(at, _)| *at) || alarm.is_none() {
                alarm = deadline.map(|at| (at, clock.sleep_until(at)));
            }
            let mut woken = None;
            if self.input.is_empty() {
                // In no order, so that none of them starves another. Each is safe to drop.
                tokio::select! {
                    () = shutdown.cancelled() => return Ending::Shutdown,
                    () = wake.notified() => woken = Some(Wake::Own),
                    change = self.signals.changed() => woken = Some(change),
                    () = rings(&mut alarm) => alarm = None,
                    read = read_burst(&mut self.stream, &mut self.input) => match read {
                        Ok(0) => return Ending::Lost("closed without a close".into()),
                        Ok(_) => {}
                        Err(error) => return Ending::Lost(error.to_string()),
                    },
                }
            }
            // Boxed: an idle connection does not hold the room that acting takes.
            let acted = Box::pin(self.act(clock.now(), woken, shutdown)).await;
            if let Err(ending) = acted {
                return ending;
            }
        }
    }

    /// Acts on what was read, on the time, and on what has changed elsewhere; writes what comes of
    /// it.
    async fn act(
        &mut self,
        now: Timestamp,
        woken: Option<Wake>,
        shutdown: &CancellationToken,
    ) -> Result<(), Ending> {
        if !self.input.is_empty() {
            let input = std::mem::take(&mut self.input);
            self.shared.machine.receive(now, &input);
        }
        let due = self.fall_due(now);
        let taken = self.take_events(shutdown).await;
        for client in self.shared.devices.newly_present() {
            self.stream.let_in(&client);
        }
        if let Some(change) = woken {
            for place in self.nodes.values_mut() {
                place.node.wake(&mut self.shared, change).await;
            }
        }
        devices::flush(&mut self.shared).await;
        devices::drain(&mut self.shared).await;
        while let Some(link) = self.shared.next_detached() {
            self.forget(link).await;
        }
        taken.and(due)?;
        self.look_at_proof(now);
        self.write(shutdown).await?;
        let mut turns = 0;
        while self.go_on(turns).await {
            turns += 1;
            self.write(shutdown).await?;
            // What the peer says meanwhile is not kept waiting until all has gone out.
            if !self.input.is_empty() {
                break;
            }
            if turns == TURNS {
                self.shared.wake.notify_one();
                break;
            }
        }
        Ok(())
    }

    /// Everything has been written: a client or a link that stopped for it goes on, by turns. Answers
    /// whether there was one.
    async fn go_on(&mut self, turn: u32) -> bool {
        let shared = &mut self.shared;
        let mut any = turn.is_multiple_of(2) && devices::go_on(shared).await;
        if !any && let Some((link, drain)) = shared.next_congested() {
            any = true;
            if let Some(place) = self.nodes.get_mut(&link) {
                place.node.credit(shared, link, drain).await;
            }
        }
        any = any || devices::go_on(shared).await;
        while let Some(link) = self.shared.next_detached() {
            self.forget(link).await;
        }
        any
    }

    /// When something falls due by itself.
    fn deadline(&self) -> Option<Timestamp> {
        let stage = match self.stage {
            Stage::Opening(until) | Stage::Unproven(until) => Some(until),
            Stage::Proven => None,
        };
        let machine = self.shared.machine.next_timeout();
        let expiry = self.shared.authority.next_expiry();
        [stage, machine, expiry].into_iter().flatten().min()
    }

    fn fall_due(&mut self, now: Timestamp) -> Result<(), Ending> {
        self.shared.machine.tick(now);
        match self.stage {
            Stage::Opening(until) if now >= until => {
                return Err(Ending::Lost("not opened in time".into()));
            }
            Stage::Unproven(until) if now >= until && !self.is_proven() => {
                let text = "the connection has proved nothing in time and is closed";
                return Err(Ending::ByUs(AmqpError::new(
                    condition::CONNECTION_FORCED,
                    text,
                )));
            }
            Stage::Opening(_) | Stage::Unproven(_) | Stage::Proven => {}
        }
        if self.shared.authority.expire(now) {
            self.check_links()?;
        }
        self.look_at_proof(now);
        Ok(())
    }

    /// Whether the peer is somebody: by something it has proved and that is still good, or by a
    /// client that is present. A certificate that the hub does not know counts by the client that it
    /// has let in.
    fn is_proven(&self) -> bool {
        self.shared.authority.is_somebody() || !self.shared.devices.is_empty()
    }

    /// A peer that has become nobody again has as long to prove something as at the beginning.
    fn look_at_proof(&mut self, now: Timestamp) {
        self.stage = match (self.stage, self.is_proven()) {
            (Stage::Unproven(_), true) => Stage::Proven,
            (Stage::Proven, false) => {
                Stage::Unproven(now + self.shared.settings.authentication_timeout)
            }
            (stage, _) => stage,
        };
    }

    /// Something that was proved is no longer good. A link that rests on it ends the connection
    /// (`spec/amqp.md` 3); one that the peer has left meanwhile does not matter.
    fn check_links(&self) -> Result<(), Ending> {
        for place in self.nodes.values() {
            let Basis::Service(node) = &place.basis else {
                continue;
            };
            let authority = &self.shared.authority;
            if authority
                .service(Permission::ServiceConnect, Some(node))
                .is_err()
            {
                return Err(Ending::ByUs(AmqpError::new(
                    condition::UNAUTHORIZED_ACCESS,
                    "the token has expired",
                )));
            }
        }
        Ok(())
    }

    async fn take_events(&mut self, shutdown: &CancellationToken) -> Result<(), Ending> {
        while let Some(event) = self.shared.machine.next_event() {
            self.take(event).await?;
            if self.shared.is_congested() {
                self.write(shutdown).await?;
            }
        }
        Ok(())
    }

    /// A link is over.
    async fn forget(&mut self, link: LinkId) {
        if let Some(place) = self.nodes.remove(&link) {
            self.signals.remove(&place.node);
            place.node.close(&mut self.shared, link).await;
        }
    }

    async fn take(&mut self, event: Event) -> Result<(), Ending> {
        let shared = &mut self.shared;
        match event {
            Event::SaslInit {
                mechanism,
                initial_response,
                ..
            } => return self.authenticate(mechanism.as_str(), initial_response),
            Event::Opened(open) => {
                tracing::debug!(peer = %shared.peer.address, container = shown(&open.container_id), "open");
                if let Some(host) = &open.hostname {
                    shared.host = Some(without_port(host).to_owned());
                }
                self.show_certificate();
                let until = self.shared.handle.clock().now();
                self.stage = Stage::Unproven(until + self.shared.settings.authentication_timeout);
            }
            Event::LinkAttached {
                link,
                ours: false,
                attach,
                ..
            } => Box::pin(self.attach(link, &attach)).await,
            Event::LinkDetached { link, .. } => self.forget(link).await,
            Event::Delivery(delivery) => {
                if let Some(place) = self.nodes.get_mut(&delivery.link) {
                    place.node.delivery(shared, delivery).await;
                }
            }
            Event::Outcome {
                link,
                delivery,
                state,
                settled,
            } => {
                if let Some(place) = self.nodes.get_mut(&link) {
                    place.node.outcome(shared, delivery, state, settled).await;
                }
            }
            Event::Credit { link, drain, .. } => {
                if let Some(place) = self.nodes.get_mut(&link) {
                    place.node.credit(shared, link, drain).await;
                }
            }
            Event::Closed(error) => return Err(Ending::Closed(error)),
            // Nothing is begun or attached from here.
            Event::SaslEnded(_)
            | Event::SessionBegun(_)
            | Event::SessionEnded(..)
            | Event::LinkAttached { ours: true, .. } => {}
        }
        Ok(())
    }

    /// Answers a mechanism (`spec/amqp.md` 2.2).
    fn authenticate(&mut self, mechanism: &str, response: Option<Bytes>) -> Result<(), Ending> {
        let mut client = None;
        let taken = match mechanism {
            // Who it is shows by tokens.
            "ANONYMOUS" | "MSSBCBS" => Ok(()),
            "PLAIN" => {
                let shared = &mut self.shared;
                let (authority, now) = (&mut shared.authority, shared.handle.clock().now());
                let response = response.unwrap_or_default();
                client = Authority::client_of_login(&response);
                shared
                    .handle
                    .inspect(|hub| authority.log_in(hub, now, &response))
            }
            "EXTERNAL" => {
                self.show_certificate();
                match self.shared.authority.has_certificate() {
                    true => Ok(()),
                    false => Err(Error::unauthorized("there is no client certificate")),
                }
            }
            other => {
                let detail = format!("there is no mechanism {}", shown(other));
                Err(Error::unauthorized(detail))
            }
        };
        let address = self.shared.peer.address;
        match taken {
            Ok(()) => {
                tracing::debug!(peer = %address, mechanism, "authenticated");
                self.shared.machine.sasl_outcome(SaslCode::Ok);
                Ok(())
            }
            Err(error) => {
                tracing::info!(peer = %address, mechanism, reason = error.detail, "login refused");
                self.shared.handle.refuse_connect(client.as_ref(), &error);
                self.shared.machine.sasl_outcome(SaslCode::Auth);
                Err(Ending::Refused)
            }
        }
    }

    /// A certificate was shown in the TLS handshake. Whose it is shows by the first link
    /// (`spec/amqp.md` 2.2).
    fn show_certificate(&mut self) {
        let shared = &mut self.shared;
        if let Some(tls) = &shared.peer.tls
            && !shared.authority.has_certificate()
            && let Some(facts) = certificate_facts(&tls.certificates, || {
                shared.handle.inspect(Hub::trust_anchors)
            })
        {
            let now = shared.handle.clock().now();
            let authority = &mut shared.authority;
            shared.handle.inspect(|hub| authority.show(hub, now, facts));
        }
    }

    /// Finds the node that a link is for, and lets it take the link or refuses it.
    async fn attach(&mut self, link: LinkId, attach: &Attach) {
        let (address, basis) = match address(attach) {
            Ok(address) => {
                let basis = basis(&address);
                (address, basis)
            }
            Err(error) => return self.refuse(link, attach, error),
        };
        // Java opens `$management` before it puts its token; each request there proves itself.
        let may_be_anyone = matches!(address, Address::Cbs | Address::Management);
        if !may_be_anyone && !self.shared.authority.has_proof() {
            let text = "nothing has been proved: put a token first";
            let error = AmqpError::new(condition::UNAUTHORIZED_ACCESS, text);
            return self.refuse(link, attach, error);
        }
        let opening = Opening {
            link,
            attach,
            address,
        };
        match Node::open(&mut self.shared, &opening).await {
            Ok(node) => {
                self.signals.add(&self.shared.handle, &node);
                self.nodes.insert(link, Place { node, basis });
            }
            Err(error) => self.refuse(link, attach, error),
        }
    }

    fn refuse(&mut self, link: LinkId, attach: &Attach, error: AmqpError) {
        tracing::info!(
            peer = %self.shared.peer.address,
            link = shown(&attach.name),
            address = named(attach).map(shown).unwrap_or_default(),
            condition = error.condition.as_str(),
            reason = error.description.as_deref().map(shown).unwrap_or_default(),
            "link refused"
        );
        self.shared.machine.refuse_link(link, error);
    }

    /// Writes what is to be written. A peer that does not read does not hold up the emulator's end,
    /// and is given up in the end.
    async fn write(&mut self, shutdown: &CancellationToken) -> Result<(), Ending> {
        let Some(first) = self.shared.machine.next_output() else {
            return Ok(());
        };
        let clock = self.shared.handle.clock().clone();
        let deadline = clock.now() + self.shared.settings.idle_timeout;
        tokio::select! {
            biased;
            written = self.write_from(first) => {
                written.map_err(|error| Ending::Lost(format!("write: {error}")))
            }
            () = shutdown.cancelled() => Err(Ending::Shutdown),
            () = clock.sleep_until(deadline) => {
                Err(Ending::Lost("the peer does not read".into()))
            }
        }
    }

    async fn write_from(&mut self, first: Bytes) -> std::io::Result<()> {
        let mut chunk = first;
        loop {
            write_all(&mut self.stream, chunk, &mut self.input).await?;
            match self.shared.machine.next_output() {
                Some(next) => chunk = next,
                None => return Ok(()),
            }
            // A link's refusal comes in two chunks: clients listen for the second only once they
            // have seen the first (`spec/amqp.md` 4).
            tokio::task::yield_now().await;
        }
    }
}

/// Completes at the alarm's time; never without one.
async fn rings(alarm: &mut Alarm<'_>) {
    match alarm {
        Some((_, sleep)) => sleep.await,
        None => pending().await,
    }
}

/// The address that a link is for: where the peer sends to, or wants to receive from.
fn named(attach: &Attach) -> Option<&str> {
    match attach.role {
        Role::Sender => attach.target.as_ref()?.address.as_deref(),
        Role::Receiver => attach.source.as_ref()?.address.as_deref(),
    }
}

fn address(attach: &Attach) -> Result<Address, AmqpError> {
    let not_implemented =
        |what: &str| AmqpError::new(condition::NOT_IMPLEMENTED, format!("not emulated: {what}"));
    let (coordinator, dynamic) = match attach.role {
        Role::Sender => {
            let target = attach.target.as_ref();
            (
                target.is_some_and(|target| target.coordinator),
                target.is_some_and(|target| target.dynamic),
            )
        }
        Role::Receiver => {
            let source = attach.source.as_ref();
            (false, source.is_some_and(|source| source.dynamic))
        }
    };
    if coordinator {
        return Err(not_implemented("transactions"));
    }
    if dynamic {
        return Err(not_implemented("dynamic nodes"));
    }
    let named = named(attach).ok_or_else(|| {
        AmqpError::new(condition::INVALID_FIELD, "the link names no node's address")
    })?;
    Ok(Address::parse(named))
}

fn basis(address: &Address) -> Basis {
    match address {
        Address::ServiceC2d => Basis::Service(authority::DEVICE_BOUND.to_owned()),
        Address::Feedback => Basis::Service(authority::FEEDBACK.to_owned()),
        Address::FileNotifications => Basis::Service(authority::FILE_NOTIFICATIONS.to_owned()),
        Address::HubEvents { .. } => Basis::Service("messages/events".to_owned()),
        Address::EntityPartition { entity, .. } | Address::Entity { entity, .. } => {
            Basis::Service(entity.clone())
        }
        // A request tells its own entity and may bring its own token.
        Address::Management => Basis::Elsewhere,
        Address::Cbs
        | Address::Telemetry(_)
        | Address::C2d(_)
        | Address::Methods(_)
        | Address::Twin(_)
        | Address::Unknown(_) => Basis::Elsewhere,
    }
}
