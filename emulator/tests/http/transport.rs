//! Connections: limits, keep-alive, WebSocket, and the end (`spec/service.md` 0.1).

use tokio::io::AsyncReadExt;
use tokio::io::AsyncWriteExt;

use super::hub::{TestHub, VERSION};

#[tokio::test]
async fn a_connection_is_kept() {
    let hub = TestHub::new();
    hub.create("d1").await;
    let token = hub.token("iothubowner");
    let (mut client, served) = hub.connect();

    for _ in 0..3 {
        let head = format!("GET /devices/d1?{VERSION}");
        let reply = client
            .request(&head, &[("Authorization", &token)], "")
            .await;
        assert_eq!(reply.status, 200);
        let wrong = client.request("PUT /nowhere", &[], "some body").await;
        assert_eq!(wrong.status, 404);
    }
    drop(client);
    served.await.unwrap();
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_even_if_it_was_sent() {
    let hub = TestHub::new();
    let body = "x".repeat(600 * 1024);

    let reply = hub.owner("PUT /devices/d1", &body).await;

    assert_eq!(
        (reply.status, reply.header("iothub-errorcode")),
        (413, Some("MessageTooLarge"))
    );
}

#[tokio::test]
async fn a_body_waits_for_the_word_to_continue() {
    let hub = TestHub::new();
    let token = hub.token("iothubowner");
    let head = |length: usize| {
        format!(
            "PUT /devices/d1?{VERSION} HTTP/1.1\r\nHost: hub\r\nAuthorization: {token}\r\n\
             Expect: 100-continue\r\nContent-Length: {length}\r\n\r\n"
        )
    };

    let (mut client, _served) = hub.connect();
    client.write(head(2)).await;
    assert!(client.head().await.starts_with("HTTP/1.1 100"));
    client.write("{}").await;
    assert_eq!(client.reply().await.status, 200);

    let (mut client, _served) = hub.connect();
    client.write(head(10_000_000)).await;
    assert_eq!(client.reply().await.status, 413);
}

#[tokio::test]
async fn what_is_not_http_is_refused_and_closed() {
    let hub = TestHub::new();

    for garbage in [
        &b"\x16\x03\x01\x02\x00\x01"[..],
        b"GET\r\n\r\n",
        b"\x10\x10\x00\x04MQTT\r\n\r\n",
    ] {
        let (mut client, served) = hub.connect();
        client.write(garbage).await;
        let answer = client.rest().await;
        assert!(
            answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"),
            "{answer:?}"
        );
        served.await.unwrap();
    }
    let (mut client, _served) = hub.connect();
    client
        .offer(format!(
            "GET /devices HTTP/1.1\r\nX: {}\r\n\r\n",
            "x".repeat(100_000)
        ))
        .await;
    assert_eq!(client.reply().await.status, 431);
}

#[tokio::test]
async fn a_stop_ends_an_idle_connection() {
    let hub = TestHub::new();
    let (mut client, served) = hub.connect();
    client.request("GET /_emulator/health", &[], "").await;

    hub.stop.cancel();

    served.await.unwrap();
    assert_eq!(client.rest().await, b"");
}

fn upgrade(path: &str, protocol: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: hub\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: {protocol}\r\n\r\n"
    )
}

#[tokio::test]
async fn mqtt_is_spoken_over_websocket() {
    let hub = TestHub::new();

    for path in [
        "/$iothub/websocket",
        "/$iothub/websocket/",
        "/%24iothub/websocket?iothub-no-client-cert=true",
        "/$servicebus/websocket",
    ] {
        let (mut client, served) = hub.connect();
        client.write(upgrade(path, "mqtt")).await;
        let head = client.head().await.to_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{path}: {head}");
        assert!(
            head.contains("sec-websocket-accept: s3pplmbitxaq9kygzzhzrbk+xoo="),
            "{head}"
        );
        assert!(head.contains("sec-websocket-protocol: mqtt"), "{head}");

        // A CONNECT of MQTT 3.1.1 without a user name, in one masked binary frame.
        let connect = b"\x10\x0e\x00\x04MQTT\x04\x02\x00\x3c\x00\x02d1";
        let mut frame = vec![0x82, 0x80 | connect.len() as u8, 0, 0, 0, 0];
        frame.extend_from_slice(connect);
        client.write(frame).await;

        // A CONNACK that refuses, in a binary frame; then the end.
        let rest = client.rest().await;
        assert_eq!(&rest[..4], b"\x82\x04\x20\x02", "{rest:?}");
        served.await.unwrap();
    }
}

#[tokio::test]
async fn amqp_is_spoken_over_websocket() {
    let hub = TestHub::new();

    for path in [
        "/$iothub/websocket",
        "/$iothub/websocket?iothub-no-client-cert=true",
        "/$servicebus/websocket",
    ] {
        let (mut client, _served) = hub.connect();
        client.write(upgrade(path, "AMQPWSB10")).await;
        let head = client.head().await.to_lowercase();
        assert!(head.starts_with("http/1.1 101"), "{path}: {head}");
        assert!(head.contains("sec-websocket-protocol: amqpwsb10"), "{head}");

        // The header that begins with SASL, in one masked binary frame.
        let mut frame = vec![0x82, 0x88, 0, 0, 0, 0];
        frame.extend_from_slice(b"AMQP\x03\x01\x00\x00");
        client.write(frame).await;

        // The same header comes back.
        let answer = client.bytes(10).await;
        assert_eq!(&answer[2..], b"AMQP\x03\x01\x00\x00", "{answer:?}");
    }
}

#[tokio::test]
async fn a_stop_ends_a_websocket_that_says_nothing() {
    let hub = TestHub::new();
    let (mut stream, served) = hub.open();
    stream
        .write_all(upgrade("/$iothub/websocket", "mqtt").as_bytes())
        .await
        .unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 101");

    hub.stop.cancel();

    served.await.unwrap();
}

#[tokio::test]
async fn other_websockets_are_refused() {
    let hub = TestHub::new();

    let (mut client, _served) = hub.connect();
    client.write(upgrade("/$iothub/websocket", "chat")).await;
    let chat = client.reply().await;
    let (mut client, _served) = hub.connect();
    let plain = client.request("GET /$iothub/websocket", &[], "").await;

    assert_eq!((chat.status, plain.status), (400, 400));
}
