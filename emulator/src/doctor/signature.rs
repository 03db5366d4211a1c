//! Whose key made a signature, and in which way.

use iothub_protocol::sas::{Joint, KeyUse, Making, Spelling, how_made};

use super::Doctor;
use super::holders::{Holder, MOST_IDENTITIES, Owner, named};
use super::report::Report;
use super::resource::path_of;
use super::token::Parts;

/// What made a signature.
struct Maker {
    holder: Holder,
    making: Making,
}

impl Doctor {
    /// Judges the signature, and looks for whoever made it.
    pub(super) fn look_at_signature(
        &self,
        report: &mut Report,
        parts: &Parts<'_>,
        is_accepted: bool,
    ) {
        let Some(signature) = &parts.signature else {
            return;
        };
        let right = self.right_keys(parts);
        let others = self.other_resources(parts);
        let maker = self.maker(parts, signature, &right, &others);
        if let Some(signed) = &mut report.signed {
            signed.matched = maker.as_ref().map(|maker| maker.holder.name());
        }
        match maker {
            Some(maker) if is_accepted => {
                report.ok("signature", told(parts, &maker.holder));
                if maker.making.key == KeyUse::Text {
                    report.ok(
                        "key-as-text",
                        "The key signed as its base64 text, as Event Hubs clients do; for events \
                         the hub takes that.",
                    );
                }
            }
            Some(maker) => {
                let is_right = right.iter().any(|it| it.owner == maker.holder.owner);
                let is_made_well = maker.making.is_right()
                    || (parts.is_for_events()
                        && maker.making
                            == Making {
                                key: KeyUse::Text,
                                ..Making::RIGHT
                            });
                if is_right && is_made_well {
                    report.ok("signature", told(parts, &maker.holder));
                    return;
                }
                if !is_right {
                    self.explain_owner(report, parts, &maker.holder);
                }
                explain_making(report, parts, &maker, &others);
            }
            None if right.is_empty() && self.is_hopeless(parts) => {
                // There is no key that could have signed, which is told already.
            }
            None => self.explain_no_maker(report, parts, &right),
        }
    }

    /// Whoever made the signature: the keys that the hub tries first, then those of others.
    fn maker(
        &self,
        parts: &Parts<'_>,
        signature: &[u8],
        right: &[Holder],
        others: &[String],
    ) -> Option<Maker> {
        let made = |holder: Holder, others: &[String]| {
            let making = how_made(signature, parts.sr, parts.se, &holder.key, others)?;
            Some(Maker { holder, making })
        };
        // With all that is known of mistakes: those who are near at hand.
        let near = right
            .iter()
            .cloned()
            .chain(self.policy_keys())
            .chain(self.family_keys(parts));
        near.into_iter()
            .find_map(|holder| made(holder, others))
            // There may be many others: they are tried in fewer ways.
            .or_else(|| {
                self.client_keys()
                    .find_map(|holder| straight(parts, signature, holder))
            })
    }

    /// The keys of the client, its device, and whom the resource names.
    fn family_keys(&self, parts: &Parts<'_>) -> Vec<Holder> {
        let mut clients = Vec::new();
        if let Some(client) = &parts.client {
            clients.push(client.clone());
            clients.push(iothub_protocol::ClientId::device(client.device.clone()));
        }
        clients
            .iter()
            .flat_map(|client| self.keys_of_client(client))
            .collect()
    }

    /// What may have been signed instead of what was sent.
    fn other_resources(&self, parts: &Parts<'_>) -> Vec<String> {
        let host = match parts.host() {
            "" => self.host_name.as_str(),
            host => host,
        };
        let mut all = vec![host.to_owned(), self.host_name.clone()];
        if let Some(client) = &parts.client {
            let path = path_of(client);
            all.push(format!("{host}/{path}"));
            all.push(format!("{}/{path}", self.host_name));
            all.push(path);
            let device = iothub_protocol::ClientId::device(client.device.clone());
            all.push(format!("{host}/{}", path_of(&device)));
        }
        all.dedup();
        all
    }

    /// Whether another finding says already that nobody's key could fit.
    fn is_hopeless(&self, parts: &Parts<'_>) -> bool {
        match (&parts.policy, &parts.client) {
            (None, Some(client)) => self
                .access
                .identity(client)
                .is_none_or(|_| self.keys_of_client(client).is_empty()),
            (None, None) | (Some(_), _) => true,
        }
    }

    /// The right resource and way, but the key of somebody else.
    fn explain_owner(&self, report: &mut Report, parts: &Parts<'_>, holder: &Holder) {
        let subject = if parts.is_made_here {
            "The SharedAccessKey is the"
        } else {
            "The token is signed with the"
        };
        let what = format!("{subject} {}.", holder.name());
        match (&holder.owner, &parts.policy, &parts.client) {
            (Owner::Policy(policy), None, Some(client)) => report.error(
                "policy-key-for-device",
                what,
                format!(
                    "Without skn the hub expects a key of {}; the key of a policy counts only \
                     where skn names it.",
                    named(client)
                ),
                format!(
                    "Add &skn={policy} behind the token, or sign with the key of {}.",
                    named(client)
                ),
            ),
            (Owner::Policy(policy), Some(named), _) => report.error(
                "key-of-another-policy",
                what,
                format!("skn names policy {named}."),
                format!("Say skn={policy}, or sign with a key of {named}."),
            ),
            (Owner::Policy(policy), None, None) => report.error(
                "policy-not-named",
                what,
                "The hub does not know that, since skn is missing.",
                format!("Add &skn={policy} behind the token."),
            ),
            (Owner::Client(owner), Some(policy), _) => report.error(
                "device-key-for-policy",
                what,
                format!("skn names policy {policy}, whose key is expected."),
                format!("Leave skn out, and let sr name {}.", named(owner)),
            ),
            (Owner::Client(owner), None, Some(client)) => report.error(
                "key-of-another-client",
                what,
                format!("A key of {} is expected.", named(client)),
                format!(
                    "Sign with a key of {}, or connect as {}.",
                    named(client),
                    named(owner)
                ),
            ),
            (Owner::Client(owner), None, None) => report.error(
                "client-not-named",
                what,
                "sr does not name it.",
                format!("Let sr name {}.", named(owner)),
            ),
        }
    }

    fn explain_no_maker(&self, report: &mut Report, parts: &Parts<'_>, right: &[Holder]) {
        let expected = match right.first() {
            Some(holder) => format!("neither key of {}", holder.owner),
            None => "no key that is known here".to_owned(),
        };
        let tried = if self.looks_at_all() {
            "No other key of this hub made it either, and none of the usual mistakes explains it."
                .to_owned()
        } else {
            format!(
                "The keys of {MOST_IDENTITIES} other identities were tried, too, and the usual \
                 mistakes."
            )
        };
        if parts.is_made_here {
            report.error(
                "unknown-key",
                format!("The SharedAccessKey is {expected}."),
                "Keys change when an identity is made anew, or when they are regenerated. Without a \
                 data directory the emulator forgets them when it ends.",
                "Copy the connection string again.",
            );
        } else {
            report.error(
                "unknown-signature",
                format!("The signature was made with {expected}."),
                format!(
                    "{tried} Either the key is another one, from another hub or from before the \
                     identity was made anew, or sr or se were changed after signing: what is signed \
                     is their text, letter by letter, with its percent-encoding."
                ),
                "Copy the key again, and sign the string to sign that is shown here.",
            );
        }
    }
}

/// Whether a key signed what was sent, decoded or not.
fn straight(parts: &Parts<'_>, signature: &[u8], holder: Holder) -> Option<Maker> {
    use iothub_protocol::sas::is_signature_over;

    let is_made = is_signature_over(signature, parts.sr, parts.se, &holder.key);
    is_made.then_some(Maker {
        holder,
        making: Making::RIGHT,
    })
}

fn told(parts: &Parts<'_>, holder: &Holder) -> String {
    let subject = if parts.is_made_here {
        "The SharedAccessKey is the"
    } else {
        "The signature is right: it was made with the"
    };
    format!("{subject} {}.", holder.name())
}

/// The right key perhaps, but used in another way.
fn explain_making(report: &mut Report, parts: &Parts<'_>, maker: &Maker, others: &[String]) {
    let holder = maker.holder.name();
    if maker.making.key == KeyUse::Text {
        report.error(
            "key-not-decoded",
            "The key was not decoded from base64 before it signed.",
            format!(
                "The signature matches the text of the {holder}. The hub signs with the bytes that \
                 the text stands for."
            ),
            "Decode the key first: base64.b64decode(key) in Python, Buffer.from(key, 'base64') in \
             Node.js, Convert.FromBase64String(key) in C#.",
        );
    }
    let signed = match maker.making.spelling {
        Spelling::AsSent => None,
        Spelling::Plain => Some("the resource before it was percent-encoded".to_owned()),
        Spelling::Encoded => Some("the resource percent-encoded".to_owned()),
        Spelling::EncodedLower => {
            Some("the resource percent-encoded with lower-case digits (%2f)".to_owned())
        }
        Spelling::LowerCase => Some("the resource in lower case".to_owned()),
        Spelling::Other(index) => others
            .get(index)
            .map(|other| format!("another one, {other}")),
    };
    if let Some(signed) = signed {
        report.error(
            "signed-other-spelling",
            format!("sr is {}, but what was signed is {signed}.", parts.sr),
            "The hub verifies the text of sr letter by letter, as it stands in the token.",
            "Sign the very text that you send as sr.",
        );
    }
    let between = match maker.making.joint {
        Joint::Newline => return,
        Joint::Nothing => "nothing stands between sr and se",
        Joint::Escaped => "a backslash and an n stand between sr and se",
        Joint::CarriageReturn => "a carriage return and a line feed stand between sr and se",
        Joint::Blank => "a blank stands between sr and se",
        Joint::Trailing => "another line feed stands behind se",
    };
    report.error(
        "line-feed",
        format!("In what was signed, {between}."),
        "One line feed (0x0A) joins sr and se, and nothing follows.",
        "Sign sr + \"\\n\" + se. In a shell, printf '%s\\n%s' \"$sr\" \"$se\" does so.",
    );
}
