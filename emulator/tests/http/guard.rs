//! Who may use the control API: hosts, origins, the admin token.

use std::sync::Arc;

use iothub_emulator::http::{ControlAccess, Endpoint, Guard, HostPattern};
use iothub_emulator::secret::Secret;
use iothub_emulator::transport::{Peer, TlsPeer, TransportKind};
use iothub_emulator::{amqp, mqtt};
use tokio::io::duplex;

use super::client::{Client, Reply};
use super::hub::TestHub;

const TOKEN: &str = "s3cret/token+=";
const ROUTES: &str = include_str!("../../src/http/control/mod.rs");

/// Every path of the control API as its router has it, one that it does not have, and the hub's own
/// below it.
fn paths() -> Vec<String> {
    let (_, router) = ROUTES.split_once("Router::new()").unwrap();
    let mut paths: Vec<_> = router
        .split(".route(")
        .skip(1)
        .map(|route| route.split('"').nth(1).unwrap())
        .map(|path| format!("/_emulator{}", path.replace(['{', '}'], "")))
        .collect();
    assert!(paths.len() > 20 && paths.contains(&"/_emulator/info".to_owned()));
    let more = [
        "nothing",
        "",
        "hub/devices",
        "hub/twins/d1",
        "HEALTH",
        "health/x",
        "logout/x",
    ];
    paths.extend(more.map(|path| format!("/_emulator/{path}")));
    paths.push("/_EMULATOR/info".to_owned());
    paths.push("/_emulator%2Finfo".to_owned());
    paths.retain(|path| path != "/_emulator/health");
    paths
}

fn guarded(access: &ControlAccess) -> TestHub {
    let mut hub = TestHub::new();
    let mqtt = mqtt::Endpoint::new(hub.handle.clone(), mqtt::Settings::default());
    let amqp = amqp::Endpoint::new(hub.handle.clone(), amqp::Settings::default());
    let guard = Guard::new(access, ["hub.test"]);
    hub.endpoint = Endpoint::guarded(hub.handle.clone(), hub.info.clone(), mqtt, amqp, guard);
    hub
}

fn with_token() -> TestHub {
    guarded(&ControlAccess {
        hosts: vec![HostPattern::parse("emu.example.org").unwrap()],
        token: Some(Secret::parse(TOKEN).unwrap()),
    })
}

/// A request with these headers and no others.
async fn send(hub: &TestHub, head: &str, headers: &[(&str, &str)], body: &str) -> Reply {
    let (mut client, _) = hub.connect();
    client.write(text(head, headers, body)).await;
    client.reply().await
}

fn text(head: &str, headers: &[(&str, &str)], body: &str) -> String {
    let headers = headers
        .iter()
        .map(|(name, value)| format!("{name}: {value}\r\n"));
    let headers: String = headers.collect();
    format!(
        "{head} HTTP/1.1\r\n{headers}Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn cookie(reply: &Reply) -> &str {
    let cookie = reply.header("set-cookie").unwrap();
    cookie.split(';').next().unwrap()
}

#[tokio::test]
async fn no_path_answers_to_a_host_that_is_not_the_emulators() {
    let hub = with_token();
    let token = format!("Bearer {TOKEN}");

    for path in paths() {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            for host in [
                "evil.example",
                "evil.example:4",
                "localhost.evil.example",
                "a b",
                "",
            ] {
                let headers = [("Host", host), ("Authorization", token.as_str())];
                let reply = send(&hub, &format!("{method} {path}"), &headers, "").await;

                assert_eq!(reply.status, 403, "{method} {path} {host}");
                assert!(reply.body.contains("--allow-host"), "{reply:?}");
            }
        }
    }
}

#[tokio::test]
async fn no_path_answers_a_page_of_another_origin() {
    let hub = with_token();
    let token = format!("Bearer {TOKEN}");

    for path in paths() {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            for foreign in [
                ("Origin", "https://evil.example"),
                ("Origin", "http://localhost:9000"),
                ("Origin", "null"),
                ("Sec-Fetch-Site", "cross-site"),
                ("Sec-Fetch-Site", "same-site"),
            ] {
                let headers = [
                    ("Host", "localhost:8080"),
                    ("Authorization", token.as_str()),
                    foreign,
                ];
                let reply = send(&hub, &format!("{method} {path}"), &headers, "").await;

                assert_eq!(reply.status, 403, "{method} {path} {foreign:?}");
                assert_eq!(reply.header("access-control-allow-origin"), None);
            }
        }
    }
}

#[tokio::test]
async fn no_path_answers_without_the_token() {
    let hub = with_token();
    let not_it = format!("Bearer {TOKEN}x");

    for path in paths() {
        for method in ["GET", "POST", "PUT", "DELETE", "PATCH"] {
            for proof in [
                ("X-Nothing", ""),
                ("Authorization", "Bearer "),
                ("Authorization", TOKEN),
                ("Authorization", &not_it),
                ("Authorization", "Basic OnMzY3JldA=="),
                ("Cookie", "iothub_emulator_8080=s3cret/token+="),
                ("Cookie", "iothub_emulator_8080="),
            ] {
                let headers = [("Host", "localhost:8080"), proof];
                let reply = send(&hub, &format!("{method} {path}"), &headers, "").await;

                assert_eq!(reply.status, 401, "{method} {path} {proof:?}");
                assert_eq!(
                    reply.header("www-authenticate"),
                    Some("Bearer realm=\"iothub-emulator\"")
                );
            }
        }
    }
}

#[tokio::test]
async fn the_metrics_at_the_root_are_guarded_like_those_below() {
    let hub = with_token();
    let token = format!("Bearer {TOKEN}");
    let known = ("Authorization", token.as_str());
    let host = ("Host", "localhost");
    let foreign = ("Sec-Fetch-Site", "cross-site");

    for (headers, status) in [
        (vec![host, known], 200),
        (vec![host], 401),
        (vec![host, known, foreign], 403),
        (vec![("Host", "evil.example"), known], 403),
    ] {
        let reply = send(&hub, "GET /metrics", &headers, "").await;

        assert_eq!(reply.status, status, "{headers:?}");
    }
}

#[tokio::test]
async fn the_emulators_own_names_and_pages_are_let_in() {
    let hub = with_token();
    let token = format!("Bearer {TOKEN}");

    for host in [
        "localhost:8080",
        "127.0.0.1",
        "[::1]:8080",
        "emulator",
        "host.docker.internal:8080",
        "hub.test",
        "emu.example.org:8080",
    ] {
        let origin = format!("http://{host}");
        for headers in [
            vec![],
            vec![("Origin", origin.as_str())],
            vec![("Sec-Fetch-Site", "same-origin")],
            vec![("Sec-Fetch-Site", "none")],
        ] {
            let mut all = vec![("Host", host), ("Authorization", token.as_str())];
            all.extend(headers);
            for path in ["info", "hub/devices"] {
                let reply = send(&hub, &format!("GET /_emulator/{path}"), &all, "").await;

                assert_eq!(reply.status, 200, "{path} {all:?}");
                assert_eq!(
                    reply.header("cross-origin-resource-policy"),
                    Some("same-origin")
                );
                assert_eq!(reply.header("x-content-type-options"), Some("nosniff"));
                assert_eq!(reply.header("cache-control"), Some("no-store"));
            }
        }
    }
}

#[tokio::test]
async fn the_page_and_the_health_are_everybodys() {
    let hub = with_token();
    let hosts = ["evil.example", "localhost", ""];

    for host in hosts {
        let headers = [("Host", host), ("Sec-Fetch-Site", "cross-site")];
        let page = send(&hub, "GET /", &headers, "").await;
        let health = send(&hub, "GET /_emulator/health", &headers, "").await;

        assert_eq!((page.status, health.status), (200, 200), "{host}");
        let script = page.body.split('"').find(|it| it.ends_with(".js")).unwrap();
        let script = send(&hub, &format!("GET {script}"), &headers, "").await;
        assert_eq!(script.status, 200, "{host}");
    }
    let put = send(&hub, "PUT /_emulator/health", &[("Host", "localhost")], "").await;
    assert_eq!(put.status, 401);
}

#[tokio::test]
async fn a_login_gives_a_cookie_that_stands_for_the_token() {
    let hub = with_token();
    let host = ("Host", "localhost:8080");
    let right = serde_json::json!({"token": TOKEN}).to_string();

    let login = send(&hub, "POST /_emulator/login", &[host], &right).await;

    assert_eq!((login.status, login.body.as_str()), (204, ""));
    let set = login.header("set-cookie").unwrap();
    assert!(set.starts_with("iothub_emulator_8080="), "{set}");
    assert!(
        set.ends_with("; Path=/; HttpOnly; SameSite=Strict"),
        "{set}"
    );
    assert!(!set.contains(TOKEN) && !set.contains("s3cret"), "{set}");
    let held = format!("a=b; {}; c=d", cookie(&login));
    let info = send(&hub, "GET /_emulator/info", &[host, ("Cookie", &held)], "").await;
    assert_eq!(info.status, 200);
    let elsewhere = [("Host", "localhost:9090"), ("Cookie", held.as_str())];
    assert_eq!(
        send(&hub, "GET /_emulator/info", &elsewhere, "")
            .await
            .status,
        401
    );
    let as_token = held.split(['=', ';']).nth(3).unwrap();
    let as_token = format!("Bearer {as_token}");
    let headers = [host, ("Authorization", as_token.as_str())];
    assert_eq!(
        send(&hub, "GET /_emulator/info", &headers, "").await.status,
        401
    );

    let logout = send(
        &hub,
        "POST /_emulator/logout",
        &[host, ("Cookie", &held)],
        "",
    )
    .await;
    let set = logout.header("set-cookie").unwrap();
    assert_eq!(logout.status, 204);
    assert!(
        set.starts_with("iothub_emulator_8080=;") && set.ends_with("; Max-Age=0"),
        "{set}"
    );
}

#[tokio::test]
async fn a_login_with_anything_else_is_refused() {
    let hub = with_token();
    let right = serde_json::json!({"token": TOKEN}).to_string();
    let long = format!(r#"{{"token":"{}"}}"#, "x".repeat(9000));

    for (headers, body, status) in [
        (vec![("Host", "localhost")], r#"{"token":"s3cret"}"#, 401),
        (vec![("Host", "localhost")], r#"{"token":""}"#, 401),
        (vec![("Host", "localhost")], r#"{"token":7}"#, 400),
        (vec![("Host", "localhost")], "{}", 400),
        (vec![("Host", "localhost")], "token", 400),
        (vec![("Host", "localhost")], &long, 413),
        (vec![("Host", "evil.example")], &right, 403),
        (
            vec![("Host", "localhost"), ("Origin", "http://evil.example")],
            &right,
            403,
        ),
    ] {
        let reply = send(&hub, "POST /_emulator/login", &headers, body).await;

        assert_eq!(reply.status, status, "{headers:?} {body:.40}");
        assert_eq!(reply.header("set-cookie"), None);
    }
}

#[tokio::test]
async fn over_tls_the_cookie_is_for_tls_only() {
    let hub = with_token();
    let (stream, server) = duplex(64 * 1024);
    let peer = Peer {
        address: ([127, 0, 0, 1], 9).into(),
        tls: Some(Arc::new(TlsPeer::default())),
        kind: TransportKind::Tls,
    };
    let (endpoint, stop) = (hub.endpoint.clone(), hub.stop.clone());
    tokio::spawn(async move { endpoint.serve(server, peer, stop).await });
    let mut client = Client::new(stream);
    let body = serde_json::json!({"token": TOKEN}).to_string();

    client
        .write(text(
            "POST /_emulator/login",
            &[("Host", "localhost")],
            &body,
        ))
        .await;
    let reply = client.reply().await;

    let set = reply.header("set-cookie").unwrap();
    assert!(
        set.starts_with("iothub_emulator=") && set.ends_with("; Secure"),
        "{set}"
    );
}

#[tokio::test]
async fn without_a_token_everybody_is_in_and_a_login_changes_nothing() {
    let hub = guarded(&ControlAccess::default());
    let host = ("Host", "localhost");

    let login = send(&hub, "POST /_emulator/login", &[host], r#"{"token":"x"}"#).await;

    assert_eq!((login.status, login.header("set-cookie")), (204, None));
    assert_eq!(
        send(&hub, "GET /_emulator/info", &[host], "").await.status,
        200
    );
}

#[tokio::test]
async fn sdks_reach_the_hub_under_any_name_and_know_no_admin_token() {
    let hub = with_token();
    let sas = hub.token("iothubowner");
    let host = ("Host", "hub.azure-devices.net");
    let path = "GET /devices?api-version=2021-04-12";

    let signed = [
        host,
        ("Authorization", sas.as_str()),
        ("Origin", "https://app.example"),
    ];
    let rest = send(&hub, path, &signed, "").await;
    let admin = format!("Bearer {TOKEN}");
    let not_signed = send(&hub, path, &[host, ("Authorization", &admin)], "").await;
    let (mut client, _) = hub.connect();
    let upgrade = [
        host,
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "AQIDBAUGBwgJCgsMDQ4PEA=="),
        ("Sec-WebSocket-Protocol", "mqtt"),
        ("Origin", "https://app.example"),
    ];
    let head = upgrade
        .map(|(name, value)| format!("{name}: {value}\r\n"))
        .concat();
    client
        .write(format!("GET /$iothub/websocket HTTP/1.1\r\n{head}\r\n"))
        .await;

    assert_eq!((rest.status, not_signed.status), (200, 401), "{rest:?}");
    assert!(client.head().await.starts_with("HTTP/1.1 101"));
}
