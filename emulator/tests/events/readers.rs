//! Who may read, and who displaces whom (`spec/amqp.md` 6.3).

use iothub_emulator::activity::OperationKind;
use iothub_hub::Principal;
use iothub_protocol::amqp::connection::AttachLink;
use iothub_protocol::amqp::performative::Role;
use iothub_protocol::amqp::selector::EventPosition;
use iothub_protocol::amqp::{Symbol, Value};

use crate::client::{Client, ENTITY, emulator_with_events, send};

fn owner(client: &Client, level: i64, name: &str) -> AttachLink {
    let symbol = |name| Value::Symbol(Symbol::of(name));
    AttachLink {
        properties: vec![
            (symbol("com.microsoft:epoch"), Value::Long(level)),
            (symbol("com.microsoft:receiver-name"), Value::from(name)),
        ],
        ..client.partition_link(None)
    }
}

#[tokio::test]
async fn the_newest_of_the_highest_owners_reads_and_the_others_are_told() {
    let emulator = emulator_with_events(&["a"]).await;
    let mut first = Client::reader(&emulator).await;
    let mut second = Client::reader(&emulator).await;
    let plain = first.attach(first.partition_link(None)).await.0;
    assert_eq!(first.bodies(plain, 1).await, ["a"]);

    let one = second.attach(owner(&second, 1, "one")).await.0;
    let stolen = first.detached(plain).await;
    assert_eq!(stolen.condition.as_str(), "amqp:link:stolen");
    let text = stolen.description.unwrap();
    assert!(
        text.starts_with("New receiver 'one' with higher epoch of '1'"),
        "{text}"
    );
    assert_eq!(second.bodies(one, 1).await, ["a"]);

    let same = first.attach(owner(&first, 1, "two")).await.0;
    let stolen = second.detached(one).await;
    assert_eq!(stolen.condition.as_str(), "amqp:link:stolen");
    assert_eq!(first.bodies(same, 1).await, ["a"]);

    for link in [owner(&second, 0, "low"), second.partition_link(None)] {
        let refused = second.refused(link).await;
        assert_eq!(refused.condition.as_str(), "amqp:link:stolen");
    }
    send(&emulator, "d1", ["b"]).await;
    assert_eq!(first.bodies(same, 1).await, ["b"]);
}

#[tokio::test]
async fn a_place_is_free_when_the_reader_detaches_or_its_connection_is_lost() {
    let emulator = emulator_with_events(&["a"]).await;
    let mut first = Client::reader(&emulator).await;
    let high = first.attach(owner(&first, 9, "high")).await.0;
    first.machine.detach(high, None);
    assert_eq!(first.bodies_of_new(owner(&first, 3, "low")).await, ["a"]);
    drop(first);

    let handle = emulator.handle();
    while handle.inspect(|hub| hub.reader_count()) > 0 {
        tokio::task::yield_now().await;
    }
    let mut second = Client::reader(&emulator).await;
    let link = second.partition_link(None);
    assert_eq!(second.bodies_of_new(link).await, ["a"]);
}

#[tokio::test]
async fn five_read_a_partition_of_a_group_and_a_sixth_is_refused() {
    let emulator = emulator_with_events(&["a"]).await;
    let mut client = Client::reader(&emulator).await;
    let mut links = Vec::new();
    for _ in 0..5 {
        links.push(client.attach(client.partition_link(None)).await.0);
    }

    let refused = client.refused(client.partition_link(None)).await;

    assert_eq!(refused.condition.as_str(), "amqp:resource-limit-exceeded");
    let text = refused.description.unwrap();
    assert!(
        text.contains("the maximum number of allowed receivers per partition"),
        "{text}"
    );
    for link in links {
        assert_eq!(client.bodies(link, 1).await, ["a"]);
    }
}

#[tokio::test]
async fn a_group_is_made_and_its_readers_end_with_it() {
    let emulator = emulator_with_events(&["a"]).await;
    let mut client = Client::reader(&emulator).await;
    let node = format!("{ENTITY}/ConsumerGroups/DASHBOARD/Partitions/0");
    let unknown = client.refused(client.link(&node, Role::Receiver, 10)).await;
    assert_eq!(unknown.condition.as_str(), "amqp:not-found");
    let operator = Principal::operator();
    let operation = OperationKind::Control.hub_wide();
    let handle = emulator.handle();
    let made = handle.call(operation, |hub, cx| {
        hub.put_consumer_group(cx, &operator, "dashboard").map(drop)
    });
    made.await.unwrap();

    let link = client
        .attach(client.link(&node, Role::Receiver, 10))
        .await
        .0;
    assert_eq!(client.bodies(link, 1).await, ["a"]);
    let deleted = handle.call(operation, |hub, cx| {
        hub.delete_consumer_group(cx, &operator, "Dashboard")
    });
    deleted.await.unwrap();

    let ended = client.detached(link).await;
    assert_eq!(ended.condition.as_str(), "amqp:not-found");
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_nobody_publishes() {
    let emulator = emulator_with_events(&[]).await;
    let mut client = Client::reader(&emulator).await;

    for (node, role, condition) in [
        (
            "ConsumerGroups/$Default/Partitions/1",
            Role::Receiver,
            "amqp:not-found",
        ),
        (
            "ConsumerGroups/$Default/Partitions/00",
            Role::Receiver,
            "amqp:not-found",
        ),
        (
            "ConsumerGroups/$Default/Partitions/x",
            Role::Receiver,
            "amqp:not-found",
        ),
        (
            "ConsumerGroups/other/Partitions/0",
            Role::Receiver,
            "amqp:not-found",
        ),
        ("Partitions/0", Role::Sender, "amqp:unauthorized-access"),
        ("", Role::Sender, "amqp:unauthorized-access"),
    ] {
        let node = format!("{ENTITY}/{node}");
        let refused = client.refused(client.link(&node, role, 10)).await;
        assert_eq!(refused.condition.as_str(), condition, "{node}");
    }
    let mut client = Client::with_token(&emulator, "sb://localhost/other").await;
    let node = "other/ConsumerGroups/$Default/Partitions/0";
    let refused = client.refused(client.link(node, Role::Receiver, 10)).await;
    assert_eq!(refused.condition.as_str(), "amqp:not-found");
    let refused = client.refused(client.partition_link(None)).await;
    assert_eq!(refused.condition.as_str(), "amqp:unauthorized-access");
}

#[tokio::test]
async fn every_name_of_the_event_hub_is_read() {
    let emulator = emulator_with_events(&["a"]).await;
    for entity in [
        "LOCALHOST",
        "iothub-ehub-localhost-123-0abc",
        "messages/events",
    ] {
        let resource = format!("sb://localhost/{entity}");
        let mut client = Client::with_token(&emulator, &resource).await;
        let node = format!("amqps://localhost:5671/{entity}/ConsumerGroups/$Default/Partitions/0");
        let link = client.link(&node, Role::Receiver, 10);

        assert_eq!(client.bodies_of_new(link).await, ["a"], "{entity}");
    }
}

#[tokio::test]
async fn a_reader_that_waits_for_nothing_does_not_hold_up_the_others() {
    let emulator = emulator_with_events(&["a", "b"]).await;
    let mut client = Client::reader(&emulator).await;
    let idle = AttachLink {
        credit: 0,
        ..client.partition_link(None)
    };
    client.attach(idle).await;

    let link = client.read_from(EventPosition::Earliest).await;

    assert_eq!(client.bodies(link, 2).await, ["a", "b"]);
}

impl Client {
    /// The first event of a new link.
    async fn bodies_of_new(&mut self, link: AttachLink) -> Vec<String> {
        let link = self.attach(link).await.0;
        self.bodies(link, 1).await
    }
}
