//! The endpoint as a client sees it that shares no code with it.

use std::time::Duration;

use fe2o3_amqp::sasl_profile::SaslProfile;
use fe2o3_amqp::types::messaging::{ApplicationProperties, Data, Message, Outcome, Properties};
use fe2o3_amqp::{Connection, Receiver, Sender, Session};
use iothub_emulator::activity::OperationKind;
use iothub_emulator::config::Config;
use iothub_emulator::{Emulator, HubHandle};
use iothub_hub::Principal;
use iothub_protocol::ClientId;

use crate::hub::{policy_token, register};

/// Feedback at once.
async fn emulator() -> Emulator {
    let mut config = Config::default();
    config.limits.feedback_delay = Duration::ZERO;
    Emulator::start(config).await.unwrap()
}

async fn purge(handle: &HubHandle, client: &str) {
    let id = ClientId::parse(client).unwrap();
    let operator = Principal::operator();
    let purged = handle
        .call(OperationKind::PurgeC2d.on(&id), |hub, cx| {
            hub.purge_c2d(cx, &operator, &id)
        })
        .await;
    assert_eq!(purged.unwrap(), 1);
}

#[tokio::test]
async fn it_logs_in_sends_a_message_and_receives_its_feedback() {
    let emulator = emulator().await;
    register(&emulator, "d1").await;
    let url = format!("amqp://localhost:{}", emulator.ports().amqp);
    let mut connection = Connection::builder()
        .container_id("independent")
        .sasl_profile(SaslProfile::Plain {
            username: "service@sas.root.localhost".into(),
            password: policy_token(&emulator, "service"),
        })
        .open(url.as_str())
        .await
        .unwrap();
    let mut session = Session::begin(&mut connection).await.unwrap();

    let mut sender = Sender::attach(&mut session, "sender", "/messages/devicebound")
        .await
        .unwrap();
    let message = Message::builder()
        .properties(
            Properties::builder()
                .message_id("m1".to_owned())
                .to("/devices/d1/messages/devicebound")
                .build(),
        )
        .application_properties(
            ApplicationProperties::builder()
                .insert("iothub-ack", "full")
                .build(),
        )
        .data(&b"hello"[..])
        .build();
    let outcome = sender.send(message).await.unwrap();
    assert!(matches!(outcome, Outcome::Accepted(_)), "{outcome:?}");

    let address = "/messages/serviceBound/feedback";
    let mut receiver = Receiver::attach(&mut session, "receiver", address)
        .await
        .unwrap();
    purge(emulator.handle(), "d1").await;
    let delivery = receiver.recv::<Data>().await.unwrap();
    receiver.accept(&delivery).await.unwrap();
    let feedback: serde_json::Value = serde_json::from_slice(&delivery.body().0).unwrap();
    assert_eq!(feedback[0]["originalMessageId"], "m1");
    assert_eq!(feedback[0]["statusCode"], "Purged");

    sender.close().await.unwrap();
    receiver.close().await.unwrap();
    session.end().await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn it_is_told_why_a_link_and_a_login_are_refused() {
    let emulator = emulator().await;
    let url = format!("amqp://localhost:{}", emulator.ports().amqp);
    let login = |password: String| {
        Connection::builder()
            .container_id("independent")
            .sasl_profile(SaslProfile::Plain {
                username: "registryRead@sas.root.localhost".into(),
                password,
            })
    };

    let refused = login("nonsense".into()).open(url.as_str()).await;
    assert!(refused.is_err());

    let token = policy_token(&emulator, "registryRead");
    let mut connection = login(token).open(url.as_str()).await.unwrap();
    let mut session = Session::begin(&mut connection).await.unwrap();
    let refused = Sender::attach(&mut session, "sender", "/messages/devicebound").await;
    if let Ok(mut sender) = refused {
        // The refusal follows the answer to the attach.
        let sent = sender.send("hello").await.unwrap_err();
        let text = format!("{sent:?}");
        assert!(text.contains("UnauthorizedAccess"), "{text}");
    }
}
