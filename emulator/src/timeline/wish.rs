//! What a reader wants of a timeline.

use iothub_protocol::{ClientId, Error};

use super::entry::{Entry, Kind, What};
use super::lane::LaneKind;
use super::log::Interest;

/// Which entries a reader wants.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    notices: bool,
    refusals: bool,
    operations: bool,
    wire: bool,
    /// Only this device with its modules, or only this module.
    client: Option<ClientId>,
    /// Only notices of these names.
    events: Option<Vec<String>>,
}

/// Names in a list of events; there are not that many.
const MOST_EVENTS: usize = 32;

impl Wish {
    /// Every entry of these kinds, in a list with commas: `notice`, `refusal` (an operation
    /// that was refused), `operation` (any), `wire`.
    ///
    /// # Errors
    ///
    /// `ArgumentInvalid` for any other name.
    pub fn kinds(list: &str) -> Result<Self, Error> {
        let mut wish = Self {
            notices: false,
            refusals: false,
            operations: false,
            wire: false,
            client: None,
            events: None,
        };
        for name in names(list) {
            match name {
                "notice" => wish.notices = true,
                "refusal" => wish.refusals = true,
                "operation" => wish.operations = true,
                "wire" => wish.wire = true,
                other => {
                    return Err(Error::argument_invalid(format!(
                        "{other:?} is no kind of entry: expected notice, refusal, operation or wire"
                    )));
                }
            }
        }
        Ok(wish)
    }

    /// Only those about this device and its modules, or about this module.
    #[must_use]
    pub fn about(mut self, client: ClientId) -> Self {
        self.client = Some(client);
        self
    }

    /// Only notices with these names, in a list with commas.
    ///
    /// # Errors
    ///
    /// `ArgumentInvalid` when there are too many.
    pub fn events(mut self, list: &str) -> Result<Self, Error> {
        let events: Vec<_> = names(list).map(str::to_owned).collect();
        if events.len() > MOST_EVENTS {
            let detail = format!("{} events, the limit is {MOST_EVENTS}", events.len());
            return Err(Error::argument_invalid(detail));
        }
        self.events = Some(events);
        Ok(self)
    }

    /// Whether an entry is wanted.
    pub(super) fn wants(&self, entry: &Entry) -> bool {
        let kind = match entry.what.kind() {
            Kind::Notice => self.notices && self.wants_event(entry.what.event()),
            Kind::Operation => self.operations || (self.refusals && entry.what.is_refusal()),
            // Whose they are is for the viewer to find out.
            Kind::Wire => return self.wire,
        };
        kind && self.wants_client(entry.what.client())
    }

    pub(super) fn wants_client(&self, about: Option<&ClientId>) -> bool {
        let Some(wanted) = &self.client else {
            return true;
        };
        about.is_some_and(|about| {
            about.device == wanted.device
                && (wanted.module.is_none() || about.module == wanted.module)
        })
    }

    /// Whether it is not about one client only.
    pub(super) fn is_about_all(&self) -> bool {
        self.client.is_none()
    }

    /// What has to be made for it that is not made otherwise.
    pub(super) fn interests(&self) -> impl Iterator<Item = Interest> {
        let stored = self.notices && self.wants_event(What::STORED);
        [
            self.operations.then_some(Interest::Operations),
            stored.then_some(Interest::Stored),
            self.wire.then_some(Interest::Wire),
        ]
        .into_iter()
        .flatten()
    }

    /// Whether entries that it wants may be in this lane.
    pub(super) fn reads(&self, lane: LaneKind) -> bool {
        match lane {
            LaneKind::Presence | LaneKind::Doings => {
                self.notices || self.operations || self.refusals
            }
            LaneKind::Watched => self.interests().next().is_some(),
        }
    }

    fn wants_event(&self, event: &str) -> bool {
        let listed = |events: &Vec<String>| events.iter().any(|it| it.eq_ignore_ascii_case(event));
        self.events.as_ref().is_none_or(listed)
    }
}

fn names(list: &str) -> impl Iterator<Item = &str> {
    list.split(',').map(str::trim).filter(|it| !it.is_empty())
}
