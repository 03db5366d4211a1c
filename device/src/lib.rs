//! A device or a module of an IoT hub.
//!
//! [`DeviceClient`] and [`ModuleClient`] are the entry points. They know how to stay connected: one
//! task owns the connection, reconnects with growing pauses, renews the token before it expires,
//! and takes up again whatever was not finished. They speak MQTT 3.1.1 over TLS, plain TCP or
//! WebSocket, and keep no state of the hub but what is in flight. Files are uploaded over HTTPS
//! beside that connection.
//!
//! [`HttpDeviceClient`] and [`HttpModuleClient`] have no connection to keep: telemetry, alone or in
//! batches, cloud-to-device messages and file uploads, one HTTPS request each.
//!
//! All of them prove themselves by a key, by a token made elsewhere, or by a certificate
//! ([`ClientBuilder::certificate`]) that is self-signed or comes from an authority that the hub
//! knows.
//!
//! ```no_run
//! # async fn example() -> Result<(), iothub_device::Error> {
//! use iothub_device::{DeviceClient, MethodResponse, json_message};
//! use serde_json::json;
//!
//! let device = DeviceClient::connect(
//!     "HostName=localhost;DeviceId=d1;SharedAccessKey=bXlzZWNyZXRrZXlvZjMyYnl0ZXM=",
//! )
//! .await?;
//! device
//!     .on_method("reboot", |call| async move {
//!         println!("reboot, with {:?}", call.json());
//!         MethodResponse::json(200, &json!({"rebooting": true}))
//!     })
//!     .await?;
//! device.send_telemetry(json_message(&json!({"temperature": 21.5}))).await?;
//! device.patch_reported(&json!({"firmware": "1.2.3"})).await?;
//! device.close().await;
//! # Ok(())
//! # }
//! ```
//!
//! ```no_run
//! # async fn example() -> Result<(), iothub_device::Error> {
//! use iothub_device::{HttpDeviceClient, json_message};
//! use serde_json::json;
//!
//! let device = HttpDeviceClient::builder("HostName=localhost;DeviceId=d1;x509=true")
//!     .certificate(std::fs::read("d1.pem").unwrap(), std::fs::read("d1-key.pem").unwrap())
//!     .build()?;
//! device.send_telemetry(json_message(&json!({"temperature": 21.5}))).await?;
//! device.upload_file("log.txt", "all is well").await?;
//! while let Some(message) = device.receive().await? {
//!     println!("{:?}", message.message.body);
//!     device.complete(&message).await?;
//! }
//! # Ok(())
//! # }
//! ```

mod builder;
mod c2d;
mod client;
mod clock;
mod connection;
mod credentials;
mod error;
mod https;
mod methods;
mod operation;
mod retry;
mod session;
mod state;
mod transport;
mod trust;
mod twin;

pub use builder::ClientBuilder;
pub use c2d::{InputMessages, Messages};
pub use client::{DeviceClient, ModuleClient, json_message};
pub use clock::SystemClock;
pub use error::{ConnectRefusal, Error, ErrorKind, Refusal};
pub use https::{HttpDeviceClient, HttpModuleClient, LockedMessage, StorageInfo};
pub use methods::{MethodCall, MethodResponse};
pub use retry::RetryPolicy;
pub use state::{ConnectionState, ConnectionStates};
pub use twin::{DesiredUpdate, DesiredUpdates, Properties, Twin};

pub use iothub_protocol::property_bag::{PropertyBag, SystemProperty};
pub use iothub_protocol::{ClientId, DeviceId, ErrorCode, Message, ModuleId};
