//! Exhaustive inputs, compared with checkers that share no code with the library. The inputs are every Remaining
//! Length, small body, character, possible byte sequence of a character, and every filter with every topic. A debug
//! build tries a part of each; `.ci/exhaustive` tries all.
//!
//! A release build also runs 10,000 histories of an async device, of which the quick tests run 200. It explores the
//! orders of the turns of its tasks to a greater depth.

#[path = "../../checker/mod.rs"]
mod checker;
#[cfg(not(debug_assertions))]
#[path = "../../common/mod.rs"]
mod common;
#[cfg(not(debug_assertions))]
#[path = "../device/histories.rs"]
mod histories;
#[cfg(not(debug_assertions))]
#[path = "../device/orders.rs"]
mod orders;
mod short_inputs;
#[cfg(not(debug_assertions))]
#[path = "../device/tasks.rs"]
#[allow(dead_code, reason = "a part of it is for other tests")]
mod tasks;
#[cfg(not(debug_assertions))]
#[path = "../device/turns.rs"]
mod turns;

use checker::{Verdict, captures, is_match, is_string, is_topic_filter, is_topic_name, judge};
use umqtt::codec::{
    Connect, DecodeError, Delivery, FixedHeader, MAX_REMAINING_LENGTH, Packet, PacketType,
    PublishHeader, TopicFilter, TopicName,
};

/// Returns all values, or as many as a debug build can check in a short time.
const fn all_or<T: Copy>(all: T, some: T) -> T {
    if cfg!(debug_assertions) { some } else { all }
}

/// Returns the bytes of a Remaining Length (section 2.2.3) and their number. Each byte has seven bits of it.
fn digits(mut length: u32) -> ([u8; 4], usize) {
    let mut digits = [0; 4];
    let mut used = 0;
    loop {
        digits[used] = (length % 128) as u8;
        length /= 128;
        if length == 0 {
            return (digits, used + 1);
        }
        digits[used] |= 128;
        used += 1;
    }
}

/// All 268,435,456 values are encoded and decoded. Those too small for a PUBLISH are only decoded.
#[test]
fn every_remaining_length_roundtrips() {
    let topic = TopicName::new("t").unwrap();
    let step = all_or(1, 4_999);
    for length in (0..=MAX_REMAINING_LENGTH).step_by(step) {
        let (digits, used) = digits(length);
        let first = if length < 3 { 0xC0 } else { 0x30 };
        let bytes = [first, digits[0], digits[1], digits[2], digits[3]];
        if length >= 3 {
            let header = PublishHeader {
                topic,
                delivery: Delivery::AtMostOnce,
                retain: false,
                payload_len: length as usize - 3,
            };
            let mut out = [0; 8];
            let written = header.encode(&mut out).unwrap();
            assert_eq!(written[..1 + used], bytes[..1 + used], "{length}");
            assert_eq!(written[1 + used..], *b"\0\x01t", "{length}");
        }
        match FixedHeader::decode(&bytes) {
            Ok(Some((header, read))) => {
                assert_eq!((header.remaining_length, read), (length, 1 + used));
                assert!(length >= 3 || header.packet_type == PacketType::Pingreq);
            }
            // A PINGREQ has no body.
            other => assert!(
                other.is_err() && (1..3).contains(&length),
                "{length}: {other:?}"
            ),
        }
    }
}

fn check(bytes: &[u8]) {
    let ours = match Packet::decode(bytes) {
        Ok(None) => Verdict::Incomplete,
        Ok(Some((_, used))) => Verdict::Accepted(used),
        Err(_) => Verdict::Refused,
    };
    let theirs = judge(bytes);
    if ours != theirs {
        panic!("{bytes:02x?} is {theirs:?} and was taken as {ours:?}");
    }
}

/// Calls `check` with `packet` followed by each string of `len` bytes over an alphabet.
fn with_all(packet: &mut Vec<u8>, alphabet: &[u8], len: usize, check: &impl Fn(&[u8])) {
    if len == 0 {
        return check(packet);
    }
    for byte in alphabet {
        packet.push(*byte);
        with_all(packet, alphabet, len - 1, check);
        packet.pop();
    }
}

/// Checks packets with this first byte and each body that consists of one of `fronts` and up to `most` bytes of the
/// alphabet.
fn bodies(first: u8, fronts: &[&[u8]], alphabet: &[u8], most: usize) {
    for front in fronts {
        for len in 0..=most {
            let mut packet = vec![first, (front.len() + len) as u8];
            packet.extend_from_slice(front);
            with_all(&mut packet, alphabet, len, &check);
        }
    }
}

/// Every first byte and every small Remaining Length, right or wrong, with every body of up to four bytes of these
/// eight values.
#[test]
fn every_header_with_small_bodies_matches_the_checker() {
    let most = all_or(4, 2);
    for first in 0..=255 {
        for length in 0..=16 {
            for len in 0..=most {
                with_all(
                    &mut vec![first, length],
                    &[0, 1, 2, 3, b'#', b'/', 0x80, 0xC3],
                    len,
                    &check,
                );
            }
        }
    }
}

#[test]
fn every_small_publish_matches_the_checker() {
    let most = all_or(12, 6);
    for first in 0x30..=0x3F {
        bodies(first, &[&[]], &[0, 1, 2, b'#'], most);
    }
}

/// The packet ids 0, which is invalid, 1 and 256.
const IDS: [&[u8]; 3] = [&[0, 0], &[0, 1], &[1, 0]];

#[test]
fn every_small_subscribe_matches_the_checker() {
    bodies(0x82, &IDS, &[0, 1, 2, b'#', b'/'], all_or(10, 4));
    bodies(0x82, &IDS, &[0, 1, 3, b'+', b'/'], all_or(10, 4));
}

#[test]
fn every_small_unsubscribe_matches_the_checker() {
    bodies(0xA2, &IDS, &[0, 1, 2, b'#', b'/'], all_or(10, 4));
    bodies(0xA2, &IDS, &[0, 1, 3, b'+', b'/'], all_or(10, 4));
}

#[test]
fn every_small_suback_matches_the_checker() {
    bodies(0x90, &IDS, &[0, 1, 2, 3, 0x80], all_or(10, 4));
}

/// CONNECTs with all flags and up to 12 bytes after the keep alive. With a will, a user name and a password, at least
/// 11 bytes are needed.
#[test]
fn every_small_connect_matches_the_checker() {
    let most = all_or(12, 5);
    for flags in 0..=255 {
        let front = [b"\0\x04MQTT\x04", &[flags, 0, 60][..]].concat();
        bodies(0x10, &[&front], &[0, 1, b'+'], most);
    }
}

/// A field of a packet that contains a string: the bytes before and after it, and the rule for the string.
struct Place {
    front: Vec<u8>,
    back: &'static [u8],
    first: u8,
    is_legal: fn(&[u8]) -> bool,
}

fn places() -> [Place; 5] {
    let connect = |flags: u8, client_id: &str| {
        let front = [b"\0\x04MQTT\x04", &[flags, 0, 0][..]].concat();
        match client_id {
            "" => front,
            id => [&front, &[0, id.len() as u8][..], id.as_bytes()].concat(),
        }
    };
    let place = |first, front: Vec<u8>, back, is_legal| Place {
        front,
        back,
        first,
        is_legal,
    };
    [
        place(0x30, vec![], b"", is_topic_name as fn(&[u8]) -> bool),
        place(0x82, vec![0, 1], b"\0", is_topic_filter),
        place(0x10, connect(0x02, ""), b"", is_string),
        place(0x10, connect(0x06, "c"), b"\0\0", is_topic_name),
        place(0x10, connect(0x82, "c"), b"", is_string),
    ]
}

impl Place {
    /// A valid string is accepted. If it is not UTF-8, the position of the error is reported.
    fn check(&self, string: &[u8]) {
        let len = [0, string.len() as u8];
        let body = self.front.len() + 2 + string.len() + self.back.len();
        let head = [self.first, body as u8];
        let packet = [&head, &self.front[..], &len, string, self.back].concat();
        let legal = (self.is_legal)(string);
        match (Packet::decode(&packet), core::str::from_utf8(string)) {
            (Err(DecodeError::InvalidUtf8 { at }), Err(error)) => {
                assert_eq!(at, error.valid_up_to(), "{packet:02x?}");
            }
            (Err(error), Ok(_)) => assert!(!legal, "{packet:02x?}: {error}"),
            (Ok(Some((_, used))), Ok(_)) => assert!(legal && used == packet.len(), "{packet:02x?}"),
            (other, _) => panic!("{packet:02x?}: {other:?}"),
        }
    }
}

/// Every character, alone and with others before and after it, in every field that is a string.
#[test]
fn every_scalar_value_is_accepted_where_valid() {
    let places = places();
    for scalar in ('\0'..=char::MAX).step_by(all_or(1, 331)) {
        for (before, after) in [("", ""), ("a", "/bcdefgh"), ("abc/efgh", ""), ("é", "é")] {
            let string = format!("{before}{scalar}{after}");
            for place in &places {
                place.check(string.as_bytes());
            }
            assert_eq!(
                TopicName::new(&string).is_ok(),
                is_topic_name(string.as_bytes())
            );
            assert_eq!(
                TopicFilter::new(&string).is_ok(),
                is_topic_filter(string.as_bytes())
            );
            let connect = Connect::new(&string);
            assert_eq!(connect.encoded_len().is_ok(), is_string(string.as_bytes()));
        }
    }
}

/// Every string of up to three bytes. In longer strings, all first and second bytes are followed by the bytes on both
/// sides of each boundary in the definition of UTF-8.
#[test]
fn every_short_byte_sequence_is_checked_as_utf8() {
    let places = places();
    let check = |bytes: &[u8]| places.iter().for_each(|place| place.check(bytes));
    let any: Vec<u8> = (0..=255).collect();
    let boundaries = [
        0, b'a', 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xFF,
    ];
    with_all(&mut vec![], &any, 1, &check);
    with_all(&mut vec![], &any, 2, &check);
    for first in (0..=255).step_by(all_or(1, 16)) {
        with_all(&mut vec![first], &any, all_or(2, 1), &check);
        for second in (0..=255).step_by(all_or(1, 32)) {
            for len in 1..=2 {
                with_all(&mut vec![first, second], &boundaries, len, &check);
                with_all(&mut vec![b'a', first, second], &boundaries, len, &check);
            }
        }
    }
}

/// Returns all strings over an alphabet, of up to `most` characters, with the empty one.
fn strings(alphabet: &str, most: usize) -> Vec<String> {
    let mut strings = vec![String::new()];
    let mut from = 0;
    for _ in 0..most {
        let to = strings.len();
        for at in from..to {
            for c in alphabet.chars() {
                let longer = format!("{}{c}", strings[at]);
                strings.push(longer);
            }
        }
        from = to;
    }
    strings
}

/// Every filter and every topic of up to six of the relevant characters.
#[test]
fn every_small_filter_matches_topics_as_specified() {
    let most = all_or(6, 3);
    let (filters, topics) = (strings("ab/+#$", most), strings("ab/$", most));
    for text in &filters {
        assert_eq!(
            TopicName::new(text).is_ok(),
            is_topic_name(text.as_bytes()),
            "{text}"
        );
        assert_eq!(
            TopicFilter::new(text).is_ok(),
            is_topic_filter(text.as_bytes()),
            "{text}"
        );
    }
    let filters = filters
        .iter()
        .filter_map(|text| TopicFilter::new(text).ok());
    let topics = topics.iter().filter_map(|text| TopicName::new(text).ok());
    let topics: Vec<_> = topics.collect();
    for filter in filters {
        for topic in &topics {
            let expected = is_match(filter.as_str(), topic.as_str());
            assert_eq!(filter.matches(*topic), expected, "{filter} {topic}");
            let expected = captures(filter.as_str(), topic.as_str());
            let captures = filter.captures(*topic);
            let captures = captures.map(|levels| levels.map(String::from).collect());
            assert_eq!(captures, expected, "{filter} {topic}");
        }
    }
}
