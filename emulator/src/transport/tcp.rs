//! The accept loop: one task per connection, and an end that waits for all of them.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinError, JoinSet};
use tokio_util::sync::CancellationToken;

use super::{Bound, Peer, TransportKind};

/// How long connections have to end by themselves once they are asked to; the whole emulator stops
/// within a second.
const DRAIN: Duration = Duration::from_millis(500);
/// How long to wait when the machine has no descriptor or memory for another connection.
const EXHAUSTED_PAUSE: Duration = Duration::from_millis(50);

/// Serves connections in the clear until `stop` is cancelled, and returns once the last has ended.
///
/// `serve_one` is called for each connection with a token that is cancelled when the connection
/// shall end; what does not end in time is dropped. A panic ends its own connection only.
///
/// # Errors
///
/// When a socket cannot be registered with the runtime.
pub async fn serve<S, F>(bound: Bound, stop: CancellationToken, serve_one: S) -> io::Result<()>
where
    S: Fn(TcpStream, Peer, CancellationToken) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let listeners = bound.into_listeners()?;
    let mut loops = JoinSet::new();
    for listener in listeners {
        loops.spawn(accept(listener, stop.clone(), serve_one.clone()));
    }
    while let Some(ended) = loops.join_next().await {
        report(ended);
    }
    Ok(())
}

/// Awaits nothing but the next connection, so that no peer can hold up another.
async fn accept<S, F>(listener: TcpListener, stop: CancellationToken, serve_one: S)
where
    S: Fn(TcpStream, Peer, CancellationToken) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    let mut exhausted = false;
    let mut stopped = pin!(stop.cancelled());
    loop {
        let accepted = tokio::select! {
            biased;
            () = &mut stopped => break,
            Some(ended) = connections.join_next(), if !connections.is_empty() => {
                report(ended);
                continue;
            }
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, address)) => {
                exhausted = false;
                if let Err(error) = stream.set_nodelay(true) {
                    // The peer is gone already, or the platform lacks the option: both show later.
                    tracing::debug!(%address, %error, "set TCP_NODELAY");
                }
                let peer = Peer {
                    address,
                    tls: None,
                    kind: TransportKind::Tcp,
                };
                connections.spawn(serve_one(stream, peer, stop.child_token()));
            }
            Err(e) if is_of_one_connection(&e) => {}
            Err(error) => {
                if !exhausted {
                    tracing::error!(%error, "accept connection; trying on");
                    exhausted = true;
                }
                pause(&stop).await;
            }
        }
    }
    drop(listener);
    drain(connections).await;
}

/// The peer left before it was accepted; the next one is not concerned.
fn is_of_one_connection(e: &io::Error) -> bool {
    matches!(
        e.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::Interrupted
    )
}

#[allow(
    clippy::disallowed_methods,
    reason = "descriptors come free in real time, whatever the hub's clock says"
)]
async fn pause(stop: &CancellationToken) {
    // Cancelled or elapsed: the loop looks for itself.
    let _ = tokio::time::timeout(EXHAUSTED_PAUSE, stop.cancelled()).await;
}

#[allow(
    clippy::disallowed_methods,
    reason = "the end of the process is a matter of real time, whatever the hub's clock says"
)]
async fn drain(mut connections: JoinSet<()>) {
    let ended = async {
        while let Some(ended) = connections.join_next().await {
            report(ended);
        }
    };
    if tokio::time::timeout(DRAIN, ended).await.is_err() {
        tracing::debug!(
            connections = connections.len(),
            "dropping connections that do not end"
        );
        connections.shutdown().await;
    }
}

fn report(ended: Result<(), JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        tracing::error!(%error, "a connection's task panicked");
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::task::JoinHandle;

    use super::super::bind;
    use super::*;

    struct Served {
        address: SocketAddr,
        stop: CancellationToken,
        task: JoinHandle<io::Result<()>>,
    }

    fn start<S, F>(serve_one: S) -> Served
    where
        S: Fn(TcpStream, Peer, CancellationToken) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let bound = bind(&[IpAddr::V4(Ipv4Addr::LOCALHOST)], 0).unwrap();
        let address = bound.addresses()[0];
        let stop = CancellationToken::new();
        let task = tokio::spawn(serve(bound, stop.clone(), serve_one));
        Served {
            address,
            stop,
            task,
        }
    }

    async fn echo(mut stream: TcpStream, _peer: Peer, stop: CancellationToken) {
        let mut buffer = [0; 64];
        tokio::select! {
            () = stop.cancelled() => {}
            Ok(n) = stream.read(&mut buffer) => { let _ = stream.write_all(&buffer[..n]).await; }
        }
    }

    #[tokio::test]
    async fn a_silent_client_holds_up_nobody() {
        let served = start(echo);
        let mut silent = Vec::new();
        for _ in 0..200 {
            silent.push(TcpStream::connect(served.address).await.unwrap());
        }

        let mut client = TcpStream::connect(served.address).await.unwrap();
        client.write_all(b"hello").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();

        assert_eq!(answer, "hello");
    }

    #[tokio::test]
    async fn the_peer_is_told_and_packets_are_not_delayed() {
        let (tell, mut told) = tokio::sync::mpsc::channel(1);
        let served = start(move |stream: TcpStream, peer, _stop| {
            let tell = tell.clone();
            async move { tell.send((stream.nodelay().unwrap(), peer)).await.unwrap() }
        });

        let client = TcpStream::connect(served.address).await.unwrap();

        let address = client.local_addr().unwrap();
        let expected = Peer {
            address,
            tls: None,
            kind: TransportKind::Tcp,
        };
        assert_eq!(told.recv().await, Some((true, expected)));
    }

    #[tokio::test]
    async fn a_stop_ends_connections_and_frees_the_port() {
        let served = start(echo);
        let mut client = TcpStream::connect(served.address).await.unwrap();

        served.stop.cancel();
        served.task.await.unwrap().unwrap();

        let mut rest = Vec::new();
        let _ = client.read_to_end(&mut rest).await;
        assert_eq!(rest, b"");
        bind(&[served.address.ip()], served.address.port()).unwrap();
    }

    #[tokio::test]
    async fn a_connection_that_ignores_the_stop_is_dropped() {
        struct CountDrop(Arc<AtomicUsize>);
        impl Drop for CountDrop {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let dropped = Arc::new(AtomicUsize::new(0));
        let counter = dropped.clone();
        let (tell, mut told) = tokio::sync::mpsc::channel(1);
        let served = start(move |stream: TcpStream, _peer, _stop| {
            let guard = CountDrop(counter.clone());
            let tell = tell.clone();
            async move {
                let _held = (stream, guard);
                tell.send(()).await.unwrap();
                std::future::pending::<()>().await;
            }
        });
        let _client = TcpStream::connect(served.address).await.unwrap();
        told.recv().await.unwrap();

        served.stop.cancel();
        served.task.await.unwrap().unwrap();

        assert_eq!(dropped.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_panic_ends_its_own_connection_only() {
        let served = start(|mut stream: TcpStream, peer, stop| async move {
            let mut first = [0; 1];
            stream.read_exact(&mut first).await.unwrap();
            assert_ne!(&first, b"!", "as the test wants it");
            echo(stream, peer, stop).await;
        });
        let mut hostile = TcpStream::connect(served.address).await.unwrap();
        let mut client = TcpStream::connect(served.address).await.unwrap();

        hostile.write_all(b"!").await.unwrap();
        let mut closed = Vec::new();
        let _ = hostile.read_to_end(&mut closed).await;
        client.write_all(b"-hello").await.unwrap();
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();

        assert_eq!((closed.as_slice(), answer.as_str()), (&b""[..], "hello"));
    }
}
