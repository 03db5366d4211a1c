//! What is the same of all queues that back ends read: feedback and file-upload notifications
//! (`spec/amqp.md` 5.2, 5.3).

use std::time::Duration;

use iothub_emulator::Emulator;
use iothub_protocol::amqp::connection::{AttachLink, Delivery};
use iothub_protocol::amqp::message::AmqpMessage;
use iothub_protocol::amqp::performative::{ReceiverSettleMode, SenderSettleMode};
use iothub_protocol::amqp::{AmqpError, DeliveryState, Event, LinkId};

use crate::client::{Client, condition_of};
use crate::hub::frozen_emulator;
use crate::{feedback, file_notifications};

#[derive(Clone, Copy, Debug, PartialEq)]
enum Queue {
    Feedback,
    FileNotifications,
}

const QUEUES: [Queue; 2] = [Queue::Feedback, Queue::FileNotifications];

impl Queue {
    fn address(self) -> &'static str {
        match self {
            Self::Feedback => feedback::ADDRESS,
            Self::FileNotifications => file_notifications::ADDRESS,
        }
    }

    /// Makes one entry.
    async fn add(self, emulator: &Emulator, name: &str) {
        match self {
            Self::Feedback => feedback::add(emulator, name).await,
            Self::FileNotifications => file_notifications::add(emulator, name).await,
        }
    }

    /// The name that an entry was made with.
    fn name_of(self, message: &AmqpMessage) -> String {
        let data = message.data().unwrap();
        let json: serde_json::Value = serde_json::from_slice(&data).unwrap();
        let name = match self {
            Self::Feedback => json[0]["originalMessageId"].as_str(),
            Self::FileNotifications => json["blobName"]
                .as_str()
                .and_then(|name| name.strip_prefix("d1/")),
        };
        name.unwrap().to_owned()
    }
}

async fn reader(emulator: &Emulator, queue: Queue, credit: u32) -> (Client, LinkId) {
    let mut client = Client::service(emulator, "service").await;
    let link = client.attach_receiver(queue.address(), credit).await;
    (client, link.unwrap())
}

/// The next entry, and what it is called.
async fn next(client: &mut Client, link: LinkId, queue: Queue) -> (Delivery, u32, String) {
    let (delivery, message) = client.receive(link).await;
    let count = message.header.delivery_count.unwrap_or_default();
    (delivery, count, queue.name_of(&message))
}

/// An emulator with a device and entries.
async fn emulator_with(queue: Queue, names: &[&str]) -> Emulator {
    let emulator = frozen_emulator().await;
    crate::hub::register(&emulator, "d1").await;
    for name in names {
        queue.add(&emulator, name).await;
    }
    emulator
}

fn modified() -> DeliveryState {
    DeliveryState::Modified {
        delivery_failed: true,
        undeliverable_here: false,
        annotations: Vec::new(),
    }
}

#[tokio::test]
async fn entries_come_in_order_as_far_as_credit_goes() {
    for queue in QUEUES {
        let emulator = emulator_with(queue, &["a", "b", "c"]).await;
        let (mut client, link) = reader(&emulator, queue, 0).await;
        assert_eq!(client.pending(link).await, None);

        client.grant(link, 2).await;
        let (first, count, name) = next(&mut client, link, queue).await;
        assert_eq!((first.tag.len(), first.settled), (16, false));
        assert_eq!((count, name.as_str()), (0, "a"));
        assert_eq!(next(&mut client, link, queue).await.2, "b");
        assert_eq!(client.pending(link).await, None);

        client.grant(link, 5).await;
        assert_eq!(next(&mut client, link, queue).await.2, "c");
        queue.add(&emulator, "d").await;
        assert_eq!(next(&mut client, link, queue).await.2, "d");
    }
}

#[tokio::test]
async fn outcomes_settle_what_was_received() {
    for queue in QUEUES {
        let emulator = emulator_with(queue, &["a", "b"]).await;
        let (mut client, link) = reader(&emulator, queue, 10).await;
        let mut first = next(&mut client, link, queue).await.0;
        let second = next(&mut client, link, queue).await.0;
        client
            .settle(link, second.id, DeliveryState::Accepted)
            .await;

        for (back, state) in [DeliveryState::Released, modified()]
            .into_iter()
            .enumerate()
        {
            client.settle(link, first.id, state).await;
            let (again, count, name) = next(&mut client, link, queue).await;
            assert_eq!((count, name.as_str()), (back as u32 + 1, "a"));
            assert_ne!(again.tag, first.tag);
            first = again;
        }
        client
            .settle(link, first.id, DeliveryState::Rejected(None))
            .await;

        assert_eq!(client.pending(link).await, None);
        client.detach(link).await;
        let (mut other, link) = reader(&emulator, queue, 10).await;
        assert_eq!(other.pending(link).await, None);
    }
}

#[tokio::test]
async fn a_receiver_that_leaves_the_last_word_gets_it() {
    for queue in QUEUES {
        let emulator = emulator_with(queue, &["a", "b"]).await;
        let mut client = Client::service(&emulator, "service").await;
        let wanted = AttachLink {
            rcv_settle_mode: ReceiverSettleMode::Second,
            ..client.receiver(queue.address(), 10)
        };
        let (link, _) = client.attach(wanted).await.unwrap();
        let first = next(&mut client, link, queue).await.0;
        let second = next(&mut client, link, queue).await.0;

        let state = tell(&mut client, link, &first, DeliveryState::Accepted).await;
        assert_eq!(state, Some(DeliveryState::Accepted));

        // The lock of the other is lost meanwhile.
        emulator.handle().advance(Duration::from_secs(61)).await;
        let state = tell(&mut client, link, &second, DeliveryState::Accepted).await;
        let Some(DeliveryState::Rejected(Some(error))) = state else {
            panic!("{state:?}");
        };
        assert_eq!(condition_of(&error), "com.microsoft:message-lock-lost");
        let (_, count, name) = next(&mut client, link, queue).await;
        assert_eq!((count, name.as_str()), (0, "b"));
    }
}

/// Tells an outcome without settling; what the sender then settles with.
async fn tell(
    client: &mut Client,
    link: LinkId,
    delivery: &Delivery,
    state: DeliveryState,
) -> Option<DeliveryState> {
    client.machine.tell(link, delivery.id, state);
    let id = delivery.id;
    client
        .wait("the sender's last word", |event| match event {
            Event::Outcome {
                link: of,
                delivery,
                state,
                settled: true,
            } if *of == link && *delivery == id => Some(state.clone()),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn who_settles_without_a_word_has_taken_it() {
    for queue in QUEUES {
        let emulator = emulator_with(queue, &["a"]).await;
        let (mut client, link) = reader(&emulator, queue, 10).await;
        let (first, ..) = next(&mut client, link, queue).await;
        let received = DeliveryState::Received {
            section_number: 0,
            section_offset: 0,
        };

        // Nothing that is final.
        client.machine.tell(link, first.id, received.clone());
        client.round_trip().await;
        emulator.handle().advance(Duration::from_secs(61)).await;
        let (again, _, name) = next(&mut client, link, queue).await;
        assert_eq!(name, "a");

        client.settle(link, again.id, received).await;
        client.round_trip().await;
        emulator.handle().advance(Duration::from_secs(61)).await;
        assert_eq!(client.pending(link).await, None);
    }
}

#[tokio::test]
async fn who_wants_it_settled_has_it_once_and_for_all() {
    for queue in QUEUES {
        let emulator = emulator_with(queue, &["a"]).await;
        let mut client = Client::service(&emulator, "service").await;
        let wanted = AttachLink {
            snd_settle_mode: SenderSettleMode::Settled,
            ..client.receiver(queue.address(), 10)
        };
        let (link, answer) = client.attach(wanted).await.unwrap();
        assert_eq!(answer.snd_settle_mode, SenderSettleMode::Settled);

        let (delivery, _, name) = next(&mut client, link, queue).await;

        assert_eq!((delivery.settled, name.as_str()), (true, "a"));
        client.detach(link).await;
        let (mut other, link) = reader(&emulator, queue, 10).await;
        assert_eq!(other.pending(link).await, None);
    }
}

#[tokio::test]
async fn what_a_reader_leaves_goes_to_the_others_at_once() {
    for queue in QUEUES {
        let emulator = emulator_with(queue, &["a", "b"]).await;
        let (mut first, link) = reader(&emulator, queue, 10).await;
        for _ in 0..2 {
            next(&mut first, link, queue).await;
        }
        let (mut second, other) = reader(&emulator, queue, 1).await;
        assert_eq!(second.pending(other).await, None);

        // By a detach.
        first.detach(link).await;
        let (delivery, count, name) = next(&mut second, other, queue).await;
        assert_eq!((count, name.as_str()), (0, "a"));
        second
            .settle(other, delivery.id, DeliveryState::Accepted)
            .await;
        second.grant(other, 1).await;
        assert_eq!(next(&mut second, other, queue).await.2, "b");

        // And by the end of the connection, without a word.
        let (mut third, link) = reader(&emulator, queue, 1).await;
        drop(second);
        let (_, count, name) = next(&mut third, link, queue).await;
        assert_eq!((count, name.as_str()), (0, "b"));
    }
}

#[tokio::test]
async fn readers_compete_and_each_entry_is_for_one_of_them() {
    for queue in QUEUES {
        let emulator = emulator_with(queue, &[]).await;
        let (mut one, link) = reader(&emulator, queue, 1).await;
        let (mut two, other) = reader(&emulator, queue, 1).await;

        queue.add(&emulator, "a").await;
        queue.add(&emulator, "b").await;

        let mut names = [
            next(&mut one, link, queue).await.2,
            next(&mut two, other, queue).await.2,
        ];
        names.sort();
        assert_eq!(names, ["a", "b"]);
        assert_eq!(one.pending(link).await, None);
        assert_eq!(two.pending(other).await, None);
    }
}

#[tokio::test]
async fn a_lock_that_is_lost_hands_the_entry_on() {
    for queue in QUEUES {
        let emulator = emulator_with(queue, &["a"]).await;
        // Granted by hand: a credit that is there from the start is renewed by what is settled.
        let (mut slow, link) = reader(&emulator, queue, 0).await;
        slow.grant(link, 1).await;
        let (late, ..) = next(&mut slow, link, queue).await;
        let (mut quick, other) = reader(&emulator, queue, 0).await;
        quick.grant(other, 1).await;
        quick.round_trip().await;
        emulator.handle().advance(Duration::from_secs(61)).await;
        let (delivery, count, name) = next(&mut quick, other, queue).await;
        assert_eq!((count, name.as_str()), (0, "a"));

        // Too late, and nothing comes of it.
        slow.settle(link, late.id, DeliveryState::Accepted).await;
        slow.expect_alive().await;
        quick
            .settle(other, delivery.id, DeliveryState::Released)
            .await;

        slow.grant(link, 1).await;
        assert_eq!(next(&mut slow, link, queue).await.1, 1);
    }
}

#[tokio::test]
async fn only_who_may_act_as_a_back_end_reads() {
    for queue in QUEUES {
        let emulator = emulator_with(queue, &[]).await;
        let mut client = Client::service(&emulator, "registryRead").await;
        let refused: Result<LinkId, AmqpError> = client.attach_receiver(queue.address(), 1).await;
        let error = refused.unwrap_err();
        assert_eq!(condition_of(&error), "amqp:unauthorized-access");

        let mut client = Client::service(&emulator, "service").await;
        let error = client.attach_sender(queue.address()).await.unwrap_err();
        assert_eq!(condition_of(&error), "amqp:not-found");
    }
}

#[tokio::test]
async fn spellings_of_the_address_are_one_queue() {
    let emulator = emulator_with(Queue::Feedback, &["a"]).await;
    let mut client = Client::service(&emulator, "service").await;
    for address in [
        "messages/servicebound/feedback",
        "/messages/serviceBound/feedback",
        "amqps://localhost:5671/messages/serviceBound/feedback/",
    ] {
        let link = client.attach_receiver(address, 1).await.unwrap();
        let (delivery, ..) = next(&mut client, link, Queue::Feedback).await;
        client
            .settle(link, delivery.id, DeliveryState::Released)
            .await;
        client.detach(link).await;
    }
}
