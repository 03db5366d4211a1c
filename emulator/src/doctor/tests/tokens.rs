//! Shared access signatures, right ones and wrong ones.

use iothub_protocol::Timestamp;
use iothub_protocol::sas::{Joint, KeyUse, Making, Spelling, SymmetricKey, sign, signature_over};

use super::super::Level;
use super::{
    HOST, accepted, asked, codes, errors, explained, explained_for, hub, key, later, policy_token,
    token,
};

#[test]
fn right_tokens_are_accepted_and_told_whose_they_are() {
    for text in [
        token("d1"),
        token("d1/m1"),
        policy_token(HOST, "service"),
        policy_token(&format!("{HOST}/devices/d1"), "device"),
        format!("Authorization: {}", token("d1")),
    ] {
        let report = explained(&text);
        accepted(&report);
        assert!(
            codes(&report, Level::Ok).contains(&"signature"),
            "{report:#?}"
        );
    }
    let report = explained(&token("d1"));
    let signed = report.signed.as_ref().unwrap();
    assert_eq!(
        signed.string_to_sign,
        "hub.example%2Fdevices%2Fd1\n1800003600"
    );
    assert_eq!(signed.matched.as_deref(), Some("primary key of device d1"));
    assert_eq!(signed.received.as_ref(), Some(&signed.expected[0].1));
    assert_eq!(signed.expected[1].0, "secondary key of device d1");
}

#[test]
fn the_secondary_key_is_as_good() {
    let resource = format!("{HOST}/devices/d1");
    let report = explained(&sign(&resource, later(60), None, &key("d1 2")));

    accepted(&report);
    let signed = report.signed.unwrap();
    assert_eq!(
        signed.matched.as_deref(),
        Some("secondary key of device d1")
    );
}

#[test]
fn an_expiry_is_judged_by_the_hubs_clock() {
    let with = |seconds: i64| {
        let expiry = Timestamp::from_unix_seconds(1_800_000_000 + seconds);
        explained(&sign(
            &format!("{HOST}/devices/d1"),
            expiry,
            None,
            &key("d1"),
        ))
    };

    let expired = with(-7200);
    assert_eq!(errors(&expired), ["expired"]);
    assert!(expired.findings[0].what.contains("2 hours ago"));
    assert!(expired.findings[0].why.contains("2027-01-15T08:00:00Z"));
    let just = with(-10);
    accepted(&just);
    assert_eq!(codes(&just, Level::Warning), ["expiring"]);
    assert_eq!(codes(&with(400_000_000), Level::Warning), ["long-lived"]);
}

#[test]
fn an_expiry_that_is_no_number_of_seconds_is_recognised() {
    let sr = "hub.example%2Fdevices%2Fd1";
    let with = |se: &str| {
        let signature = signature_over(sr, se, &key("d1"));
        let signature = super::super::resource::encoded(&signature);
        explained(&format!(
            "SharedAccessSignature sr={sr}&sig={signature}&se={se}"
        ))
    };

    let milliseconds = with("1800003600000");
    accepted(&milliseconds);
    assert_eq!(
        codes(&milliseconds, Level::Warning),
        ["expiry-in-milliseconds"]
    );
    for se in ["2027-01-15T08:00:00Z", "1800003600.5", "-5", "soon", ""] {
        let report = with(se);
        assert!(errors(&report).contains(&"expiry-not-a-number"), "{se}");
    }
    let date = with("2027-01-15T08:00:00Z");
    assert!(date.findings[0].mend.contains("1800000000"), "{date:#?}");
}

#[test]
fn a_token_for_something_else_says_for_what() {
    for (text, of, code) in [
        (token("d1"), "Dev2", "other-client"),
        (token("d1"), "d1/m1", "device-for-module"),
        (token("d1/m1"), "d1", "module-for-device"),
        (
            sign(
                &format!("{HOST}/devices/dev2"),
                later(9),
                None,
                &key("Dev2"),
            ),
            "Dev2",
            "case",
        ),
        (
            sign(HOST, later(9), None, &key("d1")),
            "d1",
            "resource-too-wide",
        ),
        (
            sign("devices/d1", later(9), None, &key("d1")),
            "d1",
            "no-host",
        ),
        (
            sign("hub.example%2Fdevices%2Fd1", later(9), None, &key("d1")),
            "d1",
            "resource-encoded-twice",
        ),
        (
            sign(
                "0ne001/registrations/d1",
                later(9),
                Some("registration"),
                &key("d1"),
            ),
            "d1",
            "provisioning",
        ),
    ] {
        let report = explained_for(&text, of);
        assert!(errors(&report).contains(&code), "{code}: {report:#?}");
    }
}

#[test]
fn a_token_of_another_hub_is_refused_where_names_are_configured() {
    let hub = hub(&[HOST]);
    let other = sign("other.example/devices/d1", later(60), None, &key("d1"));

    assert_eq!(errors(&asked(&hub, &other, None, None)), ["other-hub"]);
    assert_eq!(
        errors(&asked(&hub, &token("d1"), None, Some("other.example"))),
        ["not-this-hub"]
    );
    let report = asked(&super::hub(&[]), &token("d1"), None, Some("localhost"));
    assert_eq!(errors(&report), ["other-host"]);
}

#[test]
fn policies_are_judged() {
    for (text, of, code) in [
        (policy_token(HOST, "Service"), None, "unknown-policy"),
        (
            policy_token(HOST, "service"),
            Some("d1"),
            "lacks-permission",
        ),
        (
            sign(HOST, later(60), Some("service"), &key("device")),
            None,
            "key-of-another-policy",
        ),
        (
            sign(HOST, later(60), Some("device"), &key("d1")),
            Some("d1"),
            "device-key-for-policy",
        ),
        (
            sign(HOST, later(60), None, &key("service")),
            None,
            "policy-not-named",
        ),
        (
            sign(
                &format!("{HOST}/devices/d1"),
                later(60),
                None,
                &key("device"),
            ),
            None,
            "policy-key-for-device",
        ),
    ] {
        let report = asked(&hub(&[]), &text, of, None);
        assert!(errors(&report).contains(&code), "{code}: {report:#?}");
    }
}

#[test]
fn identities_are_judged() {
    for (of, code) in [
        ("nobody", "not-registered"),
        ("D1", "not-registered"),
        ("d1/m2", "not-registered"),
        ("disabled", "disabled"),
        ("by-authority", "not-by-key"),
    ] {
        let report = explained(&token(of));
        assert!(errors(&report).contains(&code), "{of}: {report:#?}");
    }
    assert!(
        explained(&token("D1")).findings[0]
            .why
            .contains("there is d1")
    );
}

#[test]
fn signatures_tell_how_they_were_made() {
    let (sr, se) = ("hub.example%2Fdevices%2Fd1", "1800003600");
    let with = |making: Making, key: &SymmetricKey| {
        let signature = making.signature(sr, se, key, &["hub.example".to_owned()]);
        let signature = super::super::resource::encoded(&signature);
        explained(&format!(
            "SharedAccessSignature sr={sr}&sig={signature}&se={se}"
        ))
    };
    let (own, right) = (key("d1"), Making::RIGHT);
    let joined = |joint| Making { joint, ..right };
    let spelled = |spelling| Making { spelling, ..right };
    let text = Making {
        key: KeyUse::Text,
        ..right
    };

    accepted(&with(right, &own));
    for (report, code) in [
        (with(text, &own), "key-not-decoded"),
        (with(joined(Joint::Nothing), &own), "line-feed"),
        (with(joined(Joint::Escaped), &own), "line-feed"),
        (
            with(spelled(Spelling::Plain), &own),
            "signed-other-spelling",
        ),
        (
            with(spelled(Spelling::Other(0)), &own),
            "signed-other-spelling",
        ),
        (with(right, &key("Dev2")), "key-of-another-client"),
        (with(right, &key("service")), "policy-key-for-device"),
        (with(right, &key("somebody")), "unknown-signature"),
    ] {
        assert!(errors(&report).contains(&code), "{code}: {report:#?}");
    }
}

#[test]
fn what_the_hub_cannot_read_is_mended() {
    let good = token("d1");
    let bare = good.replacen("SharedAccessSignature ", "", 1);
    for (text, code) in [
        (bare.clone(), "no-scheme"),
        (good.replace(" sr", "  sr"), "no-scheme"),
        (super::super::resource::encoded(&good), "encoded-whole"),
        (good.replace("%3D", "%253D"), "signature-form"),
        (good.replace("%3D", ""), "signature-form"),
        (good.replace("&se=", "&Se="), "missing-field"),
        (format!("{good}&se=1"), "repeated-field"),
        (format!("{good}&x"), "malformed-field"),
    ] {
        let report = explained(&text);
        assert_eq!(errors(&report), [code], "{text}: {report:#?}");
    }
    assert!(explained(&bare).findings[0].mend.ends_with(&good));
}
