//! The least that a server can do for a login over TLS: what the emulator's logins are compared
//! with.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// A CONNACK that accepts.
const ACCEPTED: [u8; 4] = [0x20, 2, 0, 0];

/// Serve bare TLS: handshake, one read, a CONNACK, and the end. Prints its address as JSON.
#[derive(Debug, Args)]
pub(crate) struct AcceptLoopArgs {
    /// Certificate chain (PEM).
    #[arg(long, value_name = "FILE")]
    cert: PathBuf,
    /// Private key (PEM).
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Port to listen on; 0: any free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// Threads that serve connections.
    #[arg(long, default_value_t = 2)]
    worker_threads: usize,
}

/// Runs the command until the process is ended.
pub(crate) fn run(args: &AcceptLoopArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(args.worker_threads.max(1))
        .enable_all()
        .build()?;
    runtime.block_on(accept(args))
}

async fn accept(args: &AcceptLoopArgs) -> anyhow::Result<()> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&args.cert)
        .with_context(|| format!("read {}", args.cert.display()))?
        .collect();
    let key = PrivateKeyDer::from_pem_file(&args.key)
        .with_context(|| format!("read {}", args.key.display()))?;
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(chain?, key)?;
    let acceptor = TlsAcceptor::from(Arc::new(config));

    let listener = TcpListener::bind(("127.0.0.1", args.port)).await?;
    let document = serde_json::json!({
        "address": listener.local_addr()?.to_string(),
        "pid": std::process::id(),
    });
    writeln!(std::io::stdout(), "{document}")?;
    loop {
        let (stream, _) = listener.accept().await?;
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            // A peer that breaks off is no failure of the loop.
            let _ = serve(stream, acceptor).await;
        });
    }
}

async fn serve(stream: TcpStream, acceptor: TlsAcceptor) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut stream = acceptor.accept(stream).await?;
    let mut buffer = [0; 1024];
    if stream.read(&mut buffer).await? == 0 {
        return Ok(());
    }
    stream.write_all(&ACCEPTED).await?;
    stream.flush().await?;
    while stream.read(&mut buffer).await? > 0 {}
    Ok(())
}
