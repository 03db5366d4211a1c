//! The operations that the model test draws from.

use iothub_hub::{Feature, Settlement};
use iothub_protocol::feedback::AckRequest;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use crate::reference::{Client, Etag};

/// Few enough that operations meet.
pub(crate) const CLIENTS: [Client; 6] = [
    (0, None),
    (0, Some(0)),
    (0, Some(1)),
    (1, None),
    (1, Some(0)),
    (1, Some(1)),
];

/// One step. `back` counts sessions or calls from the youngest one.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    Put {
        client: Client,
        disabled: bool,
        etag: Etag,
    },
    Delete {
        client: Client,
        etag: Etag,
    },
    Connect {
        client: Client,
        remember: bool,
        will: bool,
        seconds: u16,
    },
    Disconnect {
        back: u8,
        lost: bool,
    },
    Subscribe {
        back: u8,
        feature: Feature,
        on: bool,
        once: bool,
    },
    Ingest {
        back: u8,
        count: u8,
    },
    WriteTwin {
        client: Client,
        tags: Option<Map<String, Value>>,
        desired: Option<Map<String, Value>>,
        whole: bool,
        etag: Etag,
    },
    /// `version`: none, the current one (`false`), another (`true`).
    Report {
        back: u8,
        patch: Map<String, Value>,
        version: Option<bool>,
    },
    Invoke {
        client: Client,
        connect: u16,
        response: u16,
    },
    Answer {
        back: u8,
        request: u32,
        status: i32,
    },
    Cancel {
        back: u8,
    },
    Drop {
        client: Client,
    },
    /// A message from the cloud; `seconds`: until it expires, where its sender says.
    Send {
        client: Client,
        wish: AckRequest,
        seconds: Option<u16>,
    },
    Fetch {
        client: Client,
    },
    /// Settles what one of the youngest locks is about, as the client or as a session.
    Settle {
        client: Client,
        lock: u8,
        settlement: Settlement,
    },
    Acknowledge {
        back: u8,
        locks: Vec<u8>,
        settlement: Settlement,
    },
    GiveBack {
        back: u8,
        locks: Vec<u8>,
    },
    Grant {
        back: u8,
        more: i64,
    },
    Purge {
        client: Client,
    },
    ReceiveFeedback,
    SettleFeedback {
        lock: u8,
        settlement: Settlement,
    },
    Wait {
        seconds: u16,
    },
    /// Time passes until the next thing is due.
    Next,
    Reset,
}

impl Operation {
    pub(crate) fn client(&self) -> Option<Client> {
        match self {
            Self::Put { client, .. }
            | Self::Delete { client, .. }
            | Self::Connect { client, .. }
            | Self::WriteTwin { client, .. }
            | Self::Invoke { client, .. }
            | Self::Send { client, .. }
            | Self::Fetch { client }
            | Self::Settle { client, .. }
            | Self::Purge { client }
            | Self::Drop { client } => Some(*client),
            _ => None,
        }
    }

    pub(crate) fn back(&self) -> Option<u8> {
        match self {
            Self::Disconnect { back, .. }
            | Self::Subscribe { back, .. }
            | Self::Ingest { back, .. }
            | Self::Report { back, .. }
            | Self::Answer { back, .. }
            | Self::Acknowledge { back, .. }
            | Self::GiveBack { back, .. }
            | Self::Grant { back, .. }
            | Self::Cancel { back } => Some(*back),
            _ => None,
        }
    }
}

/// A hub with some clients, then up to `count` operations.
pub(crate) fn any_operations(count: usize) -> impl Strategy<Value = Vec<Operation>> {
    let create = |client| Operation::Put {
        client,
        disabled: false,
        etag: Etag::Absent,
    };
    (2..=CLIENTS.len(), vec(operation(), 1..count)).prop_map(move |(created, mut operations)| {
        operations.splice(0..0, CLIENTS[..created].iter().copied().map(create));
        operations
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let client = || proptest::sample::select(CLIENTS.to_vec());
    let back = || prop_oneof![4 => Just(0_u8), 2 => Just(1), 1 => 2..4_u8];
    // Timeouts that often end at the same moment.
    let timeout = || proptest::sample::select(vec![5_u16, 10, 30]);
    prop_oneof![
        4 => (client(), proptest::bool::weighted(0.2), etag())
            .prop_map(|(client, disabled, etag)| Operation::Put { client, disabled, etag }),
        2 => (client(), etag()).prop_map(|(client, etag)| Operation::Delete { client, etag }),
        8 => (client(), any::<bool>(), any::<bool>(), proptest::sample::select(vec![60_u16, 300, 900]))
            .prop_map(|(client, remember, will, seconds)| {
                Operation::Connect { client, remember, will, seconds }
            }),
        2 => (back(), any::<bool>()).prop_map(|(back, lost)| Operation::Disconnect { back, lost }),
        5 => (back(), feature(), proptest::bool::weighted(0.8), proptest::bool::weighted(0.2))
            .prop_map(|(back, feature, on, once)| {
                Operation::Subscribe { back, feature, on, once }
            }),
        2 => (back(), 0..3_u8).prop_map(|(back, count)| Operation::Ingest { back, count }),
        5 => (client(), section(), section(), any::<bool>(), etag())
            .prop_map(|(client, tags, desired, whole, etag)| {
                Operation::WriteTwin { client, tags, desired, whole, etag }
            }),
        4 => (back(), document(), proptest::option::of(any::<bool>()))
            .prop_map(|(back, patch, version)| Operation::Report { back, patch, version }),
        5 => (client(), prop_oneof![Just(0), timeout()], timeout())
            .prop_map(|(client, connect, response)| {
                Operation::Invoke { client, connect, response }
            }),
        3 => (back(), 1..4_u32, any::<i32>())
            .prop_map(|(back, request, status)| Operation::Answer { back, request, status }),
        1 => back().prop_map(|back| Operation::Cancel { back }),
        1 => client().prop_map(|client| Operation::Drop { client }),
        8 => (client(), proptest::sample::select(AckRequest::ALL.to_vec()), proptest::option::of(timeout()))
            .prop_map(|(client, wish, seconds)| Operation::Send { client, wish, seconds }),
        2 => client().prop_map(|client| Operation::Fetch { client }),
        3 => (client(), 0..4_u8, settlement())
            .prop_map(|(client, lock, settlement)| Operation::Settle { client, lock, settlement }),
        4 => (back(), vec(0..4_u8, 1..3), settlement()).prop_map(|(back, locks, settlement)| {
            Operation::Acknowledge { back, locks, settlement }
        }),
        1 => (back(), vec(0..4_u8, 1..3))
            .prop_map(|(back, locks)| Operation::GiveBack { back, locks }),
        1 => (back(), -2..3_i64).prop_map(|(back, more)| Operation::Grant { back, more }),
        1 => client().prop_map(|client| Operation::Purge { client }),
        2 => Just(Operation::ReceiveFeedback),
        2 => (0..4_u8, settlement())
            .prop_map(|(lock, settlement)| Operation::SettleFeedback { lock, settlement }),
        2 => proptest::sample::select(vec![1_u16, 5, 20, 900])
            .prop_map(|seconds| Operation::Wait { seconds }),
        2 => Just(Operation::Next),
        1 => proptest::bool::weighted(0.1)
            .prop_map(|reset| if reset { Operation::Reset } else { Operation::Next }),
    ]
}

fn etag() -> impl Strategy<Value = Etag> {
    prop_oneof![4 => Just(Etag::Absent), 2 => Just(Etag::Any), 2 => Just(Etag::Current),
        1 => Just(Etag::Stale)]
}

fn feature() -> impl Strategy<Value = Feature> {
    prop_oneof![4 => Just(Feature::Methods), 3 => Just(Feature::DesiredChanges),
        5 => Just(Feature::C2d), 1 => Just(Feature::TwinResponses)]
}

fn settlement() -> impl Strategy<Value = Settlement> {
    prop_oneof![2 => Just(Settlement::Complete), 1 => Just(Settlement::Reject),
        3 => Just(Settlement::Abandon)]
}

fn section() -> impl Strategy<Value = Option<Map<String, Value>>> {
    proptest::option::of(document())
}

/// A small patch; now and then one that is not legal.
fn document() -> impl Strategy<Value = Map<String, Value>> {
    let leaf = prop_oneof![
        Just(Value::Null),
        (0..3).prop_map(Value::from),
        Just(json!([1, {"x": 2}])),
    ];
    let value = leaf.prop_recursive(2, 8, 3, |inner| {
        vec((key(), inner), 0..3).prop_map(|pairs| Value::Object(pairs.into_iter().collect()))
    });
    (vec((key(), value), 0..3), proptest::bool::weighted(0.05)).prop_map(|(pairs, illegal)| {
        let mut document: Map<_, _> = pairs.into_iter().collect();
        if illegal {
            document.insert("$no".into(), 1.into());
        }
        document
    })
}

fn key() -> impl Strategy<Value = String> {
    "[a-c]"
}
