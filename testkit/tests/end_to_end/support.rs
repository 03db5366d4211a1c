//! What several tests need.

use std::time::Duration;

use bytes::Bytes;
use iothub_backend::Error;
use iothub_testkit::{ErrorCode, MethodResponse, ScriptedDevice, TestHub};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

pub(crate) const METHODS: &str = "$iothub/methods/POST/#";
pub(crate) const TWIN_RESPONSES: &str = "$iothub/twin/res/#";
pub(crate) const DESIRED: &str = "$iothub/twin/PATCH/properties/desired/#";

pub(crate) type Call = JoinHandle<Result<iothub_backend::MethodResponse, Error>>;

pub(crate) const fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a device answers.
pub(crate) fn response(status: i32, payload: impl Into<Bytes>) -> MethodResponse {
    MethodResponse {
        status,
        payload: payload.into(),
    }
}

/// Calls a method in the background.
pub(crate) fn call(hub: &TestHub, client: &'static str, name: &'static str) -> Call {
    call_patiently(hub, client, name, 0)
}

/// As [`call`], waiting this many seconds for a device that is offline.
pub(crate) fn call_patiently(
    hub: &TestHub,
    client: &'static str,
    name: &'static str,
    seconds: u64,
) -> Call {
    let backend = hub.backend().clone();
    tokio::spawn(async move {
        let call = backend
            .methods()
            .invoke(client, name)
            .connect_timeout(secs(seconds));
        call.send().await
    })
}

/// The end of a call in the background.
pub(crate) async fn end(call: Call) -> Result<iothub_backend::MethodResponse, Error> {
    tokio::time::timeout(iothub_testkit::WAIT_LIMIT, call)
        .await
        .expect("the call ends in time")
        .expect("the caller does not panic")
}

/// The refusal of a call in the background.
pub(crate) async fn refusal(call: Call) -> Option<ErrorCode> {
    end(call).await.expect_err("the call is refused").code()
}

/// A raw device that listens for methods.
pub(crate) async fn listening(hub: &TestHub, client: &str) -> ScriptedDevice {
    let mut device = hub.scripted_device(client).await;
    device.subscribe(METHODS).await;
    device
}

/// Proves that a device works from end to end: it is called, and answers.
pub(crate) async fn assert_reachable(hub: &TestHub, device: &mut ScriptedDevice) {
    let call = call(hub, "bystander", "ping");
    let (name, rid, _) = device.receive_call().await;
    device.answer_call(&rid, 200, "\"pong\"").await;
    let answer: MethodResponse = {
        let answer = end(call).await.expect("the bystander answers");
        MethodResponse {
            status: answer.status,
            payload: answer.payload,
        }
    };
    assert_eq!((name.as_str(), answer.status), ("ping", 200));
    assert_eq!(answer.payload, "\"pong\"");
}

/// The body of `GET path`, as the bytes that came.
pub(crate) async fn http_get(hub: &TestHub, path: &str) -> Vec<u8> {
    let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
    let answer = http_raw(hub, request.as_bytes()).await;
    let end = answer
        .windows(4)
        .position(|window| window == b"\r\n\r\n")
        .expect("a head ends");
    assert!(
        answer.starts_with(b"HTTP/1.0 200"),
        "{}",
        String::from_utf8_lossy(&answer)
    );
    answer[end + 4..].to_vec()
}

/// Everything that comes back for these bytes until the hub closes the connection.
pub(crate) async fn http_raw(hub: &TestHub, request: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(("127.0.0.1", hub.ports().http))
        .await
        .unwrap();
    stream.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    tokio::time::timeout(iothub_testkit::WAIT_LIMIT, stream.read_to_end(&mut answer))
        .await
        .expect("the hub closes the connection in time")
        .unwrap();
    answer
}
