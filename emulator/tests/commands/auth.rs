//! `auth explain` and `auth sign`.

use std::process::Command;

use crate::served::{BINARY, Served, clean, text};
use crate::{words, words_and};

#[test]
fn a_token_is_explained_and_the_exit_code_is_the_verdict() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d d1"));
    let good = served.json(&words("auth sign -d d1"));
    let good = good["token"].as_str().unwrap();
    let expired = served.json(&words("auth sign -d d1 --duration -7200"));
    let expired = expired["token"].as_str().unwrap();

    let accepted = served.run(&words_and("auth explain", &[good]));
    let refused = served.run(&words_and("auth explain", &[expired]));
    let json = served.json(&words_and("auth explain --json", &[good]));
    let file = served.dir.path().join("token.txt");
    std::fs::write(&file, format!("\"{good}\"\n")).unwrap();
    let of_file = served.run(&words_and("auth explain", &[file.to_str().unwrap()]));
    let other = served.run(&words_and("auth explain -d d2", &[good]));

    assert_eq!(
        accepted.status.code(),
        Some(0),
        "{}",
        text(&accepted.stderr)
    );
    let lines = text(&accepted.stdout);
    assert!(lines.starts_with("✓ accepted"), "{lines}");
    assert!(lines.contains("primary key of device d1"), "{lines}");
    assert!(!lines.contains('\u{1b}'), "no colours into a pipe");
    assert_eq!(refused.status.code(), Some(1));
    assert!(text(&refused.stdout).contains("✗ The token expired 2 hours ago"));
    assert_eq!(json["verdict"], "accepted");
    assert_eq!(of_file.status.code(), Some(0), "{}", text(&of_file.stdout));
    assert_eq!(other.status.code(), Some(1));
    assert!(text(&other.stdout).contains("Device d2 is not registered"));
}

#[test]
fn a_key_is_enough_to_judge_by_without_an_emulator() {
    const KEY: &str = "MTIzNDU2Nzg5MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTI=";
    const OTHER: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let run = |arguments: &[&str]| {
        clean(&mut Command::new(BINARY))
            .args(["auth", "explain", "--emulator", "http://127.0.0.1:1"])
            .args(arguments)
            .output()
            .unwrap()
    };
    let key = iothub_protocol::sas::SymmetricKey::parse(KEY).unwrap();
    let expiry = iothub_protocol::Timestamp::from_unix_seconds(4_000_000_000);
    let token = iothub_protocol::sas::sign("h/devices/d1/modules/m1", expiry, None, &key);
    let string = format!("HostName=h;DeviceId=d1;ModuleId=m1;SharedAccessKey={KEY}");

    let nothing = run(&[" "]);
    let by_key = run(&[&token, "--key", KEY]);
    let by_string = run(&[&token, "--key", &string]);
    let by_other = run(&[&token, "--key", OTHER]);
    let by_nothing = run(&[&token]);

    assert!(text(&nothing.stderr).contains("the text is empty"));
    assert_eq!(by_key.status.code(), Some(0), "{}", text(&by_key.stdout));
    assert!(text(&by_key.stderr).contains("No emulator was asked"));
    assert_eq!(by_string.status.code(), Some(0));
    assert_eq!(by_other.status.code(), Some(1));
    assert!(text(&by_other.stdout).contains("neither key of module d1/m1"));
    assert_eq!(by_nothing.status.code(), Some(1));
    assert!(text(&by_nothing.stderr).contains("--key"));
}
