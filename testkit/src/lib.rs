//! A hub inside a test.
//!
//! [`TestHub`] is a whole IoT hub in the test's own process: its own ports, its own certificates,
//! its own time. It says how to connect to it, what it has seen, and whether what a test expected
//! has happened. It knows nothing about how the hub decides.
//!
//! The quickstart, as a test:
//!
//! ```
//! use iothub_testkit::{MethodResponse, TestHub, json_message, method};
//! use serde_json::json;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let hub = TestHub::start().await;
//! hub.expect(method("SetTelemetryInterval").on("quickstart-device").times(1));
//!
//! // A device: answers a method, sends telemetry, reports a property.
//! let device = hub.device("quickstart-device").await;
//! device
//!     .on_method("SetTelemetryInterval", |call| async move {
//!         match call.json().as_ref().and_then(|payload| payload.as_u64()) {
//!             Some(seconds) => MethodResponse::json(200, &json!({ "interval": seconds })),
//!             None => MethodResponse::json(400, &json!("not a number of seconds")),
//!         }
//!     })
//!     .await?;
//! device.send_telemetry(json_message(&json!({ "temperature": 21.5 }))).await?;
//! device.patch_reported(&json!({ "firmware": "1.0" })).await?;
//!
//! // Its back end: calls the method, reads what arrived.
//! let methods = hub.backend().methods();
//! let call = methods.invoke("quickstart-device", "SetTelemetryInterval").payload(&json!(10));
//! assert_eq!(call.send().await?.status, 200);
//!
//! let telemetry = hub.telemetry_from("quickstart-device").wait_for(1).await;
//! assert_eq!(telemetry[0].json(), json!({ "temperature": 21.5 }));
//! let twin = hub.backend().twins().get("quickstart-device").await?;
//! assert_eq!(twin.reported()["firmware"], "1.0");
//! # Ok(())
//! # }
//! ```
//!
//! Time is the hub's own. With [`TestHubBuilder::virtual_clock`] it stands still until
//! [`TestClock::advance`] moves it, for the hub and for the clients that it hands out alike, so
//! that no test ever sleeps. Whatever is waited for has a limit in real time, [`WAIT_LIMIT`]; when
//! it runs out, when an expectation is not met, or when the test fails otherwise, everything that
//! the hub saw is printed.

mod builder;
mod captured;
mod clock;
mod expect;
mod faults;
mod hub;
mod scripted_device;
mod timeline;

pub use builder::TestHubBuilder;
pub use captured::{CapturedEvent, Telemetry};
pub use clock::TestClock;
pub use expect::{Expectation, connection, method, telemetry};
pub use faults::{Fault, Faults};
pub use hub::TestHub;
pub use scripted_device::ScriptedDevice;
pub use timeline::WAIT_LIMIT;

pub use iothub_backend::{Backend, Event, EventPosition, Events, FeedbackRecord};
pub use iothub_device::{DeviceClient, MethodResponse, ModuleClient, json_message};
pub use iothub_emulator::activity::OperationKind;
pub use iothub_emulator::{Config, Ports};
pub use iothub_protocol::ErrorCode;
