//! How bytes reach the endpoints: listeners, TLS, WebSocket, and who is at the other end.
//!
//! Knows sockets and handshakes, not what is said over them. An endpoint is a function of a stream,
//! a [`Peer`] and a token that asks it to end; [`tcp::serve`] and [`tls::serve`] run one per
//! connection.

mod burst;
mod listener;
mod peer;
pub mod tcp;
pub mod tls;
pub mod websocket;

pub(crate) use burst::{poll_burst, read_burst};
pub use listener::{Bound, bind};
pub use peer::{Peer, TlsPeer, TransportKind};
