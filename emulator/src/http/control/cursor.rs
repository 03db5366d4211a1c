//! A place in the event log, as text: the next sequence number of each partition.

use std::fmt;

use iothub_protocol::Error;

/// Where a reader goes on: `13.0.0.4` is event 13 of the first partition, …
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Cursor(pub(super) Vec<u64>);

impl Cursor {
    /// Parses the text of a cursor into a log of `partitions`.
    pub(super) fn parse(text: &str, partitions: usize) -> Result<Self, Error> {
        let numbers: Result<Vec<u64>, _> = text.split('.').map(str::parse).collect();
        match numbers {
            Ok(numbers) if numbers.len() == partitions => Ok(Self(numbers)),
            _ => Err(Error::argument_invalid(format!(
                "{text:?} is no cursor: {partitions} numbers with dots between, one a partition"
            ))),
        }
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (partition, next) in self.0.iter().enumerate() {
            if partition > 0 {
                f.write_str(".")?;
            }
            write!(f, "{next}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_round_trips() {
        for text in ["0", "13.0.0.4"] {
            let partitions = text.split('.').count();
            assert_eq!(Cursor::parse(text, partitions).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_cursor_of_another_log_is_refused() {
        for text in ["", "1", "1.2.3", "1.x", "-1.2", "1..2", "latest"] {
            assert!(Cursor::parse(text, 2).is_err(), "{text:?}");
        }
    }
}
