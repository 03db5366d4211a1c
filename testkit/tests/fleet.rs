//! The load generator, against a hub of the test's own.

use std::process::Command;

use iothub_testkit::TestHub;
use serde_json::Value;

/// Runs the fleet on `hub` and returns what it has found.
async fn fleet(hub: &TestHub, arguments: &[&str]) -> Value {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleet"));
    let address = format!("127.0.0.1:{}", hub.ports().http);
    command
        .arg("--json")
        .args(arguments)
        .args(["--hub", &address]);
    let run = tokio::task::spawn_blocking(move || command.output());
    let output = run.await.expect("no panic").expect("the fleet starts");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("the fleet prints JSON")
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_message_is_stored() {
    let hub = TestHub::start().await;

    let arguments = [
        "telemetry",
        "--devices",
        "5",
        "--messages",
        "200",
        "--size",
        "64",
    ];
    let report = fleet(&hub, &arguments).await;

    assert_eq!(report["messages"], 1000, "{report}");
    assert_eq!(report["stored"], 1000, "{report}");
    assert_eq!(report["lost"], 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_at_qos_0_over_tls_are_counted_too() {
    let hub = TestHub::start().await;

    let arguments = [
        "telemetry",
        "--tls",
        "--qos",
        "0",
        "--devices",
        "3",
        "--messages",
        "50",
    ];
    let report = fleet(&hub, &arguments).await;

    assert_eq!(report["messages"], 150, "{report}");
    assert_eq!(report["lost"], 0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn methods_of_many_devices_are_called_over_rest() {
    let hub = TestHub::start().await;

    let report = fleet(&hub, &["methods", "--devices", "3", "--seconds", "0.1"]).await;

    assert!(report["calls"].as_u64().unwrap() >= 3, "{report}");
    assert!(report["p50_us"].as_f64().unwrap() > 0.0, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn telemetry_over_amqp_is_stored_settled_or_not_and_read_again() {
    let hub = TestHub::start().await;
    let send = ["amqp-telemetry", "--devices", "3", "--messages", "100"];

    let accepted = fleet(&hub, &send).await;
    let settled = fleet(&hub, &[&send[..], &["--settled", "--tls"]].concat()).await;
    let read = fleet(
        &hub,
        &[
            "events",
            "--messages",
            "200",
            "--devices",
            "2",
            "--rounds",
            "2",
            "--timed",
            "3",
        ],
    )
    .await;

    for report in [accepted, settled] {
        assert_eq!(report["messages"], 300, "{report}");
        assert_eq!(report["lost"], 0, "{report}");
    }
    assert_eq!(read["events"], 400, "{read}");
    assert!(read["p50_us"].as_f64().unwrap() > 0.0, "{read}");
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_and_their_feedback_travel_over_amqp() {
    let hub = TestHub::builder()
        .configure(|config| config.limits.feedback_delay = std::time::Duration::ZERO)
        .start()
        .await;

    let arguments = ["c2d", "--amqp", "--feedback", "--seconds", "0.2"];
    let report = fleet(&hub, &arguments).await;

    assert!(report["messages"].as_u64().unwrap() >= 1, "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn amqp_connections_are_held() {
    let hub = TestHub::start().await;

    let arguments = [
        "amqp-idle",
        "--devices",
        "20",
        "--links",
        "3",
        "--seconds",
        "0.1",
    ];
    let report = fleet(&hub, &arguments).await;

    assert!(report["per_second"].as_f64().unwrap() > 0.0, "{report}");
}
