//! Direct methods (`spec/device.md` 6, `spec/service.md` 4).

use iothub_backend::IfMatch;
use iothub_testkit::{ErrorCode, MethodResponse, TestHub, method};
use serde_json::{Value, json};

use crate::support::{Call, call, call_patiently, end, listening, refusal, secs};

#[tokio::test]
async fn call_reaches_the_device_and_its_answer_the_caller() {
    let hub = TestHub::start().await;
    let device = hub.device("d1").await;
    device
        .on_method("echo", |call| async move {
            MethodResponse::json(207, &call.json().unwrap_or(Value::Null))
        })
        .await
        .unwrap();

    for payload in [json!({"a": [1, "ü", null]}), json!("text"), json!(0.5)] {
        let call = hub
            .backend()
            .methods()
            .invoke("d1", "echo")
            .payload(&payload);
        let answer = call.send().await.unwrap();

        assert_eq!(answer.status, 207);
        assert_eq!(
            serde_json::from_slice::<Value>(&answer.payload).unwrap(),
            payload
        );
    }
}

#[tokio::test]
async fn offline_and_unknown_devices_are_told_apart() {
    let hub = TestHub::start().await;
    hub.device_connection_string("offline").await;
    let _deaf = hub.scripted_device("deaf").await;

    assert_eq!(
        refusal(call(&hub, "offline", "x")).await,
        Some(ErrorCode::DeviceNotOnline)
    );
    assert_eq!(
        refusal(call(&hub, "deaf", "x")).await,
        Some(ErrorCode::DeviceNotOnline)
    );
    assert_eq!(
        refusal(call(&hub, "nobody", "x")).await,
        Some(ErrorCode::DeviceNotFound)
    );
    assert_eq!(
        refusal(call(&hub, "offline/m", "x")).await,
        Some(ErrorCode::ModuleNotFound)
    );
}

#[tokio::test]
async fn call_waits_for_a_device_that_comes_in_time() {
    let hub = TestHub::builder().virtual_clock().start().await;
    hub.device_connection_string("d1").await;
    let call = call_patiently(&hub, "d1", "reboot", 60);
    hub.wait_until(method("reboot").on("d1")).await;
    hub.clock().advance(secs(59)).await;

    let mut device = listening(&hub, "d1").await;
    let (_, rid, _) = device.receive_call().await;
    device.answer_call(&rid, 200, "1").await;

    assert_eq!(end(call).await.unwrap().status, 200);
}

#[tokio::test]
async fn call_does_not_wait_longer_than_its_connect_timeout() {
    let hub = TestHub::builder().virtual_clock().start().await;
    hub.device_connection_string("d1").await;
    let call = call_patiently(&hub, "d1", "reboot", 60);
    hub.wait_until(method("reboot").on("d1")).await;

    hub.clock().advance(secs(60)).await;

    assert_eq!(refusal(call).await, Some(ErrorCode::DeviceNotOnline));
}

#[tokio::test]
async fn call_times_out_in_virtual_time() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let mut silent = listening(&hub, "d1").await;
    let call = call(&hub, "d1", "reboot");
    let (_, rid, _) = silent.receive_call().await;

    hub.clock().advance(secs(29)).await;
    silent.expect_nothing().await;
    assert!(!call.is_finished());
    hub.clock().advance(secs(1)).await;

    assert_eq!(refusal(call).await, Some(ErrorCode::GatewayTimeout));
    // The late answer is for nobody, and no reason to end the connection.
    silent.answer_call(&rid, 200, "1").await;
    silent.expect_nothing().await;
}

#[tokio::test]
async fn module_is_called_by_its_own_name() {
    let hub = TestHub::start().await;
    let device = hub.device("d1").await;
    let module = hub.module("d1/m1").await;
    device
        .on_method("who", |_| async { MethodResponse::json(200, &json!("d1")) })
        .await
        .unwrap();
    module
        .on_method("who", |_| async { MethodResponse::json(200, &json!("m1")) })
        .await
        .unwrap();

    assert_eq!(
        end(call(&hub, "d1/m1", "who")).await.unwrap().payload,
        "\"m1\""
    );
    assert_eq!(
        end(call(&hub, "d1", "who")).await.unwrap().payload,
        "\"d1\""
    );
}

#[tokio::test]
async fn eleventh_unanswered_call_is_refused() {
    let hub = TestHub::start().await;
    let mut device = listening(&hub, "d1").await;
    let calls: Vec<Call> = (0..10).map(|_| call(&hub, "d1", "slow")).collect();
    let mut rids = Vec::new();
    for _ in 0..10 {
        rids.push(device.receive_call().await.1);
    }

    let eleventh = refusal(call(&hub, "d1", "slow")).await;

    assert_eq!(
        eleventh,
        Some(ErrorCode::DeviceMaximumInflightMethodExceeded)
    );
    for rid in rids {
        device.answer_call(&rid, 200, "1").await;
    }
    for call in calls {
        assert_eq!(end(call).await.unwrap().status, 200);
    }
}

#[tokio::test]
async fn caller_that_leaves_frees_its_place() {
    let hub = TestHub::start().await;
    let mut device = listening(&hub, "d1").await;
    let calls: Vec<Call> = (0..10).map(|_| call(&hub, "d1", "slow")).collect();
    for _ in 0..10 {
        device.receive_call().await;
    }

    calls[3].abort();

    // The hub learns of it when the connection closes; until then there is no place.
    let answer = loop {
        let mut next = call(&hub, "d1", "next");
        let ended = tokio::select! {
            ended = &mut next => ended.unwrap(),
            (_, rid, _) = device.receive_call() => {
                device.answer_call(&rid, 200, "1").await;
                end(next).await
            }
        };
        match ended {
            Ok(answer) => break answer,
            Err(error) => {
                let full = Some(ErrorCode::DeviceMaximumInflightMethodExceeded);
                assert_eq!(error.code(), full);
            }
        }
    };
    assert_eq!(answer.status, 200);
    assert!(
        calls
            .iter()
            .enumerate()
            .all(|(n, call)| n == 3 || !call.is_finished())
    );
}

#[tokio::test]
async fn call_ends_when_its_device_goes_away() {
    let hub = TestHub::start().await;
    for graceful in [true, false] {
        let mut device = listening(&hub, "d1").await;
        let call = call(&hub, "d1", "reboot");
        device.receive_call().await;

        if graceful {
            device.disconnect().await;
        } else {
            drop(device);
        }

        let code = refusal(call).await;
        assert_eq!(
            code,
            Some(ErrorCode::DeviceConnectionClosedRemotely),
            "{graceful}"
        );
        hub.wait_until_disconnected("d1").await;
    }
}

#[tokio::test]
async fn answers_to_no_call_are_ignored() {
    let hub = TestHub::start().await;
    let mut device = listening(&hub, "d1").await;
    let call = call(&hub, "d1", "reboot");
    let (_, rid, _) = device.receive_call().await;

    for stranger in ["ffff", "0", "", "not-hex", "123456789abcdef0123456789"] {
        device.answer_call(stranger, 500, "\"wrong\"").await;
    }
    device.expect_nothing().await;
    assert!(!call.is_finished());
    device.answer_call(&rid, 200, "\"right\"").await;

    assert_eq!(end(call).await.unwrap().payload, "\"right\"");
}

#[tokio::test]
async fn calls_run_side_by_side_and_end_in_any_order() {
    let hub = TestHub::start().await;
    let mut device = listening(&hub, "d1").await;
    let first = call(&hub, "d1", "first");
    let (_, first_rid, _) = device.receive_call().await;
    let second = call(&hub, "d1", "second");
    let (_, second_rid, _) = device.receive_call().await;

    device.answer_call(&second_rid, 202, "2").await;
    assert_eq!(end(second).await.unwrap().status, 202);
    device.answer_call(&first_rid, 201, "1").await;

    assert_eq!(end(first).await.unwrap().status, 201);
}

#[tokio::test]
async fn call_that_waits_ends_with_its_device() {
    let hub = TestHub::start().await;
    hub.device_connection_string("d1").await;
    hub.module_connection_string("d2/m1").await;
    let for_device = call_patiently(&hub, "d1", "x", 300);
    let for_module = call_patiently(&hub, "d2/m1", "x", 300);
    hub.wait_until(method("x").times(2)).await;

    let registry = hub.backend().registry();
    registry.delete_device("d1", &IfMatch::Any).await.unwrap();
    registry
        .delete_module("d2/m1", &IfMatch::Any)
        .await
        .unwrap();

    assert_eq!(refusal(for_device).await, Some(ErrorCode::DeviceNotFound));
    assert_eq!(refusal(for_module).await, Some(ErrorCode::ModuleNotFound));
}

#[tokio::test]
async fn call_ends_when_another_connection_takes_over() {
    let hub = TestHub::start().await;
    let mut older = listening(&hub, "d1").await;
    let call = call(&hub, "d1", "reboot");
    let (_, rid, _) = older.receive_call().await;

    let mut newer = listening(&hub, "d1").await;
    newer.answer_call(&rid, 200, "1").await;

    assert_eq!(
        refusal(call).await,
        Some(ErrorCode::DeviceConnectionClosedRemotely)
    );
    newer.expect_nothing().await;
}

#[tokio::test]
async fn deadlines_fall_due_in_their_order_however_far_the_time_is_moved() {
    let hub = TestHub::builder().virtual_clock().start().await;
    let mut silent = listening(&hub, "d1").await;
    let backend = hub.backend().clone();
    let mut calls = Vec::new();
    for seconds in [30, 10, 20] {
        let backend = backend.clone();
        calls.push(tokio::spawn(async move {
            let name = format!("within-{seconds}");
            let call = backend
                .methods()
                .invoke("d1", name)
                .response_timeout(secs(seconds));
            call.send().await
        }));
        silent.receive_call().await;
    }

    hub.clock().advance(secs(3600)).await;

    for call in calls {
        assert_eq!(refusal(call).await, Some(ErrorCode::GatewayTimeout));
    }
    let timeline = hub.timeline();
    let ends: Vec<_> = timeline
        .lines()
        .filter(|line| line.contains("failed"))
        .collect();
    assert_eq!(ends.len(), 3, "{timeline}");
    for (line, seconds) in ends.iter().zip(["10", "20", "30"]) {
        let expected = format!("{seconds}.000 s  within-{seconds} on d1 failed");
        assert!(line.contains(&expected), "{timeline}");
    }
}

#[tokio::test]
async fn payload_over_the_limit_is_refused_and_one_at_the_limit_delivered() {
    const LIMIT: usize = 128 * 1024;
    let hub = TestHub::start().await;
    let mut device = listening(&hub, "d1").await;
    let text = |length: usize| Value::from("x".repeat(length - 2));

    let too_large = hub
        .backend()
        .methods()
        .invoke("d1", "x")
        .payload(&text(LIMIT + 1));
    let refused = too_large.send().await.unwrap_err();
    let backend = hub.backend().clone();
    let fits = tokio::spawn(async move {
        backend
            .methods()
            .invoke("d1", "x")
            .payload(&text(LIMIT))
            .send()
            .await
    });
    let (_, rid, payload) = device.receive_call().await;
    device.answer_call(&rid, 200, payload.clone()).await;

    assert_eq!(refused.code(), Some(ErrorCode::MessageTooLarge));
    assert_eq!(payload.len(), LIMIT);
    assert_eq!(end(fits).await.unwrap().payload, payload);
}
