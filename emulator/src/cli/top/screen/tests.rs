//! What is on the screen, character by character.

use serde_json::{Value, json};

use super::*;

fn sample(telemetry: f64) -> Value {
    json!({
        "at": "2024-03-14T09:54:49.6536567Z",
        "frozen": true,
        "uptime_seconds": 192,
        "interval_ms": 1000,
        "connections": {"total": 1234, "mqtt": 1000, "amqp": 234},
        "devices": 10000, "modules": 12, "c2d_waiting": 3,
        "observers": 1, "dropped_observations": 5,
        "memory_bytes": 123_000_000,
        "quota": {"limit": 400_000, "used": 1200},
        "totals": {"not_emulated": 4},
        "rates": {"telemetry": telemetry, "telemetry_bytes": 1_200_000.0, "methods": 120.0,
            "twins": 0.0, "c2d": 0.5, "requests": 700.0, "refused": 2.0},
        "latency": {
            "invokeMethod": {"p50_us": 850, "p99_us": 30_000_000, "count": 120},
            "sendTelemetry": {"p50_us": 15, "p99_us": 120, "count": 580},
        },
        "operations": {"invokeMethod": {"succeeded": 500, "refused": 7, "items": 500}},
        "busiest": [{"client": "d1", "rate": 1000.0}, {"client": "d2/m\u{1b}[2J", "rate": 2.5}],
        "slowest": [{"operation": "invokeMethod", "client": "d7", "ms": 30_000.0,
            "at": "2024-03-14T09:54:49Z", "refusal": "GatewayTimeout"}],
    })
}

fn screen() -> Screen {
    let mut screen = Screen::new("http://127.0.0.1:8080".into());
    for telemetry in [1000.0, 5000.0, 12_345.0] {
        screen.take(sample(telemetry));
    }
    screen
}

fn shown(screen: &Screen, width: usize, height: usize) -> String {
    let look = Look {
        width,
        height: Some(height),
    };
    plain(&screen.render(look))
}

#[test]
fn everything_has_its_place_on_a_wide_screen() {
    let text = shown(&screen(), 100, 24);

    let wanted = "\
iothub-emulator  http://127.0.0.1:8080  up 3 min 12 s  2024-03-14 09:54:49 frozen

telemetry        12k/s ▂▄█                               connections  1.2k (mqtt 1.0k, amqp 234)
  bytes      1.1 MiB/s ███                               devices      10k, modules 12
methods          120/s ███                               c2d waiting  3
twins              0/s ▁▁▁                               not emulated 4
c2d              0.5/s ███                               quota        1.2k of 400k messages
operations       700/s ███                               memory       117 MiB
refused            2/s ███                               observers    1, dropped 5

OPERATION      PER S     P50     P99  REFUSED
sendTelemetry    580   15 µs  120 µs        0
invokeMethod     120  850 µs  30.0 s        7

BUSIEST   PER S                         SLOWEST OF THE MINUTE    TOOK  WHOM
d1         1.0k                         invokeMethod           30.0 s  d7 GatewayTimeout
d2/m?[2J    2.5






q quit   p pause   s sort by rate
";
    assert_eq!(text, wanted, "\n{text}");
}

#[test]
fn a_screen_of_any_size_is_filled_and_not_overflowed() {
    let screen = screen();
    for (width, height) in [(1, 1), (10, 3), (40, 10), (79, 24), (80, 24), (200, 60)] {
        let look = Look {
            width,
            height: Some(height),
        };
        let lines = screen.render(look);

        assert_eq!(lines.len(), height, "{width} x {height}");
        assert!(
            lines.iter().all(|line| length(line) <= width),
            "{width} x {height}"
        );
    }
}

#[test]
fn a_narrow_screen_has_one_thing_below_the_other() {
    let text = shown(&screen(), 60, 30);

    let line = |start: &str| text.lines().position(|line| line.starts_with(start));
    assert!(line("connections 1.2k") < line("OPERATION"), "{text}");
    assert!(line("BUSIEST") < line("SLOWEST"), "{text}");
    assert!(line("SLOWEST").is_some(), "{text}");
}

#[test]
fn without_a_sample_there_is_a_screen_all_the_same() {
    let screen = Screen::new("http://127.0.0.1:8080".into());

    assert!(shown(&screen, 100, 24).contains("telemetry          0/s"));
}

#[test]
fn what_is_paused_stays_and_goes_on_when_asked() {
    let mut screen = screen();
    screen.toggle_pause();
    screen.take(sample(77.0));
    let paused = shown(&screen, 100, 24);
    screen.toggle_pause();
    screen.take(sample(77.0));
    let running = shown(&screen, 100, 24);

    assert!(
        paused.contains("iothub-emulator  paused") && paused.contains("12k/s"),
        "{paused}"
    );
    assert!(paused.contains("p go on"), "{paused}");
    assert!(
        !running.contains("paused") && running.contains("77/s"),
        "{running}"
    );
}

#[test]
fn operations_are_sorted_by_what_was_asked_for() {
    let mut screen = screen();
    let first = |screen: &Screen| {
        let text = shown(screen, 100, 24);
        let mut lines = text
            .lines()
            .skip_while(|line| !line.starts_with("OPERATION"));
        lines.nth(1).unwrap().split(' ').next().unwrap().to_owned()
    };

    assert_eq!(first(&screen), "sendTelemetry");
    screen.sort_by_next();
    assert_eq!(first(&screen), "invokeMethod");
    screen.sort_by_next();
    assert_eq!(first(&screen), "invokeMethod");
    screen.sort_by_next();
    assert_eq!(first(&screen), "sendTelemetry");
}

#[test]
fn an_emulator_that_has_gone_is_told_until_it_is_back() {
    let mut screen = screen();
    screen.lose();
    assert!(shown(&screen, 100, 24).contains("gone, asked for again"));

    screen.take(sample(1.0));
    assert!(!shown(&screen, 100, 24).contains("gone"));
}

#[test]
fn what_is_printed_once_has_neither_charts_nor_keys() {
    let text = plain(&screen().render(Look {
        width: 100,
        height: None,
    }));

    assert!(!text.contains('▁') && !text.contains("q quit"), "{text}");
    assert!(
        text.contains("BUSIEST") && text.contains("\nrefused            2/s"),
        "{text}"
    );
}
