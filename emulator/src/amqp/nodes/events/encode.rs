//! An event as the message that a reader gets, written straight into bytes (`spec/amqp.md` 6.4).
//!
//! Which property goes where is a fact of the property ([`SystemProperty::event_place`]) and the
//! same as in `protocol::amqp::mapping`, which a test holds this against. It is written anew here
//! because a reader gets hundreds of thousands a second.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::BytesMut;
use iothub_hub::{Event, EventSource, Origin};
use iothub_protocol::Timestamp;
use iothub_protocol::amqp::codec::{
    Compound, put_binary, put_descriptor, put_long, put_null, put_string, put_symbol, put_timestamp,
};
use iothub_protocol::property_bag::{EventPlace, PropertyBag, SystemProperty};

/// Writes events; remembers what is the same for all events of a connection.
#[derive(Debug, Default)]
pub(super) struct Encoder {
    constant: Option<Constant>,
}

/// What a reader that asked for it is told of its partition with every event.
#[derive(Clone, Debug)]
pub(super) struct RuntimeMetric {
    /// The newest event's sequence number.
    pub(super) sequence: i64,
    /// Its offset.
    pub(super) offset: String,
    /// Its time.
    pub(super) enqueued: Timestamp,
    /// When this was looked up.
    pub(super) retrieved: Timestamp,
}

/// What all events of one source have in common that come from one connection.
#[derive(Debug)]
struct Constant {
    origin: Arc<Origin>,
    source: EventSource,
    /// Keys and values.
    annotations: BytesMut,
    /// How many of both.
    count: u32,
    /// Where the client sent its messages to.
    to: Option<String>,
    /// The properties of a message that has none of its own.
    properties: BytesMut,
}

impl Encoder {
    /// Writes the whole message of an event at the end of `out`.
    pub(super) fn encode(
        &mut self,
        event: &Event,
        runtime: Option<&RuntimeMetric>,
        out: &mut BytesMut,
    ) {
        let constant = Constant::of(&mut self.constant, event);
        let bag = &event.message.properties;
        let properties = (!bag.is_empty()).then(|| Properties::read(bag));
        out.reserve(512 + event.message.body.len());
        if let Some(metric) = runtime {
            put_delivery_annotations(metric, out);
        }
        put_message_annotations(event, constant, properties.as_ref(), out);
        match &properties {
            None => out.extend_from_slice(&constant.properties),
            Some(properties) => {
                put_properties(constant.to.as_deref(), Some(properties), out);
                put_application_properties(properties, out);
            }
        }
        put_descriptor(out, 0x75);
        put_binary(out, &event.message.body);
    }
}

impl Constant {
    fn of<'a>(cached: &'a mut Option<Self>, event: &Event) -> &'a Self {
        let fits = cached
            .as_ref()
            .is_some_and(|it| it.source == event.source && Arc::ptr_eq(&it.origin, &event.origin));
        if !fits {
            *cached = None;
        }
        cached.get_or_insert_with(|| Self::make(event))
    }

    fn make(event: &Event) -> Self {
        let origin = &event.origin;
        let mut out = BytesMut::new();
        let mut count = 0;
        let mut put = |name: &str, value: &str| {
            put_symbol(&mut out, name);
            put_string(&mut out, value);
            count += 2;
        };
        put("iothub-connection-device-id", origin.client.device.as_str());
        if let Some(module) = &origin.client.module {
            put("iothub-connection-module-id", module.as_str());
        }
        let telemetry = event.source == EventSource::Telemetry;
        // What the hub says itself has nobody's credential behind it (`spec/device.md` 16.3).
        if telemetry {
            put(
                "iothub-connection-auth-method",
                origin.auth_method.to_json(),
            );
            put("iothub-connection-auth-generation-id", &origin.generation);
        }
        put("iothub-message-source", event.source.name());
        if let Some(model) = &origin.model_id {
            put("dt-dataschema", model);
        }
        let to = telemetry.then(|| {
            let device = &origin.client.device;
            match &origin.client.module {
                None => format!("/devices/{device}/messages/events"),
                Some(module) => format!("/devices/{device}/modules/{module}/messages/events"),
            }
        });
        let mut properties = BytesMut::new();
        put_properties(to.as_deref(), None, &mut properties);
        Self {
            origin: origin.clone(),
            source: event.source,
            annotations: out,
            count,
            to,
            properties,
        }
    }
}

/// The properties of a message, each decoded once.
struct Properties<'a> {
    system: [Option<Cow<'a, str>>; SystemProperty::ALL.len()],
    application: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

/// So many names are compared with one another.
const FEW: usize = 32;

impl<'a> Properties<'a> {
    fn read(bag: &'a PropertyBag) -> Self {
        let mut read = Self {
            system: Default::default(),
            application: Vec::new(),
        };
        for (name, value) in bag.iter() {
            if let Some(property) = SystemProperty::from_wire(&name) {
                // The last one counts (`spec/device.md` Q14).
                read.system[property as usize] = Some(value);
            } else if read.application.len() <= FEW {
                let same = read.application.iter_mut().find(|it| it.0 == name);
                match same {
                    Some(pair) => pair.1 = value,
                    None => read.application.push((name, value)),
                }
            }
        }
        if read.application.len() > FEW {
            read.application = bag.application();
        }
        read
    }

    fn system(&self, property: SystemProperty) -> Option<&str> {
        self.system[property as usize].as_deref()
    }

    /// System properties at this kind of place, with their names there.
    fn placed(
        &self,
        name_at: impl Fn(EventPlace) -> Option<&'static str>,
    ) -> impl Iterator<Item = (&str, &str)> {
        SystemProperty::ALL.iter().filter_map(move |property| {
            let value = self.system(*property)?;
            Some((name_at(property.event_place())?, value))
        })
    }
}

fn as_annotation(place: EventPlace) -> Option<&'static str> {
    match place {
        EventPlace::Annotation(name) => Some(name),
        EventPlace::Property(_) | EventPlace::ApplicationProperty(_) | EventPlace::Internal => None,
    }
}

fn as_application_property(place: EventPlace) -> Option<&'static str> {
    match place {
        EventPlace::ApplicationProperty(name) => Some(name),
        EventPlace::Property(_) | EventPlace::Annotation(_) | EventPlace::Internal => None,
    }
}

fn put_delivery_annotations(metric: &RuntimeMetric, out: &mut BytesMut) {
    put_descriptor(out, 0x71);
    let map = Compound::map(out);
    put_symbol(out, "last_enqueued_sequence_number");
    put_long(out, metric.sequence);
    put_symbol(out, "last_enqueued_offset");
    put_string(out, &metric.offset);
    put_symbol(out, "last_enqueued_time_utc");
    put_time(out, metric.enqueued);
    put_symbol(out, "runtime_info_retrieval_time_utc");
    put_time(out, metric.retrieved);
    map.finish(out, 8);
}

fn put_message_annotations(
    event: &Event,
    constant: &Constant,
    properties: Option<&Properties<'_>>,
    out: &mut BytesMut,
) {
    put_descriptor(out, 0x72);
    let map = Compound::long_map(out);
    put_symbol(out, "x-opt-sequence-number");
    put_long(out, i64::try_from(event.sequence).unwrap_or(i64::MAX));
    put_symbol(out, "x-opt-offset");
    put_decimal(out, event.offset);
    put_symbol(out, "x-opt-enqueued-time");
    put_time(out, event.enqueued);
    put_symbol(out, "iothub-enqueuedtime");
    put_time(out, event.enqueued);
    out.extend_from_slice(&constant.annotations);
    let mut count = 8 + constant.count;
    for (name, value) in properties
        .into_iter()
        .flat_map(|it| it.placed(as_annotation))
    {
        put_symbol(out, name);
        put_string(out, value);
        count += 2;
    }
    map.finish(out, count);
}

/// The standard properties, at full length.
fn put_properties(to: Option<&str>, properties: Option<&Properties<'_>>, out: &mut BytesMut) {
    use SystemProperty as P;
    let system = |property| properties.and_then(|it| it.system(property));
    let time = |property| system(property).and_then(Timestamp::parse_iso);
    put_descriptor(out, 0x73);
    let list = Compound::list(out);
    put_or_null(out, system(P::MessageId), put_string);
    put_or_null(out, system(P::UserId).map(str::as_bytes), put_binary);
    put_or_null(out, system(P::To).or(to), put_string);
    put_null(out); // subject
    put_null(out); // reply-to
    put_or_null(out, system(P::CorrelationId), put_string);
    put_or_null(out, system(P::ContentType), put_ascii);
    put_or_null(out, system(P::ContentEncoding), put_ascii);
    put_or_null(out, time(P::Expiry), put_time);
    put_or_null(out, time(P::CreationTime), put_time);
    put_null(out); // group-id
    put_null(out); // group-sequence
    put_null(out); // reply-to-group-id
    list.finish(out, 13);
}

fn put_application_properties(properties: &Properties<'_>, out: &mut BytesMut) {
    let of_the_system = properties.placed(as_application_property);
    // A map has a key once: under the same name, what the system means by it counts.
    let taken = |name: &str| {
        properties
            .placed(as_application_property)
            .any(|(other, _)| other == name)
    };
    let own = properties.application.iter();
    let own = own.map(|(name, value)| (&**name, &**value));
    let mut all = of_the_system
        .chain(own.filter(|(name, _)| !taken(name)))
        .peekable();
    if all.peek().is_none() {
        return;
    }
    put_descriptor(out, 0x74);
    let map = Compound::map(out);
    let mut count = 0;
    for (name, value) in all {
        put_string(out, name);
        put_string(out, value);
        count += 2;
    }
    map.finish(out, count);
}

fn put_or_null<T>(out: &mut BytesMut, value: Option<T>, put: impl FnOnce(&mut BytesMut, T)) {
    match value {
        Some(value) => put(out, value),
        None => put_null(out),
    }
}

fn put_time(out: &mut BytesMut, time: Timestamp) {
    put_timestamp(out, time.unix_millis());
}

/// A number as a string.
fn put_decimal(out: &mut BytesMut, value: u64) {
    let mut digits = [b'0'; 20];
    let (mut left, mut start) = (value, digits.len() - 1);
    loop {
        digits[start] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
        start -= 1;
    }
    let digits = std::str::from_utf8(&digits[start..]).expect("digits are ASCII");
    put_string(out, digits);
}

/// Text as a symbol, which is ASCII: what is not becomes a question mark, as .NET writes it.
fn put_ascii(out: &mut BytesMut, text: &str) {
    if text.is_ascii() {
        return put_symbol(out, text);
    }
    let ascii = |c: char| if c.is_ascii() { c } else { '?' };
    put_symbol(out, &text.chars().map(ascii).collect::<String>());
}

#[cfg(test)]
mod tests;
