//! The service side of an IoT hub: everything a back end asks of it.
//!
//! [`Backend`] is the entry point. It knows how to reach a hub, how to prove who asks, and what the
//! hub's answers mean; it holds no state of the hub. It speaks as the cloud's own SDKs do: REST
//! (`spec/service.md`), and AMQP for events, cloud-to-device messages, feedback and file
//! notifications (`spec/amqp.md`). A connection over AMQP is made when it is first needed.
//!
//! ```no_run
//! # async fn example() -> Result<(), iothub_backend::Error> {
//! use iothub_backend::Backend;
//! use serde_json::json;
//!
//! let backend = Backend::from_connection_string(
//!     "HostName=localhost;SharedAccessKeyName=service;SharedAccessKey=bXlzZWNyZXRrZXlvZjMyYnl0ZXM=",
//! )?;
//! let answer = backend
//!     .methods()
//!     .invoke("quickstart-device", "SetTelemetryInterval")
//!     .payload(&json!(10))
//!     .send()
//!     .await?;
//! assert_eq!(answer.status, 200);
//!
//! let mut events = backend.events().from_latest().device("quickstart-device").open().await?;
//! while let Some(event) = events.next().await? {
//!     println!("{} {}", event.enqueued_time, String::from_utf8_lossy(&event.body));
//! }
//! # Ok(())
//! # }
//! ```

mod amqp;
mod auth_doctor;
mod builder;
mod c2d;
mod certificates;
mod clock;
mod configurations;
mod consumer_groups;
mod credentials;
mod digital_twins;
mod document;
mod error;
mod events;
mod feedback;
mod file_notifications;
mod jobs;
mod live;
mod methods;
mod on_behalf;
mod query;
mod registry;
mod registry_jobs;
mod routing;
mod timeline;
mod transport;
mod trust;
mod twins;
mod upload;

pub use amqp::RetryPolicy;
pub use auth_doctor::EmulatorAuthDoctor;
pub use builder::{Backend, BackendBuilder, EmulatorAddress, emulator_info, emulator_time};
pub use c2d::{Ack, C2d, C2dMessage};
pub use certificates::EmulatorCertificates;
pub use clock::SystemClock;
pub use configurations::{Configuration, Configurations, QueryErrors};
pub use consumer_groups::EmulatorConsumerGroups;
pub use digital_twins::{Command, CommandResponse, DigitalTwin, DigitalTwins};
pub use error::{Error, ErrorKind, Refusal};
pub use events::{
    Event, EventHubProperties, EventPosition, EventReader, EventReaderBuilder, Events,
    EventsBuilder, PartitionProperties,
};
pub use feedback::{Feedback, FeedbackBatch, FeedbackReceiver, FeedbackRecord, FeedbackStatus};
pub use file_notifications::{FileNotification, FileNotificationReceiver, FileNotifications};
pub use jobs::{DeviceJobStatistics, Job, JobStatus, JobType, Jobs, ScheduledJob};
pub use live::EmulatorStream;
pub use methods::{Invocation, Methods};
pub use on_behalf::{OnBehalf, OutgoingMessage, ReceivedMessage};
pub use query::{Query, QueryPage};
pub use registry::{
    BulkFailure, BulkOutcome, KeyKind, KeyRotation, Registry, RotatedKeys, Statistics,
};
pub use registry_jobs::{RegistryJob, RegistryJobRequest, RegistryJobs};
pub use routing::EmulatorRouting;
pub use timeline::{EmulatorTimeline, TimelineFrom, TimelineLines, TimelineRequest};
pub use twins::{Twin, Twins};

pub use iothub_protocol::method::MethodResponse;
pub use iothub_protocol::registry::{
    Authentication, AuthenticationSpec, DeviceIdentity, IdentitySpec, IfMatch, ModuleIdentity,
    Status,
};
pub use iothub_protocol::{ClientId, DeviceId, ErrorCode, ModuleId};
