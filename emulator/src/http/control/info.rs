//! Where the emulator is.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use axum::extract::State;
use axum::response::Response;
use serde_json::{Value, json};

use super::Control;
use crate::emulator::Ports;
use crate::http::answer;

/// Connection strings for readers of events.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsStrings {
    /// Over TLS.
    pub tls: String,
    /// In the clear, as clients speak to an emulator.
    pub plain: String,
}

/// What the emulator tells about itself: the same in the ready file and over HTTP.
#[derive(Debug)]
pub struct Info {
    hostname: String,
    ports: Ports,
    ca_file: Option<PathBuf>,
    ca_pem: String,
    connection_strings: BTreeMap<String, String>,
    storage: Option<String>,
    events: Option<EventsStrings>,
    needs_admin_token: bool,
    store: String,
    ready: AtomicBool,
}

impl Info {
    /// Tells this; not ready yet. `connection_strings` are by the names of the policies.
    pub fn new(
        hostname: String,
        ports: Ports,
        ca_file: Option<PathBuf>,
        ca_pem: String,
        connection_strings: BTreeMap<String, String>,
    ) -> Self {
        let ready = AtomicBool::new(false);
        Self {
            hostname,
            ports,
            ca_file,
            ca_pem,
            connection_strings,
            storage: None,
            events: None,
            needs_admin_token: false,
            store: "in memory".into(),
            ready,
        }
    }

    /// Tells a storage client's connection string, too.
    pub fn with_storage(mut self, connection_string: String) -> Self {
        self.storage = Some(connection_string);
        self
    }

    /// Tells connection strings for readers of events, too.
    pub fn with_events(mut self, strings: EventsStrings) -> Self {
        self.events = Some(strings);
        self
    }

    /// Tells that the control API asks for a token, too.
    pub fn with_admin_token_needed(mut self, needed: bool) -> Self {
        self.needs_admin_token = needed;
        self
    }

    /// Whether the control API asks for a token.
    pub fn needs_admin_token(&self) -> bool {
        self.needs_admin_token
    }

    /// Tells people in words where state is kept.
    pub fn with_store(mut self, description: String) -> Self {
        self.store = description;
        self
    }

    /// Where state is kept, in words.
    pub fn store(&self) -> &str {
        &self.store
    }

    /// The connection strings for readers of events, if they were told.
    pub fn events(&self) -> Option<&EventsStrings> {
        self.events.as_ref()
    }

    /// The connection string for storage clients, if it was told.
    pub fn storage(&self) -> Option<&str> {
        self.storage.as_deref()
    }

    /// Says whether every listener accepts.
    pub fn set_ready(&self, ready: bool) {
        self.ready.store(ready, Ordering::SeqCst);
    }

    /// Whether every listener accepts.
    pub fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    /// The host name of the connection strings.
    pub fn hostname(&self) -> &str {
        &self.hostname
    }

    /// Where the listeners listen.
    pub fn ports(&self) -> Ports {
        self.ports
    }

    /// The certificate that clients are to trust, when it is kept in a file.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// The certificate that clients are to trust.
    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// A connection string of each policy.
    pub fn connection_strings(&self) -> &BTreeMap<String, String> {
        &self.connection_strings
    }

    /// The document of the ready file.
    pub fn to_json(&self) -> Value {
        let Ports {
            mqtts,
            mqtt,
            amqps,
            amqp,
            https,
            http,
            observe,
        } = self.ports;
        let mut ports = json!({
            "mqtts": mqtts,
            "mqtt": mqtt,
            "amqps": amqps,
            "amqp": amqp,
            "https": https,
            "http": http,
        });
        if let Some(observe) = observe {
            ports["observe"] = observe.into();
        }
        let mut info = json!({
            "hostname": self.hostname,
            "pid": std::process::id(),
            "ports": ports,
            "ca_file": self.ca_file,
            "ca_pem": self.ca_pem,
            "connection_strings": self.connection_strings,
            "admin_token_needed": self.needs_admin_token,
        });
        if let Some(EventsStrings { tls, plain }) = &self.events {
            // Beside those of the policies, where people look for them.
            info["connection_strings"]["events"] = tls.as_str().into();
            info["connection_strings"]["events_plain"] = plain.as_str().into();
        }
        if let Some(storage) = &self.storage {
            info["storage"] = json!({"connection_string": storage});
        }
        info
    }
}

/// `GET /_emulator/info`: what the ready file says.
pub(super) async fn show(State(control): State<Control>) -> Response {
    answer::value(&control.info.to_json())
}
