//! The codec and the checker have the same result for every byte string of up to three bytes. A release build tests
//! those of four bytes, too.

#[cfg(not(debug_assertions))]
use std::sync::atomic::{AtomicU32, Ordering};

use crate::checker::{Verdict, judge};
use umqtt::codec::Packet;

fn verdict(bytes: &[u8]) -> Verdict {
    match Packet::decode(bytes) {
        Ok(None) => Verdict::Incomplete,
        Ok(Some((_, used))) => Verdict::Accepted(used),
        Err(_) => Verdict::Refused,
    }
}

fn check(bytes: &[u8]) {
    let (ours, theirs) = (verdict(bytes), judge(bytes));
    if ours != theirs {
        panic!("{bytes:02x?} is {theirs:?} and was taken as {ours:?}");
    }
}

#[test]
fn inputs_of_up_to_three_bytes_match_the_checker() {
    check(&[]);
    for a in 0..=255 {
        check(&[a]);
        for b in 0..=255 {
            check(&[a, b]);
            for c in 0..=255 {
                check(&[a, b, c]);
            }
        }
    }
}

/// These 4,294,967,296 inputs take minutes, so only a release build tests them. All cores take part.
#[cfg(not(debug_assertions))]
#[test]
fn inputs_of_four_bytes_match_the_checker() {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    // Few first bytes are legal, and only these take time.
    let next = AtomicU32::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Ok(a) = u8::try_from(next.fetch_add(1, Ordering::Relaxed)) {
                    for rest in 0..1_u32 << 24 {
                        let [_, b, c, d] = rest.to_be_bytes();
                        check(&[a, b, c, d]);
                    }
                }
            });
        }
    });
}

/// In one longer packet of each type, each byte has every value, and the next byte each relevant value.
#[test]
fn packets_with_one_or_two_changed_bytes_match_the_checker() {
    let packets: [&[u8]; 9] = [
        b"\x10\x24\0\x04MQTT\x04\xF6\0\x3C\0\x02id\0\x04will\0\x03bye\0\x01u\0\x03pwd",
        b"\x10\x0C\0\x04MQTT\x04\x02\0\0\0\0",
        b"\x20\x02\0\0",
        b"\x30\x07\0\x03a/bhi",
        b"\x34\x07\0\x03a/b\0\x01",
        b"\x40\x02\0\x01",
        b"\x82\x0B\0\x01\0\x01#\0\0\x02+/\x01",
        b"\x90\x05\0\x01\0\x80\x02",
        b"\xA2\x08\0\x01\0\x04a/+b",
    ];
    for packet in packets {
        let mut bytes = packet.to_vec();
        for i in 0..bytes.len() {
            for a in 0..=255 {
                bytes[i] = a;
                check(&bytes);
                let j = (i + 1) % bytes.len();
                for b in [0, 1, b'#', b'+', b'/', 0x7F, 0x80, 0xBF, 0xC3, 0xED, 0xFF] {
                    bytes[j] = b;
                    check(&bytes);
                }
                bytes[j] = packet[j];
            }
            bytes[i] = packet[i];
        }
    }
}
