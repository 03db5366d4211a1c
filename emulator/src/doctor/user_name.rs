//! The user name of a CONNECT.

use iothub_hub::Credentials;
use iothub_protocol::mqtt::username::UserName;
use iothub_protocol::sas::sign;

use super::connection_string::TRIAL;
use super::holders::named;
use super::report::{Report, Verdict};
use super::resource::path_of;
use super::{Doctor, Question};

impl Doctor {
    /// Explains a user name: whether the hub lets its client in who has a right password.
    pub(super) fn user_name(&self, question: &Question, text: &str) -> Report {
        let mut report = Report::new("userName", text);
        let name = match UserName::parse(text) {
            Ok(name) => name,
            Err(fault) => {
                report.verdict = Verdict::Refused;
                report.asked = "to take it as the user name of a CONNECT".to_owned();
                report.error(
                    "malformed",
                    format!("This is no user name: {fault}."),
                    "From it the hub takes the host, the device or module, and the api-version.",
                    format!(
                        "Write {}/{{device}}/?api-version=2021-04-12, for a module \
                         {}/{{device}}/{{module}}/?api-version=2021-04-12.",
                        self.host_name, self.host_name
                    ),
                );
                return report;
            }
        };
        let client = &name.client;
        report.row("host", &*name.host, "the hub");
        report.row("device", client.device.as_str(), "the device");
        if let Some(module) = &client.module {
            report.row("module", module.as_str(), "the module of the device");
        }
        report.row(
            "client id",
            client.to_string(),
            "what the client id of the same CONNECT has to be",
        );
        for (parameter, value, meaning) in [
            ("api-version", &name.api_version, "needed for twins"),
            (
                "DeviceClientType",
                &name.client_type,
                "free text about the SDK",
            ),
            ("model-id", &name.model_id, "the Plug and Play model"),
            (
                "auth-chain",
                &name.auth_chain,
                "the way through edge devices; of no effect",
            ),
        ] {
            if let Some(value) = value {
                report.row(parameter, &**value, meaning);
            }
        }
        let asked = Question {
            text: String::new(),
            client: None,
            host: Some(name.host.clone()),
        };
        self.look_at_used_host(&mut report, &asked);
        self.look_at_identity(&mut report, client, true);
        self.try_with_key(&mut report, &name);
        if name.api_version.is_none() {
            report.warning(
                "no-api-version",
                "The user name has no api-version.",
                "The hub lets the client in all the same, but refuses every operation on its twin.",
                format!("Add it: {}/{client}/?api-version=2021-04-12", name.host),
            );
        }
        if let Some(expected) = question.client.as_ref().filter(|&it| it != client) {
            report.warning(
                "other-client",
                format!("The user name is that of {}.", named(client)),
                format!("The client id {expected} would not fit; the hub refuses the CONNECT."),
                format!("Connect with the client id {client}."),
            );
        }
        report
    }

    /// With a right password; who shows a certificate instead is not decided here.
    fn try_with_key(&self, report: &mut Report, name: &UserName) {
        let client = &name.client;
        let holder = self.keys_of_client(client).into_iter().next();
        let hub = self.access.hub();
        let (credentials, asked);
        let token;
        match &holder {
            Some(holder) => {
                let host = name.host.split(':').next().unwrap_or_default();
                let resource = format!("{host}/{}", path_of(client));
                token = sign(&resource, self.now + TRIAL, None, &holder.key);
                credentials = Credentials::Token(&token);
                asked = format!(
                    "to let {} in, connected to {}, with a right token as password",
                    named(client),
                    name.host
                );
            }
            None => {
                credentials = Credentials::None;
                asked = format!("to let {} in, connected to {}", named(client), name.host);
            }
        }
        let answer = hub.authenticate_client(self.now, &name.host, client, credentials);
        report.hear(asked, answer);
        if holder.is_none() && !report.has_error() {
            // What the hub misses is the certificate.
            report.verdict = Verdict::Undecided;
            report.refusal = None;
            report.warning(
                "certificate-wanted",
                format!(
                    "{} comes with a certificate and without a password.",
                    named(client)
                ),
                "Whether the hub takes it, only the certificate tells.",
                "Paste the certificate.",
            );
        }
    }
}
