//! Topics and filters of both directions: no panic, and what is accepted round-trips.
#![no_main]

use iothub_protocol::ClientId;
use iothub_protocol::mqtt::topic::{DeviceTopic, Feature, HubTopic};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for client in ["d1", "d1/m1"] {
        let client = ClientId::parse(client).expect("a valid id");
        if let Ok(topic) = DeviceTopic::parse(text, &client) {
            assert_eq!(
                DeviceTopic::parse(&topic.to_topic(&client), &client),
                Ok(topic)
            );
        }
        if let Some(feature) = Feature::parse_filter(text, &client) {
            assert_eq!(feature.to_filter(&client), text);
        }
    }
    if let Some(topic) = HubTopic::parse(text) {
        assert_eq!(HubTopic::parse(&topic.to_string()), Some(topic));
    }
});
