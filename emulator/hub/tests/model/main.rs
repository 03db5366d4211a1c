//! Random operations and time steps: the hub and a ten times smaller model agree on every answer,
//! on what leaves the hub and in which order, and on what can be seen afterwards.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod compare;
#[path = "../fixture/mod.rs"]
mod fixture;
mod operations;
mod queues;
mod reference;

use std::collections::BTreeMap;

use iothub_hub::{
    CallId, ConnectRequest, Credentials, Cx, Delivery, Effect, End, Guarantee, Hub, HubConfig,
    LockToken, Outcome, SessionId,
};
use iothub_protocol::method::{MethodRequest, MethodResponse};
use iothub_protocol::property_bag::PropertyBag;
use iothub_protocol::registry::{IdentitySpec, IfMatch, Status};
use iothub_protocol::sas::sign;
use iothub_protocol::twin::TwinPatch;
use iothub_protocol::{ClientId, Message};
use proptest::prelude::*;

use fixture::{Fixture, HOST, client, device, durable_state, observable_state, resource, secs};
use operations::{Operation, any_operations};
use reference::{Client, Etag, Model, Reply, Seen};

/// The hub, its model, and a second hub that is told nothing but the changes.
struct Bench {
    hub: Fixture,
    model: Model,
    restored: Hub,
    etags: BTreeMap<Client, String>,
    /// Lock tokens in the order in which they were given out; the model knows their numbers.
    locks: Vec<LockToken>,
    transcript: String,
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn the_hub_agrees_with_its_model(operations in any_operations(40)) {
        let mut bench = Bench::new();

        bench.perform_all(&operations)?;

        bench.compare_all()?;
        prop_assert_eq!(durable_state(&bench.hub.hub), durable_state(&bench.restored));
    }
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn a_refused_operation_changes_nothing(operations in any_operations(40)) {
        let mut bench = Bench::new();

        for operation in &operations {
            let before = bench.hub.hub.clone();
            if bench.perform(operation)?.is_err() {
                let after = observable_state(&bench.hub.hub);
                prop_assert_eq!(observable_state(&before), after, "{:?}", operation);
            }
        }
    }

    #[test]
    fn the_same_inputs_give_the_same_outputs_byte_for_byte(operations in any_operations(40)) {
        let run = || {
            let mut bench = Bench::new();
            bench.perform_all(&operations)?;
            Ok::<_, TestCaseError>(bench.transcript + &observable_state(&bench.hub.hub))
        };

        prop_assert_eq!(run()?, run()?);
    }

    #[test]
    fn a_fork_goes_its_own_way(before in any_operations(20), after in any_operations(20)) {
        let mut bench = Bench::new();
        bench.perform_all(&before)?;
        let fork = bench.hub.hub.fork();
        let seen = observable_state(&fork);
        prop_assert_eq!(durable_state(&fork), durable_state(&bench.hub.hub));

        bench.perform_all(&after)?;

        prop_assert_eq!(observable_state(&fork), seen);
    }
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig {
        cases,
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

impl Bench {
    fn new() -> Self {
        let config = || HubConfig {
            limits: reference::limits(),
            ..fixture::config()
        };
        Self {
            hub: Fixture::with(config()),
            model: Model::default(),
            restored: Hub::new(config()),
            etags: BTreeMap::new(),
            locks: Vec::new(),
            transcript: String::new(),
        }
    }

    fn perform_all(&mut self, operations: &[Operation]) -> Result<(), TestCaseError> {
        operations
            .iter()
            .try_for_each(|operation| self.perform(operation).map(drop))
    }

    /// Does it on both sides and compares.
    fn perform(&mut self, operation: &Operation) -> Result<Reply, TestCaseError> {
        let (reply, outcome) = self.on_the_hub(operation);
        self.note_locks(&outcome);
        let expected = self.on_the_model(operation);

        self.transcript += &format!("{operation:?}\n{reply:?}\n{outcome:?}\n");
        prop_assert_eq!(&reply, &expected, "{:?}", operation);
        if reply.is_err() {
            prop_assert_eq!(&outcome, &Outcome::default());
        }
        let seen: Vec<_> = outcome
            .effects
            .iter()
            .map(|effect| self.seen(effect))
            .collect();
        let told = std::mem::take(&mut self.model.seen);
        let told: Vec<_> = told.into_iter().map(|it| self.in_partitions(it)).collect();
        prop_assert_eq!(seen, told, "{:?}", operation);
        outcome
            .changes
            .into_iter()
            .for_each(|change| self.restored.restore(change));
        self.compare(operation.client())?;
        Ok(reply)
    }

    fn on_the_hub(&mut self, operation: &Operation) -> (Reply, Outcome) {
        let operator = self.hub.operator.clone();
        let now = self.hub.now;
        match operation {
            Operation::Put {
                client: to,
                disabled,
                etag,
            } => {
                let if_match = self.identity_etag(*to, *etag);
                let status = if *disabled {
                    Status::Disabled
                } else {
                    Status::Enabled
                };
                let spec = IdentitySpec {
                    status,
                    ..IdentitySpec::default()
                };
                let (reply, outcome) = self.hub.put_if(&name(*to), spec, &if_match);
                (code(reply.map(|()| None)), outcome)
            }
            Operation::Delete { client: to, etag } => {
                let (if_match, id) = (self.identity_etag(*to, *etag), client(&name(*to)));
                self.run(|hub, cx| {
                    match &id.module {
                        None => hub.delete_device(cx, &operator, &id.device, &if_match),
                        Some(it) => hub.delete_module(cx, &operator, &id.device, it, &if_match),
                    }
                    .map(|()| None)
                })
            }
            Operation::Connect {
                client: to,
                remember,
                will,
                seconds,
            } => {
                let id = client(&name(*to));
                let token = self.token(&id, *seconds);
                let (remember, will) = (*remember, will.then(Message::default));
                self.run(|hub, cx| {
                    let credentials = Credentials::Token(&token);
                    let principal = hub.authenticate_client(now, HOST, &id, credentials)?;
                    let (client, model_id, transport) = (id, None, "test");
                    let request = ConnectRequest {
                        client,
                        principal,
                        remember,
                        will,
                        model_id,
                        transport,
                    };
                    Ok(Some(hub.connect(cx, request)?.session.0))
                })
            }
            Operation::Disconnect { back, lost } => {
                let session = self.session(*back);
                let end = if *lost { End::Lost } else { End::Goodbye };
                self.run(|hub, cx| {
                    hub.disconnect(cx, session, end);
                    Ok(None)
                })
            }
            Operation::Subscribe {
                back,
                feature,
                on,
                once,
            } => {
                let session = self.session(*back);
                let guarantee = if *once {
                    Guarantee::AtMostOnce
                } else {
                    Guarantee::AtLeastOnce
                };
                self.run(|hub, cx| {
                    if *on {
                        hub.subscribe(cx, session, &[(*feature, guarantee)])?;
                    } else {
                        hub.unsubscribe(cx, session, &[*feature])?;
                    }
                    Ok(None)
                })
            }
            Operation::Ingest { back, count } => {
                let session = self.session(*back);
                let properties = PropertyBag::from_encoded("a=b").unwrap();
                let message = Message {
                    properties,
                    body: "body".into(),
                };
                let messages = vec![message; usize::from(*count)];
                self.run(|hub, cx| hub.ingest(cx, session, messages).map(|()| None))
            }
            Operation::WriteTwin {
                client: to,
                tags,
                desired,
                whole,
                etag,
            } => {
                let (if_match, id) = (self.twin_etag(*to, *etag), client(&name(*to)));
                let patch = TwinPatch {
                    tags: tags.clone().map(Some),
                    desired: desired.clone().map(Some),
                };
                self.run(|hub, cx| {
                    let (_, etag) = if *whole {
                        hub.replace_twin(cx, &operator, &id, patch, &if_match)?
                    } else {
                        hub.patch_twin(cx, &operator, &id, patch, &if_match)?
                    };
                    Ok(Some(counter(&etag)))
                })
            }
            Operation::Report {
                back,
                patch,
                version,
            } => {
                let session = self.session(*back);
                let version = version.map(|stale| if stale { 9999 } else { self.reported(*back) });
                self.run(|hub, cx| hub.patch_reported(cx, session, patch, version).map(Some))
            }
            Operation::Invoke {
                client: to,
                connect,
                response,
            } => {
                let id = client(&name(*to));
                let request = MethodRequest {
                    connect_timeout: secs(u64::from(*connect)),
                    response_timeout: secs(u64::from(*response)),
                    ..MethodRequest::new("reboot")
                };
                self.run(|hub, cx| Ok(Some(hub.invoke_method(cx, &operator, &id, request)?.0)))
            }
            Operation::Answer {
                back,
                request,
                status,
            } => {
                let session = self.session(*back);
                let response = MethodResponse {
                    status: *status,
                    payload: "{}".into(),
                };
                self.run(|hub, cx| {
                    hub.complete_method(cx, session, *request, response)
                        .map(|()| None)
                })
            }
            Operation::Cancel { back } => {
                let call = self.call(*back);
                self.run(|hub, _| {
                    hub.cancel_call(CallId(call));
                    Ok(None)
                })
            }
            Operation::Drop { client: to } => {
                let id = client(&name(*to));
                self.run(|hub, cx| hub.drop_connection(cx, &operator, &id).map(|()| None))
            }
            Operation::Wait { seconds } => {
                self.hub.wait(u64::from(*seconds));
                (Ok(None), self.hub.fire_due())
            }
            Operation::Next => {
                self.hub.now = self.hub.hub.next_deadline().unwrap_or(now);
                (Ok(None), self.hub.fire_due())
            }
            Operation::Reset => {
                self.locks.clear();
                self.run(|hub, cx| {
                    hub.reset(cx);
                    Ok(None)
                })
            }
            Operation::Send { .. }
            | Operation::Fetch { .. }
            | Operation::Settle { .. }
            | Operation::Acknowledge { .. }
            | Operation::GiveBack { .. }
            | Operation::Grant { .. }
            | Operation::Purge { .. }
            | Operation::ReceiveFeedback
            | Operation::SettleFeedback { .. } => self.message_on_the_hub(operation),
        }
    }

    fn on_the_model(&mut self, operation: &Operation) -> Reply {
        let session = operation.back().map_or(0, |back| self.session(back).0);
        let call = operation.back().map_or(0, |back| self.call(back));
        let model = &mut self.model;
        match operation {
            Operation::Put {
                client,
                disabled,
                etag,
            } => {
                // Modules have no status.
                model.put(*client, *disabled && client.1.is_none(), *etag)
            }
            Operation::Delete { client, etag } => model.delete(*client, *etag),
            Operation::Connect {
                client,
                remember,
                will,
                seconds,
            } => model.connect(*client, *remember, *will, i64::from(*seconds)),
            Operation::Disconnect { lost, .. } => {
                model.end(session, *lost);
                Ok(None)
            }
            Operation::Subscribe {
                feature, on, once, ..
            } => model.subscribe(session, *feature, *on, *once),
            Operation::Ingest { count, .. } => model.ingest(session, u64::from(*count)),
            Operation::WriteTwin {
                client,
                tags,
                desired,
                whole,
                etag,
            } => model.write_twin(*client, tags.as_ref(), desired.as_ref(), *whole, *etag),
            Operation::Report { patch, version, .. } => {
                model.patch_reported(session, patch, *version == Some(true))
            }
            Operation::Invoke {
                client,
                connect,
                response,
            } => model.invoke(*client, i64::from(*connect), i64::from(*response)),
            Operation::Answer {
                request, status, ..
            } => model.answer(session, *request, *status),
            Operation::Cancel { .. } => {
                model.cancel(call);
                Ok(None)
            }
            Operation::Drop { client } => model.drop_connection(*client),
            Operation::Wait { seconds } => {
                model.now += i64::from(*seconds);
                model.fire_due();
                Ok(None)
            }
            Operation::Next => {
                model.now = model.next_deadline().unwrap_or(model.now);
                model.fire_due();
                Ok(None)
            }
            Operation::Reset => {
                model.reset();
                Ok(None)
            }
            Operation::Send { .. }
            | Operation::Fetch { .. }
            | Operation::Settle { .. }
            | Operation::Acknowledge { .. }
            | Operation::GiveBack { .. }
            | Operation::Grant { .. }
            | Operation::Purge { .. }
            | Operation::ReceiveFeedback
            | Operation::SettleFeedback { .. } => self.message_on_the_model(operation),
        }
    }

    fn run(
        &mut self,
        f: impl FnOnce(&mut Hub, &mut Cx<'_>) -> Result<Option<u64>, iothub_protocol::Error>,
    ) -> (Reply, Outcome) {
        let (reply, outcome) = self.hub.run(f);
        (code(reply), outcome)
    }

    /// One of the youngest sessions, ended or not.
    fn session(&self, back: u8) -> SessionId {
        SessionId(self.model.last_session.saturating_sub(u64::from(back)))
    }

    fn call(&self, back: u8) -> u64 {
        self.model.last_call.saturating_sub(u64::from(back))
    }

    fn reported(&self, back: u8) -> u64 {
        let session = self.model.sessions.get(&self.session(back).0);
        session.map_or(0, |session| {
            self.model.records[&session.client].reported_version
        })
    }

    /// A token of the client's own key; of some other key when there is no such client.
    fn token(&self, id: &ClientId, seconds: u16) -> String {
        let known = self.hub.hub.twin(&self.hub.operator, id).is_ok();
        let key = if known {
            self.hub.key(&id.to_string())
        } else {
            fixture::policy_key("nobody's")
        };
        sign(
            &resource(id),
            self.hub.now + secs(u64::from(seconds)),
            None,
            &key,
        )
    }

    fn identity_etag(&self, client: Client, etag: Etag) -> IfMatch {
        if_match(etag, self.etags.get(&client).cloned())
    }

    fn twin_etag(&self, client: Client, etag: Etag) -> IfMatch {
        if_match(
            etag,
            self.model
                .records
                .get(&client)
                .map(|record| etag_of(record.etag)),
        )
    }

    fn seen(&self, effect: &Effect) -> Seen {
        match effect {
            Effect::Deliver(session, Delivery::MethodRequest { request, .. }) => {
                Seen::Call(session.0, *request)
            }
            Effect::Deliver(session, Delivery::DesiredChanged { version, patch }) => {
                Seen::Desired(session.0, *version, serde_json::from_slice(patch).unwrap())
            }
            Effect::Deliver(
                session,
                Delivery::C2d {
                    lock,
                    redelivered,
                    message,
                },
            ) => {
                let lock = lock.map(|lock| self.number_of(lock));
                Seen::C2d(session.0, message.sequence, lock, *redelivered)
            }
            Effect::FeedbackReady => Seen::FeedbackReady,
            Effect::Complete(call, Ok(response)) => Seen::Complete(call.0, Ok(response.status)),
            Effect::Complete(call, Err(error)) => Seen::Complete(call.0, Err(error.code)),
            Effect::EventsAppended(partition) => Seen::Appended(*partition as u8),
            Effect::Route(..) => unreachable!("no routes are set"),
            Effect::FileNotificationsReady | Effect::RegistryJobReady => {
                unreachable!("no files and no imports are among the operations")
            }
            Effect::ReaderEnded(..) => unreachable!("nobody reads events"),
            Effect::Disconnect(session, code) => Seen::Disconnect(session.0, *code),
        }
    }

    /// The model knows devices, the hub tells of partitions.
    fn in_partitions(&self, seen: Seen) -> Seen {
        match seen {
            Seen::Appended(id) => {
                Seen::Appended(self.hub.hub.partition_of(&device(&format!("d{id}"))) as u8)
            }
            other => other,
        }
    }
}

fn name((device, module): Client) -> String {
    module.map_or(format!("d{device}"), |module| {
        format!("d{device}/m{module}")
    })
}

fn code(reply: Result<Option<u64>, iothub_protocol::Error>) -> Reply {
    reply.map_err(|error| error.code)
}

fn if_match(etag: Etag, current: Option<String>) -> IfMatch {
    match etag {
        Etag::Absent => IfMatch::Absent,
        Etag::Any => IfMatch::Any,
        Etag::Current => IfMatch::ETag(current.unwrap_or_default()),
        Etag::Stale => IfMatch::ETag("c3RhbGU=".into()),
    }
}

fn etag_of(counter: u64) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(counter.to_be_bytes())
}

fn counter(etag: &str) -> u64 {
    use base64::Engine as _;
    let bytes = base64::engine::general_purpose::STANDARD
        .decode(etag)
        .unwrap();
    u64::from_be_bytes(bytes.try_into().unwrap())
}
