//! Until when a token is good.

use iothub_protocol::Timestamp;

use super::report::Report;
use super::{Doctor, spoken};

/// Seconds of a year.
const YEAR: u64 = 31_536_000;
/// A token that is good for longer was hardly meant to be.
const LONG: u64 = 10 * YEAR;
/// Later than any second that is meant, and early among the milliseconds: the year 5138.
const MILLISECONDS_FROM: i64 = 100_000_000_000;

impl Doctor {
    /// Judges the expiry of a token as the hub does, and looks for what was meant.
    pub(super) fn look_at_lifetime(&self, report: &mut Report, se: &str) {
        let Some(seconds) = seconds_of(se) else {
            self.explain_unreadable(report, se);
            return;
        };
        let expiry = Timestamp::from_unix_seconds(seconds);
        let skew = self.access.hub().config().limits.token_skew;
        let clock = self.clock();
        if self.now > expiry + skew {
            let mend = if self.frozen {
                "Make a new token by the hub's clock, or let the clock run or set it back by a \
                 restart: it stands, and the world's time does not count."
            } else {
                "Make a new token; SDKs do so by themselves from a connection string. If it has \
                 just been made, compare the clock of the machine that made it with the hub's."
            };
            report.error(
                "expired",
                format!(
                    "The token expired {} ago, at {}.",
                    spoken(self.now.since(expiry)),
                    expiry.to_iso_seconds()
                ),
                format!(
                    "{clock} The hub takes a token up to {} after its expiry.",
                    spoken(skew)
                ),
                mend,
            );
        } else if self.now > expiry {
            report.warning(
                "expiring",
                format!("The token expired {} ago.", spoken(self.now.since(expiry))),
                format!(
                    "{clock} It is still taken, since the hub allows for clocks that differ by {}.",
                    spoken(skew)
                ),
                "Make a new token.",
            );
        } else if seconds >= MILLISECONDS_FROM {
            report.warning(
                "expiry-in-milliseconds",
                format!("se is {se}: in seconds that is far beyond this millennium."),
                "se counts seconds since 1970; this number looks like milliseconds. The hub takes \
                 it, and the token practically never ends.",
                "Divide by 1000 before you sign.",
            );
        } else if expiry.since(self.now).as_secs() > LONG {
            report.warning(
                "long-lived",
                format!(
                    "The token is good for another {}.",
                    spoken(expiry.since(self.now))
                ),
                "Whoever reads it somewhere can use it all that time.",
                "Let tokens live for hours, and renew them.",
            );
        } else {
            report.ok(
                "lifetime",
                format!(
                    "The token is good for another {}, until {}.",
                    spoken(expiry.since(self.now)),
                    expiry.to_iso_seconds()
                ),
            );
        }
    }

    /// What the hub's clock shows, for a person.
    pub(super) fn clock(&self) -> String {
        let state = if self.frozen { " and stands still" } else { "" };
        format!(
            "The hub's clock shows {}{state}.",
            self.now.to_iso_seconds()
        )
    }

    fn explain_unreadable(&self, report: &mut Report, se: &str) {
        let why = "se has to be the seconds since 1970 in decimal digits, nothing else; the same \
                   text is signed.";
        let (what, mend) = if se.is_empty() {
            ("se is empty.".to_owned(), self.example())
        } else if se.contains(['T', ':']) || Timestamp::parse_iso(se).is_some() {
            (
                format!("se is a date, {se:?}, not a number of seconds."),
                match Timestamp::parse_iso(se) {
                    Some(time) => format!("That moment is se={}.", time.unix_seconds()),
                    None => self.example(),
                },
            )
        } else if se.contains(['.', ',', 'e', 'E']) && se.starts_with(|c: char| c.is_ascii_digit())
        {
            (
                format!("se is {se:?}, which is not a whole number."),
                "Cut off the fraction before you sign: int(time.time()) in Python, Math.floor in \
                 JavaScript."
                    .to_owned(),
            )
        } else if se.starts_with('-') {
            (format!("se is negative: {se}."), self.example())
        } else {
            (format!("se is {se:?}, which is no number."), self.example())
        };
        report.error("expiry-not-a-number", what, why, mend);
    }

    fn example(&self) -> String {
        format!(
            "In an hour it is se={}.",
            (self.now + std::time::Duration::from_secs(3600)).unix_seconds()
        )
    }
}

/// The seconds that `se` says, as the hub reads it.
pub(super) fn seconds_of(se: &str) -> Option<i64> {
    let is_number = !se.is_empty() && se.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| se.parse().unwrap_or(i64::MAX))
}
