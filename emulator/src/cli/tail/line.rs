//! A line of the timeline for a person.

use serde_json::Value;

/// Characters of a payload in a line.
const PAYLOAD: usize = 160;
/// Columns that a device's name has, if it fits.
const NAME: usize = 16;

/// The line: time, device, what happened.
pub(super) fn of(line: &Value, colour: bool) -> String {
    if let Some(missed) = line["missed"].as_u64() {
        let text = format!("… {missed} entries missed: more happened than could be read");
        return painted(Tone::Bad, &text, colour);
    }
    let at = line["at"].as_str().unwrap_or_default();
    let time = at.get(11..23).unwrap_or(at);
    let name = line["client"].as_str().unwrap_or("-");
    let (tone, text) = told(line);
    // What devices send must not move the cursor of who looks on.
    let text: String = text
        .chars()
        .map(|c| if c.is_control() { '·' } else { c })
        .collect();
    let (time, text) = (
        painted(Tone::Faint, time, colour),
        painted(tone, &text, colour),
    );
    format!("{time}  {name:<NAME$}  {text}")
}

#[derive(Clone, Copy)]
enum Tone {
    Plain,
    Faint,
    Good,
    Bad,
    Call,
    State,
}

fn painted(tone: Tone, text: &str, colour: bool) -> String {
    let code = match tone {
        Tone::Plain => return text.to_owned(),
        Tone::Faint => "2",
        Tone::Good => "32",
        Tone::Bad => "31",
        Tone::Call => "36",
        Tone::State => "33",
    };
    match colour {
        true => format!("\x1b[{code}m{text}\x1b[0m"),
        false => text.to_owned(),
    }
}

fn told(line: &Value) -> (Tone, String) {
    let text = |name: &str| line[name].as_str().unwrap_or_default();
    match text("kind") {
        "wire" => {
            let arrow = if line["direction"] == "in" {
                "→"
            } else {
                "←"
            };
            let protocol = text("protocol");
            (
                Tone::Plain,
                format!("{arrow} {protocol:<4} {}", text("summary")),
            )
        }
        "operation" => match line["refusal"]["code"].as_str() {
            Some(code) => {
                let detail = line["refusal"]["detail"].as_str().unwrap_or_default();
                (
                    Tone::Bad,
                    format!("{} refused: {code}: {detail}", text("operation")),
                )
            }
            None => {
                let took = line["elapsed_us"].as_u64().unwrap_or_default() as f64 / 1000.0;
                (
                    Tone::Faint,
                    format!("{} in {took:.3} ms", text("operation")),
                )
            }
        },
        _ => notice(line),
    }
}

fn notice(line: &Value) -> (Tone, String) {
    let text = |name: &str| line[name].as_str().unwrap_or_default();
    match text("event") {
        "connected" => (Tone::Good, format!("connected over {}", text("protocol"))),
        "disconnected" => {
            let detail = match text("detail") {
                "" => String::new(),
                detail => format!(", {detail}"),
            };
            (
                Tone::Bad,
                format!("disconnected: {}{detail}", text("reason")),
            )
        }
        "methodInvoked" => {
            let payload = excerpt(line, "payload");
            (
                Tone::Call,
                format!("method {} called with {payload}", text("method")),
            )
        }
        "methodEnded" => match line["error"]["code"].as_str() {
            Some(code) => (
                Tone::Bad,
                format!("method {} failed: {code}", text("method")),
            ),
            None => {
                let payload = excerpt(line, "payload");
                let told = format!(
                    "method {} answered {}: {payload}",
                    text("method"),
                    line["status"]
                );
                (Tone::Call, told)
            }
        },
        "twinChanged" => {
            let parts = ["tags", "desired", "reported"]
                .into_iter()
                .filter(|part| !line[part].is_null())
                .map(|part| format!("{part} {}", excerpt(line, part)));
            (Tone::State, parts.collect::<Vec<_>>().join(", "))
        }
        "identityChanged" => {
            let (change, status) = (text("change"), text("status"));
            (Tone::State, format!("identity {change}, {status}"))
        }
        "telemetryStored" => {
            let body = excerpt(line, "lastBody");
            let told = match line["messages"].as_u64() {
                Some(1) => format!("telemetry {body}"),
                messages => format!(
                    "telemetry ×{}, the last {body}",
                    messages.unwrap_or_default()
                ),
            };
            (Tone::Plain, told)
        }
        event @ ("c2dSent" | "c2dDelivered" | "c2dReturned" | "c2dEnded") => {
            let what = match event {
                "c2dSent" => format!("waits for its device: {}", excerpt(line, "body")),
                "c2dDelivered" if line["redelivered"] == true => "handed over again".into(),
                "c2dDelivered" => "handed over".into(),
                "c2dReturned" => "back in its queue".into(),
                _ => format!("ended: {}", text("outcome")),
            };
            (Tone::Call, format!("message {} {what}", line["sequence"]))
        }
        "faultFired" => (
            Tone::Bad,
            format!("fault on {}: {}", text("operation"), text("action")),
        ),
        other => (Tone::Plain, format!("{other} {line}")),
    }
}

/// What of a payload fits a line.
fn excerpt(line: &Value, name: &str) -> String {
    let shown = match (
        &line[name],
        &line[format!("{name}_text")],
        &line[format!("{name}_hex")],
    ) {
        (Value::Null, Value::String(text), _) => text.clone(),
        (Value::Null, _, Value::String(hex)) => format!("0x{hex}"),
        (Value::Null, _, _) => "nothing".into(),
        (value, _, _) => value.to_string(),
    };
    match shown.char_indices().nth(PAYLOAD) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(more: &Value) -> String {
        let mut line = json!({"at": "2024-03-14T09:54:49.6536567Z", "client": "d1"});
        for (name, value) in more.as_object().unwrap() {
            line[name] = value.clone();
        }
        of(&line, false)
    }

    #[test]
    fn a_line_has_time_device_and_what_happened() {
        let check = |more: Value, wanted: &str| {
            assert_eq!(
                line(&more),
                format!("09:54:49.653  d1                {wanted}")
            );
        };

        check(
            json!({"kind": "notice", "event": "connected", "protocol": "mqtt"}),
            "connected over mqtt",
        );
        check(
            json!({"kind": "notice", "event": "twinChanged", "desired": {"a": 1}}),
            r#"desired {"a":1}"#,
        );
        check(
            json!({"kind": "notice", "event": "telemetryStored", "messages": 3, "lastBody_text": "x"}),
            "telemetry ×3, the last x",
        );
        check(
            json!({"kind": "operation", "operation": "connect", "refusal": {"code": "C", "detail": "why"}}),
            "connect refused: C: why",
        );
        check(
            json!({"kind": "wire", "direction": "in", "protocol": "mqtt", "summary": "PINGREQ"}),
            "→ mqtt PINGREQ",
        );
        assert!(of(&json!({"missed": 7}), false).contains("7 entries missed"));
    }

    #[test]
    fn what_a_device_sends_cannot_steer_the_terminal() {
        let shown = line(&json!({"kind": "wire", "direction": "in", "summary": "\u{1b}[2Jx\n"}));

        assert!(shown.ends_with("·[2Jx·"), "{shown}");
        let painted = of(&json!({"kind": "operation", "operation": "query"}), true);
        assert!(
            painted.contains("\x1b[2mquery in 0.000 ms\x1b[0m"),
            "{painted:?}"
        );
    }
}
