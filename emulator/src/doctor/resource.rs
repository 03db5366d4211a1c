//! What a token is for: the hub, a policy's permissions, and the device or module in `sr`.

use iothub_hub::{Permission, Permissions};
use iothub_protocol::ClientId;
use iothub_protocol::sas::SasToken;

use super::holders::named;
use super::report::{Level, Report};
use super::token::Parts;
use super::{Doctor, Question};

impl Doctor {
    /// Judges `sr`.
    pub(super) fn look_at_resource(
        &self,
        report: &mut Report,
        question: &Question,
        parts: &Parts<'_>,
    ) {
        let Some(shape) = parts.shape.as_ref().filter(|_| parts.has_resource) else {
            return;
        };
        if self.look_at_spelling(report, parts) {
            return;
        }
        self.look_at_host(report, question, parts);
        match &parts.client {
            Some(client) => self.look_at_path(report, parts, shape, client),
            None if parts.policy.is_none() => report.error(
                "no-policy",
                format!(
                    "sr is {}, which is no device's, and skn names no policy.",
                    parts.resource
                ),
                "Without skn a device's own key signs, and that opens the device alone.",
                format!(
                    "Add &skn= and the policy's name behind the token if a policy's key signed; \
                     or make it for a device: sr={}%2Fdevices%2F{{device}}.",
                    self.host_name
                ),
            ),
            None => report.ok(
                "resource",
                match parts.path().join("/") {
                    path if path.is_empty() => "The token is for the whole hub.".to_owned(),
                    path => format!("The token is for {path} below the hub."),
                },
            ),
        }
    }

    /// Judges `skn`.
    pub(super) fn look_at_policy(&self, report: &mut Report, parts: &Parts<'_>, is_accepted: bool) {
        let Some(name) = &parts.policy else {
            return;
        };
        let all = self.access.policies();
        let Some(policy) = all.iter().find(|policy| policy.name == *name) else {
            let alike = all.iter().find(|it| it.name.eq_ignore_ascii_case(name));
            let names: Vec<&str> = all.iter().map(|policy| policy.name.as_str()).collect();
            let why = match alike {
                Some(policy) => format!("Names are case-sensitive; there is {}.", policy.name),
                None => format!("There are {}.", names.join(", ")),
            };
            let mend = if parts.client.is_some() {
                "Name one of these; or leave skn out if the device's own key signed."
            } else {
                "Name one of these, and sign with its key."
            };
            report.error(
                "unknown-policy",
                format!("There is no policy {name}."),
                why,
                mend,
            );
            return;
        };
        let granted = granted(policy.permissions).join(", ");
        let is_for_device = parts.path().first().is_some_and(|first| first == "devices");
        let may_be_device = policy.permissions.contains(Permission::DeviceConnect);
        if !may_be_device && (parts.client.is_some() || is_for_device) {
            let level = match &parts.client {
                Some(_) => Level::Error,
                None => Level::Warning,
            };
            report.find(
                level,
                "lacks-permission",
                format!("Policy {name} may not act as a device."),
                format!("It grants {granted}; DeviceConnect is not among them."),
                "Sign with the key of the device itself, or of a policy such as device or \
                 iothubowner.",
            );
        } else if is_accepted {
            report.ok("policy", format!("Policy {name} grants {granted}."));
        }
    }

    /// Whether `sr` is spelled so that nothing more can be said of it.
    fn look_at_spelling(&self, report: &mut Report, parts: &Parts<'_>) -> bool {
        let resource = &parts.resource;
        let lower = resource.to_ascii_lowercase();
        if !resource.contains('/') && lower.contains("%2fdevices") {
            report.error(
                "resource-encoded-twice",
                format!("sr is percent-encoded twice: once decoded it is {resource}."),
                "The hub decodes it once, and then looks for slashes.",
                "Encode the resource once, and sign that.",
            );
            return true;
        }
        if lower.starts_with("devices/") || lower.starts_with("/devices/") {
            report.error(
                "no-host",
                format!("sr is {resource}: the host in front is missing."),
                "A token is for something on a certain hub.",
                format!("Sign {}/{}", self.host_name, resource.trim_matches('/')),
            );
            return true;
        }
        if parts.path().first().is_some_and(|it| it == "registrations") {
            report.error(
                "provisioning",
                "This is a token of the Device Provisioning Service.",
                "It is for registering a device there; the hub takes tokens for itself only, and \
                 the provisioning service is not emulated.",
                "Connect to the hub with the device's own key.",
            );
            return true;
        }
        false
    }

    fn look_at_host(&self, report: &mut Report, question: &Question, parts: &Parts<'_>) {
        let host = parts.host();
        let names = &self.access.hub().config().host_names;
        let used = question.host.as_deref().map(without_port);
        if !self.access.is_ours(host) {
            report.error(
                "other-hub",
                match host {
                    "" => "The token is for no hub: sr names no host.".to_owned(),
                    host => format!("The token is for the hub {host}."),
                },
                format!("This hub is {}.", names.join(", ")),
                format!(
                    "Put {} in front of sr, and sign that; or start the emulator with --hostname \
                     {host}.",
                    names
                        .first()
                        .map_or(self.host_name.as_str(), String::as_str)
                ),
            );
        }
        let Some(used) = used else {
            return;
        };
        if !self.access.is_ours(used) {
            // Back ends may come by another name: behind a forwarder it differs.
            let level = match &parts.client {
                Some(_) => Level::Error,
                None => Level::Warning,
            };
            report.find(
                level,
                "not-this-hub",
                format!("{used} is not this hub."),
                format!("It is {}.", names.join(", ")),
                "Use one of these in the user name and as host of the connection string.",
            );
        } else if names.is_empty() && parts.client.is_some() && !host.eq_ignore_ascii_case(used) {
            report.error(
                "other-host",
                format!("The token is for {host}, the connection for {used}."),
                "Any name is this hub, but the token has to be made for the one that is used.",
                format!("Sign for {used}; SDKs take the HostName of the connection string."),
            );
        }
    }

    fn look_at_path(
        &self,
        report: &mut Report,
        parts: &Parts<'_>,
        shape: &SasToken,
        client: &ClientId,
    ) {
        let wanted = path_of(client);
        let path = parts.path();
        let covers = shape.covers(&format!("{}/{wanted}", shape.host()));
        let is_own_key = parts.policy.is_none();
        let depth = wanted.split('/').count();
        let right = format!("{}/{wanted}", parts.host());
        let mend = format!("Sign {right}, which is sr={}", encoded(&right));
        if covers && !(is_own_key && path.len() < depth) {
            report.ok("resource", format!("The token is for {}.", named(client)));
            return;
        }
        let joined = path.join("/");
        let is_for_device = client.module.is_some() && is_for_device_of(&path, client);
        if covers && !is_for_device {
            report.error(
                "resource-too-wide",
                match joined.as_str() {
                    "" => "The token is for the whole hub.".to_owned(),
                    joined => format!("The token is for all of {joined}."),
                },
                "Without skn a device's own key signs, and that opens the device alone, by its \
                 whole name.",
                format!("{mend}; or name the policy in skn if its key signed."),
            );
        } else if joined.eq_ignore_ascii_case(&wanted) {
            report.error(
                "case",
                format!("sr names {joined}, the client is {}.", named(client)),
                "Ids are case-sensitive. Some libraries put the whole resource in lower case.",
                mend,
            );
        } else if is_for_device {
            report.error(
                "device-for-module",
                format!(
                    "The token is for the device, the client is {}.",
                    named(client)
                ),
                "A device's own key opens none of its modules: each module has keys of its own.",
                mend,
            );
        } else if client.module.is_none() && path.get(2).is_some_and(|it| it == "modules") {
            report.error(
                "module-for-device",
                format!(
                    "The token is for a module, the client is {}.",
                    named(client)
                ),
                "A module's token opens the module alone.",
                mend,
            );
        } else if path.first().is_some_and(|first| first != "devices") {
            report.error(
                "resource-path",
                format!("sr names {joined} on the hub, which is no device."),
                "Devices are below devices/, modules below devices/{device}/modules/.",
                mend,
            );
        } else {
            report.error(
                "other-client",
                format!(
                    "The token is for {joined}, the client is {}.",
                    named(client)
                ),
                "A token opens what it names, and nothing beside it.",
                mend,
            );
        }
    }
}

fn is_for_device_of(path: &[String], client: &ClientId) -> bool {
    path.len() == 2 && path[1] == client.device.as_str()
}

/// `devices/{d}[/modules/{m}]`.
pub(super) fn path_of(client: &ClientId) -> String {
    match &client.module {
        None => format!("devices/{}", client.device),
        Some(module) => format!("devices/{}/modules/{module}", client.device),
    }
}

/// What a set of permissions grants, by name.
fn granted(permissions: Permissions) -> Vec<&'static str> {
    [
        (Permission::RegistryRead, "RegistryRead"),
        (Permission::RegistryWrite, "RegistryWrite"),
        (Permission::ServiceConnect, "ServiceConnect"),
        (Permission::DeviceConnect, "DeviceConnect"),
    ]
    .into_iter()
    .filter(|&(permission, _)| permissions.contains(permission))
    .map(|(_, name)| name)
    .collect()
}

/// As SDKs encode a resource.
pub(super) fn encoded(resource: &str) -> String {
    use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
    const RESERVED: &AsciiSet = &NON_ALPHANUMERIC
        .remove(b'-')
        .remove(b'_')
        .remove(b'.')
        .remove(b'~');
    utf8_percent_encode(resource, RESERVED).to_string()
}

fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}
