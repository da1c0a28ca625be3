//! Packets that other libraries accept, or panic on.

use umqtt::codec::{
    Connack, Connect, DecodeError, Delivery, EncodeError, Field, FixedHeader, Packet, PacketId,
    PacketType, Puback, Publish, PublishHeader, Suback, TopicError, TopicFilter, TopicName,
};

fn error(bytes: &[u8]) -> Option<DecodeError> {
    Packet::decode(bytes).err()
}

#[test]
fn publish_topic_with_wildcard_is_refused() {
    for (packet, at) in [
        (b"\x30\x05\0\x03a/+", 2),
        (b"\x30\x05\0\x03a/#", 2),
        (b"\x30\x05\0\x03#ab", 0),
        (b"\x30\x05\0\x03a+b", 1),
    ] {
        let wildcard = TopicError::Wildcard { at };
        assert_eq!(error(packet), Some(DecodeError::TopicName(wildcard)));
    }
    assert_eq!(TopicName::new("a/+"), Err(TopicError::Wildcard { at: 2 }));
}

#[test]
fn publish_topic_with_nul_is_refused() {
    let nul = TopicError::Nul { at: 1 };
    assert_eq!(
        error(b"\x30\x05\0\x03a\0b"),
        Some(DecodeError::TopicName(nul))
    );
    assert_eq!(TopicName::new("a\0b"), Err(nul));
}

#[test]
fn publish_topic_of_nuls_is_refused() {
    let nul = TopicError::Nul { at: 0 };
    for len in 1..=40_u8 {
        let packet = [&[0x30, len + 2, 0, len][..], &vec![0; usize::from(len)]].concat();
        assert_eq!(
            error(&packet),
            Some(DecodeError::TopicName(nul)),
            "{len} bytes"
        );
    }
}

#[test]
fn empty_topic_is_refused() {
    let empty = TopicError::Empty;
    assert_eq!(error(b"\x30\x03\0\0x"), Some(DecodeError::TopicName(empty)));
    assert_eq!(
        error(b"\x32\x05\0\0\0\x01x"),
        Some(DecodeError::TopicName(empty))
    );
    // Without a payload the header is enough to know.
    assert_eq!(error(b"\x30\x02"), Some(DecodeError::Truncated));
    assert_eq!(error(b"\x32\x04"), Some(DecodeError::Truncated));
    assert_eq!(TopicName::new(""), Err(empty));
    assert_eq!(TopicFilter::new(""), Err(empty));
}

#[test]
fn publish_with_dup_at_qos_0_is_refused() {
    assert_eq!(error(b"\x38\x03\0\x01a"), Some(DecodeError::DupAtQosZero));
    assert_eq!(error(b"\x39"), Some(DecodeError::DupAtQosZero));
}

#[test]
fn connack_refusal_with_session_present_is_refused() {
    for code in 1..=5 {
        let expected = DecodeError::SessionPresentWithRefusal { code };
        assert_eq!(error(&[0x20, 2, 1, code]), Some(expected));
    }
    let accepted = Connack::Accepted {
        session_present: true,
    };
    assert_eq!(
        Packet::decode(&[0x20, 2, 1, 0]),
        Ok(Some((Packet::Connack(accepted), 4)))
    );
}

#[test]
fn connack_with_reserved_flags_is_refused() {
    for flags in 2..=255 {
        let expected = DecodeError::ReservedConnackFlags { flags };
        assert_eq!(error(&[0x20, 2, flags, 0]), Some(expected));
    }
}

#[test]
fn connack_with_reserved_code_is_refused() {
    for code in 6..=255 {
        let expected = DecodeError::UnknownConnectReturnCode { code };
        assert_eq!(error(&[0x20, 2, 0, code]), Some(expected));
    }
}

#[test]
fn acknowledgement_with_trailing_bytes_is_refused() {
    for first in [0x40, 0x50, 0x62, 0x70, 0xB0] {
        let expected = Some(DecodeError::TrailingBytes { extra: 1 });
        assert_eq!(error(&[first, 3, 0, 1, 0]), expected);
        // The extra bytes are refused before they are received.
        assert_eq!(error(&[first, 3]), expected);
    }
}

#[test]
fn connack_and_connect_with_trailing_bytes_are_refused() {
    assert_eq!(
        error(b"\x20\x04\0\0"),
        Some(DecodeError::TrailingBytes { extra: 2 })
    );
    let connect = b"\x10\x0E\0\x04MQTT\x04\x02\0\0\0\0\0\0";
    assert_eq!(
        error(connect),
        Some(DecodeError::TrailingBytes { extra: 2 })
    );
}

#[test]
fn remaining_length_padded_to_four_bytes_is_accepted() {
    for packet in [
        &[0xC0, 0x00][..],
        &[0xC0, 0x80, 0x00],
        &[0xC0, 0x80, 0x80, 0x80, 0x00],
    ] {
        assert_eq!(
            Packet::decode(packet),
            Ok(Some((Packet::Pingreq, packet.len())))
        );
    }
    let publish = Publish::new(TopicName::new("a").unwrap(), b"");
    let padded = b"\x30\x83\x80\x00\0\x01a";
    assert_eq!(
        Packet::decode(padded),
        Ok(Some((Packet::Publish(publish), padded.len())))
    );
}

#[test]
fn remaining_length_of_five_bytes_is_refused_at_the_fourth() {
    for packet in [
        b"\x30\xFF\xFF\xFF\xFF",
        b"\xC0\x80\x80\x80\x80",
        b"\x40\x82\x80\x80\x80",
    ] {
        assert_eq!(error(packet), Some(DecodeError::RemainingLengthTooLong));
        assert_eq!(Packet::decode(&packet[..4]), Ok(None));
    }
}

#[test]
fn packets_that_panic_mqttrs_are_refused() {
    for packet in [
        &b"\x40\x00"[..],
        b"\x20\x00",
        b"\x30\x01\x00\x00",
        b"\x50\x01\x00",
        b"\x90\x01\x00",
        b"\x82\x05\x00\x01\x00\x01\x61",
        b"\x10\x02\x00\x00",
    ] {
        assert_eq!(error(packet), Some(DecodeError::Truncated), "{packet:02x?}");
    }
}

#[test]
fn packets_that_underflow_in_ntex_mqtt_are_refused() {
    // A topic longer than its packet, with more bytes after it.
    assert_eq!(error(b"\x30\x03\x00\x10\x41"), Some(DecodeError::Truncated));
    assert_eq!(
        error(b"\x30\x03\x00\x10\x41\x41\x41\x41\x41"),
        Some(DecodeError::Truncated)
    );
}

#[test]
fn qos_1_publish_with_id_0_is_refused() {
    assert_eq!(
        error(b"\x32\x05\0\x01a\0\0"),
        Some(DecodeError::PacketIdZero)
    );
    assert_eq!(
        error(b"\x34\x05\0\x01a\0\0"),
        Some(DecodeError::PacketIdZero)
    );
}

#[test]
fn qos_1_publish_without_id_is_refused() {
    assert_eq!(error(b"\x32\x04\0\x02ab"), Some(DecodeError::Truncated));
    assert_eq!(error(b"\x32\x05\0\x02abc"), Some(DecodeError::Truncated));
}

#[test]
fn reserved_type_is_refused_at_the_first_byte() {
    for flags in 0..16 {
        let reserved = |value| Some(DecodeError::ReservedPacketType { value });
        assert_eq!(error(&[flags]), reserved(0));
        assert_eq!(error(&[0xF0 | flags]), reserved(15));
    }
}

#[test]
fn body_of_a_packet_without_body_is_refused() {
    for first in [0xC0, 0xD0, 0xE0] {
        assert_eq!(
            error(&[first, 1]),
            Some(DecodeError::TrailingBytes { extra: 1 })
        );
    }
}

#[test]
fn string_with_surrogate_or_overlong_form_is_refused() {
    for (ill, at) in [
        (b"\xED\xA0\x80", 0),
        (b"a\xC0\x80", 1),
        (b"ab\xFF", 2),
        (b"ab\xC3", 2),
    ] {
        let packet = [&b"\x30\x05\0\x03"[..], ill].concat();
        assert_eq!(error(&packet), Some(DecodeError::InvalidUtf8 { at }));
    }
}

#[test]
fn suback_without_code_or_with_reserved_code_is_refused() {
    assert_eq!(error(b"\x90\x02\0\x01"), Some(DecodeError::Truncated));
    let unknown = DecodeError::UnknownSubackReturnCode { code: 3 };
    assert_eq!(error(b"\x90\x04\0\x01\0\x03"), Some(unknown));
}

#[test]
fn topic_over_65_535_bytes_is_refused() {
    let long = "a".repeat(65_536);
    let too_long = TopicError::TooLong { len: 65_536 };
    assert_eq!(TopicName::new(&long), Err(too_long));
    assert_eq!(TopicFilter::new(&long), Err(too_long));
    assert_eq!(
        TopicName::new(&long[1..]).map(|topic| topic.as_bytes().len()),
        Ok(65_535)
    );
}

#[test]
fn packet_over_the_largest_remaining_length_is_refused() {
    let publish = |payload_len| PublishHeader {
        topic: TopicName::new("a").unwrap(),
        delivery: Delivery::AtLeastOnce {
            packet_id: PacketId::MIN,
            dup: false,
        },
        retain: false,
        payload_len,
    };
    let most = 268_435_455 - 5;
    assert_eq!(publish(most).encoded_len(), Ok(10));
    let too_long = |remaining_length| EncodeError::PacketTooLong { remaining_length };
    let expected = too_long(268_435_456);
    assert_eq!(publish(most + 1).encoded_len(), Err(expected));
    assert_eq!(publish(most + 1).encode(&mut [0; 64]), Err(expected));
    assert_eq!(publish(usize::MAX).encoded_len(), Err(too_long(usize::MAX)));
}

#[test]
fn flags_that_differ_from_table_2_2_are_refused() {
    for first in 0x10..0xF0_u8 {
        let expected = match first {
            0x30..=0x3F => continue,
            0x62 | 0x82 | 0xA2 => None,
            _ if first & 0x0F == 0 && ![0x60, 0x80, 0xA0].contains(&first) => None,
            _ => Some(first & 0x0F),
        };
        let found = match error(&[first]) {
            Some(DecodeError::InvalidFlags { packet_type, flags }) => {
                assert_eq!(packet_type as u8, first >> 4);
                Some(flags)
            }
            _ => None,
        };
        assert_eq!(found, expected, "{first:#04x}");
    }
    assert_eq!(PacketType::Disconnect as u8, 14);
}

#[test]
fn topic_longer_than_packet_is_refused_at_its_length() {
    let (header, _) = FixedHeader::decode(b"\x30\x07").unwrap().unwrap();
    let truncated = Err(DecodeError::Truncated);
    assert_eq!(PublishHeader::decode_body(&header, b"\0\x06"), truncated);
    assert_eq!(PublishHeader::decode_body(&header, b"\0\x05"), Ok(None));
    let (header, _) = FixedHeader::decode(b"\x32\x07").unwrap().unwrap();
    assert_eq!(PublishHeader::decode_body(&header, b"\0\x04"), truncated);
    assert_eq!(PublishHeader::decode_body(&header, b"\0\x03"), Ok(None));
}

/// A body may be decoded separately, by a caller that has read the header.
#[test]
fn decode_body_refuses_short_and_long_bodies() {
    let long = DecodeError::TrailingBytes { extra: 1 };
    let short = DecodeError::Truncated;
    assert_eq!(Puback::decode_body(b"\0\x01x"), Err(long));
    assert_eq!(Puback::decode_body(b"\0"), Err(short));
    assert_eq!(Connack::decode_body(b"\0\0x"), Err(long));
    assert_eq!(Connack::decode_body(b"\0"), Err(short));
    assert_eq!(Suback::decode_body(b"\0\x01"), Err(short));
    let (header, _) = FixedHeader::decode(b"\x30\x04").unwrap().unwrap();
    assert!(Publish::decode_body(&header, b"\0\x01ab").is_ok());
    assert_eq!(Publish::decode_body(&header, b"\0\x01abc"), Err(long));
    assert_eq!(Publish::decode_body(&header, b"\0\x01a"), Err(short));
}

#[test]
fn decode_body_refuses_invalid_flags_of_header() {
    let error_with = |flags| {
        let packet_type = PacketType::Publish;
        let header = FixedHeader {
            packet_type,
            flags,
            remaining_length: 5,
        };
        PublishHeader::decode_body(&header, b"\0\x01a\0\x01").err()
    };
    assert_eq!(error_with(0b0110), Some(DecodeError::PublishQosThree));
    assert_eq!(error_with(0b1000), Some(DecodeError::DupAtQosZero));
    assert_eq!(error_with(0b1010), None);
}

/// Long strings are checked in blocks. The position of the first invalid byte is still reported.
#[test]
fn first_of_two_invalid_bytes_is_reported() {
    for len in [7, 8, 9, 15, 16, 17, 33] {
        for first in 0..len {
            for second in first..len {
                let with = |byte| {
                    let mut bytes = vec![b'a'; len];
                    bytes[first] = byte;
                    bytes[second] = byte;
                    String::from_utf8(bytes)
                };
                let Ok(topic) = with(b'+') else { continue };
                let wildcard = TopicError::Wildcard { at: first };
                assert_eq!(TopicName::new(&topic), Err(wildcard));
                let Ok(client_id) = with(0) else { continue };
                assert_eq!(
                    Connect::new(&client_id).encode(&mut [0; 64]),
                    Err(EncodeError::NulInString {
                        field: Field::ClientId,
                        at: first
                    })
                );
            }
        }
    }
}

/// Any number of wildcards is valid if each fills its level. A misplaced one is found among any others.
#[test]
fn every_wildcard_of_a_long_filter_is_checked() {
    const LEN: usize = 70;
    let packet = |wildcards: [usize; 2]| {
        let mut bytes = b"\x82\x4B\0\x01\0\x46".to_vec();
        bytes.extend((0..LEN).map(|i| if i % 2 == 0 { b'a' } else { b'/' }));
        for at in wildcards {
            bytes[6 + at] = b'+';
        }
        bytes.push(0);
        bytes
    };
    for one in 0..LEN {
        for other in 0..LEN {
            // A `+` in place of a `/` is between letters, or shares the level of its neighbour.
            let misplaced = [one, other].into_iter().filter(|at| at % 2 == 1);
            let first = misplaced.min().map(|at| {
                let before = [one, other].contains(&(at - 1));
                if before { at - 1 } else { at }
            });
            let expected = first.map(|at| DecodeError::TopicFilter(TopicError::Wildcard { at }));
            assert_eq!(error(&packet([one, other])), expected, "{one} {other}");
        }
    }
}

/// A valid wildcard does not hide a misplaced one before it.
#[test]
fn misplaced_wildcard_beside_a_valid_one_is_refused() {
    for wrong in (0..60).step_by(4) {
        for right in (wrong + 8..=120).step_by(8) {
            let mut filter = [b'a'; 128];
            filter[wrong] = b'+';
            filter[right - 1..right + 2].copy_from_slice(b"/+/");
            let packet = [&b"\x82\x85\x01\0\x01\0\x80"[..], &filter, &[0]].concat();
            let wildcard = TopicError::Wildcard { at: wrong };
            assert_eq!(error(&packet), Some(DecodeError::TopicFilter(wildcard)));
        }
    }
}

/// The result does not depend on the length of a filter or on the position of its levels.
#[test]
fn received_filters_are_checked_level_by_level() {
    let mut rng = fastrand::Rng::with_seed(7);
    let mut valid = 0;
    for _ in 0..5_000 {
        let levels = (0..rng.usize(1..24)).map(|_| ["a", "+", "bcd", "e", "/f"][rng.usize(..5)]);
        let mut filter = levels.collect::<Vec<_>>().join("/");
        for _ in 0..rng.usize(..3) {
            filter.insert_str(rng.usize(..=filter.len()), ["+", "#", "/#"][rng.usize(..3)]);
        }
        let last = filter.split('/').count() - 1;
        let is_valid = filter.split('/').enumerate().all(|(at, level)| {
            level == "+" || level == "#" && at == last || !level.contains(['+', '#'])
        });
        valid += usize::from(is_valid);
        let mut packet = vec![0x82, filter.len() as u8 + 5, 0, 1, 0, filter.len() as u8];
        packet.extend(filter.bytes());
        packet.push(0);
        assert_eq!(error(&packet).is_none(), is_valid, "{filter}");
    }
    assert!((1_500..3_500).contains(&valid), "{valid}");
}
