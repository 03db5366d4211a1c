//! Who may read, and who displaces whom (`spec/amqp.md` 6.3).

use iothub_protocol::amqp::Symbol;

use super::*;

fn owner(client: &mut Client, level: i64, name: &str) -> AttachLink {
    let symbol = |name| Value::Symbol(Symbol::of(name));
    AttachLink {
        properties: vec![
            (symbol("com.microsoft:epoch"), Value::Long(level)),
            (symbol("com.microsoft:receiver-name"), Value::from(name)),
        ],
        ..client.partition()
    }
}

#[tokio::test]
async fn the_newest_of_the_highest_owners_reads_and_the_others_are_told() {
    let emulator = emulator_with_events(&["a"]).await;
    let mut first = Client::reader(&emulator).await;
    let mut second = Client::reader(&emulator).await;
    let plain = first.partition();
    let plain = first.attached(plain).await;
    assert_eq!(first.bodies(plain, 1).await, ["a"]);

    let one = owner(&mut second, 1, "one");
    let one = second.attached(one).await;
    let stolen = first.expect_detach(plain).await.unwrap();
    assert_eq!(stolen.condition.as_str(), "amqp:link:stolen");
    let text = stolen.description.unwrap();
    assert!(
        text.starts_with("New receiver 'one' with higher epoch of '1'"),
        "{text}"
    );
    assert_eq!(second.bodies(one, 1).await, ["a"]);

    let same = owner(&mut first, 1, "two");
    let same = first.attached(same).await;
    let stolen = second.expect_detach(one).await.unwrap();
    assert_eq!(stolen.condition.as_str(), "amqp:link:stolen");
    assert_eq!(first.bodies(same, 1).await, ["a"]);

    for link in [owner(&mut second, 0, "low"), second.partition()] {
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
    let high = owner(&mut first, 9, "high");
    let high = first.attached(high).await;
    first.detach(high).await;
    let low = owner(&mut first, 3, "low");
    assert_eq!(first.bodies_of_new(low).await, ["a"]);
    drop(first);

    let handle = emulator.handle();
    while handle.inspect(|hub| hub.reader_count()) > 0 {
        tokio::task::yield_now().await;
    }
    let mut second = Client::reader(&emulator).await;
    let link = second.partition();
    assert_eq!(second.bodies_of_new(link).await, ["a"]);
}

#[tokio::test]
async fn five_read_a_partition_of_a_group_and_a_sixth_is_refused() {
    let emulator = emulator_with_events(&["a"]).await;
    let mut client = Client::reader(&emulator).await;
    let mut links = Vec::new();
    for _ in 0..5 {
        let link = client.partition();
        links.push(client.attached(link).await);
    }

    let link = client.partition();
    let refused = client.refused(link).await;

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
    let link = client.receiver(&node, 10);
    let unknown = client.refused(link).await;
    assert_eq!(unknown.condition.as_str(), "amqp:not-found");
    let operator = Principal::operator();
    let operation = OperationKind::Control.hub_wide();
    let handle = emulator.handle();
    let made = handle.call(operation, |hub, cx| {
        hub.put_consumer_group(cx, &operator, "dashboard").map(drop)
    });
    made.await.unwrap();

    let link = client.receiver(&node, 10);
    let link = client.attached(link).await;
    assert_eq!(client.bodies(link, 1).await, ["a"]);
    let deleted = handle.call(operation, |hub, cx| {
        hub.delete_consumer_group(cx, &operator, "Dashboard")
    });
    deleted.await.unwrap();

    let ended = client.expect_detach(link).await.unwrap();
    assert_eq!(ended.condition.as_str(), "amqp:not-found");
}

#[tokio::test]
async fn what_is_not_there_is_not_found_and_nobody_publishes() {
    let emulator = emulator_with_events(&[]).await;
    let mut client = Client::reader(&emulator).await;

    for (node, is_sender, condition) in [
        (
            "ConsumerGroups/$Default/Partitions/1",
            false,
            "amqp:not-found",
        ),
        (
            "ConsumerGroups/$Default/Partitions/00",
            false,
            "amqp:not-found",
        ),
        (
            "ConsumerGroups/$Default/Partitions/x",
            false,
            "amqp:not-found",
        ),
        ("ConsumerGroups/other/Partitions/0", false, "amqp:not-found"),
        ("Partitions/0", true, "amqp:unauthorized-access"),
        ("", true, "amqp:unauthorized-access"),
    ] {
        let node = format!("{ENTITY}/{node}");
        let link = match is_sender {
            true => client.sender(&node),
            false => client.receiver(&node, 10),
        };
        let refused = client.refused(link).await;
        assert_eq!(refused.condition.as_str(), condition, "{node}");
    }
    let mut client = client_with_token(&emulator, "sb://localhost/other").await;
    let node = "other/ConsumerGroups/$Default/Partitions/0";
    let link = client.receiver(node, 10);
    let refused = client.refused(link).await;
    assert_eq!(refused.condition.as_str(), "amqp:not-found");
    let link = client.partition();
    let refused = client.refused(link).await;
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
        let mut client = client_with_token(&emulator, &resource).await;
        let node = format!("amqps://localhost:5671/{entity}/ConsumerGroups/$Default/Partitions/0");
        let link = client.receiver(&node, 10);

        assert_eq!(client.bodies_of_new(link).await, ["a"], "{entity}");
    }
}

#[tokio::test]
async fn a_reader_that_waits_for_nothing_does_not_hold_up_the_others() {
    let emulator = emulator_with_events(&["a", "b"]).await;
    let mut client = Client::reader(&emulator).await;
    let idle = AttachLink {
        credit: 0,
        ..client.partition()
    };
    client.attached(idle).await;

    let link = client.read_from(EventPosition::Earliest).await;

    assert_eq!(client.bodies(link, 2).await, ["a", "b"]);
}

impl Client {
    /// The first event of a new link.
    async fn bodies_of_new(&mut self, link: AttachLink) -> Vec<String> {
        let link = self.attached(link).await;
        self.bodies(link, 1).await
    }
}
