use serde_json::json;
use tokio::sync::{broadcast, oneshot};

use super::*;
use crate::DesiredUpdate;

struct Fixture {
    session: Session,
    desired: broadcast::Receiver<DesiredUpdate>,
    next_packet_id: u16,
}

fn connected() -> Fixture {
    connected_as("d1")
}

fn connected_as(client: &str) -> Fixture {
    let (sender, desired) = broadcast::channel(8);
    let client = ClientId::parse(client).unwrap();
    let mut session = Session::new(client, DesiredFeed::new(sender));
    session.begin_link();
    Fixture {
        session,
        desired,
        next_packet_id: 1,
    }
}

impl Fixture {
    /// Takes what is to be sent and writes it, as a connection would.
    fn write(&mut self) -> Vec<Outgoing> {
        let outgoing = self.session.take_outgoing();
        for packet in &outgoing {
            match packet {
                Outgoing::Publish { .. } | Outgoing::Subscribe { .. } => {
                    self.session.handle_written(self.next_packet_id);
                    self.next_packet_id += 1;
                }
                Outgoing::PublishOnce { .. } => self.session.handle_written(0),
                Outgoing::Acknowledge { .. } => {}
            }
        }
        outgoing
    }

    fn send(&mut self, body: &'static str) -> oneshot::Receiver<Result<(), Error>> {
        let (done, result) = oneshot::channel();
        let topic = "devices/d1/messages/events/".into();
        let operation = Operation::SendTelemetry {
            topic,
            body: body.into(),
            done,
        };
        self.session.handle_command(Command::Perform(operation));
        result
    }

    fn twin(&mut self) -> oneshot::Receiver<Result<Twin, Error>> {
        let (done, result) = oneshot::channel();
        self.session
            .handle_command(Command::Perform(Operation::GetTwin { done }));
        result
    }

    fn subscribe(&mut self, feature: Feature) -> oneshot::Receiver<Result<(), Error>> {
        let (done, result) = oneshot::channel();
        self.session
            .handle_command(Command::Subscribe(feature, done));
        result
    }

    fn receive(&mut self, topic: &str, payload: &str) -> Option<(MethodCall, CallTicket)> {
        let payload = Bytes::from(payload.to_owned());
        self.session.handle_incoming(Incoming {
            topic,
            payload,
            packet_id: Some(7),
        })
    }
}

fn telemetry(body: &'static str) -> Outgoing {
    Outgoing::Publish {
        topic: "devices/d1/messages/events/".into(),
        payload: body.into(),
    }
}

#[test]
fn each_acknowledgement_finishes_its_own_message() {
    let mut fixture = connected();
    let (mut first, mut second) = (fixture.send("a"), fixture.send("b"));
    assert_eq!(fixture.write(), [telemetry("a"), telemetry("b")]);

    fixture.session.handle_published(2);

    assert!(second.try_recv().unwrap().is_ok());
    assert!(first.try_recv().is_err());
    fixture.session.handle_published(1);
    assert!(first.try_recv().unwrap().is_ok());
    assert!(fixture.session.is_idle());
}

#[test]
fn unfinished_messages_are_sent_again_in_order_on_the_next_connection() {
    let mut fixture = connected();
    let (mut first, _second) = (fixture.send("a"), fixture.send("b"));
    let abandoned = fixture.send("c");
    fixture.write();
    fixture.session.handle_published(1);
    drop(abandoned);

    fixture.session.begin_link();

    assert!(first.try_recv().unwrap().is_ok());
    assert_eq!(fixture.write(), [telemetry("b")]);
}

#[test]
fn acknowledgement_of_an_old_connection_does_not_count_on_a_new_one() {
    let mut fixture = connected();
    let mut result = fixture.send("a");
    fixture.write();

    fixture.session.begin_link();
    fixture.session.handle_published(1);

    assert!(result.try_recv().is_err());
}

#[test]
fn twin_operation_subscribes_to_the_replies_first_and_once() {
    let mut fixture = connected();
    let (mut first, mut second) = (fixture.twin(), fixture.twin());

    let outgoing = fixture.write();

    let get = |rid| Outgoing::PublishOnce {
        topic: format!("$iothub/twin/GET/?$rid={rid}"),
        payload: Bytes::new(),
    };
    let subscribe = Outgoing::Subscribe {
        filter: "$iothub/twin/res/#".into(),
    };
    assert_eq!(outgoing, [subscribe, get(1), get(2)]);

    let body = r#"{"desired":{"$version":1},"reported":{"$version":1}}"#;
    fixture.receive("$iothub/twin/res/200/?$rid=2", body);
    assert!(second.try_recv().unwrap().is_ok());
    fixture.receive(
        "$iothub/twin/res/400/?$rid=1",
        r#"{"errorCode":400004,"message":"too deep"}"#,
    );
    let error = first.try_recv().unwrap().unwrap_err();
    assert_eq!(error.code(), ErrorCode::from_number(400004));
    assert!(error.to_string().contains("too deep"), "{error}");
}

#[test]
fn patch_reports_the_new_version() {
    let mut fixture = connected();
    let (done, mut result) = oneshot::channel();
    let patch = Bytes::from_static(b"{}");
    fixture
        .session
        .handle_command(Command::Perform(Operation::PatchReported { patch, done }));
    fixture.write();

    fixture.receive("$iothub/twin/res/204/?$rid=1&$version=12", "");

    assert_eq!(result.try_recv().unwrap().unwrap(), 12);
}

#[test]
fn subscription_is_done_when_the_hub_grants_it() {
    let mut fixture = connected();
    let mut first = fixture.subscribe(Feature::Methods);
    fixture.write();
    assert!(first.try_recv().is_err());

    fixture.session.handle_subscribed(1, true);

    assert!(first.try_recv().unwrap().is_ok());
    assert!(
        fixture
            .subscribe(Feature::Methods)
            .try_recv()
            .unwrap()
            .is_ok()
    );
    assert_eq!(fixture.write(), []);
}

#[test]
fn refused_subscription_is_an_error_and_may_be_tried_again() {
    let mut fixture = connected();
    let mut result = fixture.subscribe(Feature::Methods);
    fixture.write();

    fixture.session.handle_subscribed(1, false);

    let error = result.try_recv().unwrap().unwrap_err();
    assert_eq!(error.kind(), &ErrorKind::SubscriptionRefused);
    fixture.subscribe(Feature::Methods);
    assert_eq!(fixture.write().len(), 1);
}

#[test]
fn method_call_is_answered_on_the_connection_that_brought_it() {
    let mut fixture = connected();
    let (call, ticket) = fixture
        .receive("$iothub/methods/POST/reboot/?$rid=a", "{}")
        .unwrap();
    assert_eq!(
        call,
        MethodCall {
            name: "reboot".into(),
            payload: "{}".into()
        }
    );
    assert_eq!(fixture.write(), [Outgoing::Acknowledge { packet_id: 7 }]);

    fixture
        .session
        .answer(&ticket, MethodResponse::json(200, &json!(1)));

    let topic = "$iothub/methods/res/200/?$rid=a".into();
    assert_eq!(
        fixture.write(),
        [Outgoing::PublishOnce {
            topic,
            payload: "1".into()
        }]
    );

    fixture.session.begin_link();
    fixture.session.answer(&ticket, MethodResponse::empty(200));
    assert_eq!(fixture.write(), []);
}

#[test]
fn cloud_message_is_acknowledged_by_its_receipt_alone() {
    let mut fixture = connected();
    let (sender, mut deliveries) = mpsc::channel(1);
    let (done, _granted) = oneshot::channel();
    fixture
        .session
        .handle_command(Command::Receive(Feature::C2d, sender, done));
    fixture.write();

    fixture.receive("devices/d1/messages/devicebound/%24.to=x&a=b", "hi");

    let delivery = deliveries.try_recv().unwrap();
    assert_eq!(delivery.message.body, "hi");
    assert_eq!(delivery.message.properties.get("a").as_deref(), Some("b"));
    assert_eq!(fixture.write(), []);
    fixture.session.handle_receipt(delivery.receipt.unwrap());
    assert_eq!(fixture.write(), [Outgoing::Acknowledge { packet_id: 7 }]);

    fixture.session.begin_link();
    fixture.write();
    fixture.session.handle_receipt(delivery.receipt.unwrap());
    assert_eq!(fixture.write(), []);
}

#[test]
fn message_for_an_input_goes_to_those_who_receive_inputs() {
    let mut fixture = connected_as("d1/m1");
    let [(inputs, mut input_messages), (messages, mut cloud_messages)] =
        [mpsc::channel(1), mpsc::channel(1)];
    for (feature, sender) in [(Feature::Inputs, inputs), (Feature::C2d, messages)] {
        let (done, _granted) = oneshot::channel();
        let command = Command::Receive(feature, sender, done);
        fixture.session.handle_command(command);
    }
    assert_eq!(
        fixture.write()[0],
        Outgoing::Subscribe {
            filter: "devices/d1/modules/m1/inputs/#".into()
        }
    );

    fixture.receive("devices/d1/modules/m1/inputs/in1/%24.cdid=d2&a=b", "hi");

    let delivery = input_messages.try_recv().unwrap();
    assert_eq!(delivery.input.as_deref(), Some("in1"));
    assert_eq!(delivery.message.properties.get("a").as_deref(), Some("b"));
    assert!(cloud_messages.try_recv().is_err());
    fixture.session.handle_receipt(delivery.receipt.unwrap());
    assert_eq!(fixture.write(), [Outgoing::Acknowledge { packet_id: 7 }]);
}

#[test]
fn cloud_message_that_comes_early_waits_for_the_application() {
    let mut fixture = connected();

    fixture.receive("devices/d1/messages/devicebound/%24.to=x", "first time");
    fixture.receive("devices/d1/messages/devicebound/%24.to=x", "again");
    assert_eq!(fixture.write(), []);
    let (sender, mut deliveries) = mpsc::channel(1);
    let (done, _granted) = oneshot::channel();
    fixture
        .session
        .handle_command(Command::Receive(Feature::C2d, sender, done));

    let delivery = deliveries.try_recv().unwrap();
    assert_eq!(delivery.message.body, "again");
    assert!(deliveries.try_recv().is_err(), "it is one message");
}

#[test]
fn cloud_message_of_a_lost_connection_is_not_kept() {
    let mut fixture = connected();
    fixture.receive("devices/d1/messages/devicebound/%24.to=x", "hi");

    fixture.session.begin_link();

    // The hub sends it again.
    let (sender, mut deliveries) = mpsc::channel(1);
    let (done, _granted) = oneshot::channel();
    fixture
        .session
        .handle_command(Command::Receive(Feature::C2d, sender, done));
    assert!(deliveries.try_recv().is_err());
}

#[test]
fn desired_changes_missed_while_away_are_asked_for() {
    let mut fixture = connected();
    fixture.subscribe(Feature::DesiredChanges);
    fixture.write();
    fixture.receive(
        "$iothub/twin/PATCH/properties/desired/?$version=2",
        r#"{"a":1,"$version":2}"#,
    );
    let update = fixture.desired.try_recv().unwrap();
    assert_eq!((update.properties.version, update.is_complete), (2, false));
    fixture.write();

    fixture.session.begin_link();

    let topics: Vec<_> = fixture
        .write()
        .into_iter()
        .map(|packet| format!("{packet:?}"))
        .collect();
    assert!(
        topics
            .iter()
            .any(|packet| packet.contains("twin/GET/?$rid=1")),
        "{topics:?}"
    );
    let body = r#"{"desired":{"a":2,"$version":3},"reported":{"$version":1}}"#;
    fixture.receive("$iothub/twin/res/200/?$rid=1", body);
    let update = fixture.desired.try_recv().unwrap();
    assert_eq!((update.properties.version, update.is_complete), (3, true));
}

#[test]
fn window_closes_and_opens() {
    let mut fixture = connected();
    let mut results: Vec<_> = (0..WINDOW).map(|_| fixture.send("x")).collect();
    assert!(!fixture.session.has_room());
    fixture.write();

    fixture.session.handle_published(1);

    assert!(results[0].try_recv().unwrap().is_ok());
    assert!(fixture.session.has_room());
}

#[test]
fn unknown_topics_and_stray_acknowledgements_are_ignored() {
    let mut fixture = connected();

    assert!(fixture.receive("$iothub/what/ever", "").is_none());
    fixture.receive("$iothub/twin/res/200/?$rid=99", "{}");
    fixture.receive("$iothub/twin/PATCH/properties/desired/?$version=2", "[]");
    fixture.session.handle_published(3);
    fixture.session.handle_subscribed(3, true);

    assert!(fixture.session.is_idle());
}

#[test]
fn end_is_told_to_everyone_who_waits() {
    let mut fixture = connected();
    let (mut sent, mut twin) = (fixture.send("a"), fixture.twin());
    let mut granted = fixture.subscribe(Feature::Methods);

    fixture.session.fail_all(&Error::new(ErrorKind::Closed));

    assert_eq!(
        sent.try_recv().unwrap().unwrap_err().kind(),
        &ErrorKind::Closed
    );
    assert_eq!(
        twin.try_recv().unwrap().unwrap_err().kind(),
        &ErrorKind::Closed
    );
    assert_eq!(
        granted.try_recv().unwrap().unwrap_err().kind(),
        &ErrorKind::Closed
    );
}
