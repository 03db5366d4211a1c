//! The binary, serving, and its client commands against that.
#![allow(dead_code, reason = "each set of tests uses its part of this")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

pub(crate) const BINARY: &str = env!("CARGO_BIN_EXE_iothub-emulator");

/// A serving process, ended when the test is.
pub(crate) struct Served {
    pub(crate) process: Child,
    pub(crate) out: BufReader<ChildStdout>,
    pub(crate) block: String,
    pub(crate) info: Value,
    pub(crate) dir: tempfile::TempDir,
}

impl Served {
    /// Returns when the ready block has been printed; the ready file is there by then.
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let ready_file = dir.path().join("ready.json");
        let mut process = clean(&mut Command::new(BINARY))
            .args([
                "serve",
                "--mqtts-port=0",
                "--mqtt-port=0",
                "--amqps-port=0",
                "--amqp-port=0",
                "--https-port=0",
                "--http-port=0",
            ])
            .arg("--cert-dir")
            .arg(dir.path().join("certificates"))
            .arg("--ready-file")
            .arg(&ready_file)
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        let mut block = String::new();
        while !block.contains("iothub-emulator env") {
            assert_ne!(
                out.read_line(&mut block).unwrap(),
                0,
                "serve ended early:\n{block}"
            );
        }
        let info = serde_json::from_slice(&std::fs::read(&ready_file).unwrap()).unwrap();
        Self {
            process,
            out,
            block,
            info,
            dir,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.info["ports"]["http"])
    }

    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        clean(&mut Command::new(BINARY))
            .args(arguments)
            .args(["--emulator", &self.url()])
            .output()
            .unwrap()
    }

    /// What a command that succeeds prints.
    pub(crate) fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(arguments);
        assert!(
            output.status.success(),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        serde_json::from_slice(&output.stdout).unwrap_or_default()
    }

    /// What a command prints once that is as wanted; it is asked again and again.
    pub(crate) fn until(&self, arguments: &[&str], wanted: impl Fn(&Value) -> bool) -> Value {
        for _ in 0..ATTEMPTS {
            let printed = self.json(arguments);
            if wanted(&printed) {
                return printed;
            }
        }
        panic!("{arguments:?} is never as wanted: {}", self.json(arguments));
    }

    /// Registers devices `d100`, `d101`, and so on.
    pub(crate) fn register(&self, count: usize) {
        let devices: Vec<Value> = (100..100 + count)
            .map(|number| serde_json::json!({"deviceId": format!("d{number}")}))
            .collect();
        self.control("seed", &serde_json::json!({"devices": devices}));
    }

    /// Lets the emulator's time pass.
    pub(crate) fn advance(&self, seconds: u64) {
        self.control("clock/advance", &serde_json::json!({"seconds": seconds}));
    }

    /// `POST` to the control API.
    fn control(&self, path: &str, body: &Value) {
        let address = format!("127.0.0.1:{}", self.info["ports"]["http"]);
        let body = body.to_string();
        let mut stream = TcpStream::connect(&address).unwrap();
        let request = format!(
            "POST /_emulator/{path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 20"), "{answer}");
    }

    /// What a command that fails says.
    pub(crate) fn error(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(
            output.status.code(),
            Some(1),
            "{arguments:?}: {}",
            text(&output.stdout)
        );
        text(&output.stderr)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Without the settings of whoever runs the tests.
pub(crate) fn clean(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars() {
        if name.starts_with("IOTHUB_") || name.starts_with("OTEL_") {
            command.env_remove(name);
        }
    }
    command
}

/// Each takes some milliseconds at least.
const ATTEMPTS: usize = 500;

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
