//! Where a reader begins: a position as a sequence number (`spec/amqp.md` 6.3).

use iothub_hub::Event;
use iothub_protocol::Error;
use iothub_protocol::amqp::selector::EventPosition;

/// The sequence number that a reader at `position` begins with, in a partition that keeps the
/// events from `first` on and continues at `next`. What is older than that is forgotten, and what is
/// beyond it has not come: a reader begins with the nearest event.
///
/// `at` answers the event with a sequence number or the next one that there is. It is asked a few
/// times only, however many events there are.
pub(super) fn start(
    position: &EventPosition,
    (first, next): (u64, u64),
    mut at: impl FnMut(u64) -> Result<Option<Event>, Error>,
) -> Result<u64, Error> {
    match *position {
        EventPosition::Earliest => Ok(first),
        EventPosition::Latest => Ok(next),
        EventPosition::Sequence {
            sequence,
            inclusive,
        } => {
            let start = if inclusive {
                sequence
            } else {
                sequence.saturating_add(1)
            };
            // A negative number is before the start.
            let start = u64::try_from(start).unwrap_or(0);
            Ok(start.clamp(first, next))
        }
        EventPosition::Offset { offset, inclusive } => search(first, next, &mut at, |event| {
            event.offset > offset || (inclusive && event.offset == offset)
        }),
        EventPosition::Enqueued { time, inclusive } => {
            // What readers see of a time, and take a position from, has milliseconds.
            let time = time.unix_millis();
            search(first, next, &mut at, |event| {
                let enqueued = event.enqueued.unix_millis();
                enqueued > time || (inclusive && enqueued == time)
            })
        }
    }
}

/// The first sequence number from which on `wanted` holds.
fn search(
    first: u64,
    next: u64,
    at: &mut impl FnMut(u64) -> Result<Option<Event>, Error>,
    wanted: impl Fn(&Event) -> bool,
) -> Result<u64, Error> {
    let (mut low, mut high) = (first, next);
    while low < high {
        let middle = low + (high - low) / 2;
        match at(middle)? {
            Some(event) if wanted(&event) => high = middle,
            Some(event) => low = (event.sequence + 1).min(high),
            // Forgotten meanwhile.
            None => low = middle + 1,
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use iothub_hub::{AuthMethod, AuthScope, AuthType, EventSource, Origin};
    use iothub_protocol::{ClientId, Message, Timestamp};
    use proptest::prelude::*;

    use super::*;

    /// Events from `first` on, with offsets three apart and two to each millisecond.
    fn events(first: u64, count: u64) -> Vec<Event> {
        let origin = Arc::new(Origin {
            client: ClientId::parse("d1").unwrap(),
            generation: "637".into(),
            auth_method: AuthMethod {
                scope: AuthScope::Device,
                kind: AuthType::Sas,
            },
            model_id: None,
        });
        let event = |sequence| Event {
            partition: 0,
            sequence,
            offset: sequence * 3,
            enqueued: Timestamp::from_ticks(sequence as i64 * 5_000),
            source: EventSource::Telemetry,
            origin: origin.clone(),
            message: Message::default(),
        };
        (first..first + count).map(event).collect()
    }

    fn start_in(events: &[Event], position: &EventPosition) -> u64 {
        let first = events.first().map_or(7, |event| event.sequence);
        let next = first + events.len() as u64;
        let mut asked = 0;
        let found = start(position, (first, next), |sequence| {
            asked += 1;
            let found = events.iter().find(|event| event.sequence >= sequence);
            Ok(found.cloned())
        });
        assert!(asked <= 12, "asked {asked} times");
        found.unwrap()
    }

    fn time(millis: i64) -> Timestamp {
        Timestamp::from_unix_millis(millis)
    }

    #[test]
    fn every_position_has_its_first_event() {
        let log = events(10, 100);
        let offset = |offset, inclusive| EventPosition::Offset { offset, inclusive };
        let sequence = |sequence, inclusive| EventPosition::Sequence {
            sequence,
            inclusive,
        };
        let enqueued = |millis, inclusive| EventPosition::Enqueued {
            time: time(millis),
            inclusive,
        };
        for (position, expected) in [
            (EventPosition::Earliest, 10),
            (EventPosition::Latest, 110),
            (offset(60, false), 21),
            (offset(60, true), 20),
            (offset(61, true), 21),
            (offset(0, true), 10),
            (offset(10_000, true), 110),
            (sequence(50, false), 51),
            (sequence(50, true), 50),
            (sequence(-1, false), 10),
            (sequence(i64::MIN, true), 10),
            (sequence(3, true), 10),
            (sequence(109, false), 110),
            (sequence(i64::MAX, false), 110),
            (enqueued(20, false), 42),
            (enqueued(20, true), 40),
            (enqueued(-5, true), 10),
            (enqueued(1_000_000, false), 110),
        ] {
            assert_eq!(start_in(&log, &position), expected, "{position:?}");
        }
    }

    proptest! {
        #[test]
        fn a_search_finds_what_a_walk_finds(
            first in 0_u64..50, count in 0_u64..200, offset in 0_u64..800, inclusive: bool,
        ) {
            let log = events(first, count);
            let position = EventPosition::Offset { offset, inclusive };
            let walked = log
                .iter()
                .find(|event| event.offset > offset || inclusive && event.offset == offset)
                .map_or_else(
                    || log.last().map_or(7, |last| last.sequence + 1),
                    |event| event.sequence,
                );

            prop_assert_eq!(start_in(&log, &position), walked);
        }
    }
}
