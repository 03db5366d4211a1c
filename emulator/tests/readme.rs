//! The tables of `README.md` say what the code does.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use iothub_emulator::{Config, Emulator};
use iothub_protocol::amqp::address::Address;
use iothub_protocol::amqp::performative::Role;
use iothub_protocol::mqtt::topic::{DeviceTopic, Feature};
use iothub_protocol::{ClientId, Clock, sas};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const README: &str = include_str!("../../README.md");
const ROUTES: &str = include_str!("../src/http/route.rs");
const CONTROL: &str = include_str!("../src/http/control/mod.rs");

/// The cells of every table row whose first cell begins with one of `starts`, back quotes included.
fn rows(starts: &[&str]) -> Vec<Vec<&'static str>> {
    README
        .lines()
        .filter_map(|line| line.strip_prefix("| "))
        .filter(|line| starts.iter().any(|start| line.starts_with(start)))
        .map(|line| {
            let cells = line.trim_end_matches('|').split(" | ");
            cells.map(str::trim).collect()
        })
        .collect()
}

fn unquoted(cell: &str) -> &str {
    cell.trim_matches('`')
}

/// Operations of the REST tables, with whether they are said to be emulated.
fn operations() -> Vec<(&'static str, bool)> {
    rows(&["`GET /", "`PUT /", "`POST /", "`PATCH /", "`DELETE /"])
        .into_iter()
        .filter(|row| !row[0].contains("/_emulator/") && !row[0].contains("`, `"))
        .map(|row| (unquoted(row[0]), row[1] == "yes"))
        .collect()
}

#[test]
fn the_tables_list_the_route_index() {
    let (_, rows) = ROUTES.split_once("ROWS: &[&str] = &[").unwrap();
    let (rows, _) = rows.split_once("];").unwrap();
    let in_code: BTreeSet<&str> = rows.split('"').skip(1).step_by(2).collect();

    let in_readme: BTreeSet<&str> = operations()
        .into_iter()
        .map(|(operation, _)| operation)
        .collect();

    assert_eq!(in_readme, in_code);
}

/// The table of the control API has a row for every path, and no other; those that are answered in
/// front of its router are named here.
#[test]
fn the_table_of_the_control_api_has_every_path_with_its_verbs() {
    const IN_FRONT: [(&str, &str); 3] = [
        ("/_emulator/hub/...", "all"),
        ("/_emulator/login", "POST"),
        ("/_emulator/logout", "POST"),
    ];
    // A segment's parameter stands for two things there: `leaf` beside the names of authorities,
    // `expire-token` beside the names of modules.
    const BESIDE: [(&str, &str); 2] = [
        ("/_emulator/certificates/leaf", "POST"),
        ("/_emulator/connections/{device}/expire-token", "POST"),
    ];
    let in_code = CONTROL
        .split(".route(")
        .skip(1)
        .map(|route| {
            let path = route.split('"').nth(1).unwrap();
            let verbs = ["GET", "PUT", "POST", "DELETE"]
                .into_iter()
                .filter(|verb| route.contains(&format!("{}(", verb.to_lowercase())))
                .filter(|verb| {
                    let shares = |(beside, _): &(&str, &str)| {
                        let (parent, _) = beside.rsplit_once('/').unwrap();
                        let own = format!("/_emulator{path}");
                        own.rsplit_once('/').unwrap().0 == parent && own.ends_with('}')
                    };
                    *verb != "POST" || !BESIDE.iter().any(shares)
                });
            let verbs: Vec<_> = verbs.collect();
            (format!("/_emulator{path}"), verbs.join(", "))
        })
        .chain(
            IN_FRONT
                .iter()
                .chain(&BESIDE)
                .map(|(path, verbs)| ((*path).to_owned(), (*verbs).to_owned())),
        );

    let in_readme = rows(&["`/_emulator/"])
        .into_iter()
        .map(|row| (unquoted(row[0]).to_owned(), ordered(row[1])));

    assert_eq!(
        in_readme.collect::<BTreeSet<_>>(),
        in_code.collect::<BTreeSet<_>>()
    );
}

/// Verbs in the order in which the test above names them.
fn ordered(verbs: &str) -> String {
    let mut verbs: Vec<_> = verbs.split(", ").collect();
    verbs.sort_by_key(|verb| {
        ["GET", "PUT", "POST", "DELETE"]
            .iter()
            .position(|it| it == verb)
    });
    verbs.join(", ")
}

/// The table of topics against the topic grammar: every row is something that the hub understands,
/// and nothing that it understands is left out.
#[test]
fn the_table_of_topics_is_the_topic_grammar() {
    let client = |text: &str| ClientId::parse(text).unwrap();
    let mut published = BTreeSet::new();
    let mut subscribed = BTreeSet::new();
    for row in rows(&["`devices/", "`$iothub/"]) {
        let topic = unquoted(row[0])
            .replace("{id}", "d1")
            .replace("{mid}", "m1")
            .replace("{properties}", "a=b")
            .replace("{status}", "200")
            .replace("{rid}", "1");
        let who = client(if topic.contains("/modules/") {
            "d1/m1"
        } else {
            "d1"
        });
        if topic.ends_with('#') {
            let feature = Feature::parse_filter(&topic, &who);
            let feature = feature.unwrap_or_else(|| panic!("{topic} is no filter"));
            subscribed.insert(format!("{feature:?}"));
        } else {
            let meant = DeviceTopic::parse(&topic, &who);
            let meant = meant.unwrap_or_else(|error| panic!("{topic}: {error}"));
            let meant = format!("{meant:?}");
            published.insert(meant.split([' ', '{']).next().unwrap().to_owned());
        }
        assert_eq!(row[2], "yes", "{topic}");
    }
    let known = Feature::ALL
        .iter()
        .filter(|it| **it != Feature::C2dAndInputs);
    let known: BTreeSet<String> = known.map(|feature| format!("{feature:?}")).collect();
    assert_eq!(subscribed, known);
    let topics = [
        "MethodResponse",
        "Telemetry",
        "TwinGet",
        "TwinPatchReported",
    ];
    assert_eq!(published, topics.map(str::to_owned).into());
}

/// The table of AMQP addresses against the endpoint: each address is taken in the directions that
/// its row names, and no kind of address is left out.
#[tokio::test]
async fn a_link_is_refused_as_not_emulated_exactly_when_the_table_says_so() {
    let emulator = Emulator::start(Config::default()).await.unwrap();
    let token = owner_token(&emulator);
    let user = format!(
        "{}@sas.root.localhost",
        Config::default().all_policies()[0].name
    );
    let login = format!("\0{user}\0{token}");
    let mut kinds = BTreeSet::new();

    let starts = [
        "`$cbs",
        "`$management",
        "`{entity}",
        "`/messages/",
        "`/devices/",
    ];
    for row in rows(&starts) {
        let address = unquoted(row[0])
            .replace("{entity}", Config::default().hub_name())
            .replace("{group}", "$Default")
            .replace("{n}", "0")
            .replace(['{', '}'], "");
        kinds.insert(kind(&Address::parse(&address)));
        for (role, direction) in [(Role::Sender, "send"), (Role::Receiver, "receive")] {
            let listed = row[3] == "yes" && [direction, "both"].contains(&row[1]);
            let refusal = amqp::refusal(emulator.ports().amqp, &login, &address, role).await;
            let not_emulated = refusal.as_ref().is_some_and(|error| {
                let description = error.description.as_deref();
                description.unwrap_or_default().contains("not emulated")
            });
            if row[3] == "yes" {
                assert_eq!(!not_emulated, listed, "{direction} {address}: {refusal:?}");
            } else {
                assert!(refusal.is_some(), "{direction} {address}");
            }
        }
    }

    assert_eq!(kinds, KINDS.into());
    emulator.shutdown().await.unwrap();
}

/// Every kind of address but what is none.
const KINDS: [&str; 12] = [
    "C2d",
    "Cbs",
    "Entity",
    "EntityPartition",
    "Feedback",
    "FileNotifications",
    "HubEvents",
    "Management",
    "Methods",
    "ServiceC2d",
    "Telemetry",
    "Twin",
];

fn kind(address: &Address) -> &'static str {
    match address {
        Address::Cbs => "Cbs",
        Address::Management => "Management",
        Address::ServiceC2d => "ServiceC2d",
        Address::Feedback => "Feedback",
        Address::FileNotifications => "FileNotifications",
        Address::HubEvents { .. } => "HubEvents",
        Address::EntityPartition { .. } => "EntityPartition",
        Address::Entity { .. } => "Entity",
        Address::Telemetry(_) => "Telemetry",
        Address::C2d(_) => "C2d",
        Address::Methods(_) => "Methods",
        Address::Twin(_) => "Twin",
        Address::Unknown(text) => panic!("{text} is no address"),
    }
}

/// As much of an AMQP client as it takes to attach a link.
mod amqp {
    use iothub_protocol::Timestamp;
    use iothub_protocol::amqp::connection::{AttachLink, ClientSasl, ConnectionConfig, Event};
    use iothub_protocol::amqp::performative::{
        ReceiverSettleMode, Role, SenderSettleMode, Source, Target,
    };
    use iothub_protocol::amqp::{AmqpError, Connection, SessionId, Symbol};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    /// Why a link is refused; `None`: it is not.
    pub(super) async fn refusal(
        port: u16,
        login: &str,
        address: &str,
        role: Role,
    ) -> Option<AmqpError> {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        let sasl = ClientSasl::Mechanism {
            name: Symbol::of("PLAIN"),
            initial_response: Some(login.to_owned().into()),
        };
        let config = ConnectionConfig {
            container_id: "readme".to_owned(),
            hostname: Some("localhost".to_owned()),
            max_frame_size: 65_536,
            max_sessions: 1,
            max_links: 2,
            incoming_window: 10,
            idle_timeout: None,
            sasl_mechanisms: Vec::new(),
            max_unfinished: 65_536,
        };
        let now = Timestamp::UNIX_EPOCH;
        let mut machine = Connection::client(config, sasl, now);
        let session = machine.begin();
        let link = attach(&mut machine, session, address, role);
        // Attaches are answered in order: once this one is, the other has been refused or not.
        let last = attach(&mut machine, session, "$cbs", Role::Sender);
        let mut refusal = None;
        loop {
            while let Some(bytes) = machine.next_output() {
                stream.write_all(&bytes).await.unwrap();
            }
            let mut bytes = [0; 4096];
            let read = stream.read(&mut bytes).await.unwrap();
            machine.receive(now, &bytes[..read]);
            while let Some(event) = machine.next_event() {
                match event {
                    Event::LinkDetached {
                        link: it, error, ..
                    } if it == link => refusal = error,
                    Event::LinkAttached { link: it, .. } if it == last => return refusal,
                    Event::Closed(error) => panic!("{address}: {error:?}"),
                    _ => {}
                }
            }
            assert!(read > 0, "{address}: closed");
        }
    }

    fn attach(
        machine: &mut Connection,
        session: SessionId,
        address: &str,
        role: Role,
    ) -> iothub_protocol::amqp::LinkId {
        let link = AttachLink {
            name: format!("{address} {role:?}"),
            role,
            source: Source {
                address: (role == Role::Receiver).then(|| address.to_owned()),
                ..Source::default()
            },
            target: Target {
                address: (role == Role::Sender).then(|| address.to_owned()),
                ..Target::default()
            },
            snd_settle_mode: SenderSettleMode::Mixed,
            rcv_settle_mode: ReceiverSettleMode::First,
            credit: 0,
            max_message_size: None,
            properties: Vec::new(),
            desired_capabilities: Vec::new(),
        };
        machine.attach(session, link)
    }
}

#[tokio::test]
async fn an_operation_is_refused_as_not_emulated_exactly_when_the_table_says_so() {
    let emulator = Emulator::start(Config::default()).await.unwrap();
    let token = owner_token(&emulator);

    for (operation, emulated) in operations() {
        let answer = ask(emulator.ports().http, operation, &token).await;

        assert_eq!(
            answer.contains("not emulated"),
            !emulated,
            "{operation}: {answer}"
        );
    }

    emulator.shutdown().await.unwrap();
}

fn owner_token(emulator: &Emulator) -> String {
    let owner = &Config::default().all_policies()[0];
    let expiry = emulator.handle().clock().now() + Duration::from_secs(3600);
    sas::sign("localhost", expiry, Some(&owner.name), &owner.primary)
}

/// The whole answer to an operation on ids that do not exist.
async fn ask(port: u16, operation: &str, token: &str) -> String {
    let (method, path) = operation.split_once(' ').unwrap();
    let path = path.replace(['{', '}'], "");
    let request = format!(
        "{method} {path}?api-version=2021-04-12 HTTP/1.1\r\nHost: localhost\r\n\
         Authorization: {token}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\
         Connection: close\r\n\r\n{{}}"
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn the_settings_table_has_every_flag_with_its_variable_and_default() {
    let output = Command::new(env!("CARGO_BIN_EXE_iothub-emulator"))
        .args(["serve", "--help"])
        .output()
        .unwrap();
    let help = String::from_utf8(output.stdout).unwrap();
    let in_help: BTreeSet<(String, String)> = flags(&help)
        .into_iter()
        .map(|(flag, text)| {
            // What stands behind the sign is the value; of secrets nothing does.
            let variable = between(&text, "[env: ", "]").unwrap_or_default();
            let name = variable.split('=').next().unwrap_or_default();
            (flag, name.to_owned())
        })
        .collect();

    let table = rows(&["`--"]);
    let in_readme: BTreeSet<(String, String)> = table
        .iter()
        .map(|row| (unquoted(row[0]).to_owned(), unquoted(row[1]).to_owned()))
        .collect();

    assert_eq!(in_readme, in_help);
    for (flag, text) in flags(&help) {
        // Those that a sentence describes stand in words in the table.
        let default = between(&text, "[default: ", "]").filter(|text| !text.contains(' '));
        let row = table.iter().find(|row| unquoted(row[0]) == flag).unwrap();
        if let Some(default) = default {
            assert_eq!(unquoted(row[2]), default, "{flag}");
        }
    }
}

/// Every long flag of a help text that has an environment variable, with what is said of it.
fn flags(help: &str) -> Vec<(String, String)> {
    let mut flags: Vec<(String, String)> = Vec::new();
    for line in help.lines().map(str::trim) {
        if line.starts_with("--") {
            let flag = line.split_whitespace().next().unwrap_or_default();
            flags.push((flag.to_owned(), String::new()));
        }
        if let Some((_, text)) = flags.last_mut() {
            text.push_str(line);
            text.push(' ');
        }
    }
    flags.retain(|(_, text)| text.contains("[env: "));
    flags
}

fn between(text: &str, before: &str, after: &str) -> Option<String> {
    let (_, rest) = text.split_once(before)?;
    Some(rest.split_once(after)?.0.to_owned())
}
