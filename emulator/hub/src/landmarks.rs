//! A few of very many clients, spread evenly over the order of all: where work on all of them can
//! be divided.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Bound;

use imbl::OrdSet;
use iothub_protocol::ClientId;

/// Of so many clients one is a landmark, on average.
const ONE_IN: u64 = 1024;
/// Landmarks from one division to the next, at least: fewer clients are not worth one.
const APART: usize = 4;

/// The landmarks among the clients that there are. Whether a client is one depends on its name
/// alone, so that the others do not have to be known.
#[derive(Clone, Default)]
pub(crate) struct Landmarks(OrdSet<ClientId>);

impl Landmarks {
    /// A client has come.
    pub(crate) fn add(&mut self, client: &ClientId) {
        if is_landmark(client) {
            self.0.insert(client.clone());
        }
    }

    /// A client has gone.
    pub(crate) fn remove(&mut self, client: &ClientId) {
        if is_landmark(client) {
            self.0.remove(client);
        }
    }

    /// The first one from `start` on, if `holds` is true of it.
    pub(crate) fn first(
        &self,
        start: Bound<ClientId>,
        holds: impl Fn(&ClientId) -> bool,
    ) -> Option<ClientId> {
        let first = self.0.range((start, Bound::Unbounded)).next();
        first.filter(|client| holds(client)).cloned()
    }

    /// At most `most` of those from `start` on as far as `holds` is true, at about equal distances.
    pub(crate) fn within(
        &self,
        start: Bound<ClientId>,
        holds: impl Fn(&ClientId) -> bool,
        most: usize,
    ) -> Vec<ClientId> {
        let behind = self.0.range((start, Bound::Unbounded));
        let all: Vec<_> = behind.take_while(|client| holds(client)).collect();
        let count = most.min(all.len() / APART);
        let nth = |n: usize| all[(n + 1) * all.len() / (count + 1)].clone();
        (0..count).map(nth).collect()
    }
}

pub(crate) fn is_landmark(client: &ClientId) -> bool {
    // The same in every process: made without a random state.
    let mut hasher = DefaultHasher::new();
    client.hash(&mut hasher);
    hasher.finish().is_multiple_of(ONE_IN)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(n: usize) -> ClientId {
        ClientId::parse(&format!("d{n:06}")).unwrap()
    }

    #[test]
    fn they_divide_a_great_many_evenly() {
        let mut landmarks = Landmarks::default();
        (0..200_000).for_each(|n| landmarks.add(&client(n)));

        let found = landmarks.within(Bound::Unbounded, |_| true, 3);

        assert_eq!(found.len(), 3);
        for (found, ideal) in found.iter().zip([50_000, 100_000, 150_000]) {
            assert!(*found > client(ideal - 25_000) && *found < client(ideal + 25_000));
        }
        let behind = Bound::Excluded(found[2].clone());
        let end = client(190_000);
        let rest = landmarks.within(behind, |client| *client < end, 1000);
        assert!(!rest.is_empty() && rest.len() < 20 && rest.is_sorted_by(|a, b| a < b));
        assert!(rest.iter().all(|client| *client < end));
    }

    #[test]
    fn who_has_gone_is_none() {
        let mut landmarks = Landmarks::default();
        let one = (0..).map(client).find(is_landmark).unwrap();
        landmarks.add(&one);
        landmarks.remove(&one);

        assert_eq!(landmarks.within(Bound::Unbounded, |_| true, 9), []);
    }
}
