//! One change of each kind, for tests.

use std::num::NonZeroU64;
use std::sync::Arc;

use iothub_hub::{
    AuthMethod, AuthScope, AuthType, C2dMessage, Change, Document, DocumentKind, Event,
    EventSource, Feature, Guarantee, Identity, Origin, PackedTwin, PartitionHead, PartitionId,
    Subscriptions, Twin,
};
use iothub_protocol::property_bag::PropertyBag;
use iothub_protocol::registry::{Authentication, Status};
use iothub_protocol::sas::SymmetricKey;
use iothub_protocol::twin::{Author, Metadata, Section};
use iothub_protocol::{ClientId, Message, Timestamp};
use serde_json::json;

pub(super) fn client(id: &str) -> ClientId {
    ClientId::parse(id).unwrap()
}

pub(super) fn identity(id: &str, authentication: Authentication) -> Change {
    Change::PutIdentity(Arc::new(Identity {
        client: client(id),
        generation: "637".into(),
        etag: "MTIz".into(),
        status: Status::Disabled,
        status_reason: Some("on holiday ☀".into()),
        status_updated: Timestamp::NEVER,
        connection_state_updated: Timestamp::from_ticks(-1),
        last_activity: Timestamp::MAX,
        authentication,
        iot_edge: true,
        device_scope: Some("ms-azure-iot-edge://d1".into()),
        parent_scopes: vec!["a".into(), String::new()],
        managed_by: Some("iotEdge".into()),
    }))
}

pub(super) fn twin(id: &str, version: u64) -> Change {
    packed(&plain_twin(id, version))
}

fn packed(twin: &Twin) -> Change {
    Change::PutTwin(twin.client.clone(), PackedTwin::pack(twin))
}

fn plain_twin(id: &str, version: u64) -> Twin {
    let leaf = |version| Metadata {
        last_updated: Timestamp::from_ticks(77),
        last_updated_version: NonZeroU64::new(version),
        last_updated_by: None,
        children: Vec::new(),
    };
    let value = json!({"b": {"c": 0.1, "a": [1, -1]}, "a": version});
    Twin {
        client: client(id),
        tags: json!({"z": null, "a": "x"}).as_object().unwrap().clone(),
        desired: Section {
            value: value.as_object().unwrap().clone(),
            metadata: Metadata {
                children: vec![
                    ("a".into(), leaf(version)),
                    (
                        "b".into(),
                        Metadata {
                            children: vec![("a".into(), leaf(3))],
                            ..leaf(0)
                        },
                    ),
                ],
                ..leaf(9)
            },
            version,
        },
        reported: Section::new(Timestamp::NEVER),
        version,
        etag: version + 1,
        model_id: "dtmi:com:example;1".into(),
    }
}

/// A twin with leaves that two configurations wrote.
fn configured_twin(id: &str) -> Change {
    let mut twin = plain_twin(id, 5);
    for (path, configuration) in [(&["a"][..], "c1"), (&["b", "a"], "c2")] {
        let author = Arc::new(Author {
            configuration: configuration.into(),
            digest: "636809350366618253".into(),
        });
        twin.desired.metadata.sign(path, &author);
    }
    packed(&twin)
}

/// Events of a partition, numbered from `first` on, from two devices by turns.
pub(super) fn events(partition: PartitionId, first: u64, count: u64) -> Vec<Event> {
    let origin = |id| {
        Arc::new(Origin {
            client: client(id),
            generation: "637".into(),
            auth_method: AuthMethod {
                scope: AuthScope::Device,
                kind: AuthType::X509,
            },
            model_id: Some("dtmi:com:example;1".into()),
        })
    };
    let origins = [origin("d1"), origin("d1/m1")];
    (first..first + count)
        .map(|sequence| Event {
            partition,
            sequence,
            offset: sequence * 100,
            enqueued: Timestamp::from_ticks(sequence as i64),
            source: EventSource::ALL[sequence as usize % EventSource::ALL.len()],
            origin: origins[sequence as usize / 2 % 2].clone(),
            message: Message {
                properties: PropertyBag::from_encoded("$.mid=1&a=%20").unwrap(),
                // As long as makes the next offset what it is above.
                body: vec![sequence as u8; 86].into(),
            },
        })
        .collect()
}

/// Every kind of change, with everything in it that can be.
pub(super) fn changes() -> Vec<Change> {
    let mut subscriptions = Subscriptions::default();
    subscriptions.set(Feature::Methods, Some(Guarantee::AtMostOnce));
    subscriptions.set(Feature::Inputs, Some(Guarantee::AtLeastOnce));
    let key = |byte: u8| SymmetricKey::from_bytes(vec![byte; 32]);
    vec![
        identity(
            "d1",
            Authentication::Sas {
                primary: key(1),
                secondary: key(2),
            },
        ),
        identity(
            "d2",
            Authentication::SelfSigned {
                primary: "AB".into(),
                secondary: None,
            },
        ),
        identity("d3", Authentication::CertificateAuthority),
        identity("d1/$edgeHub", Authentication::None),
        Change::DeleteIdentity(client("d1/m1")),
        twin("d1", 300),
        configured_twin("d2"),
        Change::PutSubscriptions(client("d1/m1"), subscriptions),
        Change::DeleteSubscriptions(client("d2")),
        Change::AppendEvents(events(3, 5, 4)),
        Change::PutPartitionHead(
            2,
            PartitionHead {
                next_sequence: 1 << 40,
                next_offset: 7,
            },
        ),
        Change::PutC2d(Arc::new(C2dMessage {
            client: client("d1/m1"),
            sequence: 1 << 33,
            enqueued: Timestamp::from_ticks(5),
            expires: Timestamp::MAX,
            delivery_count: 3,
            generation: "637".into(),
            message: Message {
                properties: PropertyBag::from_encoded("$.to=x&a=%20").unwrap(),
                body: vec![0, 255].into(),
            },
        })),
        Change::DeleteC2d(client("d1"), 4),
        Change::PutDocument(Document {
            kind: DocumentKind::Job,
            key: "j1".into(),
            value: Arc::new(json!({"a": [1.5, null, "x"], "b": {}})),
        }),
        Change::DeleteDocument(DocumentKind::Meter, "m".into()),
        Change::PutEntropy(u64::MAX),
        Change::Reset,
    ]
}
