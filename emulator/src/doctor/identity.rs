//! Whether there is such a device or module, and how it may prove itself.

use iothub_protocol::registry::Authentication;
use iothub_protocol::{ClientId, DeviceId};

use super::Doctor;
use super::holders::{MOST_IDENTITIES, named};
use super::report::Report;

impl Doctor {
    /// Judges the identity that a token's holder wants to be.
    pub(super) fn look_at_identity(&self, report: &mut Report, client: &ClientId, by_policy: bool) {
        let Some(identity) = self.access.identity(client) else {
            self.explain_unknown(report, client);
            return;
        };
        self.look_whether_disabled(report, &client.device);
        if by_policy {
            return;
        }
        match &identity.authentication {
            Authentication::Sas { .. } => {}
            Authentication::SelfSigned { .. } => report.error(
                "not-by-key",
                format!(
                    "{} proves itself by a self-signed certificate, not by a key.",
                    capital(client)
                ),
                "An identity has one way to prove itself; it has no keys that could have signed.",
                "Connect with the certificate and without a password, or change the identity's \
                 authentication to symmetric keys.",
            ),
            Authentication::CertificateAuthority => report.error(
                "not-by-key",
                format!(
                    "{} proves itself by a certificate of a registered authority, not by a key.",
                    capital(client)
                ),
                "An identity has one way to prove itself; it has no keys that could have signed.",
                "Connect with the certificate and without a password, or change the identity's \
                 authentication to symmetric keys.",
            ),
            Authentication::None => report.error(
                "not-by-key",
                format!(
                    "{} proves itself by nothing: its runtime vouches for it.",
                    capital(client)
                ),
                "It has no keys that could have signed.",
                "Change the identity's authentication to symmetric keys.",
            ),
        }
    }

    /// Tells that the device is disabled, if it is.
    pub(super) fn look_whether_disabled(&self, report: &mut Report, device: &DeviceId) {
        if !self.access.is_disabled(device) {
            return;
        }
        let reason = self
            .access
            .identity(&ClientId::device(device.clone()))
            .and_then(|identity| identity.status_reason.clone())
            .map(|reason| format!(" The reason that was given: {reason:?}."));
        report.error(
            "disabled",
            format!("Device {device} is disabled."),
            format!(
                "A disabled device may not connect, whatever it proves, nor may its modules.{}",
                reason.unwrap_or_default()
            ),
            "Enable it on the page of the device, or with `iothub-emulator device-identity update \
             --status enabled`.",
        );
    }

    fn explain_unknown(&self, report: &mut Report, client: &ClientId) {
        let name = client.to_string();
        let alike = self
            .access
            .identities()
            .take(MOST_IDENTITIES)
            .map(|identity| identity.client.to_string())
            .find(|other| other.eq_ignore_ascii_case(&name));
        let device = ClientId::device(client.device.clone());
        let (why, mend) = if let Some(other) = alike {
            (
                format!("Ids are case-sensitive; there is {other}."),
                format!("Use {other}, in what is signed, too."),
            )
        } else if client.module.is_some() && self.access.identity(&device).is_some() {
            (
                format!("Device {device} is there, but it has no such module."),
                "Make the module on the page of the device.".to_owned(),
            )
        } else {
            (
                "A hub lets in whom it knows. Without a data directory the emulator forgets its \
                 identities when it ends."
                    .to_owned(),
                format!(
                    "Make it: `iothub-emulator device-identity create -d {}`.",
                    client.device
                ),
            )
        };
        report.error(
            "not-registered",
            format!("{} is not registered.", capital(client)),
            why,
            mend,
        );
    }
}

/// The client as the first words of a sentence.
pub(super) fn capital(client: &ClientId) -> String {
    let mut name = named(client);
    name.replace_range(..1, if client.module.is_some() { "M" } else { "D" });
    name
}
