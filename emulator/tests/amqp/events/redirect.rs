//! From the hub's own address to the event hub's (`spec/amqp.md` 6.1).

use super::*;

#[tokio::test]
async fn who_comes_to_the_hub_is_told_where_the_events_are() {
    let emulator = emulator_with_events(&["a"]).await;
    let mut client = Client::service(&emulator, "service").await;

    for (node, host, tail) in [
        ("/messages/events/$management", "localhost", "$management"),
        (
            "amqps://my.host:5671/messages/events/ConsumerGroups/$Default/Partitions/0",
            "my.host",
            "ConsumerGroups/$Default/Partitions/0",
        ),
    ] {
        let link = client.receiver(node, 10);
        let error = client.refused(link).await;

        assert_eq!(error.condition.as_str(), "amqp:link:redirect");
        let info = |name| lookup(&error.info, name).unwrap();
        assert_eq!(info("hostname"), &Value::from(host));
        assert_eq!(info("network-host"), &Value::from(host));
        assert_eq!(info("port"), &Value::Int(emulator.ports().amqps.into()));
        let address = format!("amqps://{host}:5671/localhost/{tail}");
        assert_eq!(info("address"), &Value::from(&*address));

        if tail != "$management" {
            // There it is served, to the same token.
            let link = client.receiver(&address, 10);
            let link = client.attached(link).await;
            assert_eq!(client.bodies(link, 1).await, ["a"]);
        }
    }
}

#[tokio::test]
async fn who_would_ask_the_hub_about_its_events_is_sent_elsewhere_too() {
    let emulator = emulator().await;
    let mut client = Client::service(&emulator, "service").await;

    let link = client.sender("/messages/events/$management");
    let error = client.refused(link).await;

    assert_eq!(error.condition.as_str(), "amqp:link:redirect");
    let address = Value::from("amqps://localhost:5671/localhost/$management");
    assert_eq!(lookup(&error.info, "address"), Some(&address));
}
