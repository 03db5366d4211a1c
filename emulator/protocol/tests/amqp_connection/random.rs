//! Two machines, random work on both sides and bytes that arrive in any pieces: every delivery
//! arrives once, whole and in order, nobody breaks a rule, and everything ends.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use iothub_protocol::amqp::connection::{
    AcceptLink, ClientSasl, Connection, ConnectionConfig, DeliveryId, Event, LinkId, SessionId,
};
use iothub_protocol::amqp::error::condition;
use iothub_protocol::amqp::performative::{ReceiverSettleMode, Role};
use iothub_protocol::amqp::{AmqpError, DeliveryState};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

use crate::pair::{config, epoch, link};

const COURSE: &str = "every link has a course";

/// A piece of work of one side.
#[derive(Clone, Copy, Debug)]
enum Work {
    Begin,
    Attach {
        session: Index,
        sender: bool,
        second: bool,
        credit: u32,
    },
    /// Take or refuse the oldest link that asks.
    Answer {
        credit: u32,
        refuse: bool,
    },
    Send {
        link: Index,
        length: usize,
        settled: bool,
        count: usize,
        in_place: bool,
    },
    Settle {
        which: Index,
        released: bool,
    },
    SettleAll,
    Grant {
        link: Index,
        credit: u32,
    },
    Detach {
        link: Index,
    },
    End {
        session: Index,
    },
    /// So many bytes reach the other side.
    Carry {
        bytes: usize,
    },
}

fn work() -> impl Strategy<Value = Work> {
    let index = any::<Index>;
    prop_oneof![
        4 => Just(Work::Begin),
        10 => (index(), any::<bool>(), any::<bool>(), 0_u32..40).prop_map(
            |(session, sender, second, credit)| Work::Attach { session, sender, second, credit }
        ),
        16 => (0_u32..40, proptest::bool::weighted(0.1))
            .prop_map(|(credit, refuse)| Work::Answer { credit, refuse }),
        100 => (index(), 0_usize..2500, any::<bool>(), 1_usize..6, any::<bool>()).prop_map(
            |(link, length, settled, count, in_place)| Work::Send {
                link, length, settled, count, in_place
            }
        ),
        50 => (index(), any::<bool>()).prop_map(|(which, released)| Work::Settle { which, released }),
        15 => Just(Work::SettleAll),
        15 => (index(), 0_u32..40).prop_map(|(link, credit)| Work::Grant { link, credit }),
        3 => index().prop_map(|link| Work::Detach { link }),
        1 => index().prop_map(|session| Work::End { session }),
        120 => (1_usize..9000).prop_map(|bytes| Work::Carry { bytes }),
    ]
}

/// One side: its machine, and what it believes.
struct Side {
    machine: Connection,
    pipe: VecDeque<u8>,
    sessions: Vec<SessionId>,
    asking: VecDeque<(LinkId, String, Role)>,
    links: BTreeMap<LinkId, Known>,
    unsettled: Vec<(LinkId, DeliveryId, bool)>,
    refused: usize,
    closed: bool,
}

/// A link that one side believes to have.
struct Known {
    name: String,
    role: Role,
    second: bool,
    /// Sent and not settled, by its number.
    pending: BTreeMap<DeliveryId, usize>,
}

/// What has passed on a link, by its name.
#[derive(Default)]
struct Course {
    sent: Vec<(Bytes, bool)>,
    received: usize,
    /// By the sent delivery's index: what the receiver has said.
    said: BTreeMap<usize, DeliveryState>,
    received_ids: BTreeMap<DeliveryId, usize>,
}

struct World {
    sides: [Side; 2],
    courses: BTreeMap<String, Course>,
    names: usize,
}

impl World {
    fn new(configs: [ConnectionConfig; 2]) -> Self {
        let [client, server] = configs;
        let side = |machine| Side {
            machine,
            pipe: VecDeque::new(),
            sessions: Vec::new(),
            asking: VecDeque::new(),
            links: BTreeMap::new(),
            unsettled: Vec::new(),
            refused: 0,
            closed: false,
        };
        Self {
            sides: [
                side(Connection::client(client, ClientSasl::None, epoch())),
                side(Connection::server(server, epoch())),
            ],
            courses: BTreeMap::new(),
            names: 0,
        }
    }

    fn carry(&mut self, from: usize, bytes: usize) -> usize {
        let sender = &mut self.sides[from];
        while let Some(chunk) = sender.machine.next_output() {
            sender.pipe.extend(chunk);
        }
        let bytes = bytes.min(sender.pipe.len());
        let carried: Vec<u8> = sender.pipe.drain(..bytes).collect();
        if bytes > 0 {
            self.sides[1 - from].machine.receive(epoch(), &carried);
            self.take_events(1 - from);
        }
        bytes
    }

    fn take_events(&mut self, at: usize) {
        while let Some(event) = self.sides[at].machine.next_event() {
            self.take(at, event);
        }
    }

    fn take(&mut self, at: usize, event: Event) {
        let side = &mut self.sides[at];
        match event {
            Event::SessionEnded(session, error) => {
                assert_eq!(error, None);
                side.sessions.retain(|known| *known != session);
            }
            Event::LinkAttached {
                link,
                ours: false,
                attach,
                ..
            } => {
                let role = match attach.role {
                    Role::Sender => Role::Receiver,
                    Role::Receiver => Role::Sender,
                };
                side.asking.push_back((link, attach.name, role));
            }
            Event::LinkDetached { link, error, .. } => {
                if let Some(error) = error {
                    assert_eq!(error.condition, condition::NOT_FOUND, "{error:?}");
                }
                side.links.remove(&link);
                side.asking.retain(|(asking, _, _)| *asking != link);
                side.unsettled.retain(|(of, _, _)| *of != link);
            }
            Event::Delivery(delivery) => {
                let known = &side.links[&delivery.link];
                assert_eq!(known.role, Role::Receiver);
                let course = self.courses.get_mut(&known.name).expect(COURSE);
                let (payload, settled) = &course.sent[course.received];
                assert_eq!(&delivery.payload, payload, "on {}", known.name);
                assert_eq!(delivery.settled, *settled);
                assert_eq!(delivery.tag, course.received.to_be_bytes()[..]);
                course.received_ids.insert(delivery.id, course.received);
                course.received += 1;
                if !settled {
                    side.unsettled
                        .push((delivery.link, delivery.id, known.second));
                }
            }
            Event::Outcome {
                link,
                delivery,
                state,
                settled,
            } => self.take_outcome(at, link, delivery, state, settled),
            Event::Closed(error) => {
                assert_eq!(error, None);
                side.closed = true;
            }
            Event::Credit { .. }
            | Event::SessionBegun(_)
            | Event::Opened(_)
            | Event::LinkAttached { ours: true, .. }
            | Event::SaslInit { .. }
            | Event::SaslEnded(_) => {}
        }
    }

    fn take_outcome(
        &mut self,
        at: usize,
        link: LinkId,
        delivery: DeliveryId,
        state: Option<DeliveryState>,
        settled: bool,
    ) {
        let side = &mut self.sides[at];
        // Detached from here meanwhile.
        let Some(known) = side.links.get_mut(&link) else {
            return;
        };
        if known.role == Role::Receiver {
            assert!(settled, "the sender has settled");
            return;
        }
        let course = &self.courses[&known.name];
        let index = known.pending[&delivery];
        assert_eq!(state.as_ref(), course.said.get(&index));
        known.pending.remove(&delivery);
        if !settled {
            side.machine
                .settle_sent(link, delivery, state.unwrap_or(DeliveryState::Accepted));
        }
    }

    fn work(&mut self, at: usize, work: Work) {
        match work {
            Work::Carry { bytes } => {
                self.carry(at, bytes);
            }
            Work::Begin => {
                let side = &mut self.sides[at];
                if side.sessions.len() < 3 {
                    let session = side.machine.begin();
                    side.sessions.push(session);
                }
            }
            Work::Attach {
                session,
                sender,
                second,
                credit,
            } => self.attach(at, session, sender, second, credit),
            Work::Answer { credit, refuse } => self.answer(at, credit, refuse),
            Work::Send {
                link,
                length,
                settled,
                count,
                in_place,
            } => {
                for step in 0..count {
                    self.send(at, link, length + step, settled, in_place);
                }
            }
            Work::Settle { which, released } => {
                if let Some(index) = pick(which, self.sides[at].unsettled.len()) {
                    let entry = self.sides[at].unsettled.remove(index);
                    self.settle(at, entry, released);
                }
            }
            Work::SettleAll => {
                for entry in std::mem::take(&mut self.sides[at].unsettled) {
                    self.settle(at, entry, false);
                }
            }
            Work::Grant { link, credit } => {
                if let Some(link) = self.sides[at].pick_link(link, Role::Receiver) {
                    self.sides[at].machine.grant(link, credit);
                }
            }
            Work::Detach { link } => {
                let side = &mut self.sides[at];
                if let Some(index) = pick(link, side.links.len()) {
                    let link = *side.links.keys().nth(index).expect("a picked link");
                    side.machine.detach(link, None);
                    side.links.remove(&link);
                    side.unsettled.retain(|(of, _, _)| *of != link);
                }
            }
            Work::End { session } => {
                if let Some(index) = pick(session, self.sides[at].sessions.len()) {
                    let session = self.sides[at].sessions[index];
                    self.sides[at].machine.end(session, None);
                }
            }
        }
        self.take_events(at);
    }

    fn attach(&mut self, at: usize, session: Index, sender: bool, second: bool, credit: u32) {
        let side = &self.sides[at];
        let Some(session) = pick(session, side.sessions.len()) else {
            return;
        };
        let session = side.sessions[session];
        let role = if sender { Role::Sender } else { Role::Receiver };
        self.attach_to(at, session, role, second && !sender, credit);
    }

    fn attach_to(&mut self, at: usize, session: SessionId, role: Role, second: bool, credit: u32) {
        self.names += 1;
        let name = format!("link-{}", self.names);
        let mut wanted = link(&name, role, credit);
        if second {
            wanted.rcv_settle_mode = ReceiverSettleMode::Second;
        }
        let side = &mut self.sides[at];
        let id = side.machine.attach(session, wanted);
        side.know(id, name.clone(), role, second);
        self.courses.insert(name, Course::default());
    }

    fn answer(&mut self, at: usize, credit: u32, refuse: bool) {
        let side = &mut self.sides[at];
        let Some((link, name, role)) = side.asking.pop_front() else {
            return;
        };
        if refuse {
            side.refused += 1;
            let error = AmqpError::new(condition::NOT_FOUND, "refused");
            return side.machine.refuse_link(link, error);
        }
        let answer = AcceptLink {
            credit: if role == Role::Receiver { credit } else { 0 },
            ..AcceptLink::default()
        };
        side.machine.accept_link(link, answer);
        side.know(link, name, role, false);
    }

    fn send(&mut self, at: usize, link: Index, length: usize, settled: bool, in_place: bool) {
        let side = &mut self.sides[at];
        let Some(link) = side.pick_link(link, Role::Sender) else {
            return;
        };
        let known = side.links.get_mut(&link).expect("a picked link");
        let course = self.courses.get_mut(&known.name).expect(COURSE);
        let number = course.sent.len();
        let payload: Bytes = (0..length).map(|byte| (byte * 7 + number) as u8).collect();
        let tag = number.to_be_bytes();
        let sent = if in_place {
            let write = |out: &mut bytes::BytesMut| out.extend_from_slice(&payload);
            side.machine.send_with(link, &tag, 0, settled, write)
        } else {
            side.machine.send(link, &tag, 0, payload.clone(), settled)
        };
        if let Ok(delivery) = sent {
            if !settled {
                known.pending.insert(delivery, number);
            }
            course.sent.push((payload, settled));
        }
    }

    fn settle(&mut self, at: usize, entry: (LinkId, DeliveryId, bool), released: bool) {
        let (link, delivery, second) = entry;
        let side = &mut self.sides[at];
        let state = match released {
            true => DeliveryState::Released,
            false => DeliveryState::Accepted,
        };
        let course = self.courses.get_mut(&side.links[&link].name).expect(COURSE);
        let index = course.received_ids[&delivery];
        course.said.insert(index, state.clone());
        if second {
            side.machine.tell(link, delivery, state);
        } else {
            side.machine.settle(link, delivery, state);
        }
    }

    /// Sessions and links of both sides to begin with.
    fn set_out(&mut self) {
        self.rest();
        for at in [0, 1] {
            self.work(at, Work::Begin);
            for role in [Role::Sender, Role::Receiver, Role::Receiver] {
                let second = role == Role::Receiver && at == 0;
                let session = self.sides[at].sessions[0];
                self.attach_to(at, session, role, second, 10);
            }
        }
        self.rest();
    }

    /// Lets everything come to rest.
    fn rest(&mut self) {
        loop {
            let mut moved = 0;
            for at in [0, 1] {
                while !self.sides[at].asking.is_empty() {
                    self.work(
                        at,
                        Work::Answer {
                            credit: 5,
                            refuse: false,
                        },
                    );
                }
                self.work(at, Work::SettleAll);
                moved += self.carry(at, usize::MAX);
            }
            if moved == 0 {
                return;
            }
        }
    }

    /// Links that both sides have: everything has arrived and is settled.
    fn check(&self) {
        for known in self.sides[0].links.values() {
            let course = &self.courses[&known.name];
            assert_eq!(course.received, course.sent.len(), "on {}", known.name);
        }
        for side in &self.sides {
            for known in side.links.values() {
                assert!(known.pending.is_empty(), "on {}", known.name);
            }
        }
        let names = |side: &Side| -> Vec<String> {
            let mut names: Vec<_> = side
                .links
                .values()
                .map(|known| known.name.clone())
                .collect();
            names.sort();
            names
        };
        assert_eq!(names(&self.sides[0]), names(&self.sides[1]));
    }
}

impl Side {
    fn know(&mut self, link: LinkId, name: String, role: Role, second: bool) {
        let known = Known {
            name,
            role,
            second,
            pending: BTreeMap::new(),
        };
        self.links.insert(link, known);
    }

    fn pick_link(&self, index: Index, role: Role) -> Option<LinkId> {
        let links: Vec<LinkId> = self
            .links
            .iter()
            .filter(|(_, known)| known.role == role)
            .map(|(link, _)| *link)
            .collect();
        pick(index, links.len()).map(|index| links[index])
    }
}

fn pick(index: Index, length: usize) -> Option<usize> {
    (length > 0).then(|| index.index(length))
}

fn settings(name: &'static str) -> impl Strategy<Value = ConnectionConfig> {
    (512_u32..3000, 1_u32..30).prop_map(move |(max_frame_size, incoming_window)| ConnectionConfig {
        max_frame_size,
        incoming_window,
        ..config(name)
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn everything_arrives_once_and_in_order_and_ends(
        client in settings("client"),
        server in settings("server"),
        works in vec((0_usize..2, work()), 0..250),
        closer in 0_usize..2,
    ) {
        let mut world = World::new([client, server]);
        world.set_out();
        for (at, work) in works {
            world.work(at, work);
        }
        world.rest();
        world.check();

        world.sides[closer].machine.close(None);
        world.take_events(closer);
        world.rest();
        for side in &world.sides {
            prop_assert!(side.closed && side.machine.is_closed());
            prop_assert!(side.links.is_empty() && side.sessions.is_empty());
        }
    }
}
