//! Golden vectors that others made: shared access signatures (`vectors/sas.json`).
#![allow(clippy::unwrap_used, reason = "the helpers of tests are tests, too")]

use std::time::Duration;

use iothub_protocol::Timestamp;
use iothub_protocol::sas::{SasToken, SymmetricKey, sign};
use serde_json::Value;

fn vectors(section: &str) -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("vectors/sas.json")).unwrap();
    file[section].as_array().unwrap().clone()
}

fn vector(name: &str) -> Value {
    vectors("vectors")
        .into_iter()
        .find(|vector| vector["name"] == name)
        .unwrap()
}

fn text<'a>(vector: &'a Value, member: &str) -> &'a str {
    vector[member].as_str().unwrap()
}

fn key(vector: &Value) -> SymmetricKey {
    SymmetricKey::parse(text(vector, "key")).unwrap()
}

/// The token as a client would put it together, with a signature that is not percent-encoded.
fn assemble(vector: &Value) -> String {
    let (sr, se, sig) = (text(vector, "sr"), text(vector, "se"), text(vector, "sig"));
    let skn = vector["skn"]
        .as_str()
        .map(|skn| format!("&skn={skn}"))
        .unwrap_or_default();
    format!("SharedAccessSignature sr={sr}&sig={sig}&se={se}{skn}")
}

fn verifies(token: &str, key: &SymmetricKey) -> bool {
    SasToken::parse(token).unwrap().is_signed_with(key)
}

#[test]
fn every_spelling_of_sr_verifies_as_it_was_received() {
    let vectors = vectors("vectors");
    assert_eq!(vectors.len(), 14);
    for vector in &vectors {
        let token = SasToken::parse(&assemble(vector)).unwrap();

        assert!(token.is_signed_with(&key(vector)), "{vector}");
        assert!(token.covers(text(vector, "covers")), "{vector}");
        assert_eq!(token.policy(), vector["skn"].as_str());
        assert_eq!(
            token.expiry().unix_seconds().to_string(),
            text(vector, "se")
        );
    }
}

#[test]
fn recorded_tokens_verify() {
    for vector in vectors("tokens") {
        let token = SasToken::parse(text(&vector, "token")).unwrap();

        assert!(token.is_signed_with(&key(&vector)), "{vector}");
        assert_eq!(token.resource(), text(&vector, "resource"));
        assert_eq!(token.policy(), vector["policy"].as_str());
        assert_eq!(
            token.expiry().unix_seconds(),
            vector["expiry"].as_i64().unwrap()
        );
    }
}

#[test]
fn our_own_tokens_are_the_published_ones() {
    for name in ["A", "C", "D", "E", "B"] {
        let vector = vector(name);
        let published = SasToken::parse(&assemble(&vector)).unwrap();

        let ours = sign(
            published.resource(),
            published.expiry(),
            published.policy(),
            &key(&vector),
        );

        assert_eq!(SasToken::parse(&ours), Ok(published), "{name}");
    }
    let a = vectors("tokens")
        .into_iter()
        .find(|vector| vector["name"] == "A")
        .unwrap();
    let expiry = Timestamp::from_unix_seconds(1_900_000_000);
    assert_eq!(
        sign(text(&a, "resource"), expiry, None, &key(&a)),
        text(&a, "token")
    );
}

#[test]
fn a_changed_token_does_not_verify() {
    let a = vector("A");
    let token = assemble(&a);
    for changed in [
        token.replace("sig=t1x7", "sig=T1x7"),
        token.replace("%2F", "%2f"),
        token.replace("se=1900000000", "se=1900000001"),
        token.replace("se=1900000000", "se=01900000000"),
        token.replace("device1", "device2"),
    ] {
        assert_ne!(changed, token);
        assert!(!verifies(&changed, &key(&a)), "{changed}");
    }
    assert!(!verifies(&token, &key(&vector("B"))));
    assert!(!verifies(&token, &key(&vector("C"))));
}

#[test]
fn a_policy_token_without_its_policy_name_is_no_device_token() {
    let c = vector("C");
    let token = SasToken::parse(&assemble(&c).replace("&skn=device", "")).unwrap();

    // Without a policy it is judged by the device's own key, which did not sign it.
    assert_eq!(token.policy(), None);
    assert!(!token.is_signed_with(&key(&vector("A"))));
}

#[test]
fn a_token_of_one_device_does_not_cover_another() {
    let token = SasToken::parse(&assemble(&vector("A"))).unwrap();

    assert!(!token.covers("myhub.azure-devices.net/devices/device2"));
    assert!(!token.covers("myhub.azure-devices.net/devices/device10"));
    assert!(!token.covers("other.azure-devices.net/devices/device1"));
}

#[test]
fn an_expired_token_is_known_as_such() {
    let token = SasToken::parse(&assemble(&vector("G"))).unwrap();
    let skew = Duration::from_secs(300);

    assert!(token.is_expired(Timestamp::from_unix_seconds(1_700_000_000), skew));
    assert!(!token.is_expired(Timestamp::from_unix_seconds(1_456_971_697 + 300), skew));
}
