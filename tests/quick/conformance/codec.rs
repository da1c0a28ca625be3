//! One test for each statement of MQTT 3.1.1 that binds a codec, for decoding and for encoding if it concerns both.

use umqtt::codec::{
    Connack, Connect, ConnectReturnCode, Credentials, DecodeError, Delivery, EncodeError, Field,
    Packet, PacketId, PacketType, Puback, Pubcomp, Publish, Pubrec, Pubrel, QoS, Suback,
    SubackReturnCode, Subscribe, TopicError, TopicFilter, TopicName, Unsuback, Unsubscribe, Will,
};

const ID: PacketId = PacketId::MIN;

fn topic(name: &str) -> TopicName<'_> {
    TopicName::new(name).unwrap()
}

fn filter(filter: &str) -> TopicFilter<'_> {
    TopicFilter::new(filter).unwrap()
}

fn encode(packet: Packet<'_>) -> Vec<u8> {
    packet.encode(&mut [0; 512]).unwrap().to_vec()
}

fn decode(bytes: &[u8]) -> Packet<'_> {
    let (packet, used) = Packet::decode(bytes).unwrap().unwrap();
    assert_eq!(used, bytes.len());
    packet
}

fn error(bytes: &[u8]) -> Option<DecodeError> {
    Packet::decode(bytes).err()
}

/// A frame with this first byte and this body of less than 128 bytes.
fn frame(first: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    [&[first, u8::try_from(body.len()).unwrap()][..], &body].concat()
}

/// A string after its two-byte length.
fn string(bytes: &[u8]) -> Vec<u8> {
    let len = u16::try_from(bytes.len()).unwrap();
    [&len.to_be_bytes()[..], bytes].concat()
}

fn connect(flags: u8, payload: &[&[u8]]) -> Vec<u8> {
    let fields: Vec<u8> = payload.iter().flat_map(|field| string(field)).collect();
    frame(0x10, &[b"\0\x04MQTT\x04", &[flags], b"\0\x3C", &fields])
}

/// Packets that have these bytes in one string each: client id, will topic, user name, topic name, and two filters.
fn with_string(bytes: &[u8]) -> [Vec<u8>; 6] {
    [
        connect(0x02, &[bytes]),
        connect(0x06, &[b"id", bytes, b"message"]),
        connect(0x82, &[b"id", bytes]),
        frame(0x30, &[&string(bytes), b"payload"]),
        frame(0x82, &[b"\0\x01", &string(bytes), b"\0"]),
        frame(0xA2, &[b"\0\x01", &string(bytes)]),
    ]
}

/// Calls `check` with a packet of each type.
fn every_packet(check: impl Fn(Packet<'_>)) {
    check(Packet::Connect(Connect::new("id")));
    check(Packet::Connack(Connack::Accepted {
        session_present: false,
    }));
    check(Packet::Publish(Publish::new(topic("a"), b"payload")));
    check(Packet::Puback(Puback::new(ID)));
    check(Packet::Pubrec(Pubrec::new(ID)));
    check(Packet::Pubrel(Pubrel::new(ID)));
    check(Packet::Pubcomp(Pubcomp::new(ID)));
    check(Packet::Subscribe(
        Subscribe::new(ID, &[(filter("a"), QoS::AtMostOnce)]).unwrap(),
    ));
    check(Packet::Suback(
        Suback::new(ID, &[SubackReturnCode::Failure]).unwrap(),
    ));
    check(Packet::Unsubscribe(
        Unsubscribe::new(ID, &[filter("a")]).unwrap(),
    ));
    check(Packet::Unsuback(Unsuback::new(ID)));
    check(Packet::Pingreq);
    check(Packet::Pingresp);
    check(Packet::Disconnect);
}

/// The first byte of each packet except PUBLISH, from table 2.2.
const FIRST_BYTES: [(PacketType, u8); 13] = [
    (PacketType::Connect, 0x10),
    (PacketType::Connack, 0x20),
    (PacketType::Puback, 0x40),
    (PacketType::Pubrec, 0x50),
    (PacketType::Pubrel, 0x62),
    (PacketType::Pubcomp, 0x70),
    (PacketType::Subscribe, 0x82),
    (PacketType::Suback, 0x90),
    (PacketType::Unsubscribe, 0xA2),
    (PacketType::Unsuback, 0xB0),
    (PacketType::Pingreq, 0xC0),
    (PacketType::Pingresp, 0xD0),
    (PacketType::Disconnect, 0xE0),
];

/// Checks that only these flags of a type are valid, and that the error contains the others.
fn only_flags(packet_type: PacketType, legal: u8) {
    for flags in 0..16 {
        let expected = DecodeError::InvalidFlags { packet_type, flags };
        let first = (packet_type as u8) << 4 | flags;
        assert_eq!(error(&[first]), (flags != legal).then_some(expected));
    }
}

/// [MQTT-1.5.3-1] Ill-formed UTF-8, surrogates included, is refused in every string field.
#[test]
fn mqtt_1_5_3_1_ill_formed_utf8_is_refused() {
    for (bytes, at) in [
        (&b"\xED\xA0\x80"[..], 0), // U+D800
        (b"ab\xED\xBF\xBF", 2),    // U+DFFF
        (b"abcdefgh\xFF", 8),      // no such byte
        (b"\xC0\x80", 0),          // overlong NUL
        (b"\xF4\x90\x80\x80", 0),  // above U+10FFFF
        (b"a/b\xE2\x82", 3),       // cut
    ] {
        for packet in with_string(bytes) {
            assert_eq!(
                error(&packet),
                Some(DecodeError::InvalidUtf8 { at }),
                "{packet:02x?}"
            );
        }
    }
    // The encoding side takes `&str` only.
}

/// [MQTT-1.5.3-2] U+0000 is refused in every string field.
#[test]
fn mqtt_1_5_3_2_nul_is_refused() {
    let [id, will, user, publish, subscribe, unsubscribe] = with_string(b"ab\0c");
    let nul = TopicError::Nul { at: 2 };
    assert_eq!(error(&id), Some(DecodeError::NulInString { at: 2 }));
    assert_eq!(error(&will), Some(DecodeError::TopicName(nul)));
    assert_eq!(error(&user), Some(DecodeError::NulInString { at: 2 }));
    assert_eq!(error(&publish), Some(DecodeError::TopicName(nul)));
    assert_eq!(error(&subscribe), Some(DecodeError::TopicFilter(nul)));
    assert_eq!(error(&unsubscribe), Some(DecodeError::TopicFilter(nul)));

    assert_eq!(TopicName::new("ab\0c"), Err(nul));
    assert_eq!(TopicFilter::new("ab\0c"), Err(nul));
    let credentials = Some(Credentials {
        user_name: "ab\0c",
        password: None,
    });
    let by_user = Connect {
        credentials,
        ..Connect::new("id")
    };
    for (field, connect) in [
        (Field::ClientId, Connect::new("ab\0c")),
        (Field::UserName, by_user),
    ] {
        let nul = EncodeError::NulInString { field, at: 2 };
        assert_eq!(connect.encode(&mut [0; 64]), Err(nul));
        assert_eq!(connect.encoded_len(), Err(nul));
    }
}

/// [MQTT-1.5.3-3] EF BB BF is U+FEFF at any position, and is kept.
#[test]
fn mqtt_1_5_3_3_byte_order_mark_is_kept() {
    let name = "\u{FEFF}a\u{FEFF}";
    assert_eq!(name.as_bytes(), b"\xEF\xBB\xBFa\xEF\xBB\xBF");
    for packet in with_string(name.as_bytes()) {
        match decode(&packet) {
            Packet::Connect(Connect {
                will: Some(will), ..
            }) => {
                assert_eq!(will.topic, name);
            }
            Packet::Connect(Connect {
                credentials: Some(credentials),
                ..
            }) => {
                assert_eq!(credentials.user_name, name);
            }
            Packet::Connect(connect) => assert_eq!(connect.client_id, name),
            Packet::Publish(publish) => assert_eq!(publish.topic.as_str(), name),
            Packet::Subscribe(packet) => {
                assert!(packet.filters().eq([(filter(name), QoS::AtMostOnce)]));
            }
            Packet::Unsubscribe(packet) => assert!(packet.filters().eq([filter(name)])),
            other => panic!("{other:?}"),
        }
        assert_eq!(encode(decode(&packet)), packet);
    }
}

/// [MQTT-2.2.2-1] Reserved flags are sent with the values of table 2.2.
#[test]
fn mqtt_2_2_2_1_flags_are_encoded_as_in_table_2_2() {
    every_packet(|packet| {
        let expected = FIRST_BYTES
            .iter()
            .find(|(packet_type, _)| *packet_type == packet.packet_type());
        let first = encode(packet).first().copied();
        assert_eq!(
            first,
            Some(expected.map_or(0x30, |(_, first)| *first)),
            "{packet:?}"
        );
    });
}

/// [MQTT-2.2.2-2] Any other flags are refused, at the first byte.
#[test]
fn mqtt_2_2_2_2_other_flags_are_refused() {
    for (packet_type, first) in FIRST_BYTES {
        only_flags(packet_type, first & 0x0F);
    }
}

/// [MQTT-2.3.1-1] SUBSCRIBE, UNSUBSCRIBE and PUBLISH above QoS 0 never carry packet id 0.
#[test]
fn mqtt_2_3_1_1_packet_id_zero_is_refused() {
    for packet in [
        &b"\x32\x05\0\x01a\0\0"[..],
        b"\x34\x05\0\x01a\0\0",
        b"\x82\x06\0\0\0\x01a\0",
        b"\xA2\x05\0\0\0\x01a",
        b"\x40\x02\0\0",
        b"\x50\x02\0\0",
        b"\x62\x02\0\0",
        b"\x70\x02\0\0",
        b"\x90\x03\0\0\0",
        b"\xB0\x02\0\0",
    ] {
        assert_eq!(
            error(packet),
            Some(DecodeError::PacketIdZero),
            "{packet:02x?}"
        );
    }
    assert_eq!(PacketId::new(0), None);
    assert_eq!(PacketId::new(1), Some(PacketId::MIN));
    assert_eq!(PacketId::new(65_535), Some(PacketId::MAX));
    assert_eq!(size_of::<Option<PacketId>>(), 2);
}

/// [MQTT-2.3.1-5] A QoS 0 PUBLISH has no packet id field.
#[test]
fn mqtt_2_3_1_5_qos_0_has_no_packet_id() {
    let bytes = encode(Packet::Publish(Publish::new(topic("a"), b"\0\x07")));
    assert_eq!(bytes, b"\x30\x05\0\x01a\0\x07");
    let Packet::Publish(publish) = decode(&bytes) else {
        panic!()
    };
    assert_eq!(
        (publish.payload, publish.delivery.packet_id()),
        (&b"\0\x07"[..], None)
    );
}

/// [MQTT-3.1.2-1] Another protocol name has its own error.
#[test]
fn mqtt_3_1_2_1_other_protocol_name_is_refused() {
    for name in [&b"MQIsdp"[..], b"mqtt", b"MQT", b"MQTTT", b""] {
        let packet = frame(
            0x10,
            &[&string(name), b"\x04\x02\0\x3C", &string(b"client")],
        );
        assert_eq!(error(&packet), Some(DecodeError::WrongProtocolName));
    }
    let bytes = encode(Packet::Connect(Connect::new("id")));
    assert_eq!(bytes.get(2..8), Some(&b"\0\x04MQTT"[..]));
}

/// [MQTT-3.1.2-2] Another protocol level has its own error, so a server can answer 0x01.
#[test]
fn mqtt_3_1_2_2_other_protocol_level_is_reported() {
    for level in (0..=255).filter(|level| *level != 4) {
        // The bytes after the level are not checked.
        let packet = frame(
            0x10,
            &[b"\0\x04MQTT", &[level], b"\xFF\xFF\xFF\xFF\xFF\xFF\xFF"],
        );
        assert_eq!(
            error(&packet),
            Some(DecodeError::UnsupportedProtocolLevel { level })
        );
    }
    let answer = Connack::Refused(ConnectReturnCode::UnacceptableProtocolVersion);
    assert_eq!(encode(Packet::Connack(answer)), [0x20, 2, 0, 1]);
    let bytes = encode(Packet::Connect(Connect::new("id")));
    assert_eq!(bytes.get(8), Some(&4));
}

/// [MQTT-3.1.2-3] A CONNECT whose reserved flag is set is refused, and none is sent.
#[test]
fn mqtt_3_1_2_3_reserved_connect_flag_is_refused() {
    assert_eq!(
        error(&connect(0x03, &[b"id"])),
        Some(DecodeError::ReservedConnectFlag)
    );
    assert_eq!(
        error(&connect(0x01, &[b"id"])),
        Some(DecodeError::ReservedConnectFlag)
    );
    let bytes = encode(Packet::Connect(Connect::new("id")));
    assert_eq!(bytes.get(9), Some(&0x02));
}

/// [MQTT-3.1.2-9] Will Flag 1: QoS, retain, topic and message are all sent and all required.
#[test]
fn mqtt_3_1_2_9_will_has_topic_and_message() {
    for (qos, retain, flags) in [
        (QoS::AtMostOnce, false, 0x06),
        (QoS::AtLeastOnce, false, 0x0E),
        (QoS::ExactlyOnce, false, 0x16),
        (QoS::AtMostOnce, true, 0x26),
        (QoS::AtLeastOnce, true, 0x2E),
        (QoS::ExactlyOnce, true, 0x36),
    ] {
        let will = Will {
            qos,
            retain,
            ..Will::new("w", b"bye")
        };
        let packet = Packet::Connect(Connect {
            will: Some(will),
            keep_alive: 60,
            ..Connect::new("id")
        });
        let bytes = connect(flags, &[b"id", b"w", b"bye"]);
        assert_eq!(encode(packet), bytes);
        assert_eq!(decode(&bytes), packet);
    }
    assert_eq!(
        error(&connect(0x06, &[b"id", b"w"])),
        Some(DecodeError::Truncated)
    );
    assert_eq!(
        error(&connect(0x06, &[b"id"])),
        Some(DecodeError::Truncated)
    );
}

/// [MQTT-3.1.2-11] Will Flag 0: no will topic or message, and their flags are zero.
#[test]
fn mqtt_3_1_2_11_connect_without_will_has_no_will_fields() {
    let bytes = encode(Packet::Connect(Connect {
        keep_alive: 60,
        ..Connect::new("id")
    }));
    assert_eq!(bytes, connect(0x02, &[b"id"]));
    let Packet::Connect(decoded) = decode(&bytes) else {
        panic!()
    };
    assert_eq!(decoded.will, None);
    let extra = DecodeError::TrailingBytes { extra: 8 };
    assert_eq!(error(&connect(0x02, &[b"id", b"w", b"bye"])), Some(extra));
}

/// [MQTT-3.1.2-13] Will Flag 0 with a will QoS is refused.
#[test]
fn mqtt_3_1_2_13_will_qos_without_will_is_refused() {
    for qos in 1..=3 {
        let expected = DecodeError::WillQosWithoutWill { qos };
        assert_eq!(error(&connect(0x02 | qos << 3, &[b"id"])), Some(expected));
    }
    // With `will: None`, a QoS cannot be encoded.
}

/// [MQTT-3.1.2-14] Will QoS 3 is refused; [`QoS`] has no such value.
#[test]
fn mqtt_3_1_2_14_will_qos_3_is_refused() {
    for flags in [0x1E, 0x3E] {
        let packet = connect(flags, &[b"id", b"w", b"bye"]);
        assert_eq!(error(&packet), Some(DecodeError::WillQosThree));
    }
    assert!(QoS::try_from(3).is_err());
}

/// [MQTT-3.1.2-15] Will Flag 0 with will retain is refused.
#[test]
fn mqtt_3_1_2_15_will_retain_without_will_is_refused() {
    assert_eq!(
        error(&connect(0x22, &[b"id"])),
        Some(DecodeError::WillRetainWithoutWill)
    );
    // With `will: None`, retain cannot be encoded.
}

/// [MQTT-3.1.2-18] Without the user name flag, there is no user name.
#[test]
fn mqtt_3_1_2_18_user_name_flag_0_has_no_user_name() {
    let expected = DecodeError::TrailingBytes { extra: 6 };
    assert_eq!(error(&connect(0x02, &[b"id", b"user"])), Some(expected));
    let bytes = connect(0x02, &[b"id"]);
    let Packet::Connect(decoded) = decode(&bytes) else {
        panic!()
    };
    assert_eq!(decoded.credentials, None);
    assert_eq!(encode(Packet::Connect(decoded)), bytes);
}

/// [MQTT-3.1.2-19] With the user name flag, there is a user name.
#[test]
fn mqtt_3_1_2_19_user_name_flag_1_has_user_name() {
    assert_eq!(
        error(&connect(0x82, &[b"id"])),
        Some(DecodeError::Truncated)
    );
    let credentials = Some(Credentials {
        user_name: "user",
        password: None,
    });
    let packet = Packet::Connect(Connect {
        credentials,
        keep_alive: 60,
        ..Connect::new("id")
    });
    let bytes = connect(0x82, &[b"id", b"user"]);
    assert_eq!(encode(packet), bytes);
    assert_eq!(decode(&bytes), packet);
}

/// [MQTT-3.1.2-20] Without the password flag, there is no password.
#[test]
fn mqtt_3_1_2_20_password_flag_0_has_no_password() {
    let expected = DecodeError::TrailingBytes { extra: 5 };
    assert_eq!(
        error(&connect(0x82, &[b"id", b"user", b"pwd"])),
        Some(expected)
    );
    let bytes = connect(0x82, &[b"id", b"user"]);
    let Packet::Connect(decoded) = decode(&bytes) else {
        panic!()
    };
    let credentials = Credentials {
        user_name: "user",
        password: None,
    };
    assert_eq!(decoded.credentials, Some(credentials));
    assert_eq!(encode(Packet::Connect(decoded)), bytes);
}

/// [MQTT-3.1.2-21] With the password flag, there is a password.
#[test]
fn mqtt_3_1_2_21_password_flag_1_has_password() {
    assert_eq!(
        error(&connect(0xC2, &[b"id", b"user"])),
        Some(DecodeError::Truncated)
    );
    for password in [&b"\0\xFF"[..], b""] {
        let credentials = Some(Credentials {
            user_name: "user",
            password: Some(password),
        });
        let packet = Packet::Connect(Connect {
            credentials,
            keep_alive: 60,
            ..Connect::new("id")
        });
        let bytes = connect(0xC2, &[b"id", b"user", password]);
        assert_eq!(encode(packet), bytes);
        assert_eq!(decode(&bytes), packet);
    }
}

/// [MQTT-3.1.2-22] A password without a user name is refused; [`Credentials`] cannot express it.
#[test]
fn mqtt_3_1_2_22_password_without_user_name_is_refused() {
    for packet in [
        connect(0x42, &[b"id", b"pwd"]),
        connect(0x46, &[b"id", b"w", b"bye", b"pwd"]),
    ] {
        assert_eq!(error(&packet), Some(DecodeError::PasswordWithoutUserName));
    }
}

/// [MQTT-3.1.3-1] Payload order: client id, will topic, will message, user name, password.
#[test]
fn mqtt_3_1_3_1_payload_fields_are_in_order() {
    let packet = Packet::Connect(Connect {
        clean_session: false,
        keep_alive: 60,
        will: Some(Will::new("topic", b"message")),
        credentials: Some(Credentials {
            user_name: "user",
            password: Some(b"password"),
        }),
        ..Connect::new("client")
    });
    let bytes = connect(
        0xC4,
        &[b"client", b"topic", b"message", b"user", b"password"],
    );
    assert_eq!(encode(packet), bytes);
    assert_eq!(decode(&bytes), packet);
}

/// [MQTT-3.1.3-3] The client id is always there, and first.
#[test]
fn mqtt_3_1_3_3_client_id_is_present_and_first() {
    assert_eq!(
        encode(Packet::Connect(Connect::new(""))).get(12..),
        Some(&[0, 0][..])
    );
    let Packet::Connect(decoded) = decode(b"\x10\x0C\0\x04MQTT\x04\x02\0\x3C\0\0") else {
        panic!()
    };
    assert_eq!(decoded, Connect::new(""));
    assert_eq!(
        error(b"\x10\x0A\0\x04MQTT\x04\x02\0\0"),
        Some(DecodeError::Truncated)
    );
}

/// [MQTT-3.1.3-4] The client id is a valid string.
#[test]
fn mqtt_3_1_3_4_client_id_is_utf8() {
    let expected = DecodeError::InvalidUtf8 { at: 1 };
    assert_eq!(error(&connect(0x02, &[b"a\xFF"])), Some(expected));
    assert_eq!(
        error(&connect(0x02, &[b"a\0"])),
        Some(DecodeError::NulInString { at: 1 })
    );
    let field = Field::ClientId;
    let expected = EncodeError::NulInString { field, at: 1 };
    assert_eq!(Connect::new("a\0").encoded_len(), Err(expected));
    let long = "a".repeat(65_536);
    let expected = EncodeError::StringTooLong { field, len: 65_536 };
    assert_eq!(Connect::new(&long).encode(&mut [0; 70_000]), Err(expected));
}

/// [MQTT-3.1.3-5] Client ids of 1 to 23 letters and digits are accepted, and so are longer ones and other characters.
#[test]
fn mqtt_3_1_3_5_client_ids_of_23_bytes_and_more_are_accepted() {
    let letters = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for id in (1..=letters.len())
        .map(|len| &letters[..len])
        .chain(["zoë/€ 7"])
    {
        let bytes = encode(Packet::Connect(Connect {
            keep_alive: 60,
            ..Connect::new(id)
        }));
        assert_eq!(bytes, connect(0x02, &[id.as_bytes()]));
        let Packet::Connect(decoded) = decode(&bytes) else {
            panic!()
        };
        assert_eq!(decoded.client_id, id);
    }
}

/// [MQTT-3.1.3-7] An empty client id with Clean Session 0 is an error, and nothing is encoded.
#[test]
fn mqtt_3_1_3_7_empty_client_id_requires_clean_session() {
    let mut buf = [0x55; 64];
    let connect = Connect {
        clean_session: false,
        ..Connect::new("")
    };
    assert_eq!(connect.encode(&mut buf), Err(EncodeError::EmptyClientId));
    assert_eq!(connect.encoded_len(), Err(EncodeError::EmptyClientId));
    assert_eq!(buf, [0x55; 64]);
    assert!(Connect::new("").encode(&mut buf).is_ok());
}

/// [MQTT-3.1.3-8] An empty id with Clean Session 0 has its own error, so a server can answer 0x02.
#[test]
fn mqtt_3_1_3_8_empty_id_without_clean_session_is_reported() {
    assert_eq!(
        error(&connect(0x00, &[b""])),
        Some(DecodeError::EmptyClientId)
    );
    // If the packet has another error, that is reported.
    assert_eq!(
        error(&connect(0x80, &[b"", b"\xFF"])),
        Some(DecodeError::InvalidUtf8 { at: 0 })
    );
    let answer = Connack::Refused(ConnectReturnCode::IdentifierRejected);
    assert_eq!(encode(Packet::Connack(answer)), [0x20, 2, 0, 2]);
}

/// [MQTT-3.1.3-10] The will topic is a valid string, and a topic name.
#[test]
fn mqtt_3_1_3_10_will_topic_is_utf8() {
    let will = |topic| error(&connect(0x06, &[b"id", topic, b"bye"]));
    assert_eq!(will(b"a\xFF"), Some(DecodeError::InvalidUtf8 { at: 1 }));
    assert_eq!(
        will(b"a\0"),
        Some(DecodeError::TopicName(TopicError::Nul { at: 1 }))
    );
    assert_eq!(will(b""), Some(DecodeError::TopicName(TopicError::Empty)));
    assert_eq!(
        will(b"a/#"),
        Some(DecodeError::TopicName(TopicError::Wildcard { at: 2 }))
    );
    assert_eq!(will("é".as_bytes()), None);
    for (topic, error) in [
        ("a\0", TopicError::Nul { at: 1 }),
        ("", TopicError::Empty),
        ("a/#", TopicError::Wildcard { at: 2 }),
    ] {
        let connect = Connect {
            will: Some(Will::new(topic, b"bye")),
            ..Connect::new("id")
        };
        let refused = EncodeError::WillTopic(error);
        assert_eq!(connect.encoded_len(), Err(refused));
        assert_eq!(connect.encode(&mut [0; 64]), Err(refused));
    }
    let long = vec![0; 65_536];
    let will = Some(Will::new("w", &long));
    let expected = EncodeError::StringTooLong {
        field: Field::WillMessage,
        len: 65_536,
    };
    assert_eq!(
        Connect {
            will,
            ..Connect::new("id")
        }
        .encoded_len(),
        Err(expected)
    );
}

/// [MQTT-3.1.3-11] The user name is a valid string.
#[test]
fn mqtt_3_1_3_11_user_name_is_utf8() {
    let user = |name| error(&connect(0x82, &[b"id", name]));
    assert_eq!(
        user(b"ab\xC3\x28"),
        Some(DecodeError::InvalidUtf8 { at: 2 })
    );
    assert_eq!(user(b"\0"), Some(DecodeError::NulInString { at: 0 }));
    let encoded_len = |user_name| {
        let credentials = Some(Credentials {
            user_name,
            password: None,
        });
        Connect {
            credentials,
            ..Connect::new("id")
        }
        .encoded_len()
    };
    let (field, len) = (Field::UserName, 65_537);
    let nul = EncodeError::NulInString { field, at: 0 };
    assert_eq!(encoded_len("\0"), Err(nul));
    let long = "a".repeat(len);
    let too_long = EncodeError::StringTooLong { field, len };
    assert_eq!(encoded_len(&long), Err(too_long));
    // A password is not a string, but also has a length of two bytes.
    let password = Some(long.as_bytes());
    let credentials = Some(Credentials {
        user_name: "user",
        password,
    });
    let connect = Connect {
        credentials,
        ..Connect::new("id")
    };
    let field = Field::Password;
    let too_long = EncodeError::StringTooLong { field, len };
    assert_eq!(connect.encoded_len(), Err(too_long));
}

/// [MQTT-3.1.4-1] Every malformed CONNECT is refused: cut at any field, or with bytes after it.
#[test]
fn mqtt_3_1_4_1_malformed_connects_are_refused() {
    let whole = connect(0xC6, &[b"id", b"w", b"bye", b"user", b"pwd"]);
    let (_, body) = whole.split_at(2);
    for len in 0..body.len() {
        let (cut, _) = body.split_at(len);
        assert_eq!(
            error(&frame(0x10, &[cut])),
            Some(DecodeError::Truncated),
            "{len}"
        );
    }
    assert_eq!(error(&frame(0x10, &[body])), None);
    let expected = DecodeError::TrailingBytes { extra: 1 };
    assert_eq!(error(&frame(0x10, &[body, b"x"])), Some(expected));
}

/// [MQTT-3.2.2-4] A refusing CONNACK with Session Present 1 is refused. [`Connack`] cannot express it.
#[test]
fn mqtt_3_2_2_4_refusal_with_session_present_is_refused() {
    for (code, refusal) in [
        (1, ConnectReturnCode::UnacceptableProtocolVersion),
        (2, ConnectReturnCode::IdentifierRejected),
        (3, ConnectReturnCode::ServerUnavailable),
        (4, ConnectReturnCode::BadUserNameOrPassword),
        (5, ConnectReturnCode::NotAuthorized),
    ] {
        let expected = DecodeError::SessionPresentWithRefusal { code };
        assert_eq!(error(&[0x20, 2, 1, code]), Some(expected));
        let packet = Packet::Connack(Connack::Refused(refusal));
        assert_eq!(encode(packet), [0x20, 2, 0, code]);
        assert_eq!(decode(&[0x20, 2, 0, code]), packet);
    }
    for session_present in [false, true] {
        let packet = Packet::Connack(Connack::Accepted { session_present });
        assert_eq!(encode(packet), [0x20, 2, u8::from(session_present), 0]);
        assert_eq!(decode(&encode(packet)), packet);
    }
}

/// [MQTT-3.3.1-2] DUP with QoS 0 is refused; [`Delivery`] cannot express it.
#[test]
fn mqtt_3_3_1_2_dup_at_qos_0_is_refused() {
    assert_eq!(error(b"\x38\x03\0\x01a"), Some(DecodeError::DupAtQosZero));
    assert_eq!(error(b"\x39\x03\0\x01a"), Some(DecodeError::DupAtQosZero));
    for (dup, first) in [(false, 0x32), (true, 0x3A)] {
        let delivery = Delivery::AtLeastOnce { packet_id: ID, dup };
        let packet = Packet::Publish(Publish {
            delivery,
            ..Publish::new(topic("a"), b"")
        });
        let bytes = [first, 5, 0, 1, b'a', 0, 1];
        assert_eq!(encode(packet), bytes);
        assert_eq!(decode(&bytes), packet);
    }
    assert!(!Delivery::AtMostOnce.dup());
}

/// [MQTT-3.3.1-4] QoS 3 is refused; [`QoS`] and [`Delivery`] have no such value.
#[test]
fn mqtt_3_3_1_4_qos_3_is_refused() {
    for flags in [0b0110, 0b0111, 0b1110, 0b1111] {
        assert_eq!(error(&[0x30 | flags]), Some(DecodeError::PublishQosThree));
    }
    assert_eq!(QoS::try_from(3).map_err(|error| error.value), Err(3));
}

/// [MQTT-3.3.1-8] The retain flag of an incoming PUBLISH reaches the caller.
#[test]
fn mqtt_3_3_1_8_retain_is_reported() {
    for (first, retain) in [(0x30, false), (0x31, true)] {
        let bytes = [first, 3, 0, 1, b'a'];
        let packet = Packet::Publish(Publish {
            retain,
            ..Publish::new(topic("a"), b"")
        });
        assert_eq!(decode(&bytes), packet);
        assert_eq!(encode(packet), bytes);
    }
}

/// [MQTT-3.3.1-10] An empty retained payload can be sent and received.
#[test]
fn mqtt_3_3_1_10_retained_message_empty_roundtrips() {
    let packet = Packet::Publish(Publish {
        retain: true,
        ..Publish::new(topic("a/b"), b"")
    });
    assert_eq!(encode(packet), b"\x31\x05\0\x03a/b");
    assert_eq!(decode(b"\x31\x05\0\x03a/b"), packet);
}

/// [MQTT-3.3.2-1] The topic name is the first field and a valid string.
#[test]
fn mqtt_3_3_2_1_topic_is_first_and_utf8() {
    let delivery = Delivery::ExactlyOnce {
        packet_id: PacketId::MAX,
        dup: false,
    };
    let packet = Packet::Publish(Publish {
        delivery,
        ..Publish::new(topic("a/é"), b"payload")
    });
    let bytes = frame(0x34, &[b"\0\x04a/\xC3\xA9", b"\xFF\xFF", b"payload"]);
    assert_eq!(encode(packet), bytes);
    assert_eq!(decode(&bytes), packet);
    assert_eq!(
        error(b"\x30\x05\0\x03a/\xC3"),
        Some(DecodeError::InvalidUtf8 { at: 2 })
    );
}

/// [MQTT-3.3.2-2] A topic name with a wildcard cannot be built, and cannot be decoded.
#[test]
fn mqtt_3_3_2_2_topic_with_wildcard_is_refused() {
    for (name, at) in [
        ("#", 0),
        ("+", 0),
        ("a/#", 2),
        ("a/+/b", 2),
        ("abcdefgh+", 8),
        ("é#", 2),
    ] {
        let wildcard = TopicError::Wildcard { at };
        let packet = frame(0x30, &[&string(name.as_bytes())]);
        assert_eq!(error(&packet), Some(DecodeError::TopicName(wildcard)));
        assert_eq!(TopicName::new(name), Err(wildcard));
    }
}

/// [MQTT-3.6.1-1] PUBREL flags are 0010.
#[test]
fn mqtt_3_6_1_1_pubrel_with_other_flags_is_refused() {
    only_flags(PacketType::Pubrel, 0b0010);
    assert_eq!(Pubrel::new(ID).to_bytes(), [0x62, 2, 0, 1]);
}

/// [MQTT-3.8.1-1] SUBSCRIBE flags are 0010.
#[test]
fn mqtt_3_8_1_1_subscribe_with_other_flags_is_refused() {
    only_flags(PacketType::Subscribe, 0b0010);
    let filters = [(filter("a"), QoS::ExactlyOnce)];
    let packet = Packet::Subscribe(Subscribe::new(ID, &filters).unwrap());
    assert_eq!(encode(packet), b"\x82\x06\0\x01\0\x01a\x02");
}

/// Checks that a packet is refused if its filter is not a valid string. `error_with` decodes the packet with a filter.
fn only_utf8(error_with: impl Fn(&[u8]) -> Option<DecodeError>) {
    let invalid = DecodeError::InvalidUtf8 { at: 1 };
    assert_eq!(error_with(b"a\xFF"), Some(invalid));
    let nul = TopicError::Nul { at: 1 };
    assert_eq!(error_with(b"a\0"), Some(DecodeError::TopicFilter(nul)));
    assert_eq!(error_with("a/é/+".as_bytes()), None);
    assert_eq!(TopicFilter::new("a\0"), Err(nul));
}

/// [MQTT-3.8.3-1] Topic filters are valid strings.
#[test]
fn mqtt_3_8_3_1_filters_are_utf8() {
    only_utf8(|filter| error(&frame(0x82, &[b"\0\x01\0\x01a\0", &string(filter), b"\0"])));
}

/// [MQTT-3.8.3-3] A SUBSCRIBE without a filter cannot be built, and cannot be decoded.
#[test]
fn mqtt_3_8_3_3_subscribe_without_filter_is_refused() {
    assert_eq!(error(b"\x82\x02\0\x01"), Some(DecodeError::NoFilters));
    assert_eq!(error(b"\x82\x02"), Some(DecodeError::NoFilters));
    assert_eq!(
        Subscribe::decode_body(b"\0\x01"),
        Err(DecodeError::NoFilters)
    );
    assert_eq!(Subscribe::new(ID, &[]), Err(EncodeError::NoFilters));
}

/// [MQTT-3.8.3-4] Reserved bits or QoS 3 in a requested QoS are refused.
#[test]
fn mqtt_3_8_3_4_requested_qos_above_2_is_refused() {
    for value in 0..=255 {
        let packet = [0x82, 6, 0, 1, 0, 1, b'a', value];
        let expected = DecodeError::InvalidRequestedQos { value };
        assert_eq!(error(&packet), (value > 2).then_some(expected));
    }
    for (qos, bits) in [
        (QoS::AtMostOnce, 0),
        (QoS::AtLeastOnce, 1),
        (QoS::ExactlyOnce, 2),
    ] {
        let filters = [(filter("a"), qos)];
        let packet = Packet::Subscribe(Subscribe::new(ID, &filters).unwrap());
        assert_eq!(encode(packet), [0x82, 6, 0, 1, 0, 1, b'a', bits]);
    }
}

/// [MQTT-3.9.3-2] A SUBACK code other than 00, 01, 02, 80 is refused.
#[test]
fn mqtt_3_9_3_2_reserved_suback_codes_are_refused() {
    for code in (0..=255).filter(|code| ![0, 1, 2, 0x80].contains(code)) {
        let expected = DecodeError::UnknownSubackReturnCode { code };
        assert_eq!(error(&[0x90, 3, 0, 1, code]), Some(expected));
        assert_eq!(error(&[0x90, 4, 0, 1, 0x80, code]), Some(expected));
    }
    let codes = [
        SubackReturnCode::Granted(QoS::AtMostOnce),
        SubackReturnCode::Granted(QoS::AtLeastOnce),
        SubackReturnCode::Granted(QoS::ExactlyOnce),
        SubackReturnCode::Failure,
    ];
    let bytes = b"\x90\x06\0\x01\x00\x01\x02\x80";
    let packet = Packet::Suback(Suback::new(ID, &codes).unwrap());
    assert_eq!(encode(packet), bytes);
    assert_eq!(decode(bytes), packet);
    let Packet::Suback(suback) = decode(bytes) else {
        panic!()
    };
    assert!(suback.codes().iter().eq(codes));
    assert_eq!(
        (suback.codes().len(), suback.codes().first()),
        (4, codes.first().copied())
    );
    assert_eq!(Suback::new(ID, &[]), Err(EncodeError::NoReturnCodes));
}

/// [MQTT-3.10.1-1] UNSUBSCRIBE flags are 0010.
#[test]
fn mqtt_3_10_1_1_unsubscribe_with_other_flags_is_refused() {
    only_flags(PacketType::Unsubscribe, 0b0010);
    let filters = [filter("a/+")];
    let packet = Packet::Unsubscribe(Unsubscribe::new(ID, &filters).unwrap());
    assert_eq!(encode(packet), b"\xA2\x07\0\x01\0\x03a/+");
}

/// [MQTT-3.10.3-1] Filters to unsubscribe are valid strings.
#[test]
fn mqtt_3_10_3_1_unsubscribe_filters_are_utf8() {
    only_utf8(|filter| error(&frame(0xA2, &[b"\0\x01\0\x01a", &string(filter)])));
}

/// [MQTT-3.10.3-2] An UNSUBSCRIBE without a filter cannot be built, and cannot be decoded.
#[test]
fn mqtt_3_10_3_2_unsubscribe_without_filter_is_refused() {
    assert_eq!(error(b"\xA2\x02\0\x01"), Some(DecodeError::NoFilters));
    assert_eq!(error(b"\xA2\x02"), Some(DecodeError::NoFilters));
    assert_eq!(
        Unsubscribe::decode_body(b"\0\x01"),
        Err(DecodeError::NoFilters)
    );
    assert_eq!(Unsubscribe::new(ID, &[]), Err(EncodeError::NoFilters));
}

/// [MQTT-3.14.1-1] DISCONNECT, PINGREQ and PINGRESP with any flag or any body are refused.
#[test]
fn mqtt_3_14_1_1_disconnect_and_pings_are_two_bytes() {
    for (packet, first) in [
        (Packet::Pingreq, 0xC0),
        (Packet::Pingresp, 0xD0),
        (Packet::Disconnect, 0xE0),
    ] {
        only_flags(packet.packet_type(), 0);
        for extra in 1..0x80 {
            let expected = DecodeError::TrailingBytes {
                extra: usize::from(extra),
            };
            assert_eq!(error(&[first, extra]), Some(expected));
        }
        assert_eq!(encode(packet), [first, 0]);
        assert_eq!(decode(&[first, 0]), packet);
    }
}

/// [MQTT-4.7.1-1] Wildcards exist in filters only.
#[test]
fn mqtt_4_7_1_1_wildcards_are_accepted_in_filters_only() {
    for name in ["#", "+", "a/+", "a/#", "a+", "#a"] {
        assert!(
            matches!(TopicName::new(name), Err(TopicError::Wildcard { .. })),
            "{name}"
        );
        let packet = frame(0x30, &[&string(name.as_bytes())]);
        assert!(matches!(
            error(&packet),
            Some(DecodeError::TopicName(TopicError::Wildcard { .. }))
        ));
    }
    for name in ["#", "+", "a/+", "a/#"] {
        assert_eq!(filter(name).as_str(), name);
    }
}

/// Returns the error of a filter. Checks that it is the same if the filter is received.
fn filter_error(text: &str) -> Option<TopicError> {
    let built = TopicFilter::new(text).err();
    let received = error(&frame(0x82, &[b"\0\x01", &string(text.as_bytes()), b"\0"]));
    assert_eq!(received, built.map(DecodeError::TopicFilter));
    let received = error(&frame(0xA2, &[b"\0\x01", &string(text.as_bytes())]));
    assert_eq!(received, built.map(DecodeError::TopicFilter));
    built
}

/// [MQTT-4.7.1-2] `#` is alone or after a slash, and last.
#[test]
fn mqtt_4_7_1_2_multi_level_wildcard_must_be_the_last_level() {
    for text in ["#", "/#", "a/#", "a/b/#", "+/#", "//#"] {
        assert_eq!(filter_error(text), None, "{text}");
    }
    for (text, at) in [
        ("a#", 1),
        ("a/b#", 3),
        ("#/a", 0),
        ("a/#/b", 2),
        ("##", 0),
        ("#a", 0),
        ("#/", 0),
    ] {
        assert_eq!(
            filter_error(text),
            Some(TopicError::Wildcard { at }),
            "{text}"
        );
    }
}

/// [MQTT-4.7.1-3] + fills a whole level.
#[test]
fn mqtt_4_7_1_3_single_level_wildcard_must_fill_its_level() {
    for text in ["+", "+/a", "a/+", "a/+/b", "/+", "+/", "+/+/+"] {
        assert_eq!(filter_error(text), None, "{text}");
    }
    for (text, at) in [
        ("a+", 1),
        ("+a", 0),
        ("a/+b", 2),
        ("a/b+/c", 3),
        ("++", 0),
        ("a/+#", 2),
    ] {
        assert_eq!(
            filter_error(text),
            Some(TopicError::Wildcard { at }),
            "{text}"
        );
    }
}

/// [MQTT-4.7.2-1] A filter that begins with a wildcard does not match a topic that begins with $.
#[test]
fn mqtt_4_7_2_1_leading_wildcards_do_not_match_dollar_topics() {
    for (text, name, matches) in [
        ("#", "$SYS/uptime", false),
        ("+/uptime", "$SYS/uptime", false),
        ("+", "$SYS", false),
        ("#", "$", false),
        ("$SYS/#", "$SYS/uptime", true),
        ("$SYS/+", "$SYS/uptime", true),
        ("$SYS/monitor/+", "$SYS/monitor/Clients", true),
        ("+/#", "a/$SYS", true),
        ("#", "a/$SYS", true),
    ] {
        assert_eq!(filter(text).matches(topic(name)), matches, "{text} {name}");
    }
}

/// [MQTT-4.7.3-1] Topics and filters have at least one character.
#[test]
fn mqtt_4_7_3_1_empty_topic_is_refused() {
    assert_eq!(TopicName::new(""), Err(TopicError::Empty));
    assert_eq!(TopicFilter::new(""), Err(TopicError::Empty));
    let empty = Some(DecodeError::TopicName(TopicError::Empty));
    assert_eq!(error(b"\x30\x03\0\0x"), empty);
    assert_eq!(error(&connect(0x06, &[b"id", b"", b"bye"])), empty);
    let empty = Some(DecodeError::TopicFilter(TopicError::Empty));
    assert_eq!(error(b"\x82\x09\0\x01\0\x01a\0\0\0\0"), empty);
    assert_eq!(error(b"\xA2\x07\0\x01\0\x01a\0\0"), empty);
    assert_eq!(topic("/").as_str(), "/");
    assert_eq!(topic(" ").as_str(), " ");
}

/// [MQTT-4.7.3-2] Topics and filters have no U+0000.
#[test]
fn mqtt_4_7_3_2_topic_with_nul_is_refused() {
    // The check reads blocks of 16 bytes, the last of which overlaps the first here. NUL is at every position of both.
    for at in 0..20 {
        let mut name = "x".repeat(20);
        name.replace_range(at..=at, "\0");
        let nul = TopicError::Nul { at };
        assert_eq!(TopicName::new(&name), Err(nul));
        assert_eq!(filter_error(&name), Some(nul));
        let packet = frame(0x30, &[&string(name.as_bytes())]);
        assert_eq!(error(&packet), Some(DecodeError::TopicName(nul)));
    }
}

/// [MQTT-4.7.3-3] Topics and filters have at most 65,535 bytes.
#[test]
fn mqtt_4_7_3_3_topic_over_65_535_bytes_is_refused() {
    let long = "é".repeat(32_768);
    let too_long = TopicError::TooLong { len: 65_536 };
    assert_eq!(TopicName::new(&long), Err(too_long));
    assert_eq!(TopicFilter::new(&long), Err(too_long));
    let name = "a".repeat(65_535);
    let mut buf = vec![0; 65_541];
    let bytes = Publish::new(topic(&name), b"").encode(&mut buf).unwrap();
    assert_eq!(bytes.len(), 65_541);
    assert_eq!(
        decode(bytes),
        Packet::Publish(Publish::new(topic(&name), b""))
    );
    let filters = [(filter(&name), QoS::AtMostOnce)];
    let packet = Packet::Subscribe(Subscribe::new(ID, &filters).unwrap());
    let mut buf = vec![0; 65_544];
    let bytes = packet.encode(&mut buf).unwrap();
    assert_eq!(bytes.len(), 65_544);
    assert_eq!(decode(bytes), packet);
}

/// [MQTT-4.7.3-4] Matching is byte for byte, nothing is normalised.
#[test]
fn mqtt_4_7_3_4_matching_is_byte_for_byte() {
    for (text, name, matches) in [
        ("ACCOUNTS", "Accounts", false),
        ("/finance", "finance", false),
        ("finance", "/finance", false),
        ("a//b", "a/b", false),
        ("a/b", "a/b/", false),
        ("a/b/", "a/b", false),
        ("\u{E9}", "e\u{301}", false), // é, composed or not
        ("a b", "a b", true),
        ("sport/tennis/player1/#", "sport/tennis/player1", true),
        (
            "sport/tennis/player1/#",
            "sport/tennis/player1/ranking",
            true,
        ),
        (
            "sport/tennis/player1/#",
            "sport/tennis/player1/score/wimbledon",
            true,
        ),
        ("sport/tennis/player1/#", "sport/tennis/player10", false),
        ("sport/#", "sport", true),
        ("#", "/", true),
        ("sport/tennis/+", "sport/tennis/player1", true),
        ("sport/tennis/+", "sport/tennis/player1/ranking", false),
        ("sport/+", "sport", false),
        ("sport/+", "sport/", true),
        ("+/+", "/finance", true),
        ("/+", "/finance", true),
        ("+", "/finance", false),
        ("+/tennis/#", "a/tennis", true),
        ("sport/+/player1", "sport/x/player1", true),
    ] {
        assert_eq!(filter(text).matches(topic(name)), matches, "{text} {name}");
    }
    // No byte is changed.
    let bytes = encode(Packet::Publish(Publish::new(topic("//a /e\u{301}"), b"")));
    assert_eq!(bytes.get(4..), Some("//a /e\u{301}".as_bytes()));
}

/// [MQTT-7.0.0-2] No extension is needed: the packets are those of the specification, to the bit.
#[test]
fn mqtt_7_0_0_2_packets_equal_those_of_specification() {
    // Figure 3.24 and table 3.6, written out.
    let filters = [
        (filter("a/b"), QoS::AtLeastOnce),
        (filter("c/d"), QoS::ExactlyOnce),
    ];
    let id = PacketId::new(10).unwrap();
    let bytes = b"\x82\x0E\x00\x0A\x00\x03a/b\x01\x00\x03c/d\x02";
    let packet = Packet::Subscribe(Subscribe::new(id, &filters).unwrap());
    assert_eq!(encode(packet), bytes);
    assert_eq!(decode(bytes), packet);
    // Figure 3.6.
    let bytes = b"\x10\x0C\x00\x04MQTT\x04\xCE\x00\x0A\x00\x00\x00\x01w\x00\x00\x00\x01u\x00\x00";
    let bytes = frame(0x10, &[bytes.get(2..).unwrap()]);
    let will = Will {
        qos: QoS::AtLeastOnce,
        ..Will::new("w", b"")
    };
    let packet = Packet::Connect(Connect {
        client_id: "",
        clean_session: true,
        keep_alive: 10,
        will: Some(will),
        credentials: Some(Credentials {
            user_name: "u",
            password: Some(b""),
        }),
    });
    assert_eq!(encode(packet), bytes);
    assert_eq!(decode(&bytes), packet);
    // The decoder understands each of the fourteen packets that the encoder writes.
    every_packet(|packet| assert_eq!(decode(&encode(packet)), packet));
}
