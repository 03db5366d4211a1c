//! What an address means: one file per node, one table that chooses (`spec/amqp.md` 3, 5, 6, 7).
//!
//! A node is the far end of one link. It accepts the link itself, with the credit it wants, or
//! refuses it by an error; then it is told what happens to it. What it has to say goes through
//! [`Shared::machine`].

pub(super) mod c2d;
mod cbs;
mod events;
mod feedback;
mod file_notifications;
mod management;
pub(super) mod methods;
mod reader;
mod service_c2d;
pub(super) mod telemetry;
pub(super) mod twin;

use iothub_protocol::amqp::address::Address;
use iothub_protocol::amqp::connection::{Delivery, DeliveryId};
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::performative::{Attach, Role};
use iothub_protocol::amqp::{AmqpError, DeliveryState, LinkId};

use super::shared::Shared;

/// A link that its peer wants.
pub(super) struct Opening<'a> {
    /// The link.
    pub(super) link: LinkId,
    /// What the peer said; its role is the peer's.
    pub(super) attach: &'a Attach,
    /// The node's address.
    pub(super) address: Address,
}

/// What changed elsewhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// A mailbox of the connection's devices; events for a reader, or its place in the hub.
    Own,
    /// Feedback can be received.
    Feedback,
    /// File-upload notifications can be received.
    FileNotifications,
}

/// The far end of a link.
pub(super) enum Node {
    /// Tokens come in, or answers go out.
    Cbs(cbs::Node),
    /// Questions come in, or answers go out.
    Management(management::Node),
    /// Events of a partition go out.
    Events(Box<events::Node>),
    /// Cloud-to-device messages come in from a back end.
    ServiceC2d(service_c2d::Node),
    /// Feedback goes out.
    Feedback(feedback::Node),
    /// File-upload notifications go out.
    FileNotifications(file_notifications::Node),
    /// A client's messages come in.
    Telemetry(telemetry::Node),
    /// A client's cloud-to-device messages, or a module's inputs, go out.
    C2d(c2d::Node),
    /// A client's method calls go out, or its answers come in.
    Methods(methods::Node),
    /// A client's twin: requests come in, or answers and changes go out.
    Twin(twin::Node),
}

/// The refusal of a link that the table leads to a node which has no such side.
fn no_node(opening: &Opening<'_>) -> AmqpError {
    AmqpError::new(
        condition::NOT_FOUND,
        format!("not emulated: a link with the node {:?}", opening.address),
    )
}

impl Node {
    /// The table: address and direction → node. A node that is none answers `amqp:not-found`.
    pub(super) async fn open(
        shared: &mut Shared,
        opening: &Opening<'_>,
    ) -> Result<Self, AmqpError> {
        // The peer's role: as a sender it sends to us.
        let incoming = opening.attach.role == Role::Sender;
        Ok(match (&opening.address, incoming) {
            (Address::Cbs, _) => Self::Cbs(cbs::Node::open(shared, opening)),
            (Address::Management, _) => Self::Management(management::Node::open(shared, opening)),
            // Below an event hub's name it is the same, unless the events are elsewhere.
            (Address::HubEvents { rest }, _)
                if rest.eq_ignore_ascii_case("$management") && !shared.authority.is_for_hub() =>
            {
                Self::Management(management::Node::open(shared, opening))
            }
            // Questions are sent elsewhere like readers.
            (Address::HubEvents { rest }, true) if rest.eq_ignore_ascii_case("$management") => {
                Self::Events(Box::new(events::Node::open(shared, opening).await?))
            }
            (Address::HubEvents { .. } | Address::EntityPartition { .. }, false) => {
                Self::Events(Box::new(events::Node::open(shared, opening).await?))
            }
            (Address::ServiceC2d, true) => {
                Self::ServiceC2d(service_c2d::Node::open(shared, opening)?)
            }
            (Address::Feedback, false) => Self::Feedback(feedback::Node::open(shared, opening)?),
            (Address::FileNotifications, false) => {
                Self::FileNotifications(file_notifications::Node::open(shared, opening)?)
            }
            (Address::Telemetry(_), true) => {
                Self::Telemetry(telemetry::Node::open(shared, opening).await?)
            }
            (Address::C2d(_) | Address::Telemetry(_), false) => {
                Self::C2d(c2d::Node::open(shared, opening).await?)
            }
            (Address::Methods(_), _) => Self::Methods(methods::Node::open(shared, opening).await?),
            (Address::Twin(_), _) => Self::Twin(twin::Node::open(shared, opening).await?),
            // Nobody but devices sends events (`spec/amqp.md` 6.5).
            (Address::Entity { .. } | Address::HubEvents { .. }, true) => {
                return Err(AmqpError::new(
                    condition::UNAUTHORIZED_ACCESS,
                    "not emulated: publishing to the event hub of an IoT hub",
                ));
            }
            _ => return Err(no_node(opening)),
        })
    }

    /// A delivery came in.
    pub(super) async fn delivery(&mut self, shared: &mut Shared, delivery: Delivery) {
        match self {
            Self::Cbs(node) => node.delivery(shared, delivery).await,
            Self::Management(node) => node.delivery(shared, delivery),
            Self::ServiceC2d(node) => node.delivery(shared, delivery).await,
            Self::Telemetry(node) => node.delivery(shared, delivery).await,
            Self::Methods(node) => node.delivery(shared, delivery).await,
            Self::Twin(node) => node.delivery(shared, delivery).await,
            Self::Events(_) | Self::Feedback(_) | Self::FileNotifications(_) | Self::C2d(_) => {}
        }
    }

    /// The peer told what became of a delivery.
    pub(super) async fn outcome(
        &mut self,
        shared: &mut Shared,
        delivery: DeliveryId,
        state: Option<DeliveryState>,
        settled: bool,
    ) {
        match self {
            Self::Feedback(node) => node.outcome(shared, delivery, state, settled).await,
            Self::FileNotifications(node) => node.outcome(shared, delivery, state, settled).await,
            Self::C2d(node) => node.outcome(shared, delivery, state, settled).await,
            Self::Events(node) => node.outcome(shared, delivery, state, settled),
            Self::Cbs(_)
            | Self::Management(_)
            | Self::ServiceC2d(_)
            | Self::Telemetry(_)
            | Self::Methods(_)
            | Self::Twin(_) => {}
        }
    }

    /// The peer's credit changed, or a window opened; with `drain` unused credit is to lapse.
    pub(super) async fn credit(&mut self, shared: &mut Shared, link: LinkId, drain: bool) {
        match self {
            Self::Cbs(_) => shared.cbs.pump(&mut shared.machine),
            Self::Management(_) => shared.management.pump(&mut shared.machine),
            Self::Events(node) => node.credit(shared),
            Self::Feedback(node) => node.credit(shared).await,
            Self::FileNotifications(node) => node.credit(shared).await,
            Self::C2d(node) => node.credit(shared).await,
            Self::Methods(node) => node.credit(shared).await,
            Self::Twin(node) => node.credit(shared).await,
            Self::ServiceC2d(_) | Self::Telemetry(_) => {}
        }
        if drain {
            shared.drained(link);
        }
    }

    /// Something changed elsewhere.
    pub(super) async fn wake(&mut self, shared: &mut Shared, wake: Wake) {
        match (self, wake) {
            (Self::Events(node), Wake::Own) => node.credit(shared),
            (Self::Feedback(node), Wake::Feedback) => node.credit(shared).await,
            (Self::FileNotifications(node), Wake::FileNotifications) => node.credit(shared).await,
            _ => {}
        }
    }

    /// The link is over.
    pub(super) async fn close(self, shared: &mut Shared, link: LinkId) {
        match self {
            Self::Cbs(_) => shared.cbs.remove(link),
            Self::Management(_) => shared.management.remove(link),
            Self::Feedback(node) => node.close(shared).await,
            Self::FileNotifications(node) => node.close(shared).await,
            Self::Telemetry(node) => node.close(shared).await,
            Self::C2d(node) => node.close(shared).await,
            Self::Methods(node) => node.close(shared).await,
            Self::Twin(node) => node.close(shared).await,
            // A reader gives up its place when it is dropped.
            Self::ServiceC2d(_) | Self::Events(_) => {}
        }
    }
}
