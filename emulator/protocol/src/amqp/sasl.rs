//! The security layer's frames (AMQP 1.0 part 5, 5.3).

use bytes::Bytes;

use super::value::Symbol;

/// A frame of the security layer.
#[derive(Clone, Debug, PartialEq)]
pub enum SaslFrame {
    /// The server's mechanisms.
    Mechanisms(Vec<Symbol>),
    /// The client's choice.
    Init {
        /// The mechanism.
        mechanism: Symbol,
        /// Its first message.
        initial_response: Option<Bytes>,
        /// The host that the client believes to speak to.
        hostname: Option<String>,
    },
    /// The server's next message.
    Challenge(Bytes),
    /// The client's next message.
    Response(Bytes),
    /// How it ended.
    Outcome {
        /// How.
        code: SaslCode,
        /// The server's last message.
        additional_data: Option<Bytes>,
    },
}

/// How the security layer's exchange ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslCode {
    /// The peer is let in.
    Ok,
    /// The credentials are refused.
    Auth,
    /// A fault of the server's.
    Sys,
    /// A fault that lasts.
    SysPerm,
    /// A fault that passes.
    SysTemp,
}
