//! `spec/service.md` 5.6 and the documented rules of routes, fallback and enrichments.

use iothub_hub::{
    Change, Cx, Document, DocumentKind, Effect, EndpointKind, Event, Hub, HubConfig, Outcome,
    PartitionHead, Principal, RoutingSpec, SessionId,
};
use iothub_protocol::property_bag::PropertyBag;
use iothub_protocol::{Error, ErrorCode, Message};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::fixture::{Fixture, T0, config, fixture, object};
use crate::telemetry::appended;

/// Sets routes.
pub(crate) fn set(hub: &mut Fixture, routing: &Value) -> Outcome {
    let spec = RoutingSpec::parse(routing).unwrap();
    let operator = hub.operator.clone();
    let (reply, outcome) = hub.run(|hub, cx| hub.put_routing(cx, &operator, spec));
    reply.unwrap();
    outcome
}

/// Every source to the built-in endpoint.
pub(crate) fn route_everything(hub: &mut Fixture) {
    let sources = iothub_hub::EventSource::ALL;
    let routes = sources.map(|source| {
        let source = source.route_name();
        json!({"name": source, "source": source, "endpointNames": ["events"]})
    });
    set(hub, &json!({"routes": routes}));
}

fn message(bag: &str) -> Message {
    Message {
        properties: PropertyBag::from_encoded(bag.to_owned()).unwrap(),
        body: "body".into(),
    }
}

/// Sends messages, and says which of them each endpoint gets, by `$.mid`.
fn sent(hub: &mut Fixture, session: SessionId, bags: &[&str]) -> Vec<(String, Vec<String>)> {
    let messages = bags.iter().map(|bag| message(bag)).collect();
    let (reply, outcome) = hub.run(|hub, cx| hub.ingest(cx, session, messages));
    reply.unwrap();
    delivered(&outcome)
        .into_iter()
        .map(|(endpoint, events)| (endpoint, events.iter().map(id).collect()))
        .collect()
}

fn id(event: &Event) -> String {
    let id = event
        .message
        .properties
        .system(iothub_protocol::property_bag::SystemProperty::MessageId);
    id.unwrap_or_default().into_owned()
}

/// The events that each endpoint gets.
fn delivered(outcome: &Outcome) -> Vec<(String, Vec<Event>)> {
    let mut all = Vec::new();
    let built_in = appended(outcome);
    if !built_in.is_empty() {
        all.push(("events".to_owned(), built_in));
    }
    for effect in &outcome.effects {
        if let Effect::Route(endpoint, events) = effect {
            all.push((endpoint.name.to_string(), events.clone()));
        }
    }
    all
}

fn application(event: &Event) -> Vec<String> {
    event
        .message
        .properties
        .application()
        .into_iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect()
}

fn two_files() -> Value {
    json!({
        "eventHubs": [{"name": "hot"}],
        "storageContainers": [{"name": "cold", "containerName": "archive"}],
    })
}

fn list(endpoint: &str, ids: &[&str]) -> (String, Vec<String>) {
    (
        endpoint.into(),
        ids.iter().map(ToString::to_string).collect(),
    )
}

#[test]
fn a_message_goes_where_its_routes_say_and_else_to_the_fallback() {
    let mut hub = fixture().device("d1");
    set(
        &mut hub,
        &json!({
            "endpoints": two_files(),
            "routes": [
                {"name": "a", "condition": "level = 'hot'", "endpointNames": ["hot"]},
                {"name": "b", "condition": "store = '1'", "endpointNames": ["cold"]},
            ],
        }),
    );
    let session = hub.connect("d1");

    let bags = [
        "%24.mid=1&level=hot",
        "%24.mid=2",
        "%24.mid=3&level=hot&store=1",
        "%24.mid=4&store=1",
    ];
    let got = sent(&mut hub, session, &bags);

    assert_eq!(
        got,
        [
            list("events", &["2"]),
            list("hot", &["1", "3"]),
            list("cold", &["3", "4"]),
        ]
    );
    let record = hub.hub.routing_record(&hub.operator).unwrap();
    let counts: Vec<_> = record.routes.iter().map(|it| it.matched).collect();
    assert_eq!(
        (counts, record.fallback, record.dropped),
        (vec![2, 2], 1, 0)
    );
    let third = &record.last[2];
    assert_eq!(third.message_id.as_deref(), Some("3"));
    assert_eq!(third.routes.len(), 2);
    assert!(record.last[1].fallback);
}

#[test]
fn several_routes_to_one_endpoint_make_one_copy() {
    let mut hub = fixture().device("d1");
    let route = |name: &str| json!({"name": name, "endpointNames": ["events"]});
    set(&mut hub, &json!({"routes": [route("a"), route("b")]}));
    let session = hub.connect("d1");

    assert_eq!(
        sent(&mut hub, session, &["%24.mid=1"]),
        [list("events", &["1"])]
    );
}

#[test]
fn without_fallback_what_no_route_takes_is_dropped_and_counted() {
    let mut hub = fixture().device("d1");
    let off = json!({"source": "DeviceMessages", "endpointNames": ["events"], "isEnabled": false});
    set(&mut hub, &json!({"fallbackRoute": off}));
    let session = hub.connect("d1");

    let (reply, outcome) = hub.run(|hub, cx| hub.ingest(cx, session, vec![message("")]));

    reply.unwrap();
    assert_eq!(outcome, Outcome::default());
    assert_eq!(hub.hub.partition_heads()[0], PartitionHead::default());
    assert_eq!(hub.hub.routing_record(&hub.operator).unwrap().dropped, 1);
}

#[test]
fn a_disabled_route_takes_nothing_and_a_route_of_another_source_no_messages() {
    let mut hub = fixture().device("d1");
    set(
        &mut hub,
        &json!({
            "endpoints": two_files(),
            "routes": [
                {"name": "a", "endpointNames": ["hot"], "isEnabled": false},
                {"name": "b", "source": "TwinChangeEvents", "endpointNames": ["cold"]},
            ],
        }),
    );
    let session = hub.connect("d1");

    assert_eq!(
        sent(&mut hub, session, &["%24.mid=1"]),
        [list("events", &["1"])]
    );
    let patched = hub.patch("d1", &json!({"tags": {"a": 1}})).1;
    let endpoints: Vec<_> = delivered(&patched).into_iter().map(|it| it.0).collect();
    assert_eq!(endpoints, ["cold"]);
}

#[test]
fn conditions_and_enrichments_see_the_twin_of_the_sender() {
    let mut hub = fixture().device("d1").module("d1/m1");
    hub.patch("d1", &json!({"tags": {"floor": "1"}})).0.unwrap();
    let twin = json!({"tags": {"floor": "2"}, "properties": {"desired": {"a": {"b": [1]}}}});
    hub.patch("d1/m1", &twin).0.unwrap();
    let enrichment = |key: &str, value: &str| json!({"key": key, "value": value, "endpointNames": ["events", "hot"]});
    set(
        &mut hub,
        &json!({
            "endpoints": two_files(),
            "routes": [
                {"name": "a", "condition": "$twin.tags.floor = '2'", "endpointNames": ["hot"]},
            ],
            "enrichments": [
                enrichment("floor", "$twin.tags.floor"),
                enrichment("deep", "$twin.properties.desired.a.b"),
                enrichment("hub", "$iothubname"),
                enrichment("nowhere", "$twin.tags.nowhere"),
                enrichment("fixed", "$else"),
            ],
        }),
    );
    let (device, module) = (hub.connect("d1"), hub.connect("d1/m1"));

    let of = |hub: &mut Fixture, session| {
        let (reply, outcome) = hub.run(|hub, cx| hub.ingest(cx, session, vec![message("own=1")]));
        reply.unwrap();
        let (endpoint, events) = delivered(&outcome).remove(0);
        (endpoint, application(&events[0]))
    };

    let always = ["hub=hub", "nowhere=$twin.tags.nowhere", "fixed=$else"];
    let (endpoint, properties) = of(&mut hub, device);
    assert_eq!(endpoint, "events");
    let own = ["own=1", "floor=1", "deep=$twin.properties.desired.a.b"];
    assert_eq!(properties, [own, always].concat());
    let (endpoint, properties) = of(&mut hub, module);
    assert_eq!(endpoint, "hot");
    assert_eq!(
        properties,
        [["own=1", "floor=2", "deep=[1]"], always].concat()
    );
}

#[test]
fn a_message_that_enrichments_make_too_large_is_dropped_there() {
    let mut hub = fixture().device("d1");
    set(
        &mut hub,
        &json!({
            "endpoints": two_files(),
            "routes": [
                {"name": "a", "endpointNames": ["hot"]},
                {"name": "b", "endpointNames": ["events"]},
            ],
            "enrichments": [{"key": "k", "value": "v", "endpointNames": ["hot"]}],
        }),
    );
    let session = hub.connect("d1");
    let full = Message {
        body: vec![0; 256 * 1024].into(),
        ..Message::default()
    };

    let (reply, outcome) = hub.run(|hub, cx| hub.ingest(cx, session, vec![full]));

    reply.unwrap();
    let endpoints: Vec<_> = delivered(&outcome).into_iter().map(|it| it.0).collect();
    assert_eq!(endpoints, ["events"]);
    let record = hub.hub.routing_record(&hub.operator).unwrap();
    let hot = record.endpoints.iter().find(|it| *it.name == *"hot");
    assert_eq!(hot.map(|it| (it.messages, it.too_large)), Some((0, 1)));
}

#[test]
fn what_is_set_is_shown_kept_and_restored() {
    let mut hub = fixture().device("d1");
    let outcome = set(
        &mut hub,
        &json!({
            "endpoints": two_files(),
            "routes": [{"name": "a", "endpointNames": ["HOT"]}],
            "enrichments": [{"key": "k", "value": "v", "endpointNames": ["events"]}],
        }),
    );

    let shown = hub.hub.routing(&hub.operator).unwrap();
    assert_eq!(shown["routes"][0]["endpointNames"], json!(["hot"]));
    assert_eq!(shown["routes"][0]["condition"], "true");
    assert_eq!(shown["fallbackRoute"]["isEnabled"], true);
    assert_eq!(
        shown["endpoints"]["storageContainers"][0]["fileNameFormat"],
        "{iothub}/{partition}/{YYYY}/{MM}/{DD}/{HH}/{mm}"
    );
    let mut restored = Hub::new(config());
    for change in outcome.changes {
        restored.restore(change);
    }
    assert_eq!(restored.routing(&hub.operator).unwrap(), shown);
    let fork = restored.fork();
    assert_eq!(fork.routing(&hub.operator).unwrap(), shown);
}

#[test]
fn configured_routes_stand_above_kept_ones_and_outlive_a_reset() {
    let route = |name: &str| json!({"routes": [{"name": name, "endpointNames": ["events"]}]});
    let configured = RoutingSpec::parse(&route("configured")).unwrap();
    let mut hub = Fixture::with(HubConfig {
        routing: Some(std::sync::Arc::new(configured)),
        ..config()
    });
    let name =
        |hub: &Hub| hub.routing(&Principal::operator()).unwrap()["routes"][0]["name"].clone();
    let kept = |key: &str, value| {
        Change::PutDocument(Document {
            kind: DocumentKind::Routing,
            key: key.into(),
            value: std::sync::Arc::new(value),
        })
    };

    hub.hub.restore(kept("routing", route("kept")));
    assert_eq!(name(&hub.hub), "configured");
    set(&mut hub, &route("put"));
    assert_eq!(name(&hub.hub), "put");
    hub.run(Hub::reset);
    assert_eq!(name(&hub.hub), "configured");
    for damaged in [json!(7), json!({"routes": [{}]})] {
        let mut plain = Hub::new(config());
        plain.restore(kept("routing", damaged));
        plain.restore(kept("connection-sequence/9999", json!([1, 1])));
        plain.restore(kept("connection-sequence/1", json!("x")));
        assert_eq!(
            plain.routing(&Principal::operator()).unwrap()["routes"],
            json!([])
        );
    }
}

#[test]
fn a_real_hubs_whole_description_is_taken() {
    let routing = json!({
        "endpoints": {
            "serviceBusQueues": [],
            "serviceBusTopics": [],
            "eventHubs": [{"name": "eh", "connectionString": "Endpoint=sb://****", "id": "7"}],
            "storageContainers": [],
        },
        "routes": [{"name": "r", "source": "DeviceMessages", "condition": "true",
                    "endpointNames": ["eh"], "isEnabled": true}],
        "fallbackRoute": {"name": "$fallback", "source": "DeviceMessages", "condition": "true",
                          "endpointNames": ["events"], "isEnabled": true},
        "enrichments": null,
    });

    let spec = RoutingSpec::parse(&json!({"name": "myhub", "properties": {"routing": routing}}));

    let spec = spec.unwrap();
    assert_eq!(spec.endpoints()[1].kind, EndpointKind::Lines);
    let shown = spec.to_json().to_string();
    assert!(!shown.contains("Endpoint=sb"), "no secret is kept: {shown}");
}

fn refusal(routing: &Value) -> Error {
    match RoutingSpec::parse(routing) {
        Err(error) => error,
        Ok(spec) => panic!("{routing} was taken: {spec:?}"),
    }
}

#[test]
fn what_the_real_hub_refuses_is_refused_with_the_place() {
    let route = |name: &str| json!({"name": name, "endpointNames": ["events"]});
    let storage = |members: &Value| {
        let mut endpoint = json!({"name": "s", "containerName": "abc"});
        endpoint
            .as_object_mut()
            .unwrap()
            .extend(object(members.clone()));
        json!({"endpoints": {"storageContainers": [endpoint]}})
    };
    let many = |count: usize| {
        (0..count)
            .map(|n| route(&format!("r{n}")))
            .collect::<Value>()
    };
    let enrichment = |members: Value| json!({"enrichments": [members]});
    for (routing, place) in [
        (json!([]), "routing"),
        (json!({"routes": {}}), "routes must be a list"),
        (json!({"routes": [1]}), "a route must be"),
        (json!({"routes": [route("")]}), "routes[0]: name"),
        (json!({"routes": [route("a/b")]}), "routes[0]: name"),
        (json!({"routes": [route("..")]}), "routes[0]: name"),
        (
            json!({"routes": [route(&"a".repeat(65))]}),
            "routes[0]: name",
        ),
        (
            json!({"routes": [route("a"), route("a")]}),
            "routes[1]: there are two",
        ),
        (json!({"routes": many(101)}), "more than 100"),
        (
            json!({"routes": [{"name": "a", "endpointNames": []}]}),
            "endpointNames",
        ),
        (
            json!({"routes": [{"name": "a", "endpointNames": ["events", "events"]}]}),
            "more than 1",
        ),
        (
            json!({"routes": [{"name": "a", "endpointNames": ["nope"]}]}),
            "no endpoint \"nope\"",
        ),
        (
            json!({"routes": [{"name": "a", "condition": "", "endpointNames": ["events"]}]}),
            "routes[0]",
        ),
        (
            json!({"routes": [{"name": "a", "isEnabled": 1, "endpointNames": ["events"]}]}),
            "isEnabled",
        ),
        (
            json!({"endpoints": {"eventHubs": [{"name": "Events"}]}}),
            "hub's own",
        ),
        (
            json!({"endpoints": {"eventHubs": [{"name": "a"}], "files": [{"name": "A"}]}}),
            "two named",
        ),
        (storage(&json!({"containerName": "../x"})), "containerName"),
        (storage(&json!({"containerName": "AB"})), "containerName"),
        (storage(&json!({"encoding": "avro"})), "encoding"),
        (
            storage(&json!({"fileNameFormat": "{iothub}"})),
            "{partition}",
        ),
        (
            storage(&json!({"fileNameFormat": "/{iothub}{partition}{YYYY}{MM}{DD}{HH}{mm}"})),
            "fileNameFormat",
        ),
        (
            storage(&json!({"fileNameFormat": "../{iothub}{partition}{YYYY}{MM}{DD}{HH}{mm}"})),
            "fileNameFormat",
        ),
        (
            storage(&json!({"fileNameFormat": "{iothub}{partition}{YYYY}{MM}{DD}{HH}{mm}{x}"})),
            "fileNameFormat",
        ),
        (
            enrichment(json!({"key": "a b", "value": "v", "endpointNames": ["events"]})),
            "enrichments[0]: key",
        ),
        (
            enrichment(json!({"key": "a", "value": "", "endpointNames": ["events"]})),
            "enrichments[0]: value",
        ),
        (
            json!({"fallbackRoute": {"condition": "a = 1", "endpointNames": ["events"]}}),
            "fallbackRoute",
        ),
    ] {
        let error = refusal(&routing);

        assert_eq!(error.code, ErrorCode::ArgumentInvalid, "{routing}");
        assert!(error.detail.contains(place), "{routing}: {error}");
    }
    let route = json!({"name": "a", "source": "Telemetry", "endpointNames": ["events"]});
    for routing in [
        json!({"routes": [route]}),
        json!({"fallbackRoute": {"source": "TwinChangeEvents", "endpointNames": ["events"]}}),
    ] {
        assert_eq!(refusal(&routing).code, ErrorCode::InvalidSourceOnRoute);
    }
    let eleven: Vec<_> = (0..11).map(|n| json!({"name": format!("e{n}")})).collect();
    refusal(&json!({"endpoints": {"files": eleven[..6], "eventHubs": eleven[6..]}}));
}

fn try_out(hub: &mut Fixture, input: &Value) -> Result<Value, Error> {
    let (operator, input) = (hub.operator.clone(), object(input.clone()));
    let test = |hub: &mut Hub, cx: &mut Cx<'_>| hub.test_routes(cx, &operator, &input);
    hub.run(test).0
}

#[test]
fn a_trial_tells_which_routes_would_match_and_sends_nothing() {
    let mut hub = fixture().device("d1");
    hub.patch("d1", &json!({"tags": {"floor": "1"}})).0.unwrap();
    set(
        &mut hub,
        &json!({
            "endpoints": two_files(),
            "routes": [
                {"name": "a", "condition": "level = 'hot'", "endpointNames": ["hot"]},
                {"name": "b", "condition": "$twin.tags.floor = '1'", "endpointNames": ["cold"]},
                {"name": "c", "source": "TwinChangeEvents", "endpointNames": ["cold"]},
            ],
        }),
    );
    let before = hub.hub.routing_record(&hub.operator).unwrap();
    let results = |tried: &Value| -> Vec<(String, String)> {
        let routes = tried["routes"].as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        routes
            .map(|route| (text(&route["name"]), text(&route["result"])))
            .collect()
    };
    let pair = |name: &str, result: &str| (name.to_owned(), result.to_owned());

    let hot = json!({"message": {"body": "x", "appProperties": {"level": "hot"}}});
    let tried = try_out(&mut hub, &hot).unwrap();
    assert_eq!(results(&tried), [pair("a", "true"), pair("b", "false")]);
    assert_eq!(tried["endpoints"], json!(["hot"]));

    let of_device = json!({"message": {"systemProperties": {"$connectionDeviceId": "d1"}}});
    let tried = try_out(&mut hub, &of_device).unwrap();
    assert_eq!(results(&tried), [pair("a", "false"), pair("b", "true")]);

    let given = json!({"deviceId": "d1", "twin": {"tags": {"floor": "2"}}});
    let tried = try_out(&mut hub, &given).unwrap();
    assert_eq!(tried["fallback"], true);
    assert_eq!(tried["endpoints"], json!(["events"]));

    let named = try_out(&mut hub, &json!({"routeName": "c"})).unwrap();
    assert_eq!(results(&named), [pair("c", "true")]);

    let own = json!({"name": "x", "condition": "level = 'cold'", "endpointNames": ["events"]});
    let tried = try_out(&mut hub, &json!({"route": own})).unwrap();
    assert_eq!(results(&tried), [pair("x", "false")]);
    assert_eq!(tried["endpoints"], json!([]));

    for bad in [
        json!({"routeName": "nope"}),
        json!({"routingSource": "Nope"}),
        json!({"message": {"appProperties": {"a": 1}}}),
        json!({"message": {"systemProperties": {"nope": "1"}}}),
        json!({"deviceId": "a b"}),
    ] {
        let error = try_out(&mut hub, &bad).unwrap_err();
        assert_eq!(error.code, ErrorCode::InvalidRouteTestInput, "{bad}");
    }
    assert_eq!(hub.hub.routing_record(&hub.operator).unwrap(), before);
}

/// JSON of the shapes that routing is made of, and of others.
fn some_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        "[a-z$.{}/]{0,12}".prop_map(Value::from),
        Just(json!(["events"])),
        Just(json!("true")),
        Just(json!("DeviceMessages")),
    ];
    let name = prop_oneof![
        Just("routes"),
        Just("endpoints"),
        Just("enrichments"),
        Just("fallbackRoute"),
        Just("storageContainers"),
        Just("files"),
        Just("name"),
        Just("source"),
        Just("condition"),
        Just("endpointNames"),
        Just("isEnabled"),
        Just("key"),
        Just("value"),
        Just("containerName"),
        Just("fileNameFormat"),
        Just("properties"),
        Just("routing"),
    ];
    leaf.prop_recursive(5, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..6).prop_map(|members| {
                let members = members.into_iter();
                Value::Object(
                    members
                        .map(|(name, value)| (name.to_owned(), value))
                        .collect(),
                )
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_json_is_refused_or_reads_back_as_it_is_shown(routing in some_json()) {
        if let Ok(spec) = RoutingSpec::parse(&routing) {
            let shown = spec.to_json();
            let again = RoutingSpec::parse(&shown).unwrap();
            prop_assert_eq!(again.to_json(), shown);
        }
    }

    /// The model of routing, a few lines long: who matches, then which endpoints, each once.
    #[test]
    fn with_a_fallback_every_message_is_in_an_endpoint_and_in_each_but_once(
        routes in prop::collection::vec((0..3usize, 0..4usize, any::<bool>()), 0..6),
        levels in prop::collection::vec(0..4usize, 1..12),
        fallback in any::<bool>(),
    ) {
        const ENDPOINTS: [&str; 3] = ["events", "hot", "cold"];
        let rows: Vec<_> = routes.iter().enumerate().map(|(at, &(endpoint, level, enabled))| {
            json!({
                "name": format!("r{at}"),
                "condition": format!("level = '{level}'"),
                "endpointNames": [ENDPOINTS[endpoint]],
                "isEnabled": enabled,
            })
        }).collect();
        let mut hub = fixture().device("d1");
        set(&mut hub, &json!({
            "endpoints": two_files(),
            "routes": rows,
            "fallbackRoute": {"endpointNames": ["cold"], "isEnabled": fallback},
        }));
        let session = hub.connect("d1");
        let bags: Vec<_> = levels
            .iter()
            .enumerate()
            .map(|(at, level)| format!("%24.mid={at}&level={level}"))
            .collect();
        let bags: Vec<_> = bags.iter().map(String::as_str).collect();

        let got = sent(&mut hub, session, &bags);

        let mut wanted: Vec<(String, Vec<String>)> = Vec::new();
        for (endpoint, name) in ENDPOINTS.into_iter().enumerate() {
            let takes = |level: usize| {
                let mut matching = routes.iter().filter(|it| it.2 && it.1 == level).peekable();
                match matching.peek() {
                    None => fallback && name == "cold",
                    Some(_) => matching.any(|it| it.0 == endpoint),
                }
            };
            let ids: Vec<_> = levels
                .iter()
                .enumerate()
                .filter(|(_, level)| takes(**level))
                .map(|(at, _)| at.to_string())
                .collect();
            if !ids.is_empty() {
                wanted.push((name.to_owned(), ids));
            }
        }
        if fallback {
            let all: std::collections::BTreeSet<_> = got.iter().flat_map(|it| &it.1).collect();
            prop_assert_eq!(all.len(), levels.len());
        }
        prop_assert_eq!(got, wanted);
        prop_assert_eq!(hub.now, T0);
    }
}
