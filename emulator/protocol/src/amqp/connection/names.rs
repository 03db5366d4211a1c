//! Whose a link's name is (AMQP 1.0 part 2, 2.6.1).

use std::collections::BTreeMap;
use std::sync::Arc;

use super::terms::LinkId;
use crate::amqp::performative::Role;

/// The peer's links that are not over, by what we do and their names: an attach finds the link
/// that it takes the name from without a look at the others, of which there may be thousands.
#[derive(Debug, Default)]
pub(super) struct Names {
    links: BTreeMap<(bool, Arc<str>), LinkId>,
}

impl Names {
    /// Gives a name to a link; answers whose it was.
    pub(super) fn take(&mut self, role: Role, name: Arc<str>, link: LinkId) -> Option<LinkId> {
        self.links.insert((role == Role::Sender, name), link)
    }

    /// A link is over; its name may be another's by now.
    pub(super) fn leave(&mut self, role: Role, name: &Arc<str>, link: LinkId) {
        let key = (role == Role::Sender, Arc::clone(name));
        if self.links.get(&key) == Some(&link) {
            self.links.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Names;
    use crate::amqp::connection::LinkId;
    use crate::amqp::performative::Role::{Receiver, Sender};

    #[test]
    fn a_name_is_kept_as_long_as_its_link() {
        let mut names = Names::default();
        let name = || "name".into();
        assert_eq!(names.take(Sender, name(), LinkId(1)), None);
        assert_eq!(names.take(Receiver, name(), LinkId(2)), None);
        assert_eq!(names.take(Sender, name(), LinkId(3)), Some(LinkId(1)));
        names.leave(Sender, &name(), LinkId(1));
        assert_eq!(names.take(Sender, name(), LinkId(4)), Some(LinkId(3)));
        names.leave(Sender, &name(), LinkId(4));
        names.leave(Receiver, &name(), LinkId(2));
        assert!(names.links.is_empty());
    }
}
