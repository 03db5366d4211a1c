//! Message routes: no panic in reading, printing, trying or following them.
#![no_main]

use iothub_hub::{Cx, Hub, HubConfig, Outcome, Principal, RoutingSpec};
use iothub_protocol::Timestamp;
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

fuzz_target!(|data: &[u8]| {
    let Ok(document) = serde_json::from_slice::<Value>(data) else {
        return;
    };
    let mut hub = Hub::new(HubConfig::default());
    let mut outcome = Outcome::default();
    let mut cx = Cx::new(Timestamp::UNIX_EPOCH, &mut outcome);
    let operator = Principal::operator();
    if let Ok(spec) = RoutingSpec::parse(&document) {
        let shown = spec.to_json();
        let again = RoutingSpec::parse(&shown).expect("what is shown is taken");
        assert_eq!(again.to_json(), shown);
        hub.put_routing(&mut cx, &operator, spec)
            .expect("the operator may do everything");
    }
    if let Value::Object(input) = &document {
        let _ = hub.test_routes(&cx, &operator, input);
    }
});
