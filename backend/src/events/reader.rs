//! Readers of partitions (`spec/amqp.md` 6.3).

use std::collections::VecDeque;
use std::sync::Arc;

use iothub_protocol::amqp::address::Address;
use iothub_protocol::amqp::connection::Delivery;
use iothub_protocol::amqp::value::{Map, Symbol, Value};
use iothub_protocol::amqp::{DeliveryState, selector::EventPosition};
use tokio::sync::Notify;

use super::{Entity, Event, Events, PartitionProperties, Questions};
use crate::Error;
use crate::amqp::{Failures, Inbound, Link, LinkEnd, Session, is_passing, may_come_back, of_link};

/// The group that every event hub has.
const DEFAULT_CONSUMER_GROUP: &str = "$Default";
/// As the SDKs have it (`spec/amqp.md` 6.3, credit).
const DEFAULT_PREFETCH: u32 = 300;

/// Which events to read, before reading.
#[must_use = "nothing is read before `open`"]
#[derive(Clone)]
pub struct EventReaderBuilder {
    events: Events,
    position: EventPosition,
    partitions: Vec<(u32, Option<EventPosition>)>,
    settings: Settings,
    stored_only: bool,
    device: Option<String>,
    max: Option<usize>,
}

#[derive(Clone)]
struct Settings {
    consumer_group: String,
    owner_level: Option<i64>,
    prefetch: u32,
    name: Option<String>,
}

/// Reads partitions, each in its order. Finds the way back when the connection is lost, and goes on
/// behind the last event that it gave. Dropping it detaches it.
pub struct EventReader {
    entity: Arc<Entity>,
    settings: Settings,
    device: Option<String>,
    /// Events that may still be given.
    left: Option<usize>,
    partitions: Vec<Partition>,
    /// Held while its links are, so that the token stays fresh.
    session: Option<Arc<Session>>,
    changed: Arc<Notify>,
    /// Taken off the links, not yet given.
    taken: VecDeque<(usize, Delivery)>,
    /// The partition to look at next, so that none starves.
    next: usize,
    failures: Failures,
}

struct Partition {
    id: u32,
    /// Where to go on.
    position: EventPosition,
    /// Whether it is read at all: not when another reader reads instead, or its last event is read.
    is_over: bool,
    /// The event to end with.
    last: Option<i64>,
    link: Option<Link>,
}

impl EventReaderBuilder {
    pub(super) fn new(events: Events, position: EventPosition) -> Self {
        Self {
            events,
            position,
            partitions: Vec::new(),
            settings: Settings {
                consumer_group: DEFAULT_CONSUMER_GROUP.to_owned(),
                owner_level: None,
                prefetch: DEFAULT_PREFETCH,
                name: None,
            },
            stored_only: false,
            device: None,
            max: None,
        }
    }

    /// Reads in this consumer group instead of `$Default`.
    pub fn consumer_group(mut self, name: impl Into<String>) -> Self {
        self.settings.consumer_group = name.into();
        self
    }

    /// Reads this partition, and of the others only those that are named, too.
    pub fn partition(mut self, id: u32) -> Self {
        self.partitions.push((id, None));
        self
    }

    /// As [`Self::partition`], from a position of its own.
    pub fn partition_from(mut self, id: u32, position: EventPosition) -> Self {
        self.partitions.push((id, Some(position)));
        self
    }

    /// Displaces the group's other readers of these partitions that have no owner level, this one
    /// or a lower one; is displaced by, and refused beside, readers with a higher one.
    pub fn owner_level(mut self, level: i64) -> Self {
        self.settings.owner_level = Some(level);
        self
    }

    /// How many events of each partition may wait here unread; 300 unless said.
    pub fn prefetch(mut self, events: u32) -> Self {
        self.settings.prefetch = events.max(1);
        self
    }

    /// What the hub is told as the reader's name.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.settings.name = Some(name.into());
        self
    }

    /// Ends when everything is read that was stored when it was opened, instead of waiting for
    /// more.
    pub fn stored_only(mut self) -> Self {
        self.stored_only = true;
        self
    }

    /// Gives only what this device, or a module of it, sent. The others are read and passed over.
    pub fn device(mut self, device: impl Into<String>) -> Self {
        self.device = Some(device.into());
        self
    }

    /// Ends after this many events.
    pub fn max(mut self, max: usize) -> Self {
        self.max = Some(max);
        self
    }

    /// Opens the reader. Once this returns, no later event is missed. What the hub has against it,
    /// such as a consumer group that does not exist, shows at the first event.
    pub async fn open(self) -> Result<EventReader, Error> {
        let entity = self.events.entity().await?;
        let mut questions = Questions::open(&entity).await?;
        let mut wanted = self.partitions;
        if wanted.is_empty() {
            let all = questions.properties().await?.partition_ids;
            wanted.extend(all.into_iter().map(|id| (id, None)));
        }
        let mut partitions = Vec::with_capacity(wanted.len());
        for (id, position) in wanted {
            let position = position.unwrap_or_else(|| self.position.clone());
            let mut partition = Partition {
                id,
                position,
                is_over: false,
                last: None,
                link: None,
            };
            if self.stored_only || partition.position == EventPosition::Latest {
                let found = questions.partition(id).await?;
                partition.fix(&found, self.stored_only);
            }
            partitions.push(partition);
        }
        let mut reader = EventReader {
            entity,
            settings: self.settings,
            device: self.device,
            left: self.max,
            partitions,
            session: None,
            changed: Arc::default(),
            taken: VecDeque::new(),
            next: 0,
            failures: Failures::default(),
        };
        reader.attach().await?;
        Ok(reader)
    }
}

impl EventReader {
    /// The next event; `None` when there is no other: the reader was to end, or is displaced
    /// everywhere. Nothing is lost when the future is dropped.
    ///
    /// # Errors
    ///
    /// [`crate::ErrorKind::Displaced`] when another reader has taken a partition over, which this
    /// one then leaves; a refusal when the hub does not let it read. A connection that is lost is no
    /// error: it is made again.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        loop {
            while let Some((index, delivery)) = self.taken.pop_front() {
                if let Some(event) = self.give(index, delivery)? {
                    return Ok(Some(event));
                }
            }
            if self.left == Some(0) || self.partitions.iter().all(|it| it.is_over) {
                self.leave();
                return Ok(None);
            }
            let changed = Arc::clone(&self.changed);
            // Before the look: a change between it and the waiting then still wakes.
            let changed = changed.notified();
            match self.take() {
                Ok(()) if self.taken.is_empty() => changed.await,
                Ok(()) => self.failures.reset(),
                Err((index, end)) => self.recover(index, end).await?,
            }
        }
    }

    /// Detaches the reader and waits until that has been said.
    pub async fn close(mut self) {
        let session = self.session.take();
        self.leave();
        if let Some(session) = session {
            session.wire.flushed().await;
        }
    }

    /// Takes what waits on the links; fails with the link that is over.
    fn take(&mut self) -> Result<(), (usize, Option<LinkEnd>)> {
        let count = self.partitions.len();
        let mut batch = VecDeque::new();
        for step in 0..count {
            let index = (self.next + step) % count;
            let partition = &mut self.partitions[index];
            if partition.is_over {
                continue;
            }
            let Some(link) = &partition.link else {
                return Err((index, None));
            };
            let taken = link.take(&mut batch, usize::MAX);
            if !batch.is_empty() {
                let unsettled = batch.iter().filter(|delivery| !delivery.settled);
                // There is no redelivery: what is taken is accepted (`spec/amqp.md` 6.3).
                link.settle(
                    unsettled.map(|delivery| delivery.id),
                    &DeliveryState::Accepted,
                );
                let batch = std::mem::take(&mut batch);
                self.taken
                    .extend(batch.into_iter().map(|delivery| (index, delivery)));
                self.next = (index + 1) % count;
                return Ok(());
            }
            taken.map_err(|end| (index, Some(end)))?;
        }
        Ok(())
    }

    /// Reads a delivery; `None`: nobody wants it.
    fn give(&mut self, index: usize, delivery: Delivery) -> Result<Option<Event>, Error> {
        let partition = &mut self.partitions[index];
        if partition.is_over {
            return Ok(None);
        }
        let event = Event::read(partition.id, delivery.payload)?;
        let sequence = i64::try_from(event.sequence_number).unwrap_or(i64::MAX);
        partition.position = EventPosition::Sequence {
            sequence,
            inclusive: false,
        };
        if let Some(last) = partition.last
            && sequence >= last
        {
            partition.end();
            if sequence > last {
                return Ok(None);
            }
        }
        let is_other = |device: &String| event.device_id() != device.as_str();
        if self.device.as_ref().is_some_and(is_other) || self.left == Some(0) {
            return Ok(None);
        }
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        Ok(Some(event))
    }

    /// A link is over, or was never there: attaches again, or says why not.
    async fn recover(&mut self, index: usize, end: Option<LinkEnd>) -> Result<(), Error> {
        let partition = &mut self.partitions[index];
        partition.link = None;
        if let Some(end) = end {
            if !may_come_back(&end) {
                partition.end();
                return Err(of_link(end));
            }
            tracing::debug!(?end, partition = partition.id, "a reader lost its link");
            let connector = Arc::clone(&self.entity.connector);
            connector.pause(&mut self.failures).await;
        }
        while let Err(error) = self.attach().await {
            if !is_passing(&error) {
                return Err(error);
            }
            tracing::debug!(%error, "a reader finds no way back");
            let connector = Arc::clone(&self.entity.connector);
            connector.pause(&mut self.failures).await;
        }
        Ok(())
    }

    /// Attaches the partitions that have no link.
    async fn attach(&mut self) -> Result<(), Error> {
        let session = self.entity.connector.session().await?;
        let is_another = |old: &Arc<Session>| !Arc::ptr_eq(old, &session);
        let is_return = self.session.is_some();
        if self.session.as_ref().is_none_or(is_another) {
            for partition in &mut self.partitions {
                partition.link = None;
            }
        }
        if is_return {
            self.look_for_a_new_beginning().await?;
        }
        for partition in &mut self.partitions {
            if partition.is_over || partition.link.is_some() {
                continue;
            }
            let inbound = Inbound {
                address: Address::EntityPartition {
                    entity: self.entity.name.clone(),
                    group: self.settings.consumer_group.clone(),
                    partition: partition.id.to_string(),
                }
                .to_string(),
                filter: partition.position.to_filter(),
                prefetch: self.settings.prefetch,
                properties: self.settings.link_properties(),
                changed: Arc::clone(&self.changed),
            };
            let name = session.link_name("reader");
            partition.link = Some(Link::receiver(&session.wire, session.id, name, inbound));
        }
        self.session = Some(session);
        Ok(())
    }

    /// A hub that forgot its events numbers them anew: whoever waited behind the old numbers would
    /// wait for long.
    async fn look_for_a_new_beginning(&mut self) -> Result<(), Error> {
        let mut questions = Questions::open(&self.entity).await?;
        for partition in &mut self.partitions {
            let EventPosition::Sequence { sequence, .. } = partition.position else {
                continue;
            };
            if partition.is_over || partition.link.is_some() {
                continue;
            }
            let found = questions.partition(partition.id).await?;
            if found.last_enqueued_sequence_number < sequence {
                partition.position = EventPosition::Earliest;
            }
        }
        Ok(())
    }

    fn leave(&mut self) {
        for partition in &mut self.partitions {
            partition.end();
        }
        self.session = None;
    }
}

impl Partition {
    /// Replaces "latest" by the place it means now, so that nothing is missed by losing the
    /// connection; settles where a reader of what is stored ends.
    fn fix(&mut self, found: &PartitionProperties, stored_only: bool) {
        let newest = found.last_enqueued_sequence_number;
        if stored_only {
            self.last = Some(newest);
            self.is_over = found.is_empty
                || match &self.position {
                    EventPosition::Earliest => false,
                    EventPosition::Latest => true,
                    EventPosition::Sequence {
                        sequence,
                        inclusive,
                    } => newest < *sequence || newest == *sequence && !inclusive,
                    EventPosition::Offset { offset, inclusive } => {
                        let newest = found.last_enqueued_offset.parse::<u64>();
                        newest.is_ok_and(|it| it < *offset || it == *offset && !inclusive)
                    }
                    EventPosition::Enqueued { time, inclusive } => found
                        .last_enqueued_time
                        .is_none_or(|it| it < *time || it == *time && !inclusive),
                };
        }
        if self.position == EventPosition::Latest {
            self.position = EventPosition::Sequence {
                sequence: newest,
                inclusive: false,
            };
        }
    }

    fn end(&mut self) {
        self.is_over = true;
        self.link = None;
    }
}

impl Settings {
    fn link_properties(&self) -> Map {
        let mut properties = Map::new();
        let mut add = |name: &'static str, value| {
            properties.push((Symbol::of(name).into(), value));
        };
        if let Some(level) = self.owner_level {
            add("com.microsoft:epoch", Value::Long(level));
        }
        if let Some(name) = &self.name {
            add("com.microsoft:receiver-name", Value::String(name.clone()));
        }
        properties
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use iothub_protocol::Timestamp;

    fn found(last: i64) -> PartitionProperties {
        PartitionProperties {
            event_hub_name: "hub".into(),
            id: 0,
            beginning_sequence_number: 0,
            last_enqueued_sequence_number: last,
            last_enqueued_offset: last.to_string(),
            last_enqueued_time: (last >= 0).then(|| Timestamp::from_unix_seconds(last)),
            is_empty: last < 0,
        }
    }

    fn fixed(position: EventPosition, last: i64, stored_only: bool) -> Partition {
        let mut partition = Partition {
            id: 0,
            position,
            is_over: false,
            last: None,
            link: None,
        };
        partition.fix(&found(last), stored_only);
        partition
    }

    #[test]
    fn latest_is_behind_the_newest_event() {
        for newest in [-1, 7] {
            let partition = fixed(EventPosition::Latest, newest, false);

            let behind = EventPosition::Sequence {
                sequence: newest,
                inclusive: false,
            };
            assert_eq!((partition.position, partition.is_over), (behind, false));
        }
    }

    #[test]
    fn a_reader_of_what_is_stored_is_over_where_nothing_is() {
        let sequence = |sequence, inclusive| EventPosition::Sequence {
            sequence,
            inclusive,
        };
        let enqueued = |seconds, inclusive| EventPosition::Enqueued {
            time: Timestamp::from_unix_seconds(seconds),
            inclusive,
        };
        let offset = |offset, inclusive| EventPosition::Offset { offset, inclusive };
        for (position, newest, is_over) in [
            (EventPosition::Earliest, -1, true),
            (EventPosition::Earliest, 0, false),
            (EventPosition::Latest, 5, true),
            (sequence(5, true), 5, false),
            (sequence(5, false), 5, true),
            (sequence(6, true), 5, true),
            (offset(5, true), 5, false),
            (offset(5, false), 5, true),
            (enqueued(5, true), 5, false),
            (enqueued(5, false), 5, true),
            (enqueued(4, false), 5, false),
        ] {
            let partition = fixed(position.clone(), newest, true);

            assert_eq!(partition.is_over, is_over, "{position:?} of {newest}");
        }
    }
}
