//! A device's connection, with the project's own codec.

use std::time::Duration;

use anyhow::{Context, bail, ensure};
use bytes::BytesMut;
use iothub_protocol::mqtt::codec::{decode_server, encode_client};
use iothub_protocol::mqtt::packet::{
    ClientPacket, ConnAckCode, QoS, ServerPacket, SubAckCode, Subscribe,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::target::Target;

/// The longest packet that is expected of a server.
const LIMIT: usize = 1 << 20;
/// How long a server may take to answer a login.
const LOGIN_LIMIT: Duration = Duration::from_secs(30);

/// TCP, or TLS over it.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// A connection that has been accepted by the server.
pub(crate) struct Connection {
    stream: Box<dyn Io>,
    input: BytesMut,
    /// What [`Connection::flush`] is going to send.
    pub(crate) out: BytesMut,
}

impl Connection {
    /// Connects as device `n` of the fleet.
    pub(crate) async fn open(target: &Target, n: usize) -> anyhow::Result<Self> {
        let login = async {
            let mut connection = Self {
                stream: target.endpoint().open().await?,
                input: BytesMut::new(),
                out: BytesMut::new(),
            };
            encode_client(&ClientPacket::Connect(target.login(n)), &mut connection.out);
            connection.flush().await?;
            match connection.wait().await? {
                ServerPacket::ConnAck {
                    code: ConnAckCode::Accepted,
                    ..
                } => Ok(connection),
                other => bail!("the server answers the login with {other:?}"),
            }
        };
        tokio::time::timeout(LOGIN_LIMIT, login)
            .await
            .context("the server does not answer")
            .flatten()
            .with_context(|| format!("log in as {}", target.device(n)))
    }

    /// Subscribes to all filters with one packet.
    pub(crate) async fn subscribe(&mut self, filters: Vec<(String, QoS)>) -> anyhow::Result<()> {
        let count = filters.len();
        let subscribe = ClientPacket::Subscribe(Subscribe {
            packet_id: 1,
            filters,
        });
        encode_client(&subscribe, &mut self.out);
        self.flush().await?;
        match self.wait().await? {
            ServerPacket::SubAck { codes, .. } => ensure!(
                codes.len() == count && !codes.contains(&SubAckCode::Failure),
                "the server refuses a subscription: {codes:?}"
            ),
            other => bail!("the server answers a subscription with {other:?}"),
        }
        Ok(())
    }

    /// Sends what is in `out`.
    pub(crate) async fn flush(&mut self) -> anyhow::Result<()> {
        if !self.out.is_empty() {
            self.stream.write_all(&self.out).await?;
            self.stream.flush().await?;
            self.out.clear();
        }
        Ok(())
    }

    /// Waits for bytes of the server. May be dropped: what has been read is kept.
    pub(crate) async fn receive(&mut self) -> anyhow::Result<()> {
        if self.stream.read_buf(&mut self.input).await? == 0 {
            bail!("the server has closed the connection");
        }
        Ok(())
    }

    /// The next packet of what has been received.
    pub(crate) fn next(&mut self) -> anyhow::Result<Option<ServerPacket>> {
        Ok(decode_server(&mut self.input, LIMIT)?)
    }

    /// Waits for one packet.
    pub(crate) async fn wait(&mut self) -> anyhow::Result<ServerPacket> {
        loop {
            if let Some(packet) = self.next()? {
                return Ok(packet);
            }
            self.receive().await?;
        }
    }

    /// Waits until the server has taken all that was sent before: packets are taken in order.
    pub(crate) async fn ping(&mut self) -> anyhow::Result<()> {
        encode_client(&ClientPacket::PingReq, &mut self.out);
        self.flush().await?;
        while self.wait().await? != ServerPacket::PingResp {}
        Ok(())
    }

    /// Says goodbye.
    pub(crate) async fn close(mut self) -> anyhow::Result<()> {
        encode_client(&ClientPacket::Disconnect, &mut self.out);
        self.flush().await?;
        // The server may be faster.
        let _ = self.stream.shutdown().await;
        Ok(())
    }
}
