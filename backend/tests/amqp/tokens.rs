//! Who asks: tokens are put, renewed, and refused.

use std::sync::Arc;
use std::time::Duration;

use iothub_backend::{ErrorKind, Events};
use iothub_protocol::Clock;
use iothub_protocol::sas::{SasToken, SymmetricKey};

use crate::clock::ManualClock;
use crate::peer::{Peer, within};

#[tokio::test]
async fn token_is_renewed_before_it_expires() {
    let peer = Peer::listen().await;
    let clock = Arc::new(ManualClock::new());
    let backend = peer.builder().clock(clock.clone()).build().unwrap();

    // In steps that are short of the silence after which a peer is given up.
    for seconds in [[0].as_slice(), &[200; 16], &[99]].concat() {
        clock.advance(Duration::from_secs(seconds));
        within(backend.c2d().message("d1", "x").send())
            .await
            .unwrap();
    }
    let before = peer.story().tokens.len();
    clock.advance(Duration::from_secs(1));
    let tokens = peer
        .until(|story| (story.tokens.len() > before).then(|| story.tokens.clone()))
        .await;

    assert_eq!((before, tokens.len()), (1, 2));
    for token in &tokens {
        assert_eq!(token.kind, "servicebus.windows.net:sastoken");
        assert_eq!(token.audience, "hub.example");
    }
    let renewed = SasToken::parse(&tokens[1].token).unwrap();
    assert_eq!(renewed.resource(), "hub.example");
    assert_eq!(renewed.policy(), Some("service"));
    assert!(renewed.expiry() > clock.now() + Duration::from_secs(3500));
    assert_eq!(peer.story().connections, 1);
}

#[tokio::test]
async fn connection_that_was_silent_for_long_is_not_used_again() {
    let peer = Peer::listen().await;
    let clock = Arc::new(ManualClock::new());
    let backend = peer.builder().clock(clock.clone()).build().unwrap();

    for _ in 0..3 {
        let sent = within(backend.c2d().message("d1", "x").send()).await;
        sent.unwrap();
        clock.advance(Duration::from_secs(240));
    }

    assert_eq!(peer.story().connections, 3);
}

#[tokio::test]
async fn refused_token_is_a_refusal() {
    let peer = Peer::listen().await;
    peer.tell(|story| story.token_status = 401);
    let backend = peer.backend();

    let sent = within(backend.c2d().message("d1", "x").send()).await;
    let read = within(backend.events().from_latest().open()).await;

    for error in [sent.unwrap_err(), read.err().unwrap()] {
        let ErrorKind::Refused(refusal) = error.kind() else {
            panic!("{error}")
        };
        assert_eq!((refusal.status, &*refusal.message), (401, "so be it"));
    }
}

#[tokio::test]
async fn refused_renewal_ends_the_connection() {
    let peer = Peer::listen().await;
    let clock = Arc::new(ManualClock::new());
    let backend = peer.builder().clock(clock.clone()).build().unwrap();
    let mut feedback = within(backend.feedback().open()).await.unwrap();

    peer.tell(|story| story.token_status = 401);
    clock.advance(Duration::from_secs(3300));

    let error = within(feedback.next()).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Refused(_)), "{error}");
}

#[tokio::test]
async fn event_hub_is_asked_with_a_token_signed_by_the_text_of_the_key() {
    let peer = Peer::listen().await;
    let key = "SharedAccessKeyName=service;SharedAccessKey=c2VjcmV0";
    let events = Events::builder(&format!(
        "Endpoint=sb://{}/;{key};EntityPath=entity;UseDevelopmentEmulator=true;",
        peer.address
    ))
    .build()
    .unwrap();

    let properties = within(events.properties()).await.unwrap();

    assert_eq!(
        (properties.name.as_str(), &properties.partition_ids[..]),
        ("entity", &[0][..])
    );
    let token = peer.story().tokens[0].clone();
    assert_eq!(token.audience, "sb://127.0.0.1/entity");
    let token = SasToken::parse(&token.token).unwrap();
    assert_eq!(token.resource(), "sb://127.0.0.1/entity");
    assert!(token.is_signed_with(&SymmetricKey::from_bytes(*b"c2VjcmV0")));
}
