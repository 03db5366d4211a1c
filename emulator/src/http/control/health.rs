//! Whether the emulator is ready: one word for machines, a page or a text for people.

use std::fmt::Write;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use http::StatusCode;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, HeaderMap, HeaderValue};
use iothub_protocol::Clock;
use serde_json::json;

use super::Control;
use crate::http::answer;
use crate::stats::Totals;

/// `GET /_emulator/health`: 200 only when every listener accepts and the hub works. Who accepts
/// `text/html` or `text/plain` rather than JSON is told more, in words.
pub(super) async fn show(State(control): State<Control>, headers: HeaderMap) -> Response {
    let broken = control.handle.broken();
    let (code, status) = match (&broken, control.info.is_ready()) {
        (None, true) => (StatusCode::OK, "ready"),
        (None, false) => (StatusCode::SERVICE_UNAVAILABLE, "starting"),
        (Some(_), _) => (StatusCode::SERVICE_UNAVAILABLE, "broken"),
    };
    let (content_type, body) = match Form::asked_for(&headers) {
        Form::Json => {
            let version = env!("CARGO_PKG_VERSION");
            let mut document = json!({"status": status, "version": version});
            if let Some(reason) = broken {
                document["reason"] = reason.into();
            }
            return answer::json(code, document.to_string());
        }
        Form::Text => {
            let report = Report::of(&control, status, broken);
            ("text/plain; charset=utf-8", report.to_text())
        }
        Form::Html => {
            let report = Report::of(&control, status, broken);
            ("text/html; charset=utf-8", report.to_html())
        }
    };
    let mut response = Response::new(body.into());
    *response.status_mut() = code;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Whether more is asked for than everybody may know.
pub(in crate::http) fn asks_for_words(headers: &HeaderMap) -> bool {
    Form::asked_for(headers) != Form::Json
}

/// How to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Json,
    Text,
    Html,
}

impl Form {
    /// The first one that is named; machines name none, or take anything.
    fn asked_for(headers: &HeaderMap) -> Self {
        let accepted = headers
            .get_all(ACCEPT)
            .iter()
            .filter_map(|value| value.to_str().ok());
        accepted
            .flat_map(|value| value.split(','))
            .find_map(|kind| match kind.split(';').next()?.trim() {
                "text/html" => Some(Self::Html),
                "text/plain" => Some(Self::Text),
                "application/json" => Some(Self::Json),
                _ => None,
            })
            .unwrap_or(Self::Json)
    }
}

/// What people are told.
struct Report {
    headline: String,
    parts: Vec<(&'static str, Vec<(String, String)>)>,
}

impl Report {
    fn of(control: &Control, status: &str, broken: Option<String>) -> Self {
        let totals = Totals::of(&control.handle);
        let uptime = span(totals.uptime);
        let version = env!("CARGO_PKG_VERSION");
        let mut parts = vec![
            ("Listens", listeners(control)),
            ("Hub", hub(control, &totals)),
        ];
        if let Some(reason) = broken {
            parts.insert(0, ("Broken", vec![("why".into(), reason)]));
        }
        parts.push(("Last refusals", refusals(control)));
        Self {
            headline: format!("{status}: iothub-emulator {version}, up {uptime}"),
            parts,
        }
    }

    fn to_text(&self) -> String {
        let mut text = format!("{}\n", self.headline);
        for (title, rows) in &self.parts {
            // Writing to a string does not fail.
            let _ = writeln!(text, "\n{title}");
            let width = rows.iter().map(|(name, _)| name.chars().count()).max();
            let width = width.unwrap_or_default();
            for (name, value) in rows {
                let _ = writeln!(text, "  {name:width$}  {value}");
            }
        }
        text
    }

    fn to_html(&self) -> String {
        let headline = escaped(&self.headline);
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta name=\"viewport\" content=\"width=device-width\">\
             <meta name=\"color-scheme\" content=\"light dark\"><title>{headline}</title></head>\
             <body><main><h1>{headline}</h1>\n"
        );
        for (title, rows) in &self.parts {
            let _ = writeln!(page, "<h2>{}</h2><table>", escaped(title));
            for (name, value) in rows {
                let (name, value) = (escaped(name), escaped(value));
                let _ = writeln!(
                    page,
                    "<tr><th scope=\"row\" align=\"left\">{name}</th><td>{value}</td></tr>"
                );
            }
            page.push_str("</table>\n");
        }
        page.push_str("</main></body></html>\n");
        page
    }
}

fn listeners(control: &Control) -> Vec<(String, String)> {
    let ports = control.info.ports();
    let host = control.info.hostname();
    let row =
        |name: &str, port: u16, what: &str| (name.to_owned(), format!("{host}:{port}, {what}"));
    let mut rows = vec![
        row("mqtts", ports.mqtts, "MQTT over TLS"),
        row("mqtt", ports.mqtt, "MQTT in the clear"),
        row("amqps", ports.amqps, "AMQP over TLS"),
        row("amqp", ports.amqp, "AMQP in the clear"),
        row(
            "https",
            ports.https,
            "REST, WebSocket and this page over TLS",
        ),
        row("http", ports.http, "the same in the clear"),
    ];
    if let Some(observe) = ports.observe {
        rows.push(row("observe", observe, "the observer bus"));
    }
    rows
}

fn hub(control: &Control, totals: &Totals) -> Vec<(String, String)> {
    let row = |name: &str, value: String| (name.to_owned(), value);
    let handle = &control.handle;
    let now = handle.clock().now().to_iso_seconds();
    let clock = match totals.frozen {
        true => format!("stands still at {now}"),
        false => format!("runs, {now}"),
    };
    let faults = match (totals.faults_armed, totals.faults_fired) {
        (0, _) => "none armed".to_owned(),
        (armed, fired) => format!("{armed} armed, acted {fired} times"),
    };
    let connected: Vec<_> = totals
        .connections
        .iter()
        .map(|(protocol, count)| format!("{count} over {protocol}"))
        .collect();
    let connected = match connected.as_slice() {
        [] => "nobody".to_owned(),
        some => some.join(", "),
    };
    let mut rows = vec![
        row("clock", clock),
        row("store", control.info.store().to_owned()),
        row("faults", faults),
        row(
            "identities",
            format!(
                "devices {}, modules {}",
                totals.census.devices.total, totals.census.modules
            ),
        ),
        row("connected", connected),
        row("messages waiting", totals.census.c2d_waiting.to_string()),
        row("events stored", totals.events.to_string()),
        row("not emulated", format!("{} requests", totals.not_emulated)),
    ];
    if let Some(bytes) = totals.memory {
        rows.push(row("memory", format!("{} MiB", bytes >> 20)));
    }
    if totals.dropped_observations > 0 {
        let what = format!("{} observations dropped", totals.dropped_observations);
        rows.push(row("slow observers", what));
    }
    rows
}

fn refusals(control: &Control) -> Vec<(String, String)> {
    let last = control.handle.activity().last_refusals();
    if last.is_empty() {
        return vec![("none".into(), String::new())];
    }
    last.iter()
        .rev()
        .map(|refusal| {
            let client = refusal.client.as_ref().map(|client| format!(" {client}"));
            let what = format!(
                "{}{}: {} ({}) {}",
                refusal.kind.name(),
                client.unwrap_or_default(),
                refusal.code.name(),
                refusal.code.number(),
                refusal.detail
            );
            (refusal.at.to_iso_seconds(), what)
        })
        .collect()
}

/// The two largest units of a duration.
fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {minutes} min"),
        (_, _, _) => format!("{days} d {hours} h"),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_its_two_largest_units() {
        let told = |seconds| span(Duration::from_secs(seconds));

        assert_eq!(told(59), "59 s");
        assert_eq!(told(61), "1 min 1 s");
        assert_eq!(told(3 * 3600 + 240), "3 h 4 min");
        assert_eq!(told(2 * 86_400 + 3601), "2 d 1 h");
    }

    #[test]
    fn the_first_kind_that_is_named_is_the_one() {
        let form = |accept: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
            Form::asked_for(&headers)
        };

        assert_eq!(form("*/*"), Form::Json);
        assert_eq!(form("application/json, text/html"), Form::Json);
        assert_eq!(
            form("text/html,application/xhtml+xml,*/*;q=0.8"),
            Form::Html
        );
        assert_eq!(form("text/plain;q=0.9"), Form::Text);
    }
}
