//! Events of a partition, and the way to them (`spec/amqp.md` 6.1, 6.3, 6.4).

mod encode;
mod position;

use iothub_hub::{PartitionId, Permission, ReaderRequest};
use iothub_protocol::amqp::address::Address;
use iothub_protocol::amqp::connection::{AcceptLink, DeliveryId};
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::performative::{Attach, SenderSettleMode};
use iothub_protocol::amqp::selector::EventPosition;
use iothub_protocol::amqp::value::lookup;
use iothub_protocol::amqp::{AmqpError, DeliveryState, LinkId, Symbol, Value};
use iothub_protocol::{Clock, Error, ErrorCode};

use self::encode::{Encoder, RuntimeMetric};
use super::Opening;
use crate::amqp::authority::is_event_hub;
use crate::amqp::shared::Shared;
use crate::handle::EventReader;

/// Link properties and capabilities of readers (`spec/amqp.md` 6.3).
const OWNER_LEVEL: &str = "com.microsoft:epoch";
const RECEIVER_NAME: &str = "com.microsoft:receiver-name";
const RUNTIME_METRIC: Symbol = Symbol::of("com.microsoft:enable-receiver-runtime-metric");

/// The event hub on the hub's own host (`spec/amqp.md` 6.1).
const HUB_EVENTS: &str = "messages/events";
/// Events that are read at a time.
const BATCH: usize = 512;
/// Bytes of a message (`spec/amqp.md` 4).
const MAX_MESSAGE_SIZE: u64 = 1024 * 1024;
/// Characters of a reader's name that are kept.
const LONGEST_NAME: usize = 256;

/// A reader of one partition.
pub(in crate::amqp) struct Node {
    link: LinkId,
    reader: EventReader,
    /// The sequence number of the next event.
    next: u64,
    settled: bool,
    /// Whether the reader is told of its partition with each event.
    runtime_metric: bool,
    encoder: Encoder,
    /// Whether the link has been detached from here.
    is_over: bool,
}

/// What a reader wants to read.
struct Wish {
    entity: String,
    group: String,
    partition: String,
}

impl Node {
    /// Takes a link, or sends the reader elsewhere.
    pub(super) async fn open(
        shared: &mut Shared,
        opening: &Opening<'_>,
    ) -> Result<Self, AmqpError> {
        let wish = Wish::of(shared, opening)?;
        let attach = opening.attach;
        let caller = shared
            .authority
            .service(Permission::ServiceConnect, Some(&wish.entity))?;
        let hub_name = shared.handle.inspect(|hub| hub.config().name.clone());
        if !is_event_hub(&hub_name, &wish.entity) {
            return Err(not_found(&wish.entity));
        }
        let partition = partition_id(&wish.partition).ok_or_else(|| not_found(&wish.partition))?;
        let source = attach.source.as_ref();
        let position = source.map_or(Ok(EventPosition::Earliest), |source| {
            EventPosition::from_filter(&source.filter)
                .map_err(|error| AmqpError::new(condition::INVALID_FIELD, error.to_string()))
        })?;
        let name: Option<String> = lookup(&attach.properties, RECEIVER_NAME)
            .and_then(Value::as_text)
            .map(|name| name.chars().take(LONGEST_NAME).collect());
        let request = ReaderRequest {
            group: &wish.group,
            partition,
            owner_level: owner_level(attach)?,
            name: name.as_deref(),
        };
        let reader = shared
            .handle
            .open_reader(caller, request, shared.wake.clone())
            .await
            .map_err(|error| refusal(shared, &error))?;
        let next = start(shared, partition, &position).map_err(|error| refusal(shared, &error))?;
        let runtime_metric = attach.desired_capabilities.contains(&RUNTIME_METRIC);
        let capabilities = runtime_metric.then_some(RUNTIME_METRIC);
        shared.machine.accept_link(
            opening.link,
            AcceptLink {
                max_message_size: Some(MAX_MESSAGE_SIZE),
                offered_capabilities: capabilities.into_iter().collect(),
                ..AcceptLink::default()
            },
        );
        Ok(Self {
            link: opening.link,
            reader,
            next,
            settled: attach.snd_settle_mode == SenderSettleMode::Settled,
            runtime_metric,
            encoder: Encoder::default(),
            is_over: false,
        })
    }

    /// The peer told what became of a delivery. Nothing is delivered again, whatever it was: a
    /// reader keeps its own place (`spec/amqp.md` 6.3).
    pub(super) fn outcome(
        &mut self,
        shared: &mut Shared,
        delivery: DeliveryId,
        state: Option<DeliveryState>,
        settled: bool,
    ) {
        if !settled {
            let state = state.unwrap_or(DeliveryState::Accepted);
            shared.machine.settle_sent(self.link, delivery, state);
        }
    }

    /// There is credit, or something to read, or the reader's place is gone.
    pub(super) fn credit(&mut self, shared: &mut Shared) {
        if self.is_over {
            return;
        }
        let sent = match self.reader.ended() {
            Some(error) => Err(error.clone()),
            None => self.send(shared),
        };
        if let Err(error) = sent {
            self.is_over = true;
            let error = refusal(shared, &error);
            shared.detach(self.link, Some(error));
        }
    }

    /// Sends events as long as the reader takes them, there are any, and there is room.
    fn send(&mut self, shared: &mut Shared) -> Result<(), Error> {
        // What has been read to its end is not looked at before more has come.
        while !self.reader.is_waiting() {
            let credit = shared.machine.sendable(self.link) as usize;
            if credit == 0 {
                break;
            }
            let run = self.reader.read(self.next, credit.min(BATCH))?;
            let metric = match run.is_empty() || !self.runtime_metric {
                true => None,
                false => self.runtime_metric(shared)?,
            };
            for event in &*run {
                if !shared.has_room(self.link) {
                    return Ok(());
                }
                let tag = u128::from(event.sequence).to_be_bytes();
                let (machine, encoder) = (&mut shared.machine, &mut self.encoder);
                let sent = machine.send_with(self.link, &tag, 0, self.settled, |out| {
                    encoder.encode(event, metric.as_ref(), out);
                });
                if sent.is_err() {
                    return Ok(());
                }
                self.next = event.sequence + 1;
            }
        }
        Ok(())
    }

    fn runtime_metric(&self, shared: &Shared) -> Result<Option<RuntimeMetric>, Error> {
        let state = shared.handle.partition_state(self.reader.partition())?;
        Ok(state.map(|state| RuntimeMetric {
            sequence: state.last_sequence(),
            offset: state.last_offset(),
            enqueued: state.last_enqueued(),
            retrieved: shared.handle.clock().now(),
        }))
    }
}

impl Wish {
    /// What the address says; on the hub's own host, that it is elsewhere.
    fn of(shared: &Shared, opening: &Opening<'_>) -> Result<Self, AmqpError> {
        let below = match &opening.address {
            Address::HubEvents { rest } => {
                shared
                    .authority
                    .service(Permission::ServiceConnect, Some(HUB_EVENTS))?;
                if shared.authority.is_for_hub() {
                    return Err(redirect(shared, opening.attach, rest));
                }
                // Below any other event hub's name it would stand so.
                &Address::parse(&format!("events/{rest}"))
            }
            other => other,
        };
        match below {
            Address::EntityPartition {
                entity,
                group,
                partition,
            } => Ok(Self {
                entity: match &opening.address {
                    Address::HubEvents { .. } => HUB_EVENTS.to_owned(),
                    _ => entity.clone(),
                },
                group: group.clone(),
                partition: partition.clone(),
            }),
            other => Err(not_found(&format!("{other:?}"))),
        }
    }
}

/// Where the reader begins.
fn start(shared: &Shared, partition: PartitionId, position: &EventPosition) -> Result<u64, Error> {
    let handle = &shared.handle;
    let Some(bounds) = handle.partition_bounds(partition) else {
        return Ok(0);
    };
    position::start(position, bounds, |sequence| {
        let run = handle.read_run(partition, sequence, 1)?;
        Ok(run.first().cloned())
    })
}

/// A partition by its name, which is a number as it is printed.
pub(super) fn partition_id(name: &str) -> Option<PartitionId> {
    let id: PartitionId = name.parse().ok()?;
    (id.to_string() == name).then_some(id)
}

fn owner_level(attach: &Attach) -> Result<Option<i64>, AmqpError> {
    match lookup(&attach.properties, OWNER_LEVEL) {
        None | Some(Value::Null) => Ok(None),
        Some(level) => level.as_i64().map(Some).ok_or_else(|| {
            AmqpError::new(
                condition::INVALID_FIELD,
                format!("{OWNER_LEVEL} is not a number"),
            )
        }),
    }
}

/// Says where the events are: the same host under the event hub's own name (`spec/amqp.md` 6.1).
fn redirect(shared: &Shared, attach: &Attach, rest: &str) -> AmqpError {
    let hub_name = shared.handle.inspect(|hub| hub.config().name.clone());
    let source = attach.source.as_ref();
    let address = source.and_then(|source| source.address.as_deref());
    let host = address
        .and_then(host_in)
        .or(shared.host.as_deref())
        .unwrap_or("localhost");
    let port = shared.settings.redirect_port;
    // Samples look for the literal port in the address, which says nothing of where to connect.
    let address = format!("amqps://{host}:5671/{hub_name}/{rest}");
    AmqpError::new(
        condition::LINK_REDIRECT,
        format!("the events of this hub are at {address}"),
    )
    .with_info(Symbol::of("hostname"), host)
    .with_info(Symbol::of("network-host"), host)
    .with_info(Symbol::of("port"), Value::Int(port.into()))
    .with_info(Symbol::of("address"), address)
}

/// The host in a full URI, without its port.
fn host_in(address: &str) -> Option<&str> {
    let (_, rest) = address.split_once("://")?;
    let authority = rest.split('/').next()?;
    let host = crate::amqp::shared::without_port(authority);
    (!host.is_empty()).then_some(host)
}

fn not_found(what: &str) -> AmqpError {
    AmqpError::new(
        condition::NOT_FOUND,
        format!("The messaging entity '{what}' could not be found."),
    )
}

/// What a reader is told, in the words of Event Hubs, whose users know them.
fn refusal(shared: &Shared, error: &Error) -> AmqpError {
    let mut refusal = shared.refusal(error);
    refusal.description = Some(error.message().to_owned());
    // The hub's own quotas have another condition than those of readers (`spec/amqp.md` 6.3).
    if error.code == ErrorCode::IotHubQuotaExceeded {
        refusal.condition = condition::RESOURCE_LIMIT_EXCEEDED;
    }
    refusal
}
