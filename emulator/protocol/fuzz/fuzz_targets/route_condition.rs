//! Conditions of message routes and the bodies that they look into: no panic.
#![no_main]

use std::sync::Arc;

use iothub_hub::{
    AuthMethod, AuthScope, AuthType, Event, EventSource, Origin, RouteCondition, RouteSubject,
};
use iothub_protocol::property_bag::PropertyBag;
use iothub_protocol::{ClientId, Message, Timestamp};
use libfuzzer_sys::fuzz_target;

/// The condition, the encoding and the body.
type Input<'a> = (&'a str, u8, &'a [u8]);

fuzz_target!(|input: Input<'_>| {
    let (text, encoding, body) = input;
    let Ok(condition) = RouteCondition::parse(text) else {
        return;
    };
    let encoding = ["utf-8", "utf-16", "utf-32"][usize::from(encoding % 3)];
    let bag = format!("%24.ct=application%2Fjson&%24.ce={encoding}&a=1&level=high&B=x");
    let event = Event {
        partition: 0,
        sequence: 0,
        offset: 0,
        enqueued: Timestamp::from_unix_seconds(1_767_225_600),
        source: EventSource::Telemetry,
        origin: Arc::new(Origin {
            client: ClientId::parse("d1").expect("the id is valid"),
            generation: "1".into(),
            auth_method: AuthMethod {
                scope: AuthScope::Device,
                kind: AuthType::Sas,
            },
            model_id: None,
        }),
        message: Message {
            properties: PropertyBag::from_encoded(bag).expect("the bag is text"),
            body: body.to_vec().into(),
        },
    };
    condition.matches(&RouteSubject {
        event: &event,
        twin: None,
    });
});
