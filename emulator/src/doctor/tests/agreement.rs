//! The doctor never contradicts the hub, and whatever is pasted is answered.

use iothub_hub::Credentials;
use iothub_protocol::pasted::recognise;
use iothub_protocol::sas::{SymmetricKey, sign};
use iothub_protocol::{ClientId, Timestamp};
use proptest::prelude::*;

use super::super::{Question, Verdict};
use super::{HOST, NOW, client, doctor_of, hub, key};

/// Tokens as people make them, right and wrong.
fn any_token() -> impl Strategy<Value = String> {
    let host = prop::sample::select(vec![HOST, "HUB.example", "other.example", ""]);
    let path = prop::sample::select(vec![
        "/devices/d1",
        "/devices/D1",
        "/devices/d1/modules/m1",
        "/devices/d1/messages/events",
        "/devices/Dev2",
        "/devices/disabled",
        "/devices/by-authority",
        "/devices/nobody",
        "/devices",
        "",
        "/messages/events",
        "/",
    ]);
    let expiry = prop::sample::select(vec![-100_000_i64, -301, -299, 0, 60, 1_000_000_000]);
    let holders = vec![
        "d1",
        "d1 2",
        "Dev2",
        "d1/m1",
        "disabled",
        "service",
        "device",
        "iothubowner 2",
        "x",
    ];
    let holder = prop::sample::select(holders);
    let skn = prop::sample::select(vec![
        None,
        Some("service"),
        Some("device"),
        Some("iothubowner"),
        Some("Service"),
    ]);
    (host, path, expiry, holder, skn, any::<bool>()).prop_map(
        |(host, path, expiry, holder, skn, as_text)| {
            let expiry = Timestamp::from_unix_seconds(1_800_000_000 + expiry);
            let key = match as_text {
                true => SymmetricKey::from_bytes(key(holder).to_base64().into_bytes()),
                false => key(holder),
            };
            sign(&format!("{host}{path}"), expiry, skn, &key)
        },
    )
}

fn any_client() -> impl Strategy<Value = Option<ClientId>> {
    let names = vec!["d1", "d1/m1", "Dev2", "disabled", "by-authority", "nobody"];
    prop::option::of(prop::sample::select(names).prop_map(client))
}

/// A change somewhere in a token.
fn mutated(text: &str, at: usize, with: &str) -> String {
    let at = at % (text.len() + 1);
    let mut text = text.to_owned();
    if text.is_char_boundary(at) {
        let end = (at + 1).min(text.len());
        match with {
            "" => text.replace_range(at..end, ""),
            with => text.insert_str(at, with),
        }
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn the_verdict_is_the_hubs_and_findings_never_contradict_it(
        token in any_token(),
        of in any_client(),
        host in prop::option::of(prop::sample::select(vec![HOST, "other.example"])),
        names in any::<bool>(),
        mutation in prop::option::of((any::<usize>(), "[a-zA-Z0-9%&=+ ]?")),
    ) {
        let hub = if names { hub(&[HOST]) } else { hub(&[]) };
        let text = match mutation {
            Some((at, with)) => mutated(&token, at, &with),
            None => token,
        };
        let question = Question {
            text: text.clone(),
            client: of.clone(),
            host: host.map(str::to_owned),
        };
        let doctor = doctor_of(&hub);

        // Before the hub's word is put above the findings.
        let raw = doctor.examine(&question, &recognise(&text));
        let report = doctor.explain(&question);

        let credentials = Credentials::Token(&report.text);
        let said = match (&of, host) {
            (Some(client), Some(host)) => {
                Some(hub.authenticate_client(NOW, host, client, credentials).is_ok())
            }
            (Some(client), None) => {
                Some(hub.authenticate_client_anywhere(NOW, client, credentials).is_ok())
            }
            (None, None) => Some(hub.authenticate_audience(NOW, None, &report.text).is_ok()),
            (None, Some(_)) => None,
        };
        if let Some(said) = said {
            prop_assert_eq!(said, report.verdict == Verdict::Accepted, "{:#?}", report);
        }
        if report.text == text {
            prop_assert_eq!(
                raw.verdict == Verdict::Refused, raw.has_error(),
                "{} {:?} {:?}: {:#?}", text, of, host, raw
            );
        }
        prop_assert_ne!(report.findings.len(), 0);
    }

    #[test]
    fn whatever_is_pasted_is_answered(
        text in ".{0,200}",
        start in prop::sample::select(vec![
            "", "SharedAccessSignature ", "HostName=", "Endpoint=sb://", "AccountName=",
            "hub.example/", "-----BEGIN CERTIFICATE-----\n", "https://h/a/b?sig=x&se=y&sv=1&",
        ]),
        of in any_client(),
    ) {
        let question = Question { text: format!("{start}{text}"), client: of, host: None };
        let report = doctor_of(&hub(&[])).explain(&question);
        let _ = report.to_json();
    }
}
