//! The binary as a person runs it: `serve` on free ports, and the client commands against it.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, reason = "a test says what it needs")]

use serde_json::Value;
use std::io::Read;
use std::path::Path;
use std::process::Command;

use serde_json::json;

#[path = "support/served.rs"]
mod served;

use served::{BINARY, Served, clean, text};

#[test]
fn the_words_of_az_work_against_a_running_emulator() {
    let served = Served::start(&[]);

    let created = served.json(&["device-identity", "create", "-d", "d1"]);
    assert_eq!(created["deviceId"], "d1");
    let key = created["authentication"]["symmetricKey"]["primaryKey"]
        .as_str()
        .unwrap();
    let string = served.json(&["device-identity", "connection-string", "show", "-d", "d1"]);
    let wanted = format!("HostName=localhost;DeviceId=d1;SharedAccessKey={key}");
    assert_eq!(string, json!({"connectionString": wanted}));

    let updated = served.json(&[
        "device-identity",
        "update",
        "-d",
        "d1",
        "--status",
        "disabled",
    ]);
    assert_eq!(updated["status"], "disabled");
    assert_eq!(updated["authentication"], created["authentication"]);
    let listed = served.json(&["device-identity", "list"]);
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
    let shown = served.json(&["device-identity", "show", "-d", "d1"]);
    assert_eq!(shown["etag"], updated["etag"]);

    let twin = served.json(&[
        "device-twin",
        "update",
        "-d",
        "d1",
        "--desired",
        r#"{"interval":5}"#,
        "--tags",
        r#"{"site":"A"}"#,
    ]);
    assert_eq!(twin["properties"]["desired"]["interval"], 5);
    assert_eq!(
        served.json(&["device-twin", "show", "-d", "d1"])["tags"],
        json!({"site": "A"})
    );

    let string = served.json(&["connection-string", "show", "--policy-name", "service"]);
    assert_eq!(
        string["connectionString"],
        served.info["connection_strings"]["service"]
    );
    let token = served.json(&["generate-sas-token", "-d", "d1", "--du", "60"]);
    let token = iothub_protocol::sas::SasToken::parse(token["sas"].as_str().unwrap()).unwrap();
    assert!(token.is_signed_with(&iothub_protocol::sas::SymmetricKey::parse(key).unwrap()));

    served.json(&["device-identity", "delete", "-d", "d1"]);
    let error = served.error(&["device-identity", "show", "-d", "d1"]);
    assert!(error.contains("DeviceNotFound (404001)"), "{error}");
    let error = served.error(&["device-twin", "update", "-d", "d1", "--desired", "{"]);
    assert!(error.contains("--desired is not JSON"), "{error}");
    let error = served.error(&["connection-string", "show", "--policy-name", "nobody"]);
    assert!(error.contains("there are device, iothubowner"), "{error}");
}

#[test]
fn a_method_of_an_offline_device_is_refused_in_the_hubs_words() {
    let served = Served::start(&[]);
    served.json(&[
        "device-identity",
        "create",
        "-d",
        "d1",
        "--status",
        "disabled",
    ]);

    // A disabled device is refused at once, whatever the timeout.
    let error = served.error(&["invoke-device-method", "-d", "d1", "--mn", "reboot"]);

    assert!(error.contains("DeviceNotFound (404001)"), "{error}");
}

#[test]
fn env_and_certs_point_sdks_to_the_emulator() {
    let served = Served::start(&[]);
    let ca = served.dir.path().join("certificates/ca.pem");

    let env = text(&served.run(&["env"]).stdout);
    let exported = clean(&mut Command::new(BINARY))
        .args(["certs", "export", "--cert-dir"])
        .arg(served.dir.path().join("certificates"))
        .output()
        .unwrap();

    let owner = served.info["connection_strings"]["iothubowner"]
        .as_str()
        .unwrap();
    let events = served.info["connection_strings"]["events_plain"]
        .as_str()
        .unwrap();
    for line in [
        format!("export SSL_CERT_FILE='{}'", ca.display()),
        format!("export NODE_EXTRA_CA_CERTS='{}'", ca.display()),
        format!("export REQUESTS_CA_BUNDLE='{}'", ca.display()),
        format!("export IOTHUB_CONNECTION_STRING='{owner}'"),
        format!("export EVENTHUB_CONNECTION_STRING='{events}'"),
    ] {
        assert!(
            env.lines().any(|found| found == line),
            "{line} is not in:\n{env}"
        );
    }
    assert_eq!(exported.stdout, std::fs::read(&ca).unwrap());
}

#[test]
fn the_ready_block_and_the_ready_file_tell_where_everything_is() {
    let served = Served::start(&["--hostname", "hub.test"]);

    for (listener, name) in [
        ("mqtts", "MQTT over TLS"),
        ("amqps", "AMQP over TLS"),
        ("amqp", "AMQP "),
        ("https", "HTTPS"),
        ("http", "HTTP"),
    ] {
        let port = served.info["ports"][listener].as_u64().unwrap();
        let named = served
            .block
            .lines()
            .any(|line| line.contains(name) && line.ends_with(&format!(":{port}")));
        assert!(named, "{listener} {port} is not in:\n{}", served.block);
    }
    assert_eq!(served.info["hostname"], "hub.test");
    assert_eq!(served.info["pid"], served.process.id());
    let owner = served.info["connection_strings"]["iothubowner"]
        .as_str()
        .unwrap();
    assert!(owner.starts_with("HostName=hub.test;"));
    let key = owner.rsplit_once("SharedAccessKey=").unwrap().1;
    let credential =
        format!("SharedAccessKeyName=iothubowner;SharedAccessKey={key};EntityPath=hub");
    let (amqps, amqp) = (
        &served.info["ports"]["amqps"],
        &served.info["ports"]["amqp"],
    );
    assert_eq!(
        served.info["connection_strings"]["events"],
        format!("Endpoint=sb://hub.test:{amqps}/;{credential}")
    );
    assert_eq!(
        served.info["connection_strings"]["events_plain"],
        format!("Endpoint=sb://hub.test:{amqp};{credential};UseDevelopmentEmulator=true;")
    );
    assert!(Path::new(served.info["ca_file"].as_str().unwrap()).exists());
}

#[test]
fn keys_are_fixed_seeded_or_random_as_asked() {
    let owner = |arguments: &[&str]| {
        Served::start(arguments).info["connection_strings"]["iothubowner"].clone()
    };

    assert_eq!(owner(&[]), owner(&[]));
    assert_eq!(owner(&["--seed", "7"]), owner(&["--seed", "7"]));
    assert_ne!(owner(&["--seed", "7"]), owner(&[]));
    assert_ne!(owner(&["--random-keys"]), owner(&["--random-keys"]));
}

#[test]
fn a_policy_of_ones_own_may_do_what_it_was_given_and_no_more() {
    let served = Served::start(&["--policy", "reader=registryRead"]);
    let reader = served.info["connection_strings"]["reader"]
        .as_str()
        .unwrap();

    let created = served.json(&["device-identity", "create", "-d", "d1"]);
    let shown = served.json(&["device-identity", "show", "-d", "d1", "--login", reader]);
    let error = served.error(&["device-identity", "create", "-d", "d2", "--login", reader]);

    assert_eq!(shown, created);
    assert!(error.contains("IotHubUnauthorizedAccess"), "{error}");
}

#[test]
fn a_policy_that_every_hub_has_is_not_defined_again() {
    let dir = tempfile::tempdir().unwrap();

    let output = clean(&mut Command::new(BINARY))
        .args(["serve", "--policy", "service=RegistryRead", "--cert-dir"])
        .arg(dir.path())
        .output()
        .unwrap();

    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(error.contains("two named service"), "{error}");
}

#[test]
fn commands_go_by_the_emulators_time() {
    let served = Served::start(&[]);
    served.advance(864_000);

    assert_eq!(served.json(&["device-identity", "list"]), json!([]));
}

#[test]
fn healthcheck_tells_ready_from_absent() {
    let served = Served::start(&[]);
    let address = format!("127.0.0.1:{}", served.info["ports"]["http"]);
    let check = |address: &str| {
        let mut command = Command::new(BINARY);
        clean(&mut command)
            .args(["healthcheck", "--address", address])
            .output()
            .unwrap()
    };

    assert!(check(&address).status.success());
    drop(served);

    let output = check(&address);
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text(&output.stderr).contains("no emulator answers"),
        "{}",
        text(&output.stderr)
    );
}

#[cfg(unix)]
#[test]
fn a_device_gets_its_certificate_from_an_authority_that_was_proved() {
    let served = Served::start(&[]);
    let cert_dir = served.dir.path().join("certificates");
    let cert_dir = cert_dir.to_str().unwrap();
    let out = served.dir.path().join("out");
    let certs = |arguments: &[&str]| {
        let output = clean(&mut Command::new(BINARY))
            .arg("certs")
            .args(arguments)
            .args(["--cert-dir", cert_dir, "--out"])
            .arg(&out)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };

    let leaf = certs(&["device", "--device-id", "d1"]);
    let authority = leaf["authority"].as_str().unwrap();
    let created = served.json(&["certificate", "create", "-n", "ca", "-p", authority]);
    assert_eq!(created["properties"]["isVerified"], false);
    let coded = served.json(&["certificate", "generate-verification-code", "--name", "ca"]);
    let code = coded["properties"]["verificationCode"].as_str().unwrap();
    let proof = certs(&["verification", "--code", code]);
    let proof = proof["certificate"].as_str().unwrap();
    let etag = coded["etag"].as_str().unwrap();
    let stale = served.error(&[
        "certificate",
        "verify",
        "-n",
        "ca",
        "-p",
        proof,
        "-e",
        "stale",
    ]);
    assert!(stale.contains("PreconditionFailed"), "{stale}");
    let verified = served.json(&["certificate", "verify", "-n", "ca", "-p", proof, "-e", etag]);
    assert_eq!(verified["properties"]["isVerified"], true);
    let listed = served.json(&["certificate", "list"]);
    assert_eq!(listed["value"][0], verified);
    let show = ["certificate", "show", "-n", "ca"];
    assert_eq!(served.json(&show), verified);
    served.json(&["certificate", "delete", "-n", "ca"]);
    assert!(served.error(&show).contains("CertificateNotFound"));

    let own = certs(&["device", "--device-id", "d2", "--self-signed"]);
    assert_eq!(own["authority"], Value::Null);
    assert_eq!(own["thumbprint"].as_str().unwrap().len(), 40);
    let key = std::fs::read_to_string(own["key"].as_str().unwrap()).unwrap();
    assert!(key.starts_with("-----BEGIN PRIVATE KEY-----"));
}

#[test]
fn sigterm_ends_the_process_cleanly() {
    let mut served = Served::start(&[]);

    let pid = rustix::process::Pid::from_child(&served.process);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let status = served.process.wait().unwrap();

    assert!(status.success(), "{status}");
    let mut rest = String::new();
    served.out.read_to_string(&mut rest).unwrap();
    assert!(
        !served.dir.path().join("ready.json").exists(),
        "the ready file outlives its promise"
    );
}

#[test]
fn what_was_answered_survives_a_process_that_is_killed() {
    let data = tempfile::tempdir().unwrap();
    let data_dir = data.path().to_str().unwrap();
    for durability in ["periodic", "every-commit"] {
        let arguments = ["--data-dir", data_dir, "--durability", durability];
        let device = format!("survivor-of-{durability}");
        let mut served = Served::start(&arguments);
        let created = served.json(&["device-identity", "create", "-d", &device]);
        served.json(&[
            "device-twin",
            "update",
            "-d",
            &device,
            "--desired",
            r#"{"a":1}"#,
        ]);

        // SIGKILL: nothing of the process runs after it.
        served.process.kill().unwrap();
        served.process.wait().unwrap();
        let again = Served::start(&arguments);

        assert_eq!(
            again.json(&["device-identity", "show", "-d", &device]),
            created
        );
        let twin = again.json(&["device-twin", "show", "-d", &device]);
        assert_eq!(twin["properties"]["desired"]["a"], 1, "{durability}");
    }
}

#[test]
fn a_port_that_is_taken_is_named() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let dir = tempfile::tempdir().unwrap();

    let output = clean(&mut Command::new(BINARY))
        .args([
            "serve",
            "--mqtts-port=0",
            "--amqps-port=0",
            "--amqp-port=0",
            "--https-port=0",
            "--http-port=0",
            "--mqtt-port",
            &port,
        ])
        .arg("--cert-dir")
        .arg(dir.path())
        .output()
        .unwrap();

    assert_eq!(output.status.code(), Some(1));
    let error = text(&output.stderr);
    assert!(
        error.contains("mqtt listener") && error.contains(&port),
        "{error}"
    );
}

#[test]
fn an_admin_token_is_asked_of_client_commands_and_shown_to_nobody() {
    const TOKEN: &str = "t0ken/of+the=people";
    let served = Served::start(&["--admin-token", TOKEN]);

    assert_eq!(served.info["admin_token_needed"], true);
    assert!(served.block.contains("Admin token"), "{}", served.block);
    assert!(!served.block.contains(TOKEN) && !served.info.to_string().contains(TOKEN));
    for command in [
        ["device-identity", "list"],
        ["certificate", "list"],
        ["consumer-group", "list"],
        ["connection-string", "show"],
        ["message-route", "list"],
    ] {
        let error = served.error(&command);
        assert!(
            error.contains("GenericUnauthorized"),
            "{command:?}: {error}"
        );
        let mut with_token = command.to_vec();
        with_token.extend(["--admin-token", TOKEN]);
        served.json(&with_token);
    }
    let by_variable = clean(&mut Command::new(BINARY))
        .args(["device-identity", "list", "--emulator", &served.url()])
        .env("IOTHUB_EMULATOR_ADMIN_TOKEN", TOKEN)
        .output()
        .unwrap();
    assert!(
        by_variable.status.success(),
        "{}",
        text(&by_variable.stderr)
    );
    let wrong = served.error(&["device-identity", "list", "--admin-token", "other"]);
    assert!(wrong.contains("GenericUnauthorized"), "{wrong}");
}
