//! The metrics as text.

use std::collections::{BTreeMap, BTreeSet};

use super::client::Reply;
use super::hub::TestHub;

const DOCUMENT: &str = include_str!("../../docs/metrics.md");

async fn fetch(hub: &TestHub, path: &str, accept: &str) -> Reply {
    let headers = [("Accept", accept)];
    hub.connect()
        .0
        .request(&format!("GET {path}"), &headers, "")
        .await
}

/// A hub where something of everything has happened.
async fn busy() -> TestHub {
    let hub = TestHub::new();
    hub.create("d1").await;
    let device = hub.attach("d1").await;
    hub.ingest(&device, Default::default()).await;
    assert_eq!(hub.owner("GET /devices/none", "").await.status, 404);
    hub
}

/// Names, labels and value of a line.
fn parse(line: &str) -> (String, BTreeMap<String, String>, f64) {
    let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("{line}"));
    let (name, labels) = match series.split_once('{') {
        None => (series, ""),
        Some((name, labels)) => (name, labels.strip_suffix('}').unwrap()),
    };
    let is_name = |text: &str| {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        text.starts_with(|c: char| c.is_ascii_lowercase()) && text.chars().all(plain)
    };
    assert!(is_name(name), "{line}");
    let labels: BTreeMap<_, _> = labels
        .split_terminator(',')
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or_else(|| panic!("{line}"));
            assert!(is_name(name), "{line}");
            let value = value.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
            (name.to_owned(), value.unwrap().to_owned())
        })
        .collect();
    (name.to_owned(), labels, value.parse().unwrap())
}

#[tokio::test]
async fn they_are_at_the_root_and_below_the_control_api() {
    let hub = busy().await;

    for path in ["/metrics", "/_emulator/metrics"] {
        let reply = fetch(&hub, path, "*/*").await;

        assert_eq!(reply.status, 200, "{reply:?}");
        let content_type = reply.header("content-type");
        assert_eq!(
            content_type,
            Some("text/plain; version=0.0.4; charset=utf-8")
        );
        assert!(
            reply
                .body
                .contains("iothub_devices{status=\"enabled\"} 1.0\n")
        );
        assert!(reply.body.contains(
            "iothub_operations_total{operation=\"sendTelemetry\",result=\"succeeded\"} 1\n"
        ));
        assert!(reply.body.contains(
            "iothub_refusals_total{operation=\"getDevice\",code=\"DeviceNotFound\"} 1\n"
        ));
    }
}

#[tokio::test]
async fn who_accepts_openmetrics_gets_it() {
    let hub = busy().await;
    let accept = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;q=0.3";

    let reply = fetch(&hub, "/metrics", accept).await;

    let content_type = reply.header("content-type");
    let wanted = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(content_type, Some(wanted));
    assert!(reply.body.ends_with("# EOF\n"));
    assert!(
        reply
            .body
            .contains("# UNIT iothub_operation_duration_seconds seconds\n")
    );
}

#[tokio::test]
async fn every_line_is_a_description_or_a_sample_of_what_was_described() {
    let hub = busy().await;
    let text = fetch(&hub, "/metrics", "").await.body;
    let mut kinds = BTreeMap::new();
    let mut seen = BTreeSet::new();

    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').unwrap();
            assert!(name.starts_with("iothub_"), "{line}");
            assert!(
                kinds.insert(name.to_owned(), kind.to_owned()).is_none(),
                "{line}"
            );
        } else if !line.starts_with("# HELP ") {
            let (name, labels, value) = parse(line);
            let stem = ["_bucket", "_sum", "_count"]
                .iter()
                .find_map(|suffix| name.strip_suffix(suffix))
                .filter(|stem| kinds.get(*stem).is_some_and(|kind| kind == "histogram"));
            let kind = &kinds[stem.unwrap_or(&name)];
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            assert!(value >= 0.0, "{line}");
            assert!(seen.insert((name, labels)), "twice: {line}");
        }
    }
}

#[tokio::test]
async fn the_document_lists_what_is_served() {
    let hub = busy().await;
    let text = fetch(&hub, "/metrics", "").await.body;
    let described = |prefix: &'static str| {
        let lines = text
            .lines()
            .filter_map(move |line| line.strip_prefix(prefix));
        lines.map(|line| {
            let (name, rest) = line.split_once(' ').unwrap();
            (name.to_owned(), rest.to_owned())
        })
    };
    let helps: BTreeMap<_, _> = described("# HELP ").collect();
    let served: BTreeSet<(String, String, String)> = described("# TYPE ")
        .map(|(name, kind)| (name.clone(), kind, helps[&name].clone()))
        .collect();

    let listed: BTreeSet<(String, String, String)> = DOCUMENT
        .lines()
        .filter(|line| line.starts_with("| `iothub_"))
        .map(|line| {
            let cells: Vec<_> = line.trim_matches('|').split('|').map(str::trim).collect();
            let name = cells[0].trim_matches('`').to_owned();
            (name, cells[1].to_owned(), cells[3].to_owned())
        })
        .collect();

    assert_eq!(listed, served);
}

#[tokio::test]
async fn the_document_lists_the_labels_of_what_is_served() {
    let hub = busy().await;
    let text = fetch(&hub, "/metrics", "").await.body;
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let (name, labels, _) = parse(line);
        let stem = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|suffix| name.strip_suffix(suffix))
            .filter(|stem| stem.ends_with("_seconds"))
            .unwrap_or(&name);
        let row = DOCUMENT
            .lines()
            .find(|row| row.starts_with(&format!("| `{stem}`")))
            .unwrap_or_else(|| panic!("{name}"));
        let listed = row.split('|').nth(3).unwrap();
        for label in labels.keys().filter(|label| *label != "le") {
            assert!(listed.contains(&format!("`{label}`")), "{line}: {row}");
        }
    }
}

#[tokio::test]
async fn nothing_that_outsiders_name_becomes_a_label() {
    let hub = busy().await;
    for path in ["/a-path-of-mine", "/devices/a-device-of-mine"] {
        hub.owner(&format!("GET {path}"), "").await;
    }

    let text = fetch(&hub, "/metrics", "").await.body;

    assert!(!text.contains("of-mine"), "{text}");
    assert!(!text.contains("d1"), "{text}");
}
