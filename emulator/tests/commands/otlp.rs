//! OpenTelemetry: what a collector is sent, and that nothing is sent without one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, sync_channel};
use std::time::Duration;

use serde_json::Value;

use super::served::Served;
use super::words;

/// A request that the collector got.
struct Posted {
    path: String,
    headers: Vec<String>,
    body: Value,
}

/// A collector that takes everything; what it got.
fn collector() -> (u16, Receiver<Posted>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (sender, receiver) = sync_channel(1000);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, sender) = (BufReader::new(stream.unwrap()), sender.clone());
            std::thread::spawn(move || {
                while let Some(posted) = read_request(&mut stream) {
                    let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                    if stream.get_mut().write_all(answer).is_err() || sender.send(posted).is_err() {
                        break;
                    }
                }
            });
        }
    });
    (port, receiver)
}

fn read_request(stream: &mut BufReader<TcpStream>) -> Option<Posted> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end() {
            "" => break,
            line => lines.push(line.to_lowercase()),
        }
    }
    let length = lines
        .iter()
        .find_map(|line| line.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    let path = lines[0].split(' ').nth(1)?.to_owned();
    Some(Posted {
        path,
        headers: lines,
        body: serde_json::from_slice(&body).unwrap(),
    })
}

/// The attribute's value, whatever its type.
fn attribute<'a>(of: &'a Value, name: &str) -> Option<&'a str> {
    let all = of["attributes"].as_array()?;
    let found = all.iter().find(|it| it["key"] == name)?;
    let value = &found["value"];
    value["stringValue"].as_str().or(value["intValue"].as_str())
}

/// The first span that is as wanted, of all that arrive.
fn span(posted: &Receiver<Posted>, wanted: impl Fn(&Value) -> bool) -> (Value, Value) {
    for request in posted.iter().filter(|it| it.path == "/v1/traces") {
        let resource = &request.body["resourceSpans"][0];
        let spans = resource["scopeSpans"][0]["spans"].as_array().unwrap();
        if let Some(span) = spans.iter().find(|span| wanted(span)) {
            return (span.clone(), resource["resource"].clone());
        }
    }
    panic!("the collector has gone")
}

fn get(served: &Served, path: &str, headers: &str) -> String {
    let address = format!("127.0.0.1:{}", served.info["ports"]["http"]);
    let mut stream = TcpStream::connect(&address).unwrap();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n{headers}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn each_operation_becomes_a_span() {
    let (port, posted) = collector();
    let served = Served::start(&[
        &format!("--otlp-endpoint=http://127.0.0.1:{port}"),
        "--otlp-headers=api-key=se%20cret",
        "--otlp-service-name=my-hub",
        "--otlp-attributes=deployment.environment=test",
    ]);
    served.register(1);
    served.json(&words("device-identity show -d d100"));
    let traceparent =
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n".to_owned();

    let (shown, resource) = span(&posted, |span| {
        attribute(span, "iothub.device.id") == Some("d100")
    });
    assert_eq!(attribute(&resource, "service.name"), Some("my-hub"));
    assert_eq!(attribute(&resource, "deployment.environment"), Some("test"));
    assert_eq!(shown["name"], "getDevice");
    assert!(shown.get("parentSpanId").is_none(), "{shown}");
    assert!(shown.get("status").is_none(), "{shown}");
    let nanos = |name: &str| shown[name].as_str().unwrap().parse::<u128>().unwrap();
    let took = nanos("endTimeUnixNano") - nanos("startTimeUnixNano");
    assert!(took < 60_000_000_000, "{shown}");

    // Not of the same emulator, since both spans may have come in one request.
    let other = Served::start(&[&format!("--otlp-endpoint=http://127.0.0.1:{port}/")]);
    get(&other, "/_emulator/hub/devices/nobody", &traceparent);
    let (refused, _) = span(&posted, |span| span["parentSpanId"] == "00f067aa0ba902b7");
    assert_eq!(refused["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(refused["status"]["code"], 2);
    assert_eq!(attribute(&refused, "error.type"), Some("DeviceNotFound"));
}

#[test]
fn metrics_are_sent_from_time_to_time_with_the_headers_that_were_set() {
    let (port, posted) = collector();
    let served = Served::start(&[
        &format!("--otlp-endpoint=http://127.0.0.1:{port}"),
        "--otlp-headers=api-key=secret",
        "--otlp-interval=100",
    ]);
    served.register(3);

    let devices = posted
        .iter()
        .filter(|it| it.path == "/v1/metrics")
        .find_map(|request| {
            assert!(request.headers.contains(&"api-key: secret".to_owned()));
            let metrics = &request.body["resourceMetrics"][0]["scopeMetrics"][0]["metrics"];
            let metrics = metrics.as_array().unwrap();
            let devices = metrics.iter().find(|it| it["name"] == "iothub_devices")?;
            let enabled = devices["gauge"]["dataPoints"]
                .as_array()?
                .iter()
                .find(|it| attribute(it, "status") == Some("enabled"))?;
            (enabled["asDouble"] == 3.0).then(|| metrics.clone())
        })
        .unwrap();

    let duration = devices
        .iter()
        .find(|it| it["name"] == "iothub_operation_duration_seconds")
        .unwrap();
    assert_eq!(duration["unit"], "s");
    let point = &duration["histogram"]["dataPoints"][0];
    let counts: u64 = point["bucketCounts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|count| count.as_str().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(point["count"], counts.to_string());
    let bounds = point["explicitBounds"].as_array().unwrap().len();
    assert_eq!(point["bucketCounts"].as_array().unwrap().len(), bounds + 1);
}

#[test]
fn spans_that_keep_coming_do_not_make_the_first_one_wait() {
    const AT_A_TIME: Duration = Duration::from_millis(50);
    let (port, posted) = collector();
    let served = Served::start(&[&format!("--otlp-endpoint=http://127.0.0.1:{port}")]);

    // Less than one request has room for.
    let taken = (0..200).any(|_| {
        get(&served, "/_emulator/hub/devices/nobody", "");
        let posted = posted.recv_timeout(AT_A_TIME);
        posted.is_ok_and(|request| request.path == "/v1/traces")
    });

    assert!(taken, "no span came within ten seconds");
}

#[test]
fn a_collector_that_is_not_there_costs_spans_and_nothing_else() {
    // A port that nobody listens on any more.
    let port = TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .unwrap()
        .port();
    let served = Served::start(&[
        &format!("--otlp-endpoint=http://127.0.0.1:{port}"),
        "--otlp-interval=100",
    ]);
    served.register(1);

    let dropped = || {
        let metrics = get(&served, "/metrics", "");
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix("iothub_spans_dropped_total "));
        line.unwrap().parse::<u64>().unwrap()
    };
    while dropped() == 0 {
        served.json(&words("device-identity show -d d100"));
    }
    let metrics = get(&served, "/metrics", "");
    assert!(
        metrics.contains("\niothub_spans_exported_total 0\n"),
        "{metrics}"
    );
}

#[test]
fn an_endpoint_that_makes_no_sense_is_refused_in_words() {
    let output = std::process::Command::new(super::served::BINARY)
        .args(["serve", "--otlp-endpoint=https://collector"])
        .output()
        .unwrap();

    let error = super::served::text(&output.stderr);
    assert!(!output.status.success());
    assert!(error.contains("--otlp-endpoint"), "{error}");
    assert!(error.contains("expected http://HOST"), "{error}");
}

/// What the kernel says of the process's sockets: all listen, or are ends of connections to where
/// it listens.
#[test]
#[cfg(target_os = "linux")]
fn without_a_collector_nothing_is_connected_to_and_nothing_sent() {
    use std::collections::HashSet;

    let served = Served::start(&[]);
    served.register(5);
    served.json(&words("device-identity show -d d100"));
    served.json(&["query", "-q", "SELECT * FROM devices"]);
    // A connection that stays while the sockets are looked at.
    let address = format!("127.0.0.1:{}", served.info["ports"]["http"]);
    let mut open = TcpStream::connect(&address).unwrap();
    let request = format!("GET /_emulator/health HTTP/1.1\r\nHost: {address}\r\n\r\n");
    open.write_all(request.as_bytes()).unwrap();
    open.read_exact(&mut [0; 12]).unwrap();

    let proc = format!("/proc/{}", served.process.id());
    let own: HashSet<String> = std::fs::read_dir(format!("{proc}/fd"))
        .unwrap()
        .filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok())
        .filter_map(|link| {
            let link = link.to_string_lossy().into_owned();
            Some(link.strip_prefix("socket:[")?.strip_suffix(']')?.to_owned())
        })
        .collect();
    let ports: HashSet<u64> = served.info["ports"]
        .as_object()
        .unwrap()
        .values()
        .filter_map(Value::as_u64)
        .collect();
    let mut connected = 0;
    for table in ["tcp", "tcp6", "udp", "udp6"] {
        let text = std::fs::read_to_string(format!("{proc}/net/{table}")).unwrap();
        for line in text.lines().skip(1) {
            let cells: Vec<_> = line.split_whitespace().collect();
            if !own.contains(cells[9]) {
                continue;
            }
            let (_, port) = cells[1].rsplit_once(':').unwrap();
            let port = u64::from_str_radix(port, 16).unwrap();
            assert!(table.starts_with("tcp"), "{table}: {line}");
            assert!(ports.contains(&port), "{table}: {line}");
            connected += u32::from(cells[3] != "0A");
        }
    }
    assert_eq!(connected, 1, "the connection of this test was seen");
}
