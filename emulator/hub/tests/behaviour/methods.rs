//! `spec/device.md` 6.3 to 6.5, `spec/service.md` 4.

use iothub_hub::{CallId, Delivery, Effect, End, Feature, Outcome, SessionId};
use iothub_protocol::method::{MethodRequest, MethodResponse};
use iothub_protocol::{Error, ErrorCode};
use serde_json::json;

use crate::fixture::{Fixture, client, fixture, secs, spec};

fn invoke(
    hub: &mut Fixture,
    id: &str,
    change: impl FnOnce(&mut MethodRequest),
) -> (Result<CallId, Error>, Outcome) {
    let mut request = MethodRequest::new("reboot");
    change(&mut request);
    let operator = hub.operator.clone();
    hub.run(|hub, cx| hub.invoke_method(cx, &operator, &client(id), request))
}

fn wait_to_connect(seconds: u64) -> impl FnOnce(&mut MethodRequest) {
    move |request| request.connect_timeout = secs(seconds)
}

fn answer(hub: &mut Fixture, session: SessionId, request: u32, status: i32) -> Outcome {
    let response = MethodResponse {
        status,
        payload: "{}".into(),
    };
    let (reply, outcome) = hub.run(|hub, cx| hub.complete_method(cx, session, request, response));
    reply.unwrap();
    outcome
}

/// Ends of calls: the device's status or the code of the refusal.
fn ends(outcome: &Outcome) -> Vec<(CallId, Result<i32, ErrorCode>)> {
    let ends = outcome.effects.iter().filter_map(|effect| match effect {
        Effect::Complete(call, Ok(response)) => Some((*call, Ok(response.status))),
        Effect::Complete(call, Err(error)) => Some((*call, Err(error.code))),
        Effect::Deliver(..)
        | Effect::EventsAppended(_)
        | Effect::Route(..)
        | Effect::FeedbackReady
        | Effect::Disconnect(..)
        | Effect::FileNotificationsReady
        | Effect::RegistryJobReady
        | Effect::ReaderEnded(..) => None,
    });
    ends.collect()
}

/// Sessions and request numbers that calls are delivered to.
fn deliveries(outcome: &Outcome) -> Vec<(SessionId, u32)> {
    let deliveries = outcome.effects.iter().filter_map(|effect| match effect {
        Effect::Deliver(session, Delivery::MethodRequest { request, .. }) => {
            Some((*session, *request))
        }
        _ => None,
    });
    deliveries.collect()
}

#[test]
fn a_call_reaches_the_listening_device_and_its_answer_the_caller() {
    let mut hub = fixture().device("d1");
    let session = hub.listening("d1", &[Feature::Methods]);

    let (call, outcome) = invoke(&mut hub, "d1", |it| it.payload = Some("[1, 2]".into()));

    let delivery = Delivery::MethodRequest {
        request: 1,
        name: "reboot".into(),
        payload: "[1, 2]".into(),
    };
    let effects = vec![Effect::Deliver(session, delivery)];
    assert_eq!(
        outcome,
        Outcome {
            effects,
            ..Outcome::default()
        }
    );

    let outcome = answer(&mut hub, session, 1, -7);

    let response = MethodResponse {
        status: -7,
        payload: "{}".into(),
    };
    let effects = vec![Effect::Complete(call.unwrap(), Ok(response))];
    assert_eq!(
        outcome,
        Outcome {
            effects,
            ..Outcome::default()
        }
    );
    let deadline = hub.hub.next_deadline().unwrap();
    assert!(
        deadline > hub.now + secs(3600),
        "only the session's own deadline is left"
    );
}

#[test]
fn no_payload_reaches_the_device_as_nothing() {
    let mut hub = fixture().device("d1");
    let session = hub.listening("d1", &[Feature::Methods]);

    let (_, outcome) = invoke(&mut hub, "d1", |_| {});

    let (request, name) = (1, "reboot".into());
    let delivery = Delivery::MethodRequest {
        request,
        name,
        payload: "".into(),
    };
    assert_eq!(outcome.effects, [Effect::Deliver(session, delivery)]);
}

#[test]
fn calls_that_cannot_be_are_refused_at_once() {
    let mut hub = fixture()
        .device("d1")
        .module("d1/m1")
        .device("off")
        .module("off/m1");
    hub.update("off", spec(&json!({"status": "disabled"})))
        .0
        .unwrap();
    hub.connect("d1");
    for (id, code) in [
        ("d2", ErrorCode::DeviceNotFound),
        ("d2/m1", ErrorCode::DeviceNotFound),
        ("off", ErrorCode::DeviceNotFound),
        ("off/m1", ErrorCode::DeviceNotFound),
        ("d1/m2", ErrorCode::ModuleNotFound),
        // Connected, but it does not listen.
        ("d1", ErrorCode::DeviceNotOnline),
        ("d1/m1", ErrorCode::DeviceNotOnline),
    ] {
        let (reply, outcome) = invoke(&mut hub, id, |_| {});

        assert_eq!(reply.unwrap_err().code, code, "{id}");
        assert_eq!(outcome, Outcome::default());
    }
}

#[test]
fn offline_and_silent_devices_are_told_apart_with_their_time_limits() {
    let mut hub = fixture().device("d1");
    let error = invoke(&mut hub, "d1", |_| {}).0.unwrap_err();
    assert_eq!(error.timeout, Some(secs(0)));
    assert_eq!(
        error.message(),
        "The operation failed because the requested device isn't online or hasn't registered the \
         direct method callback. To learn more, see https://aka.ms/iothub404103"
    );

    hub.listening("d1", &[Feature::Methods]);
    let call = invoke(&mut hub, "d1", |_| {}).0.unwrap();
    hub.wait(30);
    let outcome = hub.fire_due();

    let error = Error::new(
        ErrorCode::GatewayTimeout,
        "Timed out waiting for the response from device.",
    );
    assert_eq!(
        outcome.effects,
        [Effect::Complete(call, Err(error.with_timeout(secs(30))))]
    );
}

#[test]
fn a_method_call_times_out_in_virtual_time() {
    let mut hub = fixture().device("d1");
    let session = hub.listening("d1", &[Feature::Methods]);
    let call = invoke(&mut hub, "d1", |_| {}).0.unwrap();

    hub.wait(29);
    assert_eq!(hub.fire_due(), Outcome::default());
    assert_eq!(hub.hub.next_deadline(), Some(hub.now + secs(1)));
    hub.wait(1);
    assert_eq!(
        ends(&hub.fire_due()),
        [(call, Err(ErrorCode::GatewayTimeout))]
    );

    assert_eq!(
        answer(&mut hub, session, 1, 200),
        Outcome::default(),
        "a late answer is ignored"
    );
}

#[test]
fn a_call_waits_for_its_device_to_connect_and_to_listen() {
    let mut hub = fixture().device("d1");
    let call = invoke(&mut hub, "d1", wait_to_connect(10)).0.unwrap();
    hub.wait(8);
    let (connected, outcome) = hub.connect_with("d1", |_| {});
    assert_eq!(deliveries(&outcome), []);

    let session = connected.unwrap().session;
    let outcome = hub.subscribe(session, &[Feature::Methods]);

    assert_eq!(deliveries(&outcome), [(session, 1)]);
    // Now the device has its whole time to answer.
    hub.wait(29);
    assert_eq!(hub.fire_due(), Outcome::default());
    hub.wait(1);
    assert_eq!(
        ends(&hub.fire_due()),
        [(call, Err(ErrorCode::GatewayTimeout))]
    );
}

#[test]
fn a_call_does_not_wait_for_ever() {
    let mut hub = fixture().device("d1");
    let call = invoke(&mut hub, "d1", wait_to_connect(10)).0.unwrap();
    hub.wait(10);

    let outcome = hub.fire_due();

    let Effect::Complete(id, Err(error)) = &outcome.effects[0] else {
        panic!("{outcome:?}")
    };
    assert_eq!((*id, error.code), (call, ErrorCode::DeviceNotOnline));
    assert_eq!(error.timeout, Some(secs(10)));
    let session = hub.connect("d1");
    assert_eq!(hub.subscribe(session, &[Feature::Methods]).effects, []);
}

#[test]
fn waiting_calls_are_delivered_in_their_order_also_to_a_resumed_session() {
    let mut hub = fixture().device("d1");
    let session = hub
        .connect_with("d1", |it| it.remember = true)
        .0
        .unwrap()
        .session;
    hub.subscribe(session, &[Feature::Methods]);
    hub.disconnect(session, End::Lost);
    let first = invoke(&mut hub, "d1", wait_to_connect(10)).0.unwrap();
    let second = invoke(&mut hub, "d1", wait_to_connect(10)).0.unwrap();

    let (connected, outcome) = hub.connect_with("d1", |it| it.remember = true);

    let session = connected.unwrap().session;
    assert_eq!(deliveries(&outcome), [(session, 1), (session, 2)]);
    assert_eq!(ends(&answer(&mut hub, session, 2, 2)), [(second, Ok(2))]);
    assert_eq!(ends(&answer(&mut hub, session, 1, 1)), [(first, Ok(1))]);
}

#[test]
fn calls_fail_when_the_connection_ends() {
    for end in [End::Goodbye, End::Lost] {
        let mut hub = fixture().device("d1");
        let session = hub.listening("d1", &[Feature::Methods]);
        let call = invoke(&mut hub, "d1", |_| {}).0.unwrap();

        let outcome = hub.disconnect(session, end);

        assert_eq!(
            ends(&outcome),
            [(call, Err(ErrorCode::DeviceConnectionClosedRemotely))]
        );
    }
}

#[test]
fn a_new_connection_cannot_answer_the_call_of_an_old_one() {
    let mut hub = fixture().device("d1");
    hub.listening("d1", &[Feature::Methods]);
    invoke(&mut hub, "d1", |_| {}).0.unwrap();
    let session = hub.listening("d1", &[Feature::Methods]);

    assert_eq!(answer(&mut hub, session, 1, 200), Outcome::default());
}

#[test]
fn one_client_cannot_answer_the_call_of_another() {
    let mut hub = fixture().device("d1").device("d2").module("d1/m1");
    let session = hub.listening("d1", &[Feature::Methods]);
    let call = invoke(&mut hub, "d1", |_| {}).0.unwrap();

    for other in ["d2", "d1/m1"] {
        let other = hub.listening(other, &[Feature::Methods]);
        assert_eq!(answer(&mut hub, other, 1, 200), Outcome::default());
    }
    assert_eq!(ends(&answer(&mut hub, session, 1, 200)), [(call, Ok(200))]);
    assert_eq!(
        answer(&mut hub, session, 1, 200),
        Outcome::default(),
        "once is enough"
    );
}

#[test]
fn only_so_many_calls_are_in_flight() {
    let mut hub = fixture().device("d1");
    let session = hub.listening("d1", &[Feature::Methods]);
    for _ in 0..10 {
        invoke(&mut hub, "d1", |_| {}).0.unwrap();
    }

    let error = invoke(&mut hub, "d1", |_| {}).0.unwrap_err();
    assert_eq!(error.code, ErrorCode::DeviceMaximumInflightMethodExceeded);
    answer(&mut hub, session, 3, 200);
    assert!(invoke(&mut hub, "d1", |_| {}).0.is_ok());
}

#[test]
fn payloads_have_a_limit_each_way() {
    let mut hub = fixture().device("d1");
    let session = hub.listening("d1", &[Feature::Methods]);
    let text = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2)).into();
    let limit = 128 * 1024;

    let over = invoke(&mut hub, "d1", |it| it.payload = Some(text(limit + 1))).0;
    assert_eq!(over.unwrap_err().code, ErrorCode::MessageTooLarge);
    let call = invoke(&mut hub, "d1", |it| it.payload = Some(text(limit)))
        .0
        .unwrap();
    let response = MethodResponse {
        status: 200,
        payload: text(limit + 1),
    };
    let (_, outcome) = hub.run(|hub, cx| hub.complete_method(cx, session, 1, response));
    assert_eq!(ends(&outcome), [(call, Err(ErrorCode::MessageTooLarge))]);
}

#[test]
fn a_cancelled_call_leaves_nothing_behind() {
    let mut hub = fixture().device("d1");
    let waiting = invoke(&mut hub, "d1", wait_to_connect(10)).0.unwrap();
    hub.hub.cancel_call(waiting);
    assert_eq!(hub.hub.next_deadline(), None);

    let session = hub.listening("d1", &[Feature::Methods]);
    let delivered = invoke(&mut hub, "d1", |_| {}).0.unwrap();
    hub.hub.cancel_call(delivered);
    assert_eq!(answer(&mut hub, session, 1, 200), Outcome::default());
    hub.wait(60);
    assert_eq!(hub.fire_due(), Outcome::default());
}

#[test]
fn calls_to_someone_deleted_or_disabled_end() {
    let not_found = ErrorCode::DeviceNotFound;
    let mut hub = fixture().device("d1");
    let call = invoke(&mut hub, "d1", wait_to_connect(10)).0.unwrap();
    assert_eq!(ends(&hub.delete("d1").1), [(call, Err(not_found))]);

    let mut hub = fixture().device("d1").module("d1/m1");
    let waiting = invoke(&mut hub, "d1/m1", wait_to_connect(10)).0.unwrap();
    hub.listening("d1", &[Feature::Methods]);
    let delivered = invoke(&mut hub, "d1", |_| {}).0.unwrap();
    let outcome = hub.update("d1", spec(&json!({"status": "disabled"}))).1;
    assert_eq!(
        ends(&outcome),
        [
            (delivered, Err(ErrorCode::DeviceConnectionClosedRemotely)),
            (waiting, Err(ErrorCode::ModuleNotFound)),
        ]
    );
}

#[test]
fn request_numbers_count_within_a_connection() {
    let mut hub = fixture().device("d1").device("d2");
    let first = hub.listening("d1", &[Feature::Methods]);
    let second = hub.listening("d2", &[Feature::Methods]);

    assert_eq!(deliveries(&invoke(&mut hub, "d1", |_| {}).1), [(first, 1)]);
    assert_eq!(deliveries(&invoke(&mut hub, "d1", |_| {}).1), [(first, 2)]);
    assert_eq!(deliveries(&invoke(&mut hub, "d2", |_| {}).1), [(second, 1)]);
}
