//! What the emulator does, for people at a terminal.

use std::process::Command;

use super::served::{BINARY, Served, clean, text};
use super::words;

#[test]
fn top_prints_one_table_where_there_is_no_terminal() {
    let served = Served::start(&[]);
    served.register(2);

    for line in ["top --once --interval 100", "top --interval 100"] {
        let output = served.run(&words(line));

        let table = text(&output.stdout);
        assert!(output.status.success(), "{}", text(&output.stderr));
        assert!(
            table.starts_with("iothub-emulator  http://127.0.0.1:"),
            "{table}"
        );
        assert!(table.contains("\ntelemetry          0/s"), "{table}");
        assert!(table.contains("devices      2, modules 0"), "{table}");
        assert!(table.contains("\nOPERATION"), "{table}");
        assert!(!table.contains('\u{1b}'), "{table:?}");
    }
}

#[test]
fn top_says_where_it_looked_when_nobody_answers() {
    let output = clean(&mut Command::new(BINARY))
        .args(words("top --once --emulator http://127.0.0.1:1"))
        .output()
        .unwrap();

    let error = text(&output.stderr);
    assert!(!output.status.success());
    assert!(
        error.contains("no stream of numbers from http://127.0.0.1:1"),
        "{error}"
    );
}

#[test]
fn a_verbose_health_check_tells_what_there_is() {
    let served = Served::start(&[]);
    served.register(2);
    let address = format!("--address=127.0.0.1:{}", served.info["ports"]["http"]);
    let check = |arguments: &[&str]| {
        let output = clean(&mut Command::new(BINARY))
            .arg("healthcheck")
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        text(&output.stdout)
    };

    assert_eq!(check(&[&address]), "");
    let report = check(&[&address, "--verbose"]);
    assert!(report.starts_with("ready: iothub-emulator "), "{report}");
    assert!(report.contains("devices 2, modules 0"), "{report}");
    assert!(
        report.contains("in memory, gone when the emulator ends"),
        "{report}"
    );
    let port = served.info["ports"]["mqtts"].to_string();
    assert!(
        report.contains(&format!("localhost:{port}, MQTT over TLS")),
        "{report}"
    );
}
