//! Configurations: no panic in parsing, ranking, planning or printing, and what a plan says is done
//! after one step.
#![no_main]

use std::sync::Arc;

use iothub_protocol::Timestamp;
use iothub_protocol::configuration::{ConfigurationSpec, Content, Overlay, QueriesTest};
use iothub_protocol::twin::{Author, Section};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let _ = QueriesTest::parse(data);
    let Ok(spec) = ConfigurationSpec::parse(data) else {
        return;
    };
    let Some(content) = spec.content else { return };
    let printed = content.to_json();
    assert_eq!(Content::from_value(&printed).as_ref(), Ok(&content));
    let (Content::Device(settings) | Content::Module(settings)) = &content else {
        return;
    };
    let author = Arc::new(Author {
        configuration: "c".into(),
        digest: "1".into(),
    });
    let mut overlay = Overlay::default();
    overlay.add(settings.settings(), &author);
    let mut desired = Section::new(Timestamp::NEVER);
    let plan = overlay.plan(&desired, settings.is_whole());
    desired.patch(&plan.patch, Timestamp::UNIX_EPOCH);
    plan.sign(&mut desired.metadata);
    assert!(overlay.plan(&desired, settings.is_whole()).is_empty());
});
