//! What is due next, in words.

use iothub_protocol::{ClientId, Timestamp};

use crate::deadlines::Due;
use crate::methods::CallId;
use crate::{Hub, c2d, configurations, feedback, file_notifications, jobs, uploads};

/// Something that will happen by itself when its time comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upcoming {
    /// When.
    pub due: Timestamp,
    /// What, for a person.
    pub what: String,
    /// Whom it is about, where it is about one.
    pub client: Option<ClientId>,
}

impl Hub {
    /// What is due next, soonest first, and how much is due some time.
    pub fn upcoming(&self, most: usize) -> (Vec<Upcoming>, usize) {
        let first = self.deadlines.iter().take(most);
        let told = first.map(|(due, what)| {
            let (what, client) = self.told(what);
            Upcoming { due, what, client }
        });
        (told.collect(), self.deadlines.len())
    }

    fn told(&self, due: &Due) -> (String, Option<ClientId>) {
        match due {
            Due::MethodConnect(call) => self.told_of_call(*call, "finds nobody who listens"),
            Due::MethodResponse(call) => self.told_of_call(*call, "times out"),
            Due::SessionExpiry(session) => {
                let client = self.session_client(*session);
                let whose = client.map_or_else(|| "nobody".to_owned(), ToString::to_string);
                (format!("token of {whose} expires"), client.cloned())
            }
            Due::C2d(c2d::Due::Expiry(client, sequence)) => {
                let what = format!("c2d message {sequence} of {client} expires");
                (what, Some(client.clone()))
            }
            Due::C2d(c2d::Due::LockTimeout(client, sequence)) => {
                let what = format!("lock of c2d message {sequence} of {client} is lost");
                (what, Some(client.clone()))
            }
            Due::Configurations(configurations::Due::Sweep) => {
                let what = "configurations go on to the next devices";
                (what.to_owned(), None)
            }
            Due::Feedback(due) => {
                let what = match due {
                    feedback::Due::Close(batch) => format!("feedback batch {batch} is complete"),
                    feedback::Due::Expiry(batch) => format!("feedback batch {batch} expires"),
                    feedback::Due::LockTimeout(batch) => {
                        format!("lock of feedback batch {batch} is lost")
                    }
                };
                (what, None)
            }
            Due::Jobs(due) => {
                let what = match due {
                    jobs::Due::Step(job) => format!("job {job} goes on"),
                    jobs::Due::Expiry(job) => format!("job {job} has taken too long"),
                    jobs::Due::Forget(job) => format!("job {job} is forgotten"),
                };
                (what, None)
            }
            Due::Uploads(uploads::Due::Expired(id)) => match self.uploads.find(id) {
                Some(upload) => {
                    let what = format!("upload of {} by {} times out", upload.blob, upload.device);
                    (what, Some(ClientId::device(upload.device.clone())))
                }
                None => (format!("upload {id} times out"), None),
            },
            Due::FileNotifications(due) => {
                let what = match due {
                    file_notifications::Due::Expired(number) => {
                        format!("file notification {number} expires")
                    }
                    file_notifications::Due::LockLost(number) => {
                        format!("lock of file notification {number} is lost")
                    }
                };
                (what, None)
            }
        }
    }

    fn told_of_call(&self, call: CallId, end: &str) -> (String, Option<ClientId>) {
        match self.methods.subject(call) {
            Some((client, name)) => {
                let what = format!("method call {name} to {client} {end}");
                (what, Some(client.clone()))
            }
            None => (format!("method call {} {end}", call.0), None),
        }
    }
}
