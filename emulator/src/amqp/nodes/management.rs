//! `$management`: what there is to know of the event hub (`spec/amqp.md` 6.2).

use iothub_hub::Permission;
use iothub_protocol::Clock;
use iothub_protocol::amqp::cbs::response;
use iothub_protocol::amqp::connection::Delivery;
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::management::{
    EventHubProperties, PartitionProperties, ReadRequest, Subject,
};
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::{AmqpError, Value};

use super::Opening;
use super::events::partition_id;
use crate::amqp::authority::is_event_hub;
use crate::amqp::responder;
use crate::amqp::shared::Shared;

/// The node.
pub(in crate::amqp) struct Node {}

impl Node {
    /// Takes a link: one with requests, or one for answers. What may be asked is decided request by
    /// request, as each names its event hub.
    pub(super) fn open(shared: &mut Shared, opening: &Opening<'_>) -> Self {
        let machine = &mut shared.machine;
        shared
            .management
            .accept(machine, opening.link, opening.attach);
        Self {}
    }

    /// A request came in.
    pub(super) fn delivery(&mut self, shared: &mut Shared, delivery: Delivery) {
        let Some(message) = responder::request(&mut shared.machine, delivery) else {
            return;
        };
        let properties = &message.properties;
        let correlation_id = properties.message_id.clone().unwrap_or_default();
        let answer = match answer(shared, &message) {
            Ok(body) => response(&correlation_id, 200, "OK", body),
            Err(Refusal(status, error)) => {
                let text = error.description.unwrap_or_default();
                let mut answer = response(&correlation_id, status, &text, Value::Null);
                let pair = ("error-condition".into(), error.condition.into());
                answer.application_properties.push(pair);
                answer
            }
        };
        let reply_to = properties.reply_to.as_deref();
        let machine = &mut shared.machine;
        shared.management.answer(machine, reply_to, &answer);
    }
}

/// A status, and the error it stands for.
struct Refusal(i32, AmqpError);

fn answer(shared: &Shared, message: &AmqpMessage) -> Result<Value, Refusal> {
    let request = ReadRequest::from_message(message).map_err(|(status, text)| {
        let condition = match status {
            404 => condition::NOT_FOUND,
            _ => condition::NOT_ALLOWED,
        };
        Refusal(status, AmqpError::new(condition, text))
    })?;
    authorize(shared, &request).map_err(|error| Refusal(401, error))?;
    let not_found = |what: &str| {
        let text = format!("The messaging entity '{what}' could not be found.");
        Refusal(404, AmqpError::new(condition::NOT_FOUND, text))
    };
    let handle = &shared.handle;
    let (hub_name, partitions) = handle.inspect(|hub| {
        let config = hub.config();
        (config.name.clone(), hub.partition_heads().len())
    });
    if !is_event_hub(&hub_name, &request.entity) {
        return Err(not_found(&request.entity));
    }
    let name = match &request.subject {
        Subject::EventHub => {
            let properties = EventHubProperties {
                name: request.entity,
                created_at: handle.opened(),
                partition_ids: (0..partitions).map(|id| id.to_string()).collect(),
            };
            return Ok(properties.to_value());
        }
        Subject::Partition(name) => name.clone(),
    };
    let state = match partition_id(&name) {
        Some(partition) => handle.partition_state(partition).map_err(|error| {
            let text = error.message();
            Refusal(500, AmqpError::new(condition::INTERNAL_ERROR, text))
        })?,
        None => None,
    };
    let Some(state) = state else {
        return Err(not_found(&name));
    };
    let number = |sequence| i64::try_from(sequence).unwrap_or(i64::MAX);
    let properties = PartitionProperties {
        name: request.entity,
        partition: name,
        begin_sequence_number: number(state.first),
        last_enqueued_sequence_number: state.last_sequence(),
        last_enqueued_offset: state.last_offset(),
        last_enqueued_time: state.last.as_ref().map(|last| last.enqueued),
        is_empty: state.is_empty(),
    };
    Ok(properties.to_value())
}

/// The token in the request counts, where there is one; otherwise what the connection has proved.
fn authorize(shared: &Shared, request: &ReadRequest) -> Result<(), AmqpError> {
    let (permission, entity) = (Permission::ServiceConnect, Some(&*request.entity));
    match &request.security_token {
        None => shared.authority.service(permission, entity).map(drop),
        Some(token) => {
            let now = shared.handle.clock().now();
            shared.handle.inspect(|hub| {
                let authority = shared.authority.of_token(hub, now, token)?;
                authority.service(permission, entity).map(drop)
            })
        }
    }
}
