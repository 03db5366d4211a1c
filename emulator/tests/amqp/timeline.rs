//! What goes over an AMQP connection, as the timeline shows it.

use super::client::Client;
use super::device_telemetry::message;
use super::hub::{self, emulator};
use super::watcher::Watcher;

#[tokio::test]
async fn a_device_is_known_from_its_first_bytes_on() {
    let emulator = emulator().await;
    let mut watcher = Watcher::of(&emulator, "wire,notice", Some("d1"));
    let mut other = Watcher::of(&emulator, "wire", Some("d2"));

    let mut client = Client::device(&emulator, "d1").await;
    let link = client
        .attach_sender("/devices/d1/messages/events")
        .await
        .unwrap();
    client.send(link, &message("hello")).await;

    let lines = watcher.lines();
    let summary =
        |line: &serde_json::Value| line["summary"].as_str().unwrap_or_default().to_owned();
    let told: Vec<_> = lines.iter().map(summary).collect();
    let begins = |text: &str| {
        let found = told.iter().position(|it| it.starts_with(text));
        found.unwrap_or_else(|| panic!("no {text} in {told:#?}"))
    };
    let order = [
        begins("header AMQP"),
        begins("open by"),
        begins("attach sender · /devices/d1/messages/events"),
        begins("transfer /devices/d1/messages/events · "),
        begins("disposition 1 accepted"),
    ];
    // What was said before the connection said whose it is comes with the bytes that say so.
    assert!(order.is_sorted(), "{told:#?}");
    let transfer = &lines[order[3]];
    assert_eq!(transfer["client"], "d1");
    assert_eq!(transfer["packet"]["message"]["body"], "hello");
    assert!(lines.iter().any(|line| line["event"] == "telemetryStored"));
    let all = told.join("\n");
    assert!(!all.contains("sig="), "{all}");
    assert!(other.lines().is_empty());
}

#[tokio::test]
async fn a_token_that_is_refused_is_told_of_its_device() {
    let emulator = emulator().await;
    let mut watcher = Watcher::of(&emulator, "refusal", Some("d1"));
    let mut other = Watcher::of(&emulator, "refusal", Some("d2"));

    let mut client = Client::connect(&emulator).await;
    let token = "SharedAccessSignature sr=hub%2Fdevices%2Fd1&sig=AAAA&se=1";
    let (status, _) = client.put_token(&hub::resource("d1"), token).await;

    assert_eq!(status, 401);
    let lines = watcher.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert_eq!(lines[0]["operation"], "connect");
    assert_eq!(lines[0]["refusal"]["code"], "IotHubUnauthorizedAccess");
    assert!(other.lines().is_empty());
}
