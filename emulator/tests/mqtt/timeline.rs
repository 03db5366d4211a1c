//! What goes over an MQTT connection, as the timeline shows it.

use iothub_emulator::timeline::{From, Reader, Wish};
use iothub_protocol::mqtt::packet::{ClientPacket, QoS};
use serde_json::Value;

use super::client::{Client, emulator, publish};
use super::watcher::Watcher;

/// Each line in a word or two.
fn brief(lines: &[Value]) -> Vec<String> {
    let word = |text: &Value| text.as_str().unwrap_or_default().to_owned();
    lines
        .iter()
        .map(|line| match line["kind"].as_str() {
            Some("wire") => {
                let summary = word(&line["summary"]);
                format!(
                    "{} {}",
                    word(&line["direction"]),
                    summary.split(' ').next().unwrap()
                )
            }
            Some("notice") => word(&line["event"]),
            _ => word(&line["operation"]),
        })
        .collect()
}

#[tokio::test]
async fn packets_and_what_the_hub_makes_of_them_are_in_one_order() {
    let emulator = emulator().await;
    let mut watcher = Watcher::of(&emulator, "wire,notice", Some("d1"));

    let mut client = Client::online(&emulator, "d1").await;
    let topic = "devices/d1/messages/events/";
    client
        .send(&publish(topic, QoS::AtLeastOnce, 1, b"{}"))
        .await;
    client.next().await.unwrap();

    let lines = watcher.lines();
    let told = brief(&lines);
    let wanted = [
        "in CONNECT",
        "connected",
        "out CONNACK",
        "in PUBLISH",
        "telemetryStored",
        "out PUBACK",
    ];
    let known: Vec<_> = told
        .iter()
        .filter(|it| wanted.contains(&it.as_str()))
        .collect();
    assert_eq!(known, wanted, "{told:?}");
    let connect = lines.iter().find(|it| {
        it["summary"]
            .as_str()
            .is_some_and(|it| it.starts_with("CONNECT"))
    });
    let connect = connect.unwrap();
    assert_eq!(connect["client"], "d1");
    assert_eq!(connect["protocol"], "mqtt");
    assert_eq!(connect["packet"]["meaning"]["client"], "d1");
    assert_eq!(connect["hex"].as_str().unwrap().len(), 32);
}

#[tokio::test]
async fn a_refused_login_is_seen_by_who_watches_the_device() {
    let emulator = emulator().await;
    let mut watcher = Watcher::of(&emulator, "wire,refusal", Some("nobody"));
    let mut other = Watcher::of(&emulator, "wire", Some("d1"));

    let mut client = Client::dial(&emulator).await;
    let connect = super::client::connect("nobody", "SharedAccessSignature sr=x&sig=AAAA&se=1");
    client.send(&ClientPacket::Connect(connect)).await;
    client.next().await.unwrap();

    let lines = watcher.lines();
    assert_eq!(brief(&lines), ["in CONNECT", "connect", "out CONNACK"]);
    assert!(lines[1]["refusal"]["detail"].is_string());
    assert!(other.lines().is_empty());
}

#[tokio::test]
async fn who_is_refused_before_the_hub_is_asked_is_told_too() {
    let emulator = emulator().await;
    let mut watcher = Watcher::of(&emulator, "refusal", Some("other"));

    let mut client = Client::dial(&emulator).await;
    let mut connect = super::client::connect("d1", "SharedAccessSignature sr=x&sig=AAAA&se=1");
    connect.client_id = "other".into();
    client.send(&ClientPacket::Connect(connect)).await;
    client.next().await.unwrap();

    let lines = watcher.lines();
    assert_eq!(brief(&lines), ["connect"]);
    let detail = lines[0]["refusal"]["detail"].as_str().unwrap();
    assert!(
        detail.contains("is not the d1 of the user name"),
        "{detail}"
    );
}

#[tokio::test]
async fn a_password_given_as_the_user_name_is_not_told() {
    let emulator = emulator().await;
    let mut watcher = Watcher::of(&emulator, "refusal", None);

    let mut client = Client::dial(&emulator).await;
    let mut connect = super::client::connect("d1", "x");
    connect.username = Some("SharedAccessSignature sr=h&sig=0123456789&se=1".into());
    client.send(&ClientPacket::Connect(connect)).await;
    client.next().await.unwrap();

    let lines = watcher.lines();
    let detail = lines[0]["refusal"]["detail"].as_str().unwrap();
    assert!(detail.contains("sig=012345…&se=1"), "{detail}");
}

#[tokio::test]
async fn while_nobody_asks_nothing_is_taken_down() {
    let emulator = emulator().await;
    let client = Client::online(&emulator, "d1").await;

    let mut watcher = Watcher::of(&emulator, "wire", None);
    drop(client);
    assert!(watcher.lines().is_empty());
    drop(watcher);

    let timeline = emulator.handle().timeline().clone();
    let before = timeline.last();
    timeline.record(true);
    let _client = Client::online(&emulator, "d2").await;
    timeline.record(false);
    let wish = Wish::kinds("wire").unwrap();
    let mut reader = Reader::new(timeline, wish, From::After(before));
    assert!(reader.take(100).entries.len() >= 2);
}
