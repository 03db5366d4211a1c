//! The service side of an IoT hub: everything a back end asks of it.
//!
//! [`Backend`] is the entry point. It knows how to reach a hub, how to prove who asks, and what the
//! hub's answers mean; it holds no state of the hub. It speaks REST, and reads telemetry through the
//! emulator's control API.
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
//! # Ok(())
//! # }
//! ```

mod builder;
mod certificates;
mod clock;
mod credentials;
mod error;
mod events;
mod methods;
mod registry;
mod transport;
mod trust;
mod twins;

pub use builder::{Backend, BackendBuilder, emulator_info, emulator_time};
pub use certificates::EmulatorCertificates;
pub use clock::SystemClock;
pub use error::{Error, ErrorKind, Refusal};
pub use events::{Event, EventQuery, EventStream, Events};
pub use methods::{Invocation, Methods};
pub use registry::{BulkFailure, BulkOutcome, Registry, Statistics};
pub use twins::{Twin, Twins};

pub use iothub_protocol::method::MethodResponse;
pub use iothub_protocol::registry::{
    Authentication, AuthenticationSpec, DeviceIdentity, IdentitySpec, IfMatch, ModuleIdentity,
    Status,
};
pub use iothub_protocol::{ClientId, DeviceId, ErrorCode, ModuleId};
