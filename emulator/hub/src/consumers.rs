//! Who reads the event log: consumer groups, and the readers of each of their partitions (the wire
//! reference of event readers, 6.3 and 6.5).
//!
//! Groups are kept. Readers belong to connections: they are gone after a restart, and a fork starts
//! without them. What a reader has read is its own business.

use std::collections::BTreeMap;
use std::sync::Arc;

use imbl::OrdMap;
use iothub_protocol::{Error, ErrorCode, Timestamp};
use serde_json::{Value, json};

use crate::Hub;
use crate::access::{Permission, Principal};
use crate::cx::{Change, Cx, Effect};
use crate::documents::{Document, DocumentKind};
use crate::limits::{CONSUMER_GROUPS, READERS};
use crate::telemetry::PartitionId;

/// The group that every hub has.
pub const DEFAULT_GROUP: &str = "$Default";

/// Names a reader. Never given out twice while the process runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReaderId(pub u64);

/// A consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroup {
    /// Its name, as it was given.
    pub name: Arc<str>,
    /// When it was made; `None` for `$Default`, which came with the hub.
    pub created: Option<Timestamp>,
}

/// A wish to read a partition.
#[derive(Clone, Copy, Debug)]
pub struct ReaderRequest<'a> {
    /// The consumer group; case does not matter.
    pub group: &'a str,
    /// The partition.
    pub partition: PartitionId,
    /// The reader's claim to read alone: the higher one wins.
    pub owner_level: Option<i64>,
    /// What the reader calls itself.
    pub name: Option<&'a str>,
}

#[derive(Clone, Default)]
pub(crate) struct Consumers {
    /// Beside `$Default`, by their names in lower case.
    groups: OrdMap<Arc<str>, Arc<ConsumerGroup>>,
    readers: BTreeMap<Place, Readers>,
    places: BTreeMap<ReaderId, Place>,
    next: u64,
}

/// A group, by its name in lower case, and a partition.
type Place = (Arc<str>, PartitionId);

/// The readers of a partition in a group: one that reads alone, or some without such a claim.
#[derive(Clone)]
enum Readers {
    Owner(Reader, i64),
    Shared(Vec<Reader>),
}

#[derive(Clone)]
struct Reader {
    id: ReaderId,
    name: Option<Arc<str>>,
}

impl Hub {
    /// Every consumer group, `$Default` first.
    pub fn consumer_groups(&self, caller: &Principal) -> Result<Vec<Arc<ConsumerGroup>>, Error> {
        caller.require(Permission::RegistryRead)?;
        let others = self.consumers.groups.values().cloned();
        Ok(std::iter::once(default_group()).chain(others).collect())
    }

    /// One consumer group; refuses with `GenericNotFound`.
    pub fn consumer_group(
        &self,
        caller: &Principal,
        name: &str,
    ) -> Result<Arc<ConsumerGroup>, Error> {
        caller.require(Permission::RegistryRead)?;
        self.consumers.group(name).ok_or_else(|| no_group(name))
    }

    /// Makes a consumer group, unless it is there: then that one.
    ///
    /// Refuses with `ArgumentInvalid` (the name) and with `IotHubQuotaExceeded` (20 groups beside
    /// `$Default`).
    pub fn put_consumer_group(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        name: &str,
    ) -> Result<Arc<ConsumerGroup>, Error> {
        caller.require(Permission::RegistryWrite)?;
        if let Some(there) = self.consumers.group(name) {
            return Ok(there);
        }
        check_name(name)?;
        if self.consumers.groups.len() >= CONSUMER_GROUPS {
            return Err(Error::new(
                ErrorCode::IotHubQuotaExceeded,
                format!("there are {CONSUMER_GROUPS} consumer groups beside {DEFAULT_GROUP}"),
            ));
        }
        let group = Arc::new(ConsumerGroup {
            name: name.into(),
            created: Some(cx.now()),
        });
        let key = key_of(name);
        cx.change(Change::PutDocument(group.to_document(key.clone())));
        self.consumers.groups.insert(key, group.clone());
        Ok(group)
    }

    /// Forgets a consumer group; its readers come to their end.
    ///
    /// Refuses with `GenericNotFound`, and with `InvalidOperation` for `$Default`.
    pub fn delete_consumer_group(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        name: &str,
    ) -> Result<(), Error> {
        caller.require(Permission::RegistryWrite)?;
        let key = key_of(name);
        if is_default(&key) {
            return Err(Error::new(
                ErrorCode::InvalidOperation,
                format!("the consumer group {DEFAULT_GROUP} cannot be deleted"),
            ));
        }
        if self.consumers.groups.remove(&key).is_none() {
            return Err(no_group(name));
        }
        cx.change(Change::DeleteDocument(
            DocumentKind::ConsumerGroup,
            key.clone(),
        ));
        self.end_readers(cx, |(group, _)| *group == key);
        Ok(())
    }

    /// Lets a reader in. One with an owner level takes the place of those with a lower one or with
    /// none, and of one with the same: the newest wins.
    ///
    /// Refuses with `GenericNotFound` (group or partition), with `LinkCreationConflict` when a
    /// reader with a higher claim is there, and with `IotHubQuotaExceeded` when five without a claim
    /// are.
    pub fn open_reader(
        &mut self,
        cx: &mut Cx<'_>,
        caller: &Principal,
        request: ReaderRequest<'_>,
    ) -> Result<ReaderId, Error> {
        caller.require(Permission::ServiceConnect)?;
        if self.consumers.group(request.group).is_none() {
            return Err(no_group(request.group));
        }
        if usize::from(request.partition) >= self.partition_heads().len() {
            return Err(Error::new(
                ErrorCode::GenericNotFound,
                format!(
                    "The messaging entity '{}' could not be found: there is no such partition",
                    request.partition
                ),
            ));
        }
        let place = (key_of(request.group), request.partition);
        if let Some(readers) = self.consumers.readers.get(&place) {
            readers.check_room_for(&request)?;
        }
        let reader = Reader {
            id: ReaderId(self.consumers.next),
            name: request.name.map(Into::into),
        };
        self.consumers.next += 1;
        let id = reader.id;
        self.consumers.places.insert(id, place.clone());
        let readers = &mut self.consumers.readers;
        let Some(level) = request.owner_level else {
            let shared = readers
                .entry(place)
                .or_insert_with(|| Readers::Shared(Vec::new()));
            if let Readers::Shared(shared) = shared {
                shared.push(reader);
            }
            return Ok(id);
        };
        let newest = reader.to_string();
        let displaced = readers.insert(place, Readers::Owner(reader, level));
        for (old, old_level) in displaced.iter().flat_map(Readers::each) {
            self.consumers.places.remove(&old.id);
            let detail = format!(
                "New receiver '{newest}' with higher epoch of '{level}' is created hence current \
                 receiver '{old}' with {} is getting disconnected. If you are recreating the \
                 receiver, make sure a higher epoch is used.",
                in_words(old_level)
            );
            let error = Error::new(ErrorCode::LinkCreationConflict, detail);
            cx.emit(Effect::ReaderEnded(old.id, error));
        }
        Ok(id)
    }

    /// A reader has left. One that is gone already is none.
    pub fn close_reader(&mut self, reader: ReaderId) {
        let Some(place) = self.consumers.places.remove(&reader) else {
            return;
        };
        let readers = &mut self.consumers.readers;
        let empty = match readers.get_mut(&place) {
            Some(Readers::Shared(shared)) => {
                shared.retain(|other| other.id != reader);
                shared.is_empty()
            }
            Some(Readers::Owner(..)) | None => true,
        };
        if empty {
            readers.remove(&place);
        }
    }

    /// How many readers there are, in all groups.
    pub fn reader_count(&self) -> usize {
        self.consumers.places.len()
    }

    /// What stays when everything is forgotten: readers of `$Default`, which is still there.
    pub(crate) fn consumers_after_reset(&mut self, cx: &mut Cx<'_>) -> Consumers {
        self.end_readers(cx, |(group, _)| !is_default(group));
        Consumers {
            groups: OrdMap::new(),
            ..std::mem::take(&mut self.consumers)
        }
    }

    /// Ends the readers of places whose group is gone.
    fn end_readers(&mut self, cx: &mut Cx<'_>, gone: impl Fn(&Place) -> bool) {
        let readers = &mut self.consumers.readers;
        let places: Vec<Place> = readers.keys().filter(|it| gone(it)).cloned().collect();
        for place in places {
            let ended = readers.remove(&place);
            for (reader, _) in ended.iter().flat_map(Readers::each) {
                self.consumers.places.remove(&reader.id);
                cx.emit(Effect::ReaderEnded(reader.id, no_group(&place.0)));
            }
        }
    }
}

impl Consumers {
    pub(crate) fn restore_group(&mut self, key: &str, document: Option<&Value>) {
        match document.and_then(ConsumerGroup::from_document) {
            Some(group) => {
                self.groups.insert(key.into(), Arc::new(group));
            }
            None => {
                self.groups.remove(key);
            }
        }
    }

    /// The groups without those who read.
    pub(crate) fn without_readers(&self) -> Self {
        Self {
            groups: self.groups.clone(),
            ..Self::default()
        }
    }

    fn group(&self, name: &str) -> Option<Arc<ConsumerGroup>> {
        let key = key_of(name);
        if is_default(&key) {
            return Some(default_group());
        }
        self.groups.get(&key).cloned()
    }
}

impl Readers {
    /// Each with its claim, oldest first.
    fn each(&self) -> impl Iterator<Item = (&Reader, Option<i64>)> {
        let (readers, level) = match self {
            Self::Owner(reader, level) => (std::slice::from_ref(reader), Some(*level)),
            Self::Shared(readers) => (readers.as_slice(), None),
        };
        readers.iter().map(move |reader| (reader, level))
    }

    fn check_room_for(&self, request: &ReaderRequest<'_>) -> Result<(), Error> {
        let name = request.name.unwrap_or(NAMELESS);
        match (self, request.owner_level) {
            (Self::Owner(owner, level), wanted) if wanted.is_none_or(|wanted| wanted < *level) => {
                Err(Error::new(
                    ErrorCode::LinkCreationConflict,
                    format!(
                        "Receiver '{owner}' with a higher epoch of '{level}' already exists. \
                         Receiver '{name}' with {} cannot be created. Make sure you are creating \
                         receiver with increasing epoch value to ensure connectivity, or ensure \
                         all old epoch receivers are closed or disconnected.",
                        in_words(wanted)
                    ),
                ))
            }
            (Self::Shared(shared), None) if shared.len() >= READERS => {
                let names: Vec<String> = shared.iter().map(ToString::to_string).collect();
                Err(Error::new(
                    ErrorCode::IotHubQuotaExceeded,
                    format!(
                        "Exceeded the maximum number of allowed receivers per partition in a \
                         consumer group which is {READERS}. List of connected receivers - {}.",
                        names.join(", ")
                    ),
                ))
            }
            (Self::Owner(..) | Self::Shared(_), _) => Ok(()),
        }
    }
}

impl ConsumerGroup {
    fn to_document(&self, key: Arc<str>) -> Document {
        Document {
            kind: DocumentKind::ConsumerGroup,
            key,
            value: Arc::new(json!({
                "name": &*self.name,
                "created": self.created.map(Timestamp::ticks),
            })),
        }
    }

    fn from_document(value: &Value) -> Option<Self> {
        Some(Self {
            name: value["name"].as_str()?.into(),
            created: value["created"].as_i64().map(Timestamp::from_ticks),
        })
    }
}

impl std::fmt::Display for Reader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name.as_deref().unwrap_or(NAMELESS))
    }
}

/// How the service calls a reader without a name.
const NAMELESS: &str = "nil";

fn in_words(level: Option<i64>) -> String {
    level.map_or_else(|| "no epoch".into(), |level| format!("epoch '{level}'"))
}

fn default_group() -> Arc<ConsumerGroup> {
    Arc::new(ConsumerGroup {
        name: DEFAULT_GROUP.into(),
        created: None,
    })
}

fn key_of(name: &str) -> Arc<str> {
    name.to_lowercase().into()
}

fn is_default(key: &str) -> bool {
    key.eq_ignore_ascii_case(DEFAULT_GROUP)
}

/// The service's rule for names of consumer groups.
fn check_name(name: &str) -> Result<(), Error> {
    const LONGEST: usize = 50;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    if name.is_empty() || name.len() > LONGEST || !name.chars().all(allowed) {
        return Err(Error::argument_invalid(format!(
            "{name:?} is no name of a consumer group: 1 to {LONGEST} letters, digits, '.', '-' \
             and '_'"
        )));
    }
    Ok(())
}

fn no_group(name: &str) -> Error {
    Error::new(
        ErrorCode::GenericNotFound,
        format!(
            "The messaging entity '{name}' could not be found: there is no such consumer group"
        ),
    )
}
