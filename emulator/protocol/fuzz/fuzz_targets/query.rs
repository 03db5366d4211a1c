//! Queries, and the conditions of jobs and configurations: no panic when they are read, nor when
//! they are asked of a hub with a few twins.
#![no_main]

use std::sync::LazyLock;

use iothub_hub::{
    Change, Condition, Hub, HubConfig, PackedTwin, PageRequest, Principal, Query, QuerySnapshot, Twin,
};
use iothub_protocol::twin::Section;
use iothub_protocol::{ClientId, Timestamp};
use libfuzzer_sys::fuzz_target;
use serde_json::{Map, Value, json};

static TWINS: LazyLock<QuerySnapshot> = LazyLock::new(|| {
    let mut hub = Hub::new(HubConfig::default());
    for (id, tags) in [
        ("d1", json!({"a": 1, "b": {"c": "x"}})),
        ("d2", json!({"a": "1", "b": [1, "x", {"c": null}]})),
        ("d1/m1", json!({"a": true})),
    ] {
        let twin = twin(id, &tags);
        let packed = PackedTwin::pack(&twin);
        hub.restore(Change::PutTwin(twin.client, packed));
    }
    hub.query_snapshot(&Principal::operator())
        .expect("the operator may ask")
});

fn twin(id: &str, members: &Value) -> Twin {
    let members: Map<String, Value> = members.as_object().cloned().unwrap_or_default();
    let now = Timestamp::from_unix_seconds(1_767_225_600);
    let mut section = Section::new(now);
    section.patch(&members, now);
    Twin {
        client: ClientId::parse(id).expect("the id is valid"),
        tags: members,
        desired: section.clone(),
        reported: section,
        version: 2,
        etag: 1,
        model_id: String::new(),
    }
}

fuzz_target!(|text: &str| {
    let _ = Condition::parse(text);
    for text in [text, &format!("SELECT * FROM devices WHERE {text}")] {
        let _ = Query::parse(text, true);
        let Ok(query) = Query::parse(text, false) else {
            continue;
        };
        let mut request = PageRequest {
            size: Some(1),
            continuation: None,
        };
        while let Ok(page) = query.run(&TWINS, &request) {
            request.continuation = page.continuation;
            if request.continuation.is_none() {
                break;
            }
        }
        request.continuation = Some(text.into());
        let _ = query.run(&TWINS, &request);
    }
});
