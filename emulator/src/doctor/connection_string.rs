//! Connection strings of devices, modules, policies, event hubs and storage accounts.

use std::time::Duration;

use iothub_protocol::ClientId;
use iothub_protocol::connection_string::{
    ConnectionString, ConnectionStringError, Credential, EventHubConnectionString,
    EventHubCredential, Identity,
};
use iothub_protocol::registry::Authentication;
use iothub_protocol::sas::sign;

use super::holders::named;
use super::report::{Report, Verdict};
use super::resource::path_of;
use super::{Doctor, Question};

/// How long a token lives that is made here to ask the hub with.
pub(super) const TRIAL: Duration = Duration::from_secs(3600);

impl Doctor {
    /// Explains a connection string.
    pub(super) fn connection_string(&self, question: &Question, text: &str) -> Report {
        let mut report = Report::new("connectionString", text);
        let has = |name: &str| parts(text).any(|(other, _)| other.eq_ignore_ascii_case(name));
        decode_into(&mut report, text);
        if has("AccountName") || has("BlobEndpoint") {
            self.storage_string(&mut report, text);
        } else if has("Endpoint") {
            self.events_string(&mut report, question, text);
        } else {
            self.hub_string(&mut report, question, text);
        }
        report
    }

    fn hub_string(&self, report: &mut Report, question: &Question, text: &str) {
        let string = match ConnectionString::parse(text) {
            Ok(string) => string,
            Err(fault) => {
                explain_fault(report, &fault);
                return;
            }
        };
        let host = without_port(&string.host_name).to_owned();
        match (&string.identity, &string.credential) {
            (Identity::Client(client), Credential::Key(key)) => {
                let resource = format!("{host}/{}", path_of(client));
                let token = sign(&resource, self.now + TRIAL, None, key);
                let asked = Question {
                    text: String::new(),
                    client: Some(question.client.clone().unwrap_or_else(|| client.clone())),
                    host: Some(question.host.clone().unwrap_or(host)),
                };
                self.explain_token(report, &asked, &token, true);
            }
            (Identity::Policy(policy), Credential::Key(key)) => {
                let token = sign(&host, self.now + TRIAL, Some(policy), key);
                let asked = Question {
                    text: String::new(),
                    client: question.client.clone(),
                    host: Some(question.host.clone().unwrap_or(host)),
                };
                self.explain_token(report, &asked, &token, true);
            }
            (identity, Credential::Signature(token)) => {
                let client = match identity {
                    Identity::Client(client) => Some(client.clone()),
                    Identity::Policy(_) => question.client.clone(),
                };
                let asked = Question {
                    text: String::new(),
                    client,
                    host: Some(question.host.clone().unwrap_or(host)),
                };
                self.explain_token(report, &asked, token, false);
            }
            (Identity::Client(client), Credential::X509) => {
                self.certificate_string(report, client, &host);
            }
            (Identity::Policy(_), Credential::X509) => report.error(
                "policy-by-certificate",
                "A policy has keys, not certificates.",
                "x509=true is for devices and modules.",
                "Give DeviceId instead of SharedAccessKeyName.",
            ),
        }
        if let Some(gateway) = &string.gateway_host_name {
            report.warning(
                "gateway",
                format!(
                    "The client connects to the gateway {gateway}, not to {}.",
                    string.host_name
                ),
                "The gateway passes on what it is sent; the token is for the hub all the same.",
                "Leave GatewayHostName out to connect to the emulator itself.",
            );
        }
    }

    /// A string that says only that a certificate is shown.
    fn certificate_string(&self, report: &mut Report, client: &ClientId, host: &str) {
        report.asked = format!("whether {} may come with a certificate", named(client));
        let question = Question {
            text: String::new(),
            client: None,
            host: Some(host.to_owned()),
        };
        self.look_at_used_host(report, &question);
        match self.access.identity(client) {
            None => self.look_at_identity(report, client, true),
            Some(identity) => {
                self.look_whether_disabled(report, &client.device);
                match &identity.authentication {
                    Authentication::SelfSigned { primary, .. } => report.ok(
                        "by-thumbprint",
                        format!("The certificate is to have the thumbprint {primary}."),
                    ),
                    Authentication::CertificateAuthority => report.ok(
                        "by-authority",
                        format!(
                            "The certificate is to be one of a registered authority, with \
                             CN={client}."
                        ),
                    ),
                    Authentication::Sas { .. } | Authentication::None => report.error(
                        "not-by-certificate",
                        format!("x509=true, but {} proves itself by a key.", named(client)),
                        "An identity has one way to prove itself.",
                        "Use the string with its key, or change its authentication.",
                    ),
                }
            }
        }
        if report.has_error() {
            report.verdict = Verdict::Refused;
        } else {
            report.warning(
                "certificate-wanted",
                "The string says that a certificate is shown; it does not hold one.",
                "Whether the hub takes it, only the certificate tells.",
                "Paste the certificate.",
            );
        }
    }

    fn events_string(&self, report: &mut Report, question: &Question, text: &str) {
        let string = match EventHubConnectionString::parse(text) {
            Ok(string) => string,
            Err(fault) => {
                explain_fault(report, &fault);
                return;
            }
        };
        let hub_name = self.access.hub().config().name.clone();
        let entity = string
            .entity_path
            .clone()
            .unwrap_or_else(|| hub_name.clone());
        match &string.entity_path {
            None => report.warning(
                "no-entity",
                "The string names no event hub (EntityPath).",
                "Readers have to be told its name in another way.",
                format!("Add ;EntityPath={hub_name}"),
            ),
            Some(entity) if crate::amqp::is_event_hub(&hub_name, entity) => {
                report.ok(
                    "entity",
                    format!("{entity} is this hub's built-in endpoint."),
                );
            }
            Some(entity) => report.error(
                "unknown-entity",
                format!("There is no event hub {entity}."),
                format!("The built-in endpoint of this hub is called {hub_name}."),
                format!("Say EntityPath={hub_name}."),
            ),
        }
        let asked = Question {
            text: String::new(),
            client: None,
            host: None,
        };
        match (&string.credential, string.credential.signing_key()) {
            (EventHubCredential::Policy { name, .. }, Some(key)) => {
                let audience = string.audience(&entity);
                let token = sign(&audience, self.now + TRIAL, Some(name), &key);
                self.explain_token(report, &asked, &token, true);
            }
            (EventHubCredential::Signature(token), _) => {
                self.explain_token(report, &asked, token, false);
            }
            (EventHubCredential::Policy { .. }, None) => {}
        }
        if question.client.is_some() {
            report.warning(
                "not-for-a-device",
                "This string is for readers of events, not for devices.",
                "Devices connect to the hub with a string that begins with HostName.",
                "",
            );
        }
        if report.has_error() {
            report.verdict = Verdict::Refused;
        }
    }
}

fn explain_fault(report: &mut Report, fault: &ConnectionStringError) {
    report.verdict = Verdict::Refused;
    report.asked = "nothing: no client can use the string".to_owned();
    let cause = std::error::Error::source(fault).map(|cause| format!(": {cause}"));
    let mend = match fault {
        ConnectionStringError::MalformedPart(_) => {
            "Members are Name=value with a semicolon between; perhaps the text was cut."
        }
        ConnectionStringError::Repeated(_) => "Leave one of them; perhaps two strings were joined.",
        ConnectionStringError::Missing(_) => {
            "A device's string is HostName=…;DeviceId=…;SharedAccessKey=…, a policy's \
             HostName=…;SharedAccessKeyName=…;SharedAccessKey=…"
        }
        ConnectionStringError::Contradiction(..) => "Leave out the one that is not meant.",
        ConnectionStringError::Id(_) => "Ids have 1 to 128 letters, digits and -:.+%_#*?!(),=@;$'.",
        ConnectionStringError::Endpoint => "Say Endpoint=sb://host/ with the emulator's host.",
        ConnectionStringError::Key(_) => {
            "A key is base64 of 16 to 64 bytes; copy it whole, with the '=' at its end."
        }
    };
    report.error(
        "malformed",
        format!(
            "This is no connection string: {fault}{}.",
            cause.unwrap_or_default()
        ),
        "SDKs refuse it before anything is sent.",
        mend,
    );
}

/// The members of a connection string, whatever they are, at most two dozen.
pub(super) fn parts(text: &str) -> impl Iterator<Item = (&str, &str)> {
    text.split(';')
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| (name.trim(), value.trim()))
        .take(24)
}

fn decode_into(report: &mut Report, text: &str) {
    for (name, value) in parts(text) {
        let meaning = match name.to_ascii_lowercase().as_str() {
            "hostname" => "the hub, in user names and tokens",
            "gatewayhostname" => "whom to connect to instead",
            "deviceid" => "the device",
            "moduleid" => "the module of the device",
            "sharedaccesskeyname" => "the shared access policy",
            "sharedaccesskey" => "the key that signs tokens; a secret",
            "sharedaccesssignature" => "a token that somebody made",
            "x509" => "whether a certificate is shown instead of a token",
            "endpoint" => "the namespace of the event hub",
            "entitypath" => "the event hub",
            "usedevelopmentemulator" => "whether TLS is left out",
            "defaultendpointsprotocol" => "how endpoints are reached that are not named",
            "accountname" => "the storage account",
            "accountkey" => "the account's key; a secret",
            "blobendpoint" => "where blobs are",
            _ => "nothing that the hub's clients look at",
        };
        report.row(name, value, meaning);
    }
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}
