//! `tail`.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::served::{BINARY, Served, clean, text};
use crate::words;

/// What the command prints.
fn printed(served: &Served, line: &str) -> String {
    let output = served.run(&words(line));
    assert!(output.status.success(), "{line}: {}", text(&output.stderr));
    text(&output.stdout)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn what_happened_is_printed_for_people_and_for_programs() {
    let served = Served::start(&[]);
    served.json(&words("device-identity create -d d1"));
    served.json(&words("device-identity create -d d2"));
    served.error(&words("device-identity show -d nobody"));

    let human = printed(&served, "tail --from-start --no-follow");
    let one = printed(
        &served,
        "tail identities -d d1 --since 1h --no-follow --json",
    );
    let refused = printed(&served, "tail refusals --from-start --no-follow --json");
    let first = printed(&served, "tail --from-start --count 1 --json");
    let nothing = printed(&served, "tail wire --from-start --no-follow");

    let told: Vec<_> = human.lines().collect();
    assert!(
        told[0].ends_with("d1                identity created, enabled"),
        "{human}"
    );
    assert!(
        human.contains("getDevice refused: DeviceNotFound: "),
        "{human}"
    );
    assert!(!human.contains('\x1b'), "not a terminal: {human:?}");
    let one = lines(&one);
    assert_eq!(one.len(), 1);
    assert_eq!(
        (&one[0]["client"], &one[0]["change"]),
        (&"d1".into(), &"created".into())
    );
    assert_eq!(lines(&refused)[0]["refusal"]["code"], "DeviceNotFound");
    assert_eq!(lines(&first).len(), 1);
    assert_eq!(nothing, "");
}

#[test]
fn it_waits_for_what_happens_and_ends_with_the_emulator() {
    let mut served = Served::start(&[]);
    served.json(&words("device-identity create -d d1"));
    let mut tail = clean(&mut Command::new(BINARY))
        .args(words("tail identities wire --from-start --json"))
        .args(["--emulator", &served.url()])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut out = BufReader::new(tail.stdout.take().unwrap());
    let mut first = String::new();
    out.read_line(&mut first).unwrap();
    served.json(&words("device-identity create -d d2"));
    let mut second = String::new();
    while !second.contains(r#""client":"d2""#) {
        second.clear();
        assert_ne!(out.read_line(&mut second).unwrap(), 0);
    }

    let pid = served.process.id().to_string();
    assert!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()
            .unwrap()
            .success()
    );
    served.process.wait().unwrap();

    assert!(first.contains(r#""client":"d1""#), "{first}");
    assert!(tail.wait().unwrap().success());
}

#[test]
fn what_cannot_be_printed_is_refused() {
    let served = Served::start(&[]);

    for (line, why) in [
        ("tail -d a/b/c", "is no device"),
        ("tail weather", "invalid value"),
        ("tail --since yesterday", "a number and a unit"),
    ] {
        let output = served.run(&words(line));
        let error = text(&output.stderr);
        assert!(!output.status.success());
        assert!(error.contains(why), "{line}: {error}");
    }
}
