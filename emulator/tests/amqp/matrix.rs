//! The error matrix: every node in both directions, with each wrong credential, without what it is
//! about, with what is no message, and with one that is too large: which condition, and whether the
//! connection lives on (`spec/amqp.md` 4, 4.1).

use iothub_emulator::Emulator;
use iothub_protocol::amqp::connection::{DeliveryId, Event};
use iothub_protocol::amqp::performative::Role;
use iothub_protocol::amqp::{AmqpError, DeliveryState, LinkId};

use crate::client::{Client, condition_of};
use crate::hub::{self, device_token, emulator, policy_token, register};

const POLICIES: [&str; 4] = ["registryRead", "service", "device", "iothubowner"];

/// Who may, beside the owner.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Right {
    /// Back ends.
    Service,
    /// The client of this name, and whoever may act as any.
    Client(&'static str),
}

/// What who may is answered.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Answer {
    /// The link is there.
    Taken,
    /// What is looked for is elsewhere.
    Redirected,
}

#[derive(Clone, Copy)]
struct Row {
    address: &'static str,
    role: Role,
    right: Right,
    answer: Answer,
    /// Addresses of the same kind with nothing behind them, and how they are refused.
    missing: &'static [(&'static str, &'static str)],
}

const fn send(address: &'static str, right: Right) -> Row {
    Row {
        address,
        role: Role::Sender,
        right,
        answer: Answer::Taken,
        missing: &[],
    }
}

const fn receive(address: &'static str, right: Right) -> Row {
    Row {
        role: Role::Receiver,
        ..send(address, right)
    }
}

const fn redirect(address: &'static str) -> Row {
    Row {
        answer: Answer::Redirected,
        ..receive(address, Right::Service)
    }
}

const fn missing(missing: &'static [(&'static str, &'static str)], row: Row) -> Row {
    Row { missing, ..row }
}

const D1: Right = Right::Client("d1");
const M1: Right = Right::Client("d1/m1");
const NOT_FOUND: &str = "amqp:not-found";
/// Who is not registered cannot have proved anything, not even by the owner's token.
const NOBODY: &str = "amqp:unauthorized-access";

const ROWS: &[Row] = &[
    send("/messages/devicebound", Right::Service),
    receive("/messages/serviceBound/feedback", Right::Service),
    receive("/messages/serviceBound/filenotifications", Right::Service),
    redirect("/messages/events"),
    redirect("/messages/events/$management"),
    redirect("/messages/events/ConsumerGroups/$Default/Partitions/0"),
    missing(
        &[
            ("elsewhere/ConsumerGroups/$Default/Partitions/0", NOT_FOUND),
            ("localhost/ConsumerGroups/nobodys/Partitions/0", NOT_FOUND),
            ("localhost/ConsumerGroups/$Default/Partitions/99", NOT_FOUND),
            ("localhost/ConsumerGroups/$Default/Partitions/-1", NOT_FOUND),
        ],
        receive(
            "localhost/ConsumerGroups/$Default/Partitions/0",
            Right::Service,
        ),
    ),
    missing(
        &[
            ("/devices/zz/messages/events", NOBODY),
            ("/devices/d1/modules/zz/messages/events", NOBODY),
        ],
        send("/devices/d1/messages/events", D1),
    ),
    missing(
        &[("/devices/zz/messages/devicebound", NOBODY)],
        receive("/devices/d1/messages/devicebound", D1),
    ),
    missing(
        &[("/devices/zz/methods/devicebound", NOBODY)],
        send("/devices/d1/methods/devicebound", D1),
    ),
    receive("/devices/d1/methods/devicebound", D1),
    missing(
        &[("/devices/zz/twin", NOBODY)],
        send("/devices/d1/twin", D1),
    ),
    receive("/devices/d1/twin", D1),
    send("/devices/d1/modules/m1/messages/events", M1),
    receive("/devices/d1/modules/m1/messages/events", M1),
    receive("/devices/d1/modules/m1/messages/devicebound", M1),
    send("/devices/d1/modules/m1/methods/devicebound", M1),
    receive("/devices/d1/modules/m1/twin", M1),
];

impl Row {
    fn allows(&self, policy: &str) -> bool {
        let own = match self.right {
            Right::Service => "service",
            Right::Client(_) => "device",
        };
        policy == own || policy == "iothubowner"
    }

    async fn attach(&self, client: &mut Client, address: &str) -> Result<LinkId, AmqpError> {
        match self.role {
            Role::Sender => client.attach_sender(address).await,
            Role::Receiver => client.attach_receiver(address, 1).await,
        }
    }

    /// Asserts that a link is refused so, or answered as who may is.
    async fn expect(&self, client: &mut Client, who: &str, refusal: Option<&str>) {
        let what = format!("{who}, {:?} {}", self.role, self.address);
        let attached = self.attach(client, self.address).await;
        let condition = match &attached {
            Ok(_) => "taken",
            Err(error) => condition_of(error),
        };
        let allowed = match self.answer {
            Answer::Taken => "taken",
            Answer::Redirected => "amqp:link:redirect",
        };
        assert_eq!(
            condition,
            refusal.unwrap_or(allowed),
            "{what}: {attached:?}"
        );
        if let Ok(link) = attached {
            client.detach(link).await;
        }
    }
}

const UNAUTHORIZED: Option<&str> = Some("amqp:unauthorized-access");

/// A connection with this token put for this audience.
async fn with_token(emulator: &Emulator, audience: &str, token: &str) -> Client {
    let mut client = Client::connect(emulator).await;
    let answer = client.put_token(audience, token).await;
    assert_eq!(answer.0, 200, "{audience}: {answer:?}");
    client
}

/// An emulator with the devices and modules of the rows, and one more.
async fn emulator_with_clients() -> (Emulator, Vec<(&'static str, String)>) {
    let emulator = emulator().await;
    let mut tokens = Vec::new();
    for id in ["d1", "d1/m1", "d2"] {
        let key = register(&emulator, id).await;
        tokens.push((id, device_token(&emulator, id, &key)));
    }
    (emulator, tokens)
}

#[tokio::test]
async fn each_node_is_for_those_who_may() {
    let (emulator, tokens) = emulator_with_clients().await;

    let mut nobody = Client::connect(&emulator).await;
    for row in ROWS {
        row.expect(&mut nobody, "nobody", UNAUTHORIZED).await;
    }
    for policy in POLICIES {
        let mut client = Client::service(&emulator, policy).await;
        for row in ROWS {
            let refusal = UNAUTHORIZED.filter(|_| !row.allows(policy));
            row.expect(&mut client, policy, refusal).await;
        }
    }
    for (id, token) in &tokens {
        let mut client = with_token(&emulator, &hub::resource(id), token).await;
        for row in ROWS {
            let refusal = UNAUTHORIZED.filter(|_| row.right != Right::Client(id));
            row.expect(&mut client, id, refusal).await;
        }
    }
}

#[tokio::test]
async fn a_token_that_is_not_good_opens_nothing() {
    let (emulator, tokens) = emulator_with_clients().await;
    let mut client = Client::connect(&emulator).await;
    let spoilt = tokens[0].1.replace("sig=", "sig=x");
    let owner = policy_token(&emulator, "iothubowner");
    for (audience, token) in [
        (hub::resource("d1"), spoilt.as_str()),
        (hub::resource("d1"), tokens[2].1.as_str()),
        (
            hub::HOST.to_owned(),
            &owner.replace("skn=iothubowner", "skn=nobody"),
        ),
        (hub::HOST.to_owned(), "nonsense"),
    ] {
        assert_eq!(client.put_token(&audience, token).await.0, 401, "{token}");
    }

    for row in ROWS {
        row.expect(&mut client, "nobody", UNAUTHORIZED).await;
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let (emulator, _) = emulator_with_clients().await;
    let mut client = Client::service(&emulator, "iothubowner").await;
    for row in ROWS {
        for (address, condition) in row.missing {
            let error = row.attach(&mut client, address).await.unwrap_err();
            assert_eq!(condition_of(&error), *condition, "{address}: {error:?}");
        }
    }
    for (address, role) in [
        ("/messages/devicebound", Role::Receiver),
        ("/messages/serviceBound/feedback", Role::Sender),
        ("/messages/serviceBound/filenotifications", Role::Sender),
        ("/messages/serviceBound/other", Role::Receiver),
        ("/devices/d1", Role::Receiver),
        ("/devices/d1/messages/devicebound", Role::Sender),
        ("/devices//twin", Role::Receiver),
        ("$nothing", Role::Sender),
        ("", Role::Sender),
    ] {
        let row = Row {
            role,
            ..send("", Right::Service)
        };
        let error = row.attach(&mut client, address).await.unwrap_err();
        assert_eq!(condition_of(&error), NOT_FOUND, "{address}: {error:?}");
    }
    for address in ["localhost", "localhost/Partitions/0", "/messages/events"] {
        let error = client.attach_sender(address).await.unwrap_err();
        assert_eq!(Some(condition_of(&error)), UNAUTHORIZED, "{address}");
    }
}

/// What became of a delivery: refused, or its link detached.
async fn refusal(client: &mut Client, link: LinkId, id: DeliveryId) -> Option<AmqpError> {
    client
        .wait("a refusal", |event| match event {
            Event::Outcome {
                link: of,
                delivery,
                state,
                ..
            } if (*of, *delivery) == (link, id) => Some(match state {
                Some(DeliveryState::Rejected(error)) => error.clone(),
                _ => None,
            }),
            Event::LinkDetached {
                link: of, error, ..
            } if *of == link => Some(error.clone()),
            _ => None,
        })
        .await
}

#[tokio::test]
async fn what_is_no_message_is_refused_and_the_connection_lives() {
    let (emulator, _) = emulator_with_clients().await;
    let mut client = Client::service(&emulator, "iothubowner").await;
    let garbage: [&'static [u8]; 4] = [
        b"\xff",
        // A list that says it is longer than it is.
        b"\x00\x53\x73\xd0\xff\xff\xff\xff\x00\x00\x00\x01",
        // A section that no message has.
        b"\x00\x53\x10\xc0\x01\x00",
        // A string that is not UTF-8, as the body.
        b"\x00\x53\x77\xa1\x01\xff",
    ];
    for row in ROWS.iter().filter(|row| row.role == Role::Sender) {
        for bytes in garbage {
            let link = client.attach_sender(row.address).await.unwrap();
            let id = client.transfer(link, 0, bytes.into(), false).await;

            let error = refusal(&mut client, link, id).await;

            let condition = error.as_ref().map(condition_of);
            assert_eq!(
                condition,
                Some("amqp:decode-error"),
                "{} {bytes:?}: {error:?}",
                row.address
            );
            client.detach(link).await;
        }
    }
    client.expect_alive().await;
}

#[tokio::test]
async fn what_is_too_large_ends_its_link_and_the_connection_lives() {
    let (emulator, _) = emulator_with_clients().await;
    let mut client = Client::service(&emulator, "iothubowner").await;
    for row in ROWS.iter().filter(|row| row.role == Role::Sender) {
        let wanted = client.sender(row.address);
        let (link, answer) = client.attach(wanted).await.unwrap();
        let limit = answer.max_message_size.expect("every node has a limit");
        assert!(limit <= 1024 * 1024, "{}", row.address);
        let id = client
            .transfer(link, 0, vec![0; limit as usize + 1].into(), false)
            .await;

        let error = refusal(&mut client, link, id).await;

        let condition = error.as_ref().map(condition_of);
        let expected = Some("amqp:link:message-size-exceeded");
        assert_eq!(condition, expected, "{}: {error:?}", row.address);
    }
    client.expect_alive().await;
}
