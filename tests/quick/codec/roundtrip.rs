//! Properties of every packet and of every byte string.

use crate::checker::{self, Verdict, judge};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use umqtt::codec::{
    Connack, Connect, ConnectReturnCode, Credentials, Delivery, EncodeError, FixedHeader, Packet,
    PacketId, Publish, PublishHeader, QoS, Suback, SubackReturnCode, Subscribe, TopicFilter,
    TopicName, Unsubscribe, Will,
};
use umqtt::codec::{Puback, Pubcomp, Pubrec, Pubrel, Unsuback};

/// A packet that owns its fields.
#[derive(Debug, Clone)]
enum Owned {
    Connect(OwnedConnect),
    Connack(Connack),
    Publish(String, Vec<u8>, Delivery, bool),
    Ack(u8, PacketId),
    Subscribe(PacketId, Vec<(String, QoS)>),
    Suback(PacketId, Vec<SubackReturnCode>),
    Unsubscribe(PacketId, Vec<String>),
    Bare(u8),
}

#[derive(Debug, Clone)]
struct OwnedConnect {
    client_id: String,
    clean_session: bool,
    keep_alive: u16,
    will: Option<(String, Vec<u8>, QoS, bool)>,
    credentials: Option<(String, Option<Vec<u8>>)>,
}

impl Owned {
    fn with<R>(&self, f: impl FnOnce(Packet<'_>) -> R) -> R {
        match self {
            Self::Connect(connect) => f(Packet::Connect(connect.borrow())),
            Self::Connack(connack) => f(Packet::Connack(*connack)),
            Self::Publish(topic, payload, delivery, retain) => f(Packet::Publish(Publish {
                topic: TopicName::new(topic).unwrap(),
                payload,
                delivery: *delivery,
                retain: *retain,
            })),
            Self::Ack(4, id) => f(Packet::Puback(Puback::new(*id))),
            Self::Ack(5, id) => f(Packet::Pubrec(Pubrec::new(*id))),
            Self::Ack(6, id) => f(Packet::Pubrel(Pubrel::new(*id))),
            Self::Ack(7, id) => f(Packet::Pubcomp(Pubcomp::new(*id))),
            Self::Ack(_, id) => f(Packet::Unsuback(Unsuback::new(*id))),
            Self::Subscribe(id, filters) => {
                let filters: Vec<_> = filters
                    .iter()
                    .map(|(text, qos)| (filter(text), *qos))
                    .collect();
                f(Packet::Subscribe(Subscribe::new(*id, &filters).unwrap()))
            }
            Self::Suback(id, codes) => f(Packet::Suback(Suback::new(*id, codes).unwrap())),
            Self::Unsubscribe(id, filters) => {
                let filters: Vec<_> = filters.iter().map(|text| filter(text)).collect();
                f(Packet::Unsubscribe(
                    Unsubscribe::new(*id, &filters).unwrap(),
                ))
            }
            Self::Bare(0) => f(Packet::Pingreq),
            Self::Bare(1) => f(Packet::Pingresp),
            Self::Bare(_) => f(Packet::Disconnect),
        }
    }

    fn encode(&self) -> Vec<u8> {
        self.with(encode)
    }
}

impl OwnedConnect {
    fn borrow(&self) -> Connect<'_> {
        Connect {
            client_id: &self.client_id,
            clean_session: self.clean_session || self.client_id.is_empty(),
            keep_alive: self.keep_alive,
            will: self
                .will
                .as_ref()
                .map(|(topic, message, qos, retain)| Will {
                    topic,
                    message,
                    qos: *qos,
                    retain: *retain,
                }),
            credentials: self
                .credentials
                .as_ref()
                .map(|(user_name, password)| Credentials {
                    user_name,
                    password: password.as_deref(),
                }),
        }
    }
}

fn filter(text: &str) -> TopicFilter<'_> {
    TopicFilter::new(text).unwrap()
}

fn encode(packet: Packet<'_>) -> Vec<u8> {
    let mut out = vec![0; packet.encoded_len().unwrap()];
    assert_eq!(packet.encode(&mut out).map(<[u8]>::len), Ok(out.len()));
    out
}

fn qos() -> impl Strategy<Value = QoS> {
    prop_oneof![
        Just(QoS::AtMostOnce),
        Just(QoS::AtLeastOnce),
        Just(QoS::ExactlyOnce)
    ]
}

fn packet_id() -> impl Strategy<Value = PacketId> {
    (1..=u16::MAX).prop_map(|id| PacketId::new(id).unwrap())
}

/// Mostly short, sometimes too long for a Remaining Length of one byte.
fn payload() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![4 => vec(any::<u8>(), 0..40), 1 => vec(any::<u8>(), 100..400)]
}

fn string() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z/$ ]{0,30}", "[^\0]{0,20}"]
}

fn topic() -> impl Strategy<Value = String> {
    prop_oneof!["[a-z/$ ]{1,30}", "[^\0#+]{1,20}"]
}

fn topic_filter() -> impl Strategy<Value = String> {
    let level = prop_oneof!["\\+", "[a-z$]{0,9}", "[^\0#+/]{0,5}"];
    let not_empty = |text: &String| !text.is_empty();
    (vec(level, 0..5), any::<bool>())
        .prop_map(|(mut levels, all)| {
            levels.extend(all.then(|| "#".into()));
            levels.join("/")
        })
        .prop_filter("a filter has a character", not_empty)
}

fn delivery() -> impl Strategy<Value = Delivery> {
    (qos(), packet_id(), any::<bool>()).prop_map(|(qos, packet_id, dup)| match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup },
        QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
    })
}

fn connect() -> impl Strategy<Value = OwnedConnect> {
    let will = option::of((topic(), payload(), qos(), any::<bool>()));
    let credentials = option::of((string(), option::of(payload())));
    (string(), any::<bool>(), any::<u16>(), will, credentials).prop_map(
        |(client_id, clean_session, keep_alive, will, credentials)| OwnedConnect {
            client_id,
            clean_session,
            keep_alive,
            will,
            credentials,
        },
    )
}

fn connack() -> impl Strategy<Value = Connack> {
    prop_oneof![
        any::<bool>().prop_map(|session_present| Connack::Accepted { session_present }),
        Just(Connack::Refused(
            ConnectReturnCode::UnacceptableProtocolVersion
        )),
        Just(Connack::Refused(ConnectReturnCode::IdentifierRejected)),
        Just(Connack::Refused(ConnectReturnCode::ServerUnavailable)),
        Just(Connack::Refused(ConnectReturnCode::BadUserNameOrPassword)),
        Just(Connack::Refused(ConnectReturnCode::NotAuthorized)),
    ]
}

fn code() -> impl Strategy<Value = SubackReturnCode> {
    prop_oneof![
        qos().prop_map(SubackReturnCode::Granted),
        Just(SubackReturnCode::Failure)
    ]
}

fn packet() -> impl Strategy<Value = Owned> {
    prop_oneof![
        connect().prop_map(Owned::Connect),
        connack().prop_map(Owned::Connack),
        (topic(), payload(), delivery(), any::<bool>()).prop_map(
            |(topic, payload, delivery, retain)| {
                Owned::Publish(topic, payload, delivery, retain)
            }
        ),
        (prop_oneof![4..=7_u8, Just(11)], packet_id()).prop_map(|(n, id)| Owned::Ack(n, id)),
        (packet_id(), vec((topic_filter(), qos()), 1..8))
            .prop_map(|(id, filters)| Owned::Subscribe(id, filters)),
        (packet_id(), vec(code(), 1..200)).prop_map(|(id, codes)| Owned::Suback(id, codes)),
        (packet_id(), vec(topic_filter(), 1..8))
            .prop_map(|(id, filters)| Owned::Unsubscribe(id, filters)),
        (0..3_u8).prop_map(Owned::Bare),
    ]
}

/// A packet with a few bytes overwritten, removed or inserted.
fn nearly_a_packet() -> impl Strategy<Value = Vec<u8>> {
    let edit = (any::<prop::sample::Index>(), any::<u8>(), 0..3_u8);
    (packet(), vec(edit, 0..4)).prop_map(|(packet, edits)| {
        let mut bytes = packet.encode();
        for (at, byte, kind) in edits {
            let at = at.index(bytes.len().max(1));
            match kind {
                0 if at < bytes.len() => bytes[at] = byte,
                1 if at < bytes.len() => drop(bytes.remove(at)),
                _ => bytes.insert(at, byte),
            }
        }
        bytes
    })
}

/// A header of any type and flags, and a body of its Remaining Length.
fn framed_noise() -> impl Strategy<Value = Vec<u8>> {
    (any::<u8>(), vec(any::<u8>(), 0..24))
        .prop_map(|(first, body)| [&[first, u8::try_from(body.len()).unwrap()][..], &body].concat())
}

fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        vec(any::<u8>(), 0..40),
        framed_noise(),
        nearly_a_packet(),
        nearly_a_packet()
    ]
}

/// Returns the same packet with a Remaining Length of at least `len` bytes.
fn pad(bytes: &[u8], len: usize) -> Vec<u8> {
    let (_, header_len) = FixedHeader::decode(bytes).unwrap().unwrap();
    let mut padded = bytes[..header_len].to_vec();
    while padded.len() < 1 + len {
        *padded.last_mut().unwrap() |= 0x80;
        padded.push(0);
    }
    [&padded, &bytes[header_len..]].concat()
}

proptest! {
    #[test]
    fn packet_encoded_and_decoded_is_unchanged(packet in packet()) {
        let bytes = packet.encode();
        packet.with(|sent| {
            let (received, used) = Packet::decode(&bytes).unwrap().unwrap();
            assert_eq!((received, used), (sent, bytes.len()));
            assert_eq!(received.packet_type(), sent.packet_type());
            assert_eq!(encode(received), bytes);
        });
        prop_assert_eq!(judge(&bytes), Verdict::Accepted(bytes.len()));
    }

    #[test]
    fn packet_prefix_is_incomplete(packet in packet(), padding in 1..=4_usize) {
        let bytes = pad(&packet.encode(), padding);
        for cut in 0..bytes.len() {
            prop_assert_eq!(Packet::decode(&bytes[..cut]), Ok(None));
        }
    }

    #[test]
    fn stream_is_split_at_packet_ends(packets in vec(packet(), 0..6)) {
        let stream: Vec<u8> = packets.iter().flat_map(Owned::encode).collect();
        let mut rest = &stream[..];
        for packet in packets {
            let (received, used) = Packet::decode(rest).unwrap().unwrap();
            packet.with(|sent| assert_eq!(received, sent));
            rest = &rest[used..];
        }
        prop_assert_eq!(Packet::decode(rest), Ok(None));
    }

    #[test]
    fn padded_remaining_length_decodes_same_packet(packet in packet(), padding in 1..=4_usize) {
        let bytes = pad(&packet.encode(), padding);
        packet.with(|sent| assert_eq!(Packet::decode(&bytes), Ok(Some((sent, bytes.len())))));
        prop_assert_eq!(judge(&bytes), Verdict::Accepted(bytes.len()));
    }

    #[test]
    fn encode_buffer_too_small_is_left_unchanged(packet in packet(), room in any::<prop::sample::Index>()) {
        packet.with(|packet| {
            let needed = packet.encoded_len().unwrap();
            let mut out = vec![0x55; room.index(needed)];
            assert_eq!(packet.encode(&mut out), Err(EncodeError::BufferTooSmall { needed }));
            assert!(out.iter().all(|byte| *byte == 0x55));
        });
    }

    #[test]
    fn encode_buffer_larger_keeps_rest_unchanged(packet in packet(), extra in 1..20_usize) {
        packet.with(|packet| {
            let needed = packet.encoded_len().unwrap();
            let mut out = vec![0x55; needed + extra];
            assert_eq!(packet.encode(&mut out).map(<[u8]>::len), Ok(needed));
            assert!(out[needed..].iter().all(|byte| *byte == 0x55));
        });
    }

    #[test]
    fn publish_equals_header_and_payload(
        (topic, payload) in (topic(), payload()), delivery in delivery(), retain in any::<bool>()
    ) {
        let topic = TopicName::new(&topic).unwrap();
        let publish = Publish { topic, payload: &payload, delivery, retain };
        let whole = encode(Packet::Publish(publish));
        let header = publish.header();
        let len = header.encoded_len().unwrap();
        let mut out = vec![0x55; len];
        prop_assert_eq!([header.encode(&mut out).unwrap(), &payload].concat(), &whole[..]);
        let mut short = vec![0x55; len - 1];
        let error = EncodeError::BufferTooSmall { needed: len };
        prop_assert_eq!(header.encode(&mut short), Err(error));
        prop_assert!(short.iter().all(|byte| *byte == 0x55));

        let (fixed, start) = FixedHeader::decode(&whole).unwrap().unwrap();
        let body = &whole[start..];
        prop_assert_eq!(Publish::decode_body(&fixed, body), Ok(publish));
        let used = len - start;
        for cut in 0..=body.len() {
            let expected = (cut >= used).then_some((header, used));
            prop_assert_eq!(PublishHeader::decode_body(&fixed, &body[..cut]), Ok(expected));
        }
    }

    #[test]
    fn arbitrary_bytes_are_decoded_as_by_checker(bytes in bytes()) {
        let verdict = match Packet::decode(&bytes) {
            Ok(None) => Verdict::Incomplete,
            Ok(Some((_, used))) => Verdict::Accepted(used),
            Err(_) => Verdict::Refused,
        };
        prop_assert_eq!(verdict, judge(&bytes));
    }

    #[test]
    fn decoded_packet_encoded_again_is_the_same(bytes in bytes()) {
        if let Ok(Some((packet, used))) = Packet::decode(&bytes) {
            let again = encode(packet);
            prop_assert_eq!(Packet::decode(&again), Ok(Some((packet, again.len()))));
            prop_assert!(again.len() <= used);
        }
    }

    #[test]
    fn decode_result_with_more_bytes_is_unchanged(bytes in bytes(), more in vec(any::<u8>(), 0..8)) {
        let first = (0..=bytes.len()).map(|cut| Packet::decode(&bytes[..cut])).find(|verdict| *verdict != Ok(None));
        if let Some(first) = first {
            let bytes = [bytes.clone(), more].concat();
            prop_assert_eq!(Packet::decode(&bytes), first);
        }
    }

    #[test]
    fn header_invalid_is_reported_at_its_last_byte(bytes in bytes()) {
        let told = (0..=bytes.len()).find(|cut| FixedHeader::decode(&bytes[..*cut]).is_err());
        if let Some(told) = told {
            let error = FixedHeader::decode(&bytes).unwrap_err();
            prop_assert_eq!(Packet::decode(&bytes[..told]), Err(error));
            // The error shows in the first byte, in the last byte of the length, or in its fourth byte.
            let ends = bytes[1..].iter().take(4).position(|byte| *byte < 0x80).map_or(5, |at| at + 2);
            prop_assert!(told == 1 || told == ends, "told at {}", told);
        }
    }

    #[test]
    fn debug_output_hides_passwords_and_payloads(packet in packet()) {
        let packet = match packet {
            Owned::Publish(topic, _, delivery, retain) => Owned::Publish(topic, b"\x11\xEE".repeat(9), delivery, retain),
            Owned::Connect(mut connect) => {
                connect.credentials = Some(("user".into(), Some(b"\x11\xEE".repeat(9))));
                connect.will = Some(("w".into(), b"\x11\xEE".repeat(9), QoS::AtMostOnce, false));
                Owned::Connect(connect)
            }
            other => other,
        };
        let text = packet.with(|packet| format!("{packet:?}"));
        prop_assert!(!text.contains("17, 238"), "{}", text);
    }

    #[test]
    fn filter_matches_topics_as_checker(
        filter in "(\\+|a|b|\\$a|)(/(\\+|a|b|))?(/(\\+|a|b|))?(/#)?", topic in "[ab$/]{1,6}"
    ) {
        if let (Ok(filter), Ok(topic)) = (TopicFilter::new(&filter), TopicName::new(&topic)) {
            let expected = checker::is_match(filter.as_str(), topic.as_str());
            prop_assert_eq!(filter.matches(topic), expected);
        }
    }

    #[test]
    fn captures_return_levels_of_wildcards(
        filter in "(\\+|a|é)(/(\\+|a|)){0,2}(/#)?|#", topic in "(a|é|\\$)(/(a|)){0,3}"
    ) {
        if let (Ok(filter), Ok(topic)) = (TopicFilter::new(&filter), TopicName::new(&topic)) {
            let captures = filter.captures(topic);
            let captures = captures.map(|levels| levels.map(String::from).collect());
            prop_assert_eq!(captures, checker::captures(filter.as_str(), topic.as_str()));
        }
    }

    #[test]
    fn string_is_accepted_as_topic_as_by_checker(text in "[a/+#\0é]{0,6}") {
        let (name, filter) = (TopicName::new(&text), TopicFilter::new(&text));
        prop_assert_eq!(name.is_ok(), checker::is_topic_name(text.as_bytes()));
        prop_assert_eq!(filter.is_ok(), checker::is_topic_filter(text.as_bytes()));
        prop_assert!(name.is_ok_and(|name| name.as_str() == text) || name.is_err());
        prop_assert!(filter.is_ok_and(|filter| filter.as_str() == text) || filter.is_err());
    }
}

/// Topics are checked in blocks. Every byte value is found at every position.
#[test]
fn topic_with_every_byte_at_every_position_is_checked() {
    for len in 1..36 {
        for at in 0..len {
            for byte in 0..=255 {
                let mut name = vec![b'/'; len];
                name[at] = byte;
                let packet = [
                    &[
                        0x30,
                        u8::try_from(len + 2).unwrap(),
                        0,
                        u8::try_from(len).unwrap(),
                    ][..],
                    &name,
                ]
                .concat();
                let accepted = Packet::decode(&packet).is_ok();
                assert_eq!(accepted, checker::is_topic_name(&name), "{packet:02x?}");
            }
        }
    }
}

/// Every boundary of a Remaining Length, encoded and decoded.
#[test]
fn remaining_length_at_boundaries_is_exact() {
    let cases: [(u32, &[u8]); 8] = [
        (0, &[0x00]),
        (127, &[0x7F]),
        (128, &[0x80, 0x01]),
        (16_383, &[0xFF, 0x7F]),
        (16_384, &[0x80, 0x80, 0x01]),
        (2_097_151, &[0xFF, 0xFF, 0x7F]),
        (2_097_152, &[0x80, 0x80, 0x80, 0x01]),
        (268_435_455, &[0xFF, 0xFF, 0xFF, 0x7F]),
    ];
    let topic = TopicName::new("a").unwrap();
    for (length, digits) in cases {
        let first = if length == 0 { 0xC0 } else { 0x30 };
        let bytes = [&[first][..], digits].concat();
        let (header, used) = FixedHeader::decode(&bytes).unwrap().unwrap();
        assert_eq!((header.remaining_length, used), (length, bytes.len()));
        for cut in 0..bytes.len() {
            assert_eq!(FixedHeader::decode(&bytes[..cut]), Ok(None));
        }
        if length == 0 {
            assert_eq!(encode(Packet::Pingreq), bytes);
            continue;
        }
        let payload_len = usize::try_from(length).unwrap() - 3;
        let message = PublishHeader {
            topic,
            delivery: Delivery::AtMostOnce,
            retain: false,
            payload_len,
        };
        let mut out = [0; 16];
        let sent = message.encode(&mut out).unwrap();
        assert_eq!(sent, [&bytes[..], b"\0\x01a"].concat());
        assert_eq!(message.encoded_len(), Ok(sent.len()));
        let decoded = PublishHeader::decode_body(&header, &sent[bytes.len()..]);
        assert_eq!(decoded, Ok(Some((message, 3))));
    }
}

/// A complete packet on each side of every boundary but the last, whose packets are too large for a test.
#[test]
fn packets_at_length_boundaries_roundtrip() {
    let payload = vec![0x5A; 2_097_152];
    let topic = TopicName::new("a").unwrap();
    for length in [127, 128, 16_383, 16_384, 2_097_151, 2_097_152_usize] {
        let publish = Publish::new(topic, &payload[..length - 3]);
        let bytes = encode(Packet::Publish(publish));
        let decoded = Packet::decode(&bytes);
        assert_eq!(decoded, Ok(Some((Packet::Publish(publish), bytes.len()))));
        assert_eq!(Packet::decode(&bytes[..bytes.len() - 1]), Ok(None));
    }
}

#[test]
fn lists_with_equal_items_compare_and_print_equal() {
    let id = PacketId::MIN;
    let codes = [
        SubackReturnCode::Granted(QoS::AtMostOnce),
        SubackReturnCode::Failure,
    ];
    let ours = Suback::new(id, &codes).unwrap();
    let mut out = [0; 16];
    let bytes = ours.encode(&mut out).unwrap();
    let Some((Packet::Suback(theirs), _)) = Packet::decode(bytes).unwrap() else {
        panic!("a SUBACK is one");
    };
    for suback in [ours, theirs] {
        assert_eq!(suback.packet_id(), id);
        assert_eq!(
            (suback.codes().len(), suback.codes().is_empty()),
            (2, false)
        );
        assert_eq!(suback.codes().first(), Some(codes[0]));
        assert_eq!(
            format!("{suback:?}"),
            "Suback { packet_id: PacketId(1), codes: SubackCodes([Granted(AtMostOnce), Failure]) }"
        );
        assert_ne!(suback, Suback::new(id, &codes[..1]).unwrap());
        assert_ne!(suback, Suback::new(id, &codes[1..]).unwrap());
    }
    assert_eq!(ours, theirs);
}
