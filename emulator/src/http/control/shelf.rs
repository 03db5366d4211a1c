//! Views that are kept for their readers: a bounded number of them, and of what they hold.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use iothub_protocol::{ClientId, DeviceId, ModuleId, Timestamp};
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Views that are kept; the one that nobody has read for longest leaves first.
const MOST_VIEWS: usize = 8;
/// Names in all views together; of one view, what is beyond is left out.
const MOST_NAMES: usize = 4_000_000;
/// Rows of one view that are kept as they were found.
const MOST_ROWS: usize = 10_000;
/// Bytes of these rows.
const MOST_BYTES: usize = 4 * 1024 * 1024;
/// Views that are made at a time.
const TURNS: usize = 2;

/// The views of one hub.
pub(super) struct Views {
    /// Begins the name of each view, so that a reader from before a restart does not read another's.
    era: i64,
    /// Names that all of them may hold together.
    room: usize,
    /// Guards which views there are; held for as long as it takes to find or add one.
    shelf: Mutex<Shelf>,
    turns: Arc<Semaphore>,
}

#[derive(Default)]
struct Shelf {
    last: u64,
    /// The longest unread one first.
    views: VecDeque<(String, Arc<View>)>,
}

/// What was found.
pub(super) struct View {
    pub(super) content: Content,
    /// How much more there would have been.
    pub(super) left_out: u64,
}

pub(super) enum Content {
    Names(Names),
    Rows(Rows),
}

/// Devices or modules by name; the names are shared with the registry.
pub(super) struct Names {
    devices: Vec<DeviceId>,
    /// The modules of these devices, or nothing.
    modules: Vec<ModuleId>,
}

/// Rows that belong to no device, as JSON text.
pub(super) struct Rows {
    columns: Vec<String>,
    rows: Vec<Box<str>>,
    is_full: bool,
}

impl Views {
    /// No views; `opened` is when the hub was.
    pub(super) fn new(opened: Timestamp) -> Self {
        Self {
            era: opened.ticks(),
            room: MOST_NAMES,
            shelf: Mutex::default(),
            turns: Arc::new(Semaphore::new(TURNS)),
        }
    }

    /// Waits for one's turn to make a view.
    pub(super) async fn turn(&self) -> Option<OwnedSemaphorePermit> {
        // It is never closed.
        self.turns.clone().acquire_owned().await.ok()
    }

    /// Keeps a view; answers its name.
    pub(super) fn keep(&self, view: View) -> String {
        let mut shelf = self.lock();
        shelf.last += 1;
        let name = format!("{:x}-{}", self.era, shelf.last);
        shelf.views.push_back((name.clone(), Arc::new(view)));
        while shelf.views.len() > MOST_VIEWS || shelf.names() > self.room {
            shelf.views.pop_front();
        }
        name
    }

    /// The view with this name, if it is still kept.
    pub(super) fn find(&self, name: &str) -> Option<Arc<View>> {
        let mut shelf = self.lock();
        let at = shelf.views.iter().position(|(other, _)| other == name)?;
        let found = shelf.views.remove(at)?;
        let view = found.1.clone();
        shelf.views.push_back(found);
        Some(view)
    }

    fn lock(&self) -> MutexGuard<'_, Shelf> {
        self.shelf.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Shelf {
    fn names(&self) -> usize {
        let views = self.views.iter();
        views.map(|(_, view)| view.content.names()).sum()
    }
}

impl View {
    /// A view of these, and how many did not fit.
    pub(super) fn of((names, left_out): (Names, u64)) -> Self {
        Self {
            content: Content::Names(names),
            left_out,
        }
    }
}

impl Content {
    pub(super) fn len(&self) -> usize {
        match self {
            Self::Names(names) => names.devices.len(),
            Self::Rows(rows) => rows.rows.len(),
        }
    }

    fn names(&self) -> usize {
        match self {
            Self::Names(names) => names.devices.len() + names.modules.len(),
            Self::Rows(_) => 0,
        }
    }
}

impl Names {
    /// As many as one view may have of them, all devices or all modules, and how many there are
    /// beyond.
    pub(super) fn collect(clients: impl Iterator<Item = ClientId>) -> (Self, u64) {
        Self::first(MOST_NAMES, clients)
    }

    fn first(most: usize, mut clients: impl Iterator<Item = ClientId>) -> (Self, u64) {
        let mut names = Self {
            devices: Vec::new(),
            modules: Vec::new(),
        };
        while names.devices.len() + names.modules.len() < most
            && let Some(client) = clients.next()
        {
            names.devices.push(client.device);
            names.modules.extend(client.module);
        }
        names.devices.shrink_to_fit();
        names.modules.shrink_to_fit();
        (names, clients.count() as u64)
    }

    pub(super) fn are_modules(&self) -> bool {
        !self.modules.is_empty()
    }

    pub(super) fn range(&self, from: usize, count: usize) -> impl Iterator<Item = ClientId> {
        let devices = self.devices.iter().enumerate().skip(from).take(count);
        devices.map(|(at, device)| ClientId {
            device: device.clone(),
            module: self.modules.get(at).cloned(),
        })
    }
}

impl Rows {
    /// The first of the rows.
    pub(super) fn collect(columns: Vec<String>, rows: impl Iterator<Item = Value>) -> Self {
        let mut bytes = 0;
        let mut kept = Self {
            columns,
            rows: Vec::new(),
            is_full: false,
        };
        for row in rows {
            let row = row.to_string().into_boxed_str();
            bytes += row.len();
            if kept.rows.len() == MOST_ROWS || bytes > MOST_BYTES {
                kept.is_full = true;
                break;
            }
            kept.rows.push(row);
        }
        kept
    }

    /// The names of what stands in the rows: those of the query, or of the first row's members.
    pub(super) fn columns(&self) -> Vec<String> {
        if !self.columns.is_empty() {
            return self.columns.clone();
        }
        let first = self.range(0, 1);
        let members = first
            .first()
            .and_then(Value::as_object)
            .into_iter()
            .flatten();
        members.map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there were more.
    pub(super) fn is_full(&self) -> bool {
        self.is_full
    }

    pub(super) fn range(&self, from: usize, count: usize) -> Vec<Value> {
        let rows = self.rows.iter().skip(from).take(count);
        rows.map(|row| serde_json::from_str(row).unwrap_or_default())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(count: usize) -> (Names, u64) {
        let client = ClientId::parse("d1").unwrap();
        Names::first(4, std::iter::repeat_n(client, count))
    }

    #[test]
    fn views_leave_when_all_of_them_hold_too_many_names() {
        let mut views = Views::new(Timestamp::UNIX_EPOCH);
        views.room = 4;

        let kept = [1, 2, 2].map(|count| views.keep(View::of(names(count))));

        let found = kept.map(|name| views.find(&name).is_some());
        assert_eq!(found, [false, true, true]);
    }

    #[test]
    fn what_does_not_fit_into_one_view_is_counted() {
        let (kept, left_out) = names(7);

        assert_eq!((kept.devices.len(), left_out), (4, 3));
    }

    #[test]
    fn a_view_has_another_name_after_a_restart() {
        let name = |opened| {
            let opened = Timestamp::from_unix_seconds(opened);
            Views::new(opened).keep(View::of(names(1)))
        };

        assert_ne!(name(1), name(2));
    }
}
