//! What leaves the hub: replies and effects, in order, once their changes are durable.

use iothub_hub::Effect;
use iothub_protocol::{Error, ErrorCode};

use super::{Core, HubHandle};
use crate::store::Ticket;

/// How far commits survive a crash.
#[derive(Clone, Copy, Debug)]
pub(super) struct Progress {
    /// The last that does.
    pub(super) durable: Ticket,
    /// Whether no further one ever will.
    pub(super) ended: bool,
}

impl HubHandle {
    /// Lets out what is durable, in order.
    pub(super) fn dispatch(&self, core: &mut Core) {
        let durable = core.store.durable();
        let mut appended = false;
        let mut file_notifications = false;
        let mut registry_job = false;
        while let Some((ticket, ..)) = core.release.front()
            && *ticket <= durable
        {
            let (_, step, effects) = core
                .release
                .pop_front()
                .expect("the front has just been looked at");
            for effect in effects {
                match effect {
                    Effect::Deliver(session, delivery) => {
                        if let Some(mailbox) = core.mailboxes.get(&session) {
                            mailbox.push(step, delivery);
                        }
                    }
                    Effect::Complete(call, result) => {
                        if let Some(caller) = core.callers.remove(&call) {
                            // A caller that has just gone away needs no answer.
                            let _ = caller.send(result);
                        }
                    }
                    Effect::EventsAppended(partition) => {
                        appended = true;
                        core.wake_readers(partition);
                    }
                    Effect::ReaderEnded(reader, error) => core.end_reader(reader, error),
                    Effect::Route(endpoint, events) => {
                        self.inner.routes.push(step, endpoint, events);
                    }
                    Effect::FeedbackReady => {
                        self.inner.feedback_ready.send_modify(|count| *count += 1);
                    }
                    Effect::FileNotificationsReady => file_notifications = true,
                    Effect::RegistryJobReady => registry_job = true,
                    Effect::Disconnect(session, code) => {
                        if let Some(mailbox) = core.mailboxes.remove(&session) {
                            mailbox.close(code);
                        }
                    }
                }
            }
        }
        if appended {
            self.inner.appended.send_modify(|count| *count += 1);
        }
        if registry_job {
            let ready = &self.inner.registry_job;
            ready.send_modify(|count| *count += 1);
        }
        if file_notifications {
            let ready = &self.inner.file_notifications;
            ready.send_modify(|count| *count += 1);
        }
    }

    /// What a store calls when more has become durable, or nothing more can.
    pub(super) fn release_durable(&self) {
        let mut core = self.lock();
        self.dispatch(&mut core);
        let durable = core.store.durable();
        let ended = match core.store.check() {
            Ok(()) => false,
            Err(error) => {
                core.stop(&error);
                true
            }
        };
        drop(core);
        self.inner
            .progress
            .send_replace(Progress { durable, ended });
    }

    pub(super) async fn wait_durable(&self, ticket: Ticket) -> Result<(), Error> {
        let lost = || {
            Error::new(
                ErrorCode::ServiceUnavailable,
                "the store stopped before the change was safe",
            )
        };
        let mut progress = self.inner.progress.subscribe();
        let reached = |progress: &Progress| progress.durable >= ticket || progress.ended;
        let progress = progress.wait_for(reached).await.map_err(|_| lost())?;
        if progress.durable >= ticket {
            Ok(())
        } else {
            Err(lost())
        }
    }
}
