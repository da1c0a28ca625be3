//! The defects of `umqtt.simple` and `umqtt.robust`, the MQTT clients of MicroPython. The comment of a test describes
//! what the original does. With that behaviour, the test fails.

use umqtt::{
    Event, Message, ProtocolError, RequestError, Session, Storage,
    codec::{
        Connect, ConnectReturnCode, Credentials, DecodeError, Delivery, EncodeError, Field, Packet,
        PacketType, Publish, PublishHeader, QoS, SubackReturnCode, TopicError, TopicFilter,
        TopicName, Will,
    },
};

use crate::common::{
    self, Client, Error, Network, PINGRESP, Seen, Step, connack, connected, message, packet_id,
    packets, puback, pubcomp, publish, pubrec, pubrel, record, server, suback,
};

const KEEP: Connect<'static> = Connect {
    clean_session: false,
    ..Connect::new("id")
};

/// Runs a test with a client that is connected with Clean Session 1.
fn with_client(network: &Network, test: impl FnOnce(&mut Client<'_, '_, '_>)) {
    let mut storage = Storage::<512, 2048, 8>::new();
    let mut session = Session::new(&mut storage);
    test(&mut connected(&mut session, network, &Connect::new("id")));
}

/// Connects, and returns the reason why that fails.
#[track_caller]
fn connect_error(network: &Network) -> ProtocolError {
    let mut storage = Storage::<64, 64, 1>::new();
    let mut session = Session::new(&mut storage);
    let options = Connect::new("id");
    match Client::connect(&mut session, network.transport(), network, &options).err() {
        Some(Error::Protocol(reason)) => reason,
        other => panic!("{other:?}"),
    }
}

/// Feeds bytes that a peer must not send, and returns the reason of the end of the connection.
fn error_after(bytes: &[u8]) -> ProtocolError {
    let network = Network::new();
    let mut error = None;
    with_client(&network, |client| {
        network.feed(bytes);
        match client.recv() {
            Err(Error::Protocol(reason)) => error = Some(reason),
            other => panic!("{bytes:02x?}: {other:?}"),
        }
    });
    error.unwrap()
}

/// The Remaining Length of SUBSCRIBE was always one byte long.
#[test]
fn defect_01_subscribe_to_long_topic_is_granted() {
    for len in [121, 122, 123, 124, 300, 1_500] {
        let network = Network::with_server();
        with_client(&network, |client| {
            let topic = "s".repeat(len);
            let codes = client
                .subscribe_and_wait(&[(&topic, QoS::AtLeastOnce)], |_, _| panic!())
                .unwrap();
            assert!(codes.all_granted());
            let sent = network.take_sent();
            let Ok(Some((Packet::Subscribe(subscribe), used))) = Packet::decode(&sent) else {
                panic!("{sent:02x?}")
            };
            assert_eq!(used, sent.len());
            let filter = TopicFilter::new(&topic).unwrap();
            assert!(subscribe.filters().eq([(filter, QoS::AtLeastOnce)]));
        });
    }
}

/// Packet id 65,536 was sent as 0, and its PUBACK was never recognized.
#[test]
fn defect_02_packet_ids_wrapped_skip_zero() {
    let network = Network::with_server();
    with_client(&network, |client| {
        let mut last = 0;
        for n in 1..=65_537_u32 {
            client
                .publish_and_wait(&message("t", b"", QoS::AtLeastOnce), |_, _| panic!())
                .unwrap();
            let sent = network.take_sent();
            last = u16::from_be_bytes([sent[5], sent[6]]);
            assert_eq!(u32::from(last), if n > 65_535 { n - 65_535 } else { n });
        }
        assert_eq!(last, 2);
    });
}

/// A PUBLISH at QoS 2 was written and only then refused.
#[test]
fn defect_03_qos_2_publish_completes() {
    let network = Network::with_server();
    with_client(&network, |client| {
        client
            .publish_and_wait(&message("t", b"x", QoS::ExactlyOnce), |_, _| panic!())
            .unwrap();
        assert_eq!(
            network.take_writes(),
            [publish("t", b"x", QoS::ExactlyOnce, 1), pubrel(1)]
        );
    });
}

/// A message at QoS 2 was delivered, never acknowledged, and so delivered again.
#[test]
fn defect_03_qos_2_message_is_delivered_once() {
    let network = Network::new();
    with_client(&network, |client| {
        let first = publish("t", b"x", QoS::ExactlyOnce, 9);
        let mut again = first.clone();
        again[0] |= 0b1000;
        network.feed(&first);
        assert!(matches!(client.recv(), Ok(Event::Message(_))));
        network.feed(&again);
        assert_eq!(client.poll(), Ok(None));
        client.flush().unwrap();
        assert_eq!(network.take_sent(), [pubrec(9), pubrec(9)].concat());
        network.feed(&pubrel(9));
        assert_eq!(client.poll(), Ok(None));
        client.flush().unwrap();
        assert_eq!(network.take_sent(), pubcomp(9));
        // The id is free: this is another message.
        network.feed(&first);
        assert!(matches!(client.recv(), Ok(Event::Message(_))));
    });
}

/// The body of an unexpected packet was read as further packets. For example, the id 0x0030 looked like a PUBLISH.
#[test]
fn defect_04_late_acknowledgement_is_read_whole() {
    let late = 0x0030;
    for ack in [
        puback(late),
        pubcomp(late),
        common::unsuback(late),
        suback(late, &[SubackReturnCode::Failure]),
    ] {
        let network = Network::new();
        with_client(&network, |client| {
            network.feed(&ack);
            network.feed(&publish("t", b"x", QoS::AtMostOnce, 0));
            assert_eq!(client.recv(), Ok(Event::Message(Message::new("t", b"x"))));
            // The packet is also ignored while the client waits for another PUBACK.
            network.feed(&ack);
            network.feed(&puback(1));
            client
                .publish_and_wait(&message("t", b"", QoS::AtLeastOnce), |_, _| panic!())
                .unwrap();
        });
    }
}

/// A packet that the server must not send, or a second CONNACK, closes the connection. The error names the packet.
#[test]
fn defect_04_unexpected_packet_closes_connection() {
    for (bytes, packet_type) in [
        (&[0xC0, 0][..], PacketType::Pingreq),
        (&[0xE0, 0], PacketType::Disconnect),
        (&[0x82, 6, 0, 1, 0, 1, b'a', 0], PacketType::Subscribe),
        (&connack(false), PacketType::Connack),
    ] {
        assert_eq!(
            error_after(bytes),
            ProtocolError::UnexpectedPacket(packet_type)
        );
    }
}

/// A SUBACK with another id failed an assertion.
#[test]
fn defect_05_suback_with_other_id_is_ignored() {
    let network = Network::new();
    with_client(&network, |client| {
        network.feed(&suback(9, &[SubackReturnCode::Failure]));
        network.feed(&suback(1, &[SubackReturnCode::Granted(QoS::AtMostOnce)]));
        let filters = [("t", QoS::AtMostOnce)];
        let codes = client
            .subscribe_and_wait(&filters, |_, _| panic!())
            .unwrap();
        assert_eq!(
            codes.first(),
            Some(SubackReturnCode::Granted(QoS::AtMostOnce))
        );
    });
}

/// A SUBACK with more or fewer codes than there were filters was taken for an answer to the first.
#[test]
fn defect_05_suback_wrong_code_count_closes_connection() {
    for codes in [&[0][..], &[0, 1, 2]] {
        let network = Network::new();
        with_client(&network, |client| {
            let header = [0x90, 2 + codes.len() as u8, 0, 1];
            network.feed(&[&header[..], codes].concat());
            let filters = [("a", QoS::AtMostOnce), ("b", QoS::AtMostOnce)];
            let answer = client.subscribe_and_wait(&filters, |_, _| panic!());
            let count = ProtocolError::SubackCount {
                expected: 2,
                got: codes.len(),
            };
            assert_eq!(answer.map(|_| ()), Err(Error::Protocol(count)));
        });
    }
}

/// Lengths and flags of acknowledgements and of CONNACK were not checked.
#[test]
fn defect_05_acknowledgements_malformed_close_connection() {
    for packet_type in [4_u8, 5, 6, 7, 11] {
        let required = if packet_type == 6 { 2 } else { 0 };
        let first = packet_type << 4 | required;
        assert_eq!(
            error_after(&[first, 1, 0]),
            ProtocolError::Decode(DecodeError::Truncated)
        );
        let extra = DecodeError::TrailingBytes { extra: 1 };
        assert_eq!(
            error_after(&[first, 3, 0, 1, 0]),
            ProtocolError::Decode(extra)
        );
        assert_eq!(
            error_after(&[first, 2, 0, 0]),
            ProtocolError::Decode(DecodeError::PacketIdZero)
        );
        for flags in (0..16).filter(|flags| *flags != required) {
            let error = error_after(&[packet_type << 4 | flags, 2, 0, 1]);
            assert!(matches!(
                error,
                ProtocolError::Decode(DecodeError::InvalidFlags { .. })
            ));
        }
    }
    assert_eq!(
        error_after(&[0x90, 2, 0, 1]),
        ProtocolError::Decode(DecodeError::Truncated)
    );
    let unknown = DecodeError::UnknownSubackReturnCode { code: 3 };
    assert_eq!(
        error_after(&[0x90, 3, 0, 1, 3]),
        ProtocolError::Decode(unknown)
    );
    assert_eq!(
        error_after(&[0xD0, 1, 0]),
        ProtocolError::Decode(DecodeError::TrailingBytes { extra: 1 })
    );
}

/// No call had a deadline. The tests of the blocking client check the exact times.
#[test]
fn defect_06_server_silent_returns_timeout() {
    let network = Network::new();
    assert_eq!(connect_error(&network), ProtocolError::ConnackTimeout);
    let overdue = Err(Error::Protocol(ProtocolError::RequestTimeout {
        packet_id: packet_id(1),
    }));
    with_client(&Network::new(), |client| {
        assert_eq!(
            client.publish_and_wait(&message("t", b"", QoS::AtLeastOnce), |_, _| {}),
            overdue
        );
    });
    with_client(&Network::new(), |client| {
        let codes = client.subscribe_and_wait(&[("t", QoS::AtMostOnce)], |_, _| {});
        assert_eq!(codes.map(|_| ()), overdue);
    });
    with_client(&Network::new(), |client| {
        client.ping().unwrap();
        assert_eq!(
            client.recv(),
            Err(Error::Protocol(ProtocolError::PingrespTimeout))
        );
    });
}

/// `check_msg` waited for the rest of a packet after its first byte.
#[test]
fn defect_07_poll_input_incomplete_returns_at_once() {
    let network = Network::new();
    with_client(&network, |client| {
        let waited = network.waits();
        for byte in publish("t", b"x", QoS::AtMostOnce, 0) {
            assert_eq!(client.poll(), Ok(None));
            network.feed(&[byte]);
        }
        assert_eq!(
            client.poll(),
            Ok(Some(Event::Message(Message::new("t", b"x"))))
        );
        assert_eq!(network.waits(), waited);
    });
}

/// `check_msg` also cleared the time-out of the connection.
#[test]
fn defect_07_poll_keeps_deadline() {
    let network = Network::new();
    let mut storage = Storage::<64, 64, 1>::new();
    let mut session = Session::new(&mut storage);
    let options = Connect::new("id");
    let mut client = Client::open(&mut session, network.transport(), &network, &options).unwrap();
    assert_eq!(client.poll(), Ok(None));
    let deadline = client.deadline().unwrap();
    network.pass(deadline.as_millis() - 1);
    assert_eq!(client.poll(), Ok(None));
    network.pass(1);
    assert_eq!(
        client.poll(),
        Err(Error::Protocol(ProtocolError::ConnackTimeout))
    );
}

/// No PINGREQ was sent. After a PINGRESP, `check_msg` returned the same as after no input.
#[test]
fn defect_08_pingreq_is_automatic_and_pingresp_required() {
    for answers in [true, false] {
        let network = Network::new();
        network.answer(move |packet| match packet {
            Packet::Pingreq if !answers => Vec::new(),
            other => server(other),
        });
        let mut storage = Storage::<64, 64, 1>::new();
        let mut session = Session::new(&mut storage);
        let options = Connect {
            keep_alive: 5,
            ..Connect::new("id")
        };
        let mut client = connected(&mut session, &network, &options);
        network.feed_at(60_000, &publish("t", b"x", QoS::AtMostOnce, 0));
        let event = client
            .recv()
            .map(|event| assert!(matches!(event, Event::Message(_))));
        let pings = packets(&network.take_sent()).0.len();
        if answers {
            assert_eq!(event, Ok(()));
            assert!(pings >= 12);
        } else {
            assert_eq!(event, Err(Error::Protocol(ProtocolError::PingrespTimeout)));
            assert!(network.millis() < 20_000);
        }
    }
}

/// The end of the stream inside a packet was an `IndexError`, or a truncated message delivered as whole.
#[test]
fn defect_09_stream_end_inside_packet_is_an_error() {
    let packet = publish("topic", b"payload", QoS::AtLeastOnce, 5);
    for len in 0..packet.len() {
        let network = Network::new();
        with_client(&network, |client| {
            network.feed(&packet[..len]);
            network.end();
            assert_eq!(client.recv(), Err(Error::Closed));
            assert!(network.take_sent().is_empty());
        });
    }
}

/// Received lengths were not checked.
#[test]
fn defect_10_wrong_lengths_are_refused() {
    let decode = |bytes: &[u8]| match error_after(bytes) {
        ProtocolError::Decode(error) => error,
        other => panic!("{other:?}"),
    };
    // A topic that is longer than its packet, and bytes after it that belong to the next packet.
    assert_eq!(
        decode(&[0x30, 5, 0, 9, b'a', b'b', b'c', 0xD0, 0, 0xD0, 0, 0xD0, 0]),
        DecodeError::Truncated
    );
    // QoS 1 without an id.
    assert_eq!(decode(&[0x32, 3, 0, 1, b'a']), DecodeError::Truncated);
    assert_eq!(decode(&[0x32, 4, 0, 1, b'a', 0, 7]), DecodeError::Truncated);
    // QoS 3.
    assert_eq!(
        decode(&[0x36, 6, 0, 1, b'a', 0, 1, b'x']),
        DecodeError::PublishQosThree
    );
    // A fifth byte of Remaining Length.
    assert_eq!(
        decode(&[0x30, 0x80, 0x80, 0x80, 0x80, 1]),
        DecodeError::RemainingLengthTooLong
    );
}

/// A message of 200 MB needed 200 MB of memory.
#[test]
fn defect_10_message_larger_than_memory_is_received() {
    let network = Network::new();
    with_client(&network, |client| {
        let total = 200_000_000;
        let header = PublishHeader {
            topic: TopicName::new("t").unwrap(),
            delivery: Delivery::AtMostOnce,
            retain: false,
            payload_len: total,
        };
        let mut out = [0; 16];
        network.feed(header.encode(&mut out).unwrap());
        network.feed(&[b'x'; 10_000]);
        let mut received = 0;
        while let Some(event) = client.poll().unwrap() {
            let Event::Chunk(chunk) = event else {
                panic!("{event:?}")
            };
            assert_eq!((chunk.offset, chunk.total), (received, total));
            received += chunk.bytes.len();
        }
        assert_eq!(received, 10_000);
        client.publish(&Message::new("still", b"here")).unwrap();
    });
}

/// Characters were counted instead of bytes.
#[test]
fn defect_11_lengths_are_counted_in_bytes() {
    let network = Network::with_server();
    with_client(&network, |client| {
        client.publish(&Message::new("té", "é".as_bytes())).unwrap();
        assert_eq!(network.take_sent(), b"\x30\x07\x00\x03t\xC3\xA9\xC3\xA9");
        client.subscribe(&[("té", QoS::AtMostOnce)]).unwrap();
        assert_eq!(
            network.take_sent(),
            b"\x82\x08\x00\x01\x00\x03t\xC3\xA9\x00"
        );
    });
    let network = Network::with_server();
    let mut storage = Storage::<64, 64, 1>::new();
    let mut session = Session::new(&mut storage);
    let options = Connect {
        will: Some(Will::new("é", b"")),
        credentials: Some(Credentials {
            user_name: "é",
            password: None,
        }),
        ..Connect::new("é")
    };
    Client::connect(&mut session, network.transport(), &network, &options).unwrap();
    let sent = network.take_sent();
    assert!(sent.ends_with(b"\x00\x02\xC3\xA9\x00\x02\xC3\xA9\x00\x00\x00\x02\xC3\xA9"));
    assert!(
        matches!(Packet::decode(&sent), Ok(Some((Packet::Connect(_), used))) if used == sent.len())
    );
}

/// The length of a long string wrapped; topic names with wildcards and empty filters were sent.
#[test]
fn defect_12_invalid_strings_are_refused() {
    let network = Network::with_server();
    with_client(&network, |client| {
        let long = "t".repeat(65_536);
        let too_long = TopicError::TooLong { len: 65_536 };
        for (topic, reason) in [
            (&long[..], too_long),
            ("a/#", TopicError::Wildcard { at: 2 }),
            ("+/a", TopicError::Wildcard { at: 0 }),
            ("", TopicError::Empty),
            ("a\0", TopicError::Nul { at: 1 }),
        ] {
            let refused = Error::Request(RequestError::Encode(EncodeError::Topic(reason)));
            assert_eq!(client.publish(&Message::new(topic, b"x")), Err(refused));
        }
        for (filter, reason) in [
            (&long[..], too_long),
            ("", TopicError::Empty),
            ("a#", TopicError::Wildcard { at: 1 }),
            ("#/a", TopicError::Wildcard { at: 0 }),
        ] {
            let (number, error) = (1, reason);
            let refused = Error::Request(EncodeError::Filter { number, error }.into());
            assert_eq!(client.subscribe(&[(filter, QoS::AtMostOnce)]), Err(refused));
            assert_eq!(client.unsubscribe(&[filter]), Err(refused));
        }
        let nothing = Err(Error::Request(RequestError::Encode(EncodeError::NoFilters)));
        assert_eq!(client.subscribe(&[]), nothing);
        assert!(network.take_sent().is_empty());
        // The refused requests used no packet id.
        let codes = client
            .subscribe_and_wait(&[("a/#", QoS::AtMostOnce)], |_, _| panic!())
            .unwrap();
        assert!(codes.all_granted());
        assert_eq!(
            client.publish(&message("t", b"", QoS::AtLeastOnce)),
            Ok(Some(packet_id(2)))
        );
    });
    for field in [Field::ClientId, Field::UserName, Field::Password] {
        let long = "c".repeat(65_536);
        let mut options = Connect::new("id");
        match field {
            Field::ClientId => options.client_id = &long,
            Field::UserName => {
                options.credentials = Some(Credentials {
                    user_name: &long,
                    password: None,
                })
            }
            _ => {
                options.credentials = Some(Credentials {
                    user_name: "u",
                    password: Some(long.as_bytes()),
                })
            }
        }
        assert_eq!(
            options.encoded_len(),
            Err(EncodeError::StringTooLong { field, len: 65_536 })
        );
    }
}

/// The buffer of the fixed header had room for only three bytes of Remaining Length.
#[test]
fn defect_13_publish_over_two_megabytes_is_encoded() {
    for remaining in [2_097_151, 2_097_152, 3_000_000] {
        let payload = vec![b'x'; remaining - 3];
        let publish = Publish::new(TopicName::new("t").unwrap(), &payload);
        let mut out = vec![0; remaining + 5];
        let bytes = publish.encode(&mut out).unwrap();
        assert_eq!(
            Packet::decode(bytes),
            Ok(Some((Packet::Publish(publish), bytes.len())))
        );
    }
    let header = PublishHeader {
        topic: TopicName::new("t").unwrap(),
        delivery: Delivery::AtMostOnce,
        retain: false,
        payload_len: 268_435_455 - 3,
    };
    let mut out = [0; 8];
    assert_eq!(
        header.encode(&mut out).unwrap(),
        b"\x30\xFF\xFF\xFF\x7F\x00\x01t"
    );
}

/// The QoS that was granted was not returned.
#[test]
fn defect_14_granted_qos_is_returned() {
    let network = Network::new();
    with_client(&network, |client| {
        network.feed(b"\x90\x05\x00\x01\x00\x01\x80");
        let filters = ["a", "b", "c"].map(|filter| (filter, QoS::ExactlyOnce));
        let codes = client
            .subscribe_and_wait(&filters, |_, _| panic!())
            .unwrap();
        let granted = SubackReturnCode::Granted;
        let expected = [
            granted(QoS::AtMostOnce),
            granted(QoS::AtLeastOnce),
            SubackReturnCode::Failure,
        ];
        assert!(codes.iter().eq(expected));
    });
}

/// A user name needed a password.
#[test]
fn defect_15_user_name_without_password_is_accepted() {
    let network = Network::with_server();
    let mut storage = Storage::<64, 64, 1>::new();
    let mut session = Session::new(&mut storage);
    let options = Connect {
        credentials: Some(Credentials {
            user_name: "user",
            password: None,
        }),
        ..Connect::new("id")
    };
    Client::connect(&mut session, network.transport(), &network, &options).unwrap();
    assert_eq!(
        network.take_sent(),
        b"\x10\x14\x00\x04MQTT\x04\x82\x00\x3C\x00\x02id\x00\x04user"
    );
}

/// A short write was taken for a whole one.
#[test]
fn defect_16_short_writes_are_continued() {
    for most in [1, 2, 3, 7] {
        let network = Network::with_server();
        network.writes(&[], Step::Bytes(most));
        with_client(&network, |client| {
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                client
                    .publish_and_wait(&message("topic", b"payload", qos), |_, _| panic!())
                    .unwrap();
            }
            let writes = network.take_writes();
            let expected = [
                publish("topic", b"payload", QoS::AtMostOnce, 0),
                publish("topic", b"payload", QoS::AtLeastOnce, 1),
                publish("topic", b"payload", QoS::ExactlyOnce, 2),
                pubrel(2),
            ];
            assert!(writes.iter().all(|bytes| bytes.len() <= most));
            assert_eq!(writes.concat(), expected.concat());
        });
    }
}

/// A CONNECT took up to ten writes, a PUBLISH five.
#[test]
fn defect_17_each_packet_is_written_in_one_write() {
    let network = Network::with_server();
    let mut storage = Storage::<64, 128, 1>::new();
    let mut session = Session::new(&mut storage);
    let options = Connect {
        will: Some(Will::new("will", b"gone")),
        credentials: Some(Credentials {
            user_name: "user",
            password: Some(b"password"),
        }),
        ..Connect::new("id")
    };
    let mut client =
        Client::connect(&mut session, network.transport(), &network, &options).unwrap();
    assert_eq!(network.take_writes().len(), 1);
    client
        .publish_and_wait(
            &message("topic", b"payload", QoS::AtLeastOnce),
            |_, _| panic!(),
        )
        .unwrap();
    assert_eq!(network.take_writes().len(), 1);
}

/// A refused CONNECT left the socket open.
#[test]
fn defect_18_refused_connect_closes_transport() {
    let network = Network::new();
    network.feed(b"\x20\x02\x00\x05");
    let refused = ProtocolError::Refused(ConnectReturnCode::NotAuthorized);
    assert_eq!(connect_error(&network), refused);
    assert!(network.is_dropped());
}

/// Every check was an `assert`, which optimization removes. Here, a failed check returns an error in every build.
#[test]
fn defect_19_failed_checks_return_errors() {
    for (connack, expected) in [
        // Not a CONNACK; one that is too long; one with reserved flags; one that claims a session after a clean start.
        (
            &b"\x40\x02\x00\x01"[..],
            ProtocolError::BeforeConnack(PacketType::Puback),
        ),
        (
            b"\x20\x03\x00\x00\x00",
            ProtocolError::Decode(DecodeError::TrailingBytes { extra: 1 }),
        ),
        (
            b"\x20\x02\x02\x00",
            ProtocolError::Decode(DecodeError::ReservedConnackFlags { flags: 2 }),
        ),
        (
            b"\x20\x02\x01\x00",
            ProtocolError::SessionPresentAfterCleanSession,
        ),
    ] {
        let network = Network::new();
        network.feed(connack);
        assert_eq!(connect_error(&network), expected);
    }
    // The original asserted that the callback was set, that a will QoS is 0 to 2, and that PINGRESP has no body.
    assert!(QoS::try_from(3).is_err());
    let network = Network::new();
    with_client(&network, |client| {
        network.feed(&PINGRESP);
        assert_eq!(client.poll(), Ok(None), "it has no effect");
    });
}

/// The callback ran before the PUBACK. If it published at QoS 1, this call waited for its own PUBACK, and ran the
/// callback again for the next message. Here, a callback cannot call the client. Messages are handled one by one.
#[test]
fn defect_20_messages_are_handled_one_by_one() {
    let network = Network::new();
    let count = 20_000_u16;
    let mut seen = Vec::new();
    with_client(&network, |client| {
        for n in 1..=count {
            network.feed(&publish("t", &n.to_be_bytes(), QoS::AtLeastOnce, n));
        }
        network.feed(&puback(1));
        client
            .publish_and_wait(&message("own", b"", QoS::AtLeastOnce), |event, _| {
                let Event::Message(message) = event else {
                    panic!("{event:?}");
                };
                seen.push(u16::from_be_bytes(message.payload.try_into().unwrap()));
            })
            .unwrap();
        let sent = network.take_sent();
        let acks: Vec<Vec<u8>> = (1..=count).map(puback).collect();
        assert_eq!(packets(&sent).0[1..], acks);
    });
    assert!(seen.into_iter().eq(1..=count));
}

/// A message is acknowledged only after it was delivered.
#[test]
fn defect_20_message_is_acknowledged_after_delivery() {
    let network = Network::new();
    with_client(&network, |client| {
        network.feed(&publish("t", b"x", QoS::AtLeastOnce, 5));
        let event = client.recv().unwrap();
        assert!(network.take_sent().is_empty());
        assert!(matches!(event, Event::Message(_)));
        client.flush().unwrap();
        assert_eq!(network.take_sent(), puback(5));
    });
}

/// umqtt.robust sent a message again with a new id and without DUP, and ignored Session Present.
#[test]
fn defect_21_message_is_resent_with_its_id() {
    let mut storage = Storage::<128, 256, 4>::new();
    let mut session = Session::new(&mut storage);
    let network = Network::new();
    let mut client = connected(&mut session, &network, &KEEP);
    assert!(!client.session_present());
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        client.publish(&message("t", b"x", qos)).unwrap();
    }
    drop(client);

    for session_present in [true, false] {
        let network = Network::new();
        network.feed(&connack(session_present));
        let mut client =
            Client::connect(&mut session, network.transport(), &network, &KEEP).unwrap();
        assert_eq!(client.session_present(), session_present);
        client.publish(&Message::new("new", b"")).unwrap();
        let (mut first, mut second) = (
            publish("t", b"x", QoS::AtLeastOnce, 1),
            publish("t", b"x", QoS::ExactlyOnce, 2),
        );
        first[0] |= 0b1000;
        second[0] |= 0b1000;
        let new = publish("new", b"", QoS::AtMostOnce, 0);
        let sent = network.take_sent();
        assert_eq!(packets(&sent).0[1..], [first, second, new]);
        // The server acknowledges a message. Otherwise, the next connection would resend the messages one by one.
        let other = client.publish(&message("t", b"y", QoS::AtLeastOnce));
        network.feed(&puback(other.unwrap().unwrap().get()));
        assert!(matches!(client.recv().unwrap(), Event::Puback(_)));
    }
}

/// umqtt.robust did not subscribe again if the server had lost the session. Here, an event reports the loss to a caller
/// that waits.
#[test]
fn defect_21_lost_session_is_reported() {
    let mut storage = Storage::<128, 256, 4>::new();
    let mut session = Session::new(&mut storage);
    let network = Network::new();
    drop(connected(&mut session, &network, &KEEP));
    for session_present in [false, true] {
        network.feed(&connack(session_present));
        let mut client = Client::open(&mut session, network.transport(), &network, &KEEP).unwrap();
        let mut seen = Vec::new();
        record(&mut seen, client.recv().unwrap());
        let expected = Event::Connected {
            session_present,
            unknown_session: false,
            connect_unanswered: false,
        };
        assert_eq!(seen, [Seen::other(expected)]);
    }
}
