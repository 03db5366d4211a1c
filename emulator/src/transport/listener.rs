//! Listening sockets: one port on several addresses.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};

use socket2::{Domain, Protocol, Socket, Type};

/// Connections that the kernel completes before they are accepted; it lowers this to its own limit.
const BACKLOG: i32 = 4096;
/// How often a free port is looked for: one that is free on the first address can be taken on the
/// next.
const ATTEMPTS: usize = 32;

/// Sockets that listen, all on one port. Clients can connect from now on; they are accepted once
/// the sockets are served.
#[derive(Debug)]
pub struct Bound {
    listeners: Vec<TcpListener>,
    port: u16,
}

/// Listens on `port` of every address; on one free port of all of them if `port` is zero.
///
/// A machine without IPv6 is no error as long as another address is left: clients take `localhost`
/// for either family (`spec/sdk-connectivity.md`), so both are asked for by default.
///
/// # Errors
///
/// When an address cannot be bound; the kind tells why (`PermissionDenied`, `AddrInUse`).
pub fn bind(addresses: &[IpAddr], port: u16) -> io::Result<Bound> {
    let addresses = distinct(addresses);
    if port != 0 {
        return bind_all(&addresses, port);
    }
    let mut taken = io::Error::from(io::ErrorKind::AddrInUse);
    for _ in 0..ATTEMPTS {
        match bind_all(&addresses, 0) {
            Err(e) if e.kind() == io::ErrorKind::AddrInUse => taken = e,
            done => return done,
        }
    }
    Err(taken)
}

impl Bound {
    /// The port, the same on every address.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Where the sockets listen.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners
            .iter()
            .filter_map(|listener| listener.local_addr().ok())
            .collect()
    }

    /// The sockets, for the current runtime to accept from.
    pub(super) fn into_listeners(self) -> io::Result<Vec<tokio::net::TcpListener>> {
        self.listeners
            .into_iter()
            .map(tokio::net::TcpListener::from_std)
            .collect()
    }
}

fn bind_all(addresses: &[IpAddr], port: u16) -> io::Result<Bound> {
    let mut listeners: Vec<TcpListener> = Vec::with_capacity(addresses.len());
    let mut chosen = port;
    let mut absent = None;
    for &address in addresses {
        match listen(SocketAddr::new(address, chosen)) {
            Ok(listener) => {
                chosen = listener.local_addr()?.port();
                listeners.push(listener);
            }
            Err(e) if address.is_ipv6() && is_absent(&e) => {
                tracing::debug!(%address, error = %e, "no IPv6 here");
                absent = Some(told(address, chosen, &e));
            }
            Err(e) => return Err(told(address, chosen, &e)),
        }
    }
    match absent {
        Some(e) if listeners.is_empty() => Err(e),
        _ if listeners.is_empty() => Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "no address to listen on",
        )),
        _ => Ok(Bound {
            listeners,
            port: chosen,
        }),
    }
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    // On Unix: a restart need not wait for the last run's closed connections. Not while the kernel
    // chooses the port, or it may choose one that another socket is about to listen on; but the
    // accepted connections inherit the mark, so it is set in any case before they exist.
    // (On Windows the option would let two programs share a port.)
    if cfg!(unix) && address.port() != 0 {
        socket.set_reuse_address(true)?;
    }
    socket.bind(&address.into())?;
    if cfg!(unix) {
        socket.set_reuse_address(true)?;
    }
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Each address once, and none beside the wildcard of its family, which includes it.
fn distinct(addresses: &[IpAddr]) -> Vec<IpAddr> {
    let wildcard = |address: &IpAddr| match address {
        IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
        IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
    };
    let mut distinct = Vec::with_capacity(addresses.len());
    for address in addresses {
        let included = !address.is_unspecified() && addresses.contains(&wildcard(address));
        if !included && !distinct.contains(address) {
            distinct.push(*address);
        }
    }
    distinct
}

/// Whether the machine, or this container, has no such family or address.
fn is_absent(e: &io::Error) -> bool {
    const UNSUPPORTED_FAMILY: [i32; 3] = [97, 47, 10047]; // Linux, BSD and macOS, Windows
    e.kind() == io::ErrorKind::AddrNotAvailable
        || e.kind() == io::ErrorKind::Unsupported
        || e.raw_os_error()
            .is_some_and(|code| UNSUPPORTED_FAMILY.contains(&code))
}

fn told(address: IpAddr, port: u16, e: &io::Error) -> io::Error {
    io::Error::new(
        e.kind(),
        format!("listen on {}: {e}", SocketAddr::new(address, port)),
    )
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use super::*;

    const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
    const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

    #[test]
    fn every_address_listens_on_the_one_free_port() {
        let bound = bind(&[V4, V6], 0).unwrap();

        for address in bound.addresses() {
            assert_eq!(address.port(), bound.port());
            TcpStream::connect(address).unwrap();
        }
        assert!(
            bound.addresses().iter().any(SocketAddr::is_ipv4),
            "{bound:?}"
        );
    }

    #[test]
    fn a_port_that_is_served_is_refused_by_name() {
        let first = bind(&[V4], 0).unwrap();

        let refused = bind(&[V4], first.port()).unwrap_err();

        assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
        let expected = format!("listen on 127.0.0.1:{}: ", first.port());
        assert!(refused.to_string().starts_with(&expected), "{refused}");
    }

    #[test]
    fn a_port_can_be_bound_again_while_its_old_connections_fade() {
        let first = bind(&[V4], 0).unwrap();
        let port = first.port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        first.listeners[0].set_nonblocking(false).unwrap();
        let (server, _) = first.listeners[0].accept().unwrap();
        drop(server); // closes first: the server's end stays in TIME_WAIT
        drop(client);
        drop(first);

        assert_eq!(bind(&[V4], port).unwrap().port(), port);
    }

    #[test]
    fn an_address_in_the_wildcard_or_given_twice_is_bound_once() {
        let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

        assert_eq!(distinct(&[V4, any, V4, V6, V6]), [any, V6]);
    }

    #[test]
    fn an_ipv6_address_that_the_machine_lacks_is_passed_over_beside_another() {
        let lacking: IpAddr = "2001:db8::1".parse().unwrap();

        assert_eq!(bind(&[V4, lacking], 0).unwrap().addresses().len(), 1);
        assert_eq!(
            bind(&[lacking], 0).unwrap_err().kind(),
            io::ErrorKind::AddrNotAvailable
        );
    }
}
