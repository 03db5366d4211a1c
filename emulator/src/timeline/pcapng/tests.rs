//! The file, read back by its format's own rules.

use std::sync::Arc;

use super::super::wire::{Connection, Protocol};
use super::*;
use crate::transport::TransportKind;

/// A packet of the file.
struct Segment {
    ticks: u64,
    ports: (u16, u16),
    sequence: u32,
    acknowledged: u32,
    flags: u8,
    data: Vec<u8>,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(*bytes[at..].first_chunk().unwrap())
}

fn le(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(*bytes[at..].first_chunk().unwrap())
}

/// The kinds of all blocks, and the packets; every length and checksum is looked at.
fn parse(mut file: &[u8]) -> (Vec<u32>, Vec<Segment>) {
    let (mut kinds, mut segments) = (Vec::new(), Vec::new());
    while !file.is_empty() {
        let (kind, length) = (le(file, 0), le(file, 4) as usize);
        assert_eq!(length % 4, 0);
        assert_eq!(le(file, length - 4) as usize, length);
        if kind == ENHANCED_PACKET {
            let captured = le(file, 20) as usize;
            assert_eq!(le(file, 24) as usize, captured);
            let ticks = u64::from(le(file, 12)) << 32 | u64::from(le(file, 16));
            segments.push(segment(ticks, &file[28..28 + captured]));
        }
        kinds.push(kind);
        file = &file[length..];
    }
    (kinds, segments)
}

fn segment(ticks: u64, packet: &[u8]) -> Segment {
    let ip = &packet[14..];
    let (pseudo, tcp) = match u16_at(packet, 12) {
        0x0800 => {
            assert_eq!(usize::from(u16_at(ip, 2)), ip.len());
            assert_eq!(checksum(&[&ip[..20]]), 0);
            let length = ((ip.len() - 20) as u16).to_be_bytes();
            ([&ip[12..20], &[0, 6], &length].concat(), &ip[20..])
        }
        0x86dd => {
            assert_eq!(usize::from(u16_at(ip, 4)), ip.len() - 40);
            let length = ((ip.len() - 40) as u32).to_be_bytes();
            ([&ip[8..40], &length, &[0, 0, 0, 6]].concat(), &ip[40..])
        }
        other => panic!("{other:#x} is no IP"),
    };
    assert_eq!(checksum(&[&pseudo, tcp]), 0);
    Segment {
        ticks,
        ports: (u16_at(tcp, 0), u16_at(tcp, 2)),
        sequence: u32_at(tcp, 4),
        acknowledged: u32_at(tcp, 8),
        flags: tcp[13],
        data: tcp[20..].to_vec(),
    }
}

fn exchange(peer: &str, direction: Direction, offset: u64, bytes: &[u8], cut: u64) -> Exchange {
    let peer = peer.parse().unwrap();
    let connection = Connection::new(7, Protocol::Mqtt, peer, TransportKind::Tls);
    Exchange {
        connection: Arc::new(connection),
        direction,
        offset,
        bytes: bytes.into(),
        cut,
    }
}

fn written(exchanges: &[Exchange]) -> (Vec<u32>, Vec<Segment>) {
    let (mut file, mut out) = (PcapNg::new(), Vec::new());
    file.begin(&mut out);
    for (second, exchange) in exchanges.iter().enumerate() {
        let at = Timestamp::from_unix_seconds(1_767_225_600 + second as i64);
        file.write(at, exchange, &mut out);
    }
    parse(&out)
}

#[test]
fn an_empty_file_has_a_section_and_an_interface() {
    assert_eq!(written(&[]).0, [SECTION, INTERFACE]);
}

#[test]
fn a_connection_begins_with_a_handshake_and_counts_its_bytes() {
    for peer in [
        "10.0.0.9:50000",
        "[2001:db8::9]:50000",
        "[::ffff:10.0.0.9]:50000",
    ] {
        let (_, segments) = written(&[
            exchange(peer, Direction::In, 0, b"hello", 0),
            exchange(peer, Direction::Out, 0, b"world!", 0),
            exchange(peer, Direction::In, 5, b"more", 0),
        ]);

        let told: Vec<_> = segments
            .iter()
            .map(|it| {
                (
                    it.ports.1,
                    it.flags,
                    it.sequence,
                    it.acknowledged,
                    it.data.len(),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (1883, SYN, 1000, 0, 0),
                (50_000, SYN | ACK, 1000, 1001, 0),
                (1883, ACK, 1001, 1001, 0),
                (1883, ACK | PSH, 1001, 1001, 5),
                (50_000, ACK | PSH, 1001, 1006, 6),
                (1883, ACK | PSH, 1006, 1007, 4),
            ],
            "{peer}"
        );
        assert_eq!(segments[3].ticks, 17_672_256_000_000_000);
        assert_eq!(segments[5].data, b"more");
    }
}

#[test]
fn what_is_long_is_several_segments_and_what_is_missing_a_gap() {
    let long = vec![7; 130_000];
    let (_, segments) = written(&[
        exchange("1.2.3.4:5", Direction::In, 300, &long, 50),
        exchange("1.2.3.4:5", Direction::In, 130_350, b"x", 0),
    ]);

    let told: Vec<_> = segments
        .iter()
        .map(|it| (it.sequence, it.data.len()))
        .collect();
    assert_eq!(
        told,
        [
            (1301, 60_000),
            (61_301, 60_000),
            (121_301, 10_000),
            (131_351, 1)
        ]
    );
}
