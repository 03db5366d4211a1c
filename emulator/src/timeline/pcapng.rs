//! Exchanges as a file that Wireshark reads (pcap-ng, draft-ietf-opsawg-pcapng).
//!
//! The emulator sees streams, not packets, and sees them decrypted. So packets are made up: each
//! connection is a TCP connection from the peer's address to the port on which its protocol is
//! spoken in the clear, its bytes are segments with the right sequence numbers, and what was not
//! taken down is a gap in them, which Wireshark says as such.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use iothub_protocol::Timestamp;

use super::wire::{Direction, Exchange};

/// Writes one file.
#[derive(Debug, Default)]
pub struct PcapNg {
    flows: HashMap<u64, Flow>,
    began: bool,
}

#[cfg(test)]
mod tests;

/// A made-up TCP connection.
#[derive(Clone, Copy, Debug)]
struct Flow {
    peer: SocketAddr,
    port: u16,
    /// The next byte's number, of each direction, since the beginning.
    next: [u64; 2],
}

/// Connections whose numbers are kept; after that, all begin anew.
const MOST_FLOWS: usize = 16_384;
/// Bytes of a segment: an IPv4 packet cannot be longer than 65,535.
const SEGMENT: usize = 60_000;
/// The number before the first byte's.
const INITIAL: u32 = 1000;
const WINDOW: u16 = u16::MAX;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const ETHERNET: u16 = 1;

const SYN: u8 = 0x02;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

impl PcapNg {
    /// A new file.
    pub fn new() -> Self {
        Self::default()
    }

    /// What stands at the beginning of the file; once.
    pub fn begin(&mut self, out: &mut Vec<u8>) {
        if std::mem::replace(&mut self.began, true) {
            return;
        }
        block(out, SECTION, |out| {
            out.extend_from_slice(&0x1a2b_3c4d_u32.to_le_bytes());
            out.extend_from_slice(&1_u16.to_le_bytes());
            out.extend_from_slice(&0_u16.to_le_bytes());
            // The section's length is not told.
            out.extend_from_slice(&u64::MAX.to_le_bytes());
            option(
                out,
                4,
                concat!("iothub-emulator ", env!("CARGO_PKG_VERSION")).as_bytes(),
            );
            option(out, 0, &[]);
        });
        block(out, INTERFACE, |out| {
            out.extend_from_slice(&ETHERNET.to_le_bytes());
            out.extend_from_slice(&0_u16.to_le_bytes());
            // No limit to a packet's length.
            out.extend_from_slice(&0_u32.to_le_bytes());
            option(out, 2, b"iothub-emulator");
            option(
                out,
                3,
                b"decrypted, out of WebSocket frames; TCP/IP is made up",
            );
            // Times are in units of 100 ns.
            option(out, 9, &[7]);
            option(out, 0, &[]);
        });
    }

    /// An exchange as packets.
    pub fn write(&mut self, at: Timestamp, exchange: &Exchange, out: &mut Vec<u8>) {
        self.begin(out);
        let connection = &exchange.connection;
        if self.flows.len() >= MOST_FLOWS {
            self.flows.clear();
        }
        let is_new = !self.flows.contains_key(&connection.id);
        let mut flow = *self.flows.entry(connection.id).or_insert_with(|| Flow {
            peer: SocketAddr::new(connection.peer.ip().to_canonical(), connection.peer.port()),
            port: connection.protocol.port(),
            next: [0; 2],
        });
        if is_new && exchange.offset == 0 {
            flow.shake_hands(at, out);
        }
        let way = exchange.direction as usize;
        flow.next[way] = exchange.offset;
        for segment in exchange.bytes.chunks(SEGMENT) {
            flow.packet(at, exchange.direction, ACK | PSH, segment, out);
            flow.next[way] += segment.len() as u64;
        }
        flow.next[way] += exchange.cut;
        self.flows.insert(connection.id, flow);
    }
}

impl Flow {
    fn shake_hands(&self, at: Timestamp, out: &mut Vec<u8>) {
        let mut before = *self;
        // A SYN takes up the number before the first byte's.
        before.numbered(at, Direction::In, SYN, [INITIAL, 0], out);
        before.numbered(at, Direction::Out, SYN | ACK, [INITIAL, INITIAL + 1], out);
        before.next = [0; 2];
        before.packet(at, Direction::In, ACK, &[], out);
    }

    fn packet(&self, at: Timestamp, way: Direction, flags: u8, data: &[u8], out: &mut Vec<u8>) {
        let number = |way: Direction| {
            // Numbers wrap around.
            (INITIAL + 1).wrapping_add(self.next[way as usize] as u32)
        };
        let back = match way {
            Direction::In => Direction::Out,
            Direction::Out => Direction::In,
        };
        self.emit(at, way, flags, [number(way), number(back)], data, out);
    }

    fn numbered(
        &self,
        at: Timestamp,
        way: Direction,
        flags: u8,
        numbers: [u32; 2],
        out: &mut Vec<u8>,
    ) {
        self.emit(at, way, flags, numbers, &[], out);
    }

    fn emit(
        &self,
        at: Timestamp,
        way: Direction,
        flags: u8,
        [sequence, acknowledged]: [u32; 2],
        data: &[u8],
        out: &mut Vec<u8>,
    ) {
        let here = match self.peer.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        let here = SocketAddr::new(here, self.port);
        let (from, to) = match way {
            Direction::In => (self.peer, here),
            Direction::Out => (here, self.peer),
        };
        let mut tcp = Vec::with_capacity(20 + data.len());
        tcp.extend_from_slice(&from.port().to_be_bytes());
        tcp.extend_from_slice(&to.port().to_be_bytes());
        tcp.extend_from_slice(&sequence.to_be_bytes());
        tcp.extend_from_slice(&acknowledged.to_be_bytes());
        // Five words of header, no options.
        tcp.extend_from_slice(&[5 << 4, flags]);
        tcp.extend_from_slice(&WINDOW.to_be_bytes());
        tcp.extend_from_slice(&[0; 4]);
        tcp.extend_from_slice(data);
        let packet = match (from.ip(), to.ip()) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ipv4(from, to, tcp),
            (IpAddr::V6(from), IpAddr::V6(to)) => ipv6(from, to, tcp),
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => return,
        };
        let ticks = u64::try_from(at.ticks() - Timestamp::UNIX_EPOCH.ticks()).unwrap_or_default();
        block(out, ENHANCED_PACKET, |out| {
            let length = packet.len() as u32;
            out.extend_from_slice(&0_u32.to_le_bytes());
            out.extend_from_slice(&((ticks >> 32) as u32).to_le_bytes());
            out.extend_from_slice(&(ticks as u32).to_le_bytes());
            out.extend_from_slice(&length.to_le_bytes());
            out.extend_from_slice(&length.to_le_bytes());
            padded(out, &packet);
        });
    }
}

/// Ethernet and IPv4 around TCP.
fn ipv4(from: Ipv4Addr, to: Ipv4Addr, mut tcp: Vec<u8>) -> Vec<u8> {
    let pseudo = [
        &from.octets()[..],
        &to.octets(),
        &[0, 6],
        &(tcp.len() as u16).to_be_bytes(),
    ];
    sign(&mut tcp, &pseudo.concat());
    let mut packet = ethernet(0x0800, tcp.len() + 20);
    let start = packet.len();
    packet.extend_from_slice(&[0x45, 0]);
    packet.extend_from_slice(&((20 + tcp.len()) as u16).to_be_bytes());
    // Not in fragments, 64 hops, TCP.
    packet.extend_from_slice(&[0, 0, 0x40, 0, 64, 6, 0, 0]);
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    let sum = checksum(&[&packet[start..]]);
    packet[start + 10..start + 12].copy_from_slice(&sum.to_be_bytes());
    packet.extend_from_slice(&tcp);
    packet
}

/// Ethernet and IPv6 around TCP.
fn ipv6(from: Ipv6Addr, to: Ipv6Addr, mut tcp: Vec<u8>) -> Vec<u8> {
    let length = (tcp.len() as u32).to_be_bytes();
    let pseudo = [&from.octets()[..], &to.octets(), &length, &[0, 0, 0, 6]];
    sign(&mut tcp, &pseudo.concat());
    let mut packet = ethernet(0x86dd, tcp.len() + 40);
    packet.extend_from_slice(&[0x60, 0, 0, 0]);
    packet.extend_from_slice(&(tcp.len() as u16).to_be_bytes());
    packet.extend_from_slice(&[6, 64]);
    packet.extend_from_slice(&from.octets());
    packet.extend_from_slice(&to.octets());
    packet.extend_from_slice(&tcp);
    packet
}

fn ethernet(kind: u16, more: usize) -> Vec<u8> {
    let mut packet = Vec::with_capacity(14 + more);
    // Locally administered addresses that nobody has.
    packet.extend_from_slice(&[2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    packet.extend_from_slice(&kind.to_be_bytes());
    packet
}

fn sign(tcp: &mut [u8], pseudo: &[u8]) {
    let sum = checksum(&[pseudo, tcp]);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
}

/// RFC 1071. All parts but the last have an even length.
fn checksum(parts: &[&[u8]]) -> u16 {
    let mut sum = 0_u64;
    for pair in parts.iter().flat_map(|part| part.chunks(2)) {
        let low = pair.get(1).copied().unwrap_or_default();
        sum += u64::from(u16::from_be_bytes([pair[0], low]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// A block, which tells its length before and after what is in it.
fn block(out: &mut Vec<u8>, kind: u32, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&kind.to_le_bytes());
    out.extend_from_slice(&[0; 4]);
    fill(out);
    let length = ((out.len() - start + 4) as u32).to_le_bytes();
    out.extend_from_slice(&length);
    out[start + 4..start + 8].copy_from_slice(&length);
}

fn option(out: &mut Vec<u8>, code: u16, value: &[u8]) {
    out.extend_from_slice(&code.to_le_bytes());
    out.extend_from_slice(&(value.len() as u16).to_le_bytes());
    padded(out, value);
}

fn padded(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(bytes);
    let odd = bytes.len() % 4;
    if odd > 0 {
        out.extend_from_slice(&[0; 4][odd..]);
    }
}
