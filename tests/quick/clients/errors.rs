//! The texts of errors: the problem, the number that explains it, and the section of the specification.

use core::error::Error;
use core::fmt::Display;

use embedded_io::Error as _;
use embedded_io::ErrorKind;
use umqtt::{
    DeviceError, Ended, ImageError, Instant, Message, ProtocolError, RequestError, Session,
    Storage, client,
    codec::{
        Connect, ConnectReturnCode, Credentials, DecodeError, EncodeError, Field, PacketId,
        PacketType, Publish, QoS, TopicError, TopicFilter, TopicName, Will,
    },
    std_io,
};

#[track_caller]
fn check<E: Display>(expected: &[(E, &str)]) {
    for (error, text) in expected {
        assert_eq!(error.to_string(), *text);
    }
}

#[test]
fn decode_errors_display_specification_section() {
    use DecodeError as E;
    check(&[
        (
            E::ReservedPacketType { value: 15 },
            "packet type 15 is reserved (section 2.2.1)",
        ),
        (
            E::InvalidFlags {
                packet_type: PacketType::Pubrel,
                flags: 3,
            },
            "Pubrel has flags 0b0011 (section 2.2.2)",
        ),
        (
            E::RemainingLengthTooLong,
            "Remaining Length has more than four bytes (section 2.2.3)",
        ),
        (E::Truncated, "packet ends inside a field"),
        (
            E::TrailingBytes { extra: 7 },
            "7 bytes follow the packet's last field",
        ),
        (E::PacketIdZero, "Packet Identifier is 0 (section 2.3.1)"),
        (
            E::InvalidUtf8 { at: 7 },
            "string is not UTF-8 at byte 7 (section 1.5.3)",
        ),
        (
            E::NulInString { at: 7 },
            "string has U+0000 at byte 7 (section 1.5.3)",
        ),
        (
            E::TopicName(TopicError::Empty),
            "topic name invalid: no characters (section 4.7.3)",
        ),
        (
            E::TopicFilter(TopicError::Nul { at: 7 }),
            "topic filter invalid: U+0000 at byte 7 (section 4.7.3)",
        ),
        (
            E::WrongProtocolName,
            "protocol name is not MQTT (section 3.1.2.1)",
        ),
        (
            E::UnsupportedProtocolLevel { level: 5 },
            "protocol level is 5 and not 4 (section 3.1.2.2)",
        ),
        (
            E::ReservedConnectFlag,
            "reserved CONNECT flag is set (section 3.1.2.3)",
        ),
        (E::WillQosThree, "will QoS is 3 (section 3.1.2.6)"),
        (
            E::WillQosWithoutWill { qos: 2 },
            "will QoS is 2 without a will (section 3.1.2.6)",
        ),
        (
            E::WillRetainWithoutWill,
            "will retain is set without a will (section 3.1.2.7)",
        ),
        (
            E::PasswordWithoutUserName,
            "password without a user name (section 3.1.2.9)",
        ),
        (
            E::EmptyClientId,
            "client id is empty and Clean Session is 0 (section 3.1.3.1)",
        ),
        (
            E::ReservedConnackFlags { flags: 2 },
            "CONNACK flags are 0b00000010 (section 3.2.2.1)",
        ),
        (
            E::UnknownConnectReturnCode { code: 6 },
            "CONNACK return code 6 is reserved (section 3.2.2.3)",
        ),
        (
            E::SessionPresentWithRefusal { code: 5 },
            "CONNACK refuses with 5 and has Session Present set (section 3.2.2.2)",
        ),
        (E::PublishQosThree, "PUBLISH has QoS 3 (section 3.3.1.2)"),
        (
            E::DupAtQosZero,
            "PUBLISH has DUP set at QoS 0 (section 3.3.1.1)",
        ),
        (
            E::NoFilters,
            "packet has no topic filter (sections 3.8.3 and 3.10.3)",
        ),
        (
            E::InvalidRequestedQos { value: 3 },
            "requested QoS byte is 0x03 (section 3.8.3)",
        ),
        (
            E::UnknownSubackReturnCode { code: 3 },
            "SUBACK return code is 0x03 (section 3.9.3)",
        ),
    ]);
}

#[test]
fn encode_errors_display_specification_section() {
    use EncodeError as E;
    check(&[
        (
            E::BufferTooSmall { needed: 7 },
            "buffer too small: 7 bytes needed",
        ),
        (
            E::StringTooLong {
                field: Field::WillMessage,
                len: 70_000,
            },
            "will message too long: 70000 bytes, at most 65535 (section 1.5.3)",
        ),
        (
            E::NulInString {
                field: Field::UserName,
                at: 7,
            },
            "user name invalid: U+0000 at byte 7 (section 1.5.3)",
        ),
        (
            E::Topic(TopicError::Wildcard { at: 7 }),
            "topic invalid: misplaced wildcard at byte 7 (section 4.7.1)",
        ),
        (
            E::Topic(TopicError::TooLong { len: 70_000 }),
            "topic invalid: 70000 bytes, at most 65535 (section 4.7.3)",
        ),
        (
            E::Filter {
                number: 2,
                error: TopicError::Wildcard { at: 7 },
            },
            "filter 2 invalid: misplaced wildcard at byte 7 (section 4.7.1)",
        ),
        (
            E::PacketTooLong {
                remaining_length: 268_435_456,
            },
            "packet too long: Remaining Length 268435456, at most 268435455 (section 2.2.3)",
        ),
        (
            E::EmptyClientId,
            "client id empty: Clean Session 0 requires one (section 3.1.3.1)",
        ),
        (
            E::NoFilters,
            "no filter: at least one is required (sections 3.8.3 and 3.10.3)",
        ),
        (
            E::NoReturnCodes,
            "no return code: at least one is required (section 3.9.3)",
        ),
    ]);
}

#[test]
fn connect_field_invalid_is_named() {
    let long = "x".repeat(65_536);
    let connect = |field: Field| match field {
        Field::ClientId => Connect::new(&long),
        Field::WillTopic => Connect {
            will: Some(Will::new(&long, b"")),
            ..Connect::new("id")
        },
        Field::WillMessage => Connect {
            will: Some(Will::new("w", long.as_bytes())),
            ..Connect::new("id")
        },
        Field::UserName => Connect {
            credentials: Some(Credentials {
                user_name: &long,
                password: None,
            }),
            ..Connect::new("id")
        },
        _ => Connect {
            credentials: Some(Credentials {
                user_name: "me",
                password: Some(long.as_bytes()),
            }),
            ..Connect::new("id")
        },
    };
    let mut storage = Storage::<64, 64, 1>::new();
    let mut session = Session::new(&mut storage);
    for (field, name) in [
        (Field::ClientId, "client id"),
        (Field::WillTopic, "will topic"),
        (Field::WillMessage, "will message"),
        (Field::UserName, "user name"),
        (Field::Password, "password"),
    ] {
        let error = session.connect(&connect(field), Instant::from_millis(0));
        let expected = format!("{name} too long: 65536 bytes, at most 65535 (section 1.5.3)");
        assert_eq!(error.unwrap_err().to_string(), expected);
    }
    let nul = session.connect(&Connect::new("id\0"), Instant::from_millis(0));
    let expected = "client id invalid: U+0000 at byte 2 (section 1.5.3)";
    assert_eq!(nul.unwrap_err().to_string(), expected);
    for (topic, reason) in [
        ("", "no characters (section 4.7.3)"),
        ("a\0", "U+0000 at byte 1 (section 4.7.3)"),
        ("a/+", "misplaced wildcard at byte 2 (section 4.7.1)"),
    ] {
        let connect = Connect {
            will: Some(Will::new(topic, b"bye")),
            ..Connect::new("id")
        };
        let connected = session.connect(&connect, Instant::from_millis(0));
        let prepared = session.prepare(&connect);
        let expected = format!("will topic invalid: {reason}");
        assert_eq!(connected.unwrap_err().to_string(), expected);
        assert_eq!(prepared.unwrap_err().to_string(), expected);
    }
}

/// Each error that wraps another returns it as its source. Those that wrap none have no source.
#[test]
fn wrapped_error_is_returned_as_source() {
    fn chain(error: &dyn Error) -> Vec<String> {
        let mut texts = vec![error.to_string()];
        let mut next = error.source();
        while let Some(source) = next {
            texts.push(source.to_string());
            next = source.source();
        }
        texts
    }
    type ClientError = client::Error<std_io::Error>;

    let empty = "no characters (section 4.7.3)";
    let topic = EncodeError::WillTopic(TopicError::Empty);
    let will = "will topic invalid: no characters (section 4.7.3)";
    assert_eq!(
        chain(&ClientError::Request(RequestError::Encode(topic))),
        [will, will, will, empty]
    );
    for error in [
        EncodeError::Topic(TopicError::Empty),
        EncodeError::Filter {
            number: 1,
            error: TopicError::Empty,
        },
    ] {
        assert_eq!(
            chain(&error),
            [&error.to_string(), empty].map(str::to_owned)
        );
    }
    for error in [
        DecodeError::TopicName(TopicError::Empty),
        DecodeError::TopicFilter(TopicError::Empty),
    ] {
        let reason = ProtocolError::Decode(error);
        let text = reason.to_string();
        let expected = [&text, &text, &error.to_string(), empty].map(str::to_owned);
        assert_eq!(chain(&ClientError::Protocol(reason)), expected);
    }

    let reset = || std_io::Error(std::io::ErrorKind::ConnectionReset.into());
    let cause = reset().to_string();
    let lost = Ended::Lost {
        error: ClientError::Transport(reset()),
        connected_for: 0,
    };
    let failed = format!("transport failed: {cause}");
    assert_eq!(chain(&lost), [failed.clone(), failed, cause.clone(), cause]);

    let kind = ErrorKind::NotFound;
    let source = format!("payload source failed: {kind}");
    let expected = [source, kind.to_string()];
    assert_eq!(chain(&ClientError::Source(kind)), expected);
    assert_eq!(chain(&DeviceError::Source(kind)), expected);
    let inner = RequestError::Encode(EncodeError::NoFilters);
    assert_eq!(chain(&DeviceError::Request(inner)).len(), 3);
    assert_eq!(chain(&DeviceError::Image(ImageError::Corrupt)).len(), 2);

    let alone: [&(dyn Error + 'static); 8] = [
        &ClientError::Closed,
        &ClientError::SourceEnded { missing: 1 },
        &Ended::<std_io::Error>::Shutdown,
        &DeviceError::ShutDown,
        &RequestError::NotConnected,
        &ProtocolError::Closed,
        &DecodeError::Truncated,
        &EncodeError::NoFilters,
    ];
    for error in alone {
        assert!(error.source().is_none(), "{error}");
    }
}

#[test]
fn filter_invalid_is_named_by_number() {
    let mut storage = Storage::<64, 64, 1>::new();
    let mut session = Session::new(&mut storage);
    let connect = Connect::new("id");
    session.connect(&connect, Instant::from_millis(0)).unwrap();
    let filters = [("a", QoS::AtMostOnce), ("b/#/c", QoS::AtMostOnce)];
    let subscribe = session.subscribe(&filters).unwrap_err();
    let unsubscribe = session.unsubscribe(&["a", "b", ""]).unwrap_err();
    assert_eq!(
        subscribe.to_string(),
        "filter 2 invalid: misplaced wildcard at byte 2 (section 4.7.1)"
    );
    assert_eq!(
        unsubscribe.to_string(),
        "filter 3 invalid: no characters (section 4.7.3)"
    );
}

/// The number of bytes by which the send buffer must be larger, in the text, is exact.
#[test]
fn send_buffer_enlarged_by_reported_bytes_fits_packet() {
    fn publish<const TX: usize>(options: &Connect<'_>) -> Result<Option<PacketId>, RequestError> {
        let mut storage = Storage::<64, TX, 1>::new();
        let mut session = Session::new(&mut storage);
        session.connect(options, Instant::from_millis(0))?;
        session.publish(&Message::new("topic", &[0; 40]))
    }
    let options = Connect::new("client");
    let needed = 2 + 2 + 5 + 40;
    let capacity = 64 - 2 - options.encoded_len().unwrap();
    let error = publish::<64>(&options).unwrap_err();
    assert_eq!(error, RequestError::PacketTooLarge { needed, capacity });
    let missing = format!("must be {} bytes larger", needed - capacity);
    assert!(error.to_string().ends_with(&missing), "{error}");
    assert_eq!((needed, capacity), (49, 42));
    assert!(publish::<70>(&options).is_err());
    assert_eq!(publish::<71>(&options), Ok(None));
    // The number is also exact if the CONNECT does not fit.
    let error = publish::<16>(&options).unwrap_err().to_string();
    assert!(error.ends_with("must be 6 bytes larger"), "{error}");
    let connected = |error| !matches!(error, RequestError::PacketTooLarge { needed: 20, .. });
    assert!(publish::<21>(&options).is_err_and(|error| !connected(error)));
    assert!(publish::<22>(&options).is_err_and(connected));
}

#[test]
fn request_errors_display_cause_and_remedy() {
    use RequestError as E;
    check(&[
        (
            E::NotConnected,
            "not connected: there is no connection, or DISCONNECT was queued",
        ),
        (
            E::ConnectionOpen,
            "there is a connection: call this between connections",
        ),
        (
            E::InflightFull { capacity: 4 },
            "in-flight table full: all 4 slots are in use; call poll until an acknowledgement frees one",
        ),
        (
            E::SendBufferFull { needed: 9, free: 7 },
            "send buffer full: 9 bytes needed, 7 free; flush to free messages at QoS 0, or call poll until \
             acknowledgements free the others",
        ),
        (
            E::NoRoomForConnect { needed: 9, free: 7 },
            "no room for CONNECT: 9 bytes needed, 7 free beside kept messages; shorten it, or connect with \
             Clean Session 1 to discard them",
        ),
        (
            E::PacketTooLarge {
                needed: 9,
                capacity: 7,
            },
            "packet too large: 9 bytes needed, 7 available; the send buffer, which also holds CONNECT and \
             DISCONNECT, must be 2 bytes larger",
        ),
        (
            E::AnswerTooLarge {
                needed: 9,
                capacity: 7,
            },
            "SUBACK too large: 9 bytes needed, the receive buffer has 7; subscribe with fewer filters at once",
        ),
        (E::CheckpointDue, "checkpoint due: take all events first"),
        (
            E::PayloadPending,
            "payload pending: provide it first, or discard its message",
        ),
        (
            E::PayloadNotNeeded,
            "payload not needed: use the id of the last PayloadNeeded event",
        ),
        (
            E::PayloadLength { expected: 7 },
            "wrong payload length: 7 bytes were announced",
        ),
        (
            E::ClientIdMismatch,
            "client id mismatch: the session belongs to another one; use that, or connect with Clean Session 1 \
             to discard the session",
        ),
        (
            E::Encode(EncodeError::NoFilters),
            "no filter: at least one is required (sections 3.8.3 and 3.10.3)",
        ),
    ]);
}

#[test]
fn protocol_errors_display_close_reason() {
    use ProtocolError as E;
    check(&[
        (
            E::Closed,
            "not connected: the connection was lost, closed, or never opened",
        ),
        (
            E::Refused(ConnectReturnCode::NotAuthorized),
            "connection refused: this client is not authorized",
        ),
        (
            E::Decode(DecodeError::Truncated),
            "malformed packet of the server: packet ends inside a field",
        ),
        (
            E::UnexpectedPacket(PacketType::Subscribe),
            "unexpected packet: the server must not send this Subscribe",
        ),
        (
            E::BeforeConnack(PacketType::Publish),
            "missing CONNACK: the server sent a Publish before it",
        ),
        (
            E::BeforeConnack(PacketType::Connack),
            "early CONNACK: the server answered before the CONNECT was complete",
        ),
        (
            E::SessionPresentAfterCleanSession,
            "session present: the server kept a session that Clean Session 1 discards",
        ),
        (
            E::UnexpectedAck {
                packet_type: PacketType::Puback,
                packet_id: PacketId::MAX,
            },
            "unexpected Puback: no request with id 65535 waits for it",
        ),
        (
            E::SubackCount {
                expected: 2,
                got: 1,
            },
            "wrong SUBACK: 1 return codes for 2 filters",
        ),
        (
            E::ReceiveBufferTooSmall { needed: 300 },
            "receive buffer too small: the server sent a packet of 300 bytes",
        ),
        (
            E::TooManyQos2Messages { capacity: 4 },
            "too many QoS 2 messages: the storage has room for 4 ids; connect again for the others, which the \
             server discards after Clean Session 1",
        ),
        (
            E::ConnackTimeout,
            "no CONNACK: the server did not answer within the response timeout",
        ),
        (
            E::PingrespTimeout,
            "no PINGRESP: the server did not answer within the response timeout",
        ),
        (
            E::RequestTimeout {
                packet_id: PacketId::MAX,
            },
            "no acknowledgement: the server did not answer request 65535 within the response timeout",
        ),
        (
            E::PayloadAborted,
            "payload aborted: its packet was sent in part; connect again",
        ),
        (
            E::WriteTimeout,
            "write timed out: the transport accepted no byte within the response timeout",
        ),
    ]);
}

#[test]
fn connect_return_codes_display_distinct_texts() {
    use ConnectReturnCode as C;
    check(&[
        (
            C::UnacceptableProtocolVersion,
            "the server does not support MQTT 3.1.1",
        ),
        (
            C::IdentifierRejected,
            "the server does not allow this client id",
        ),
        (C::ServerUnavailable, "the server is not available"),
        (
            C::BadUserNameOrPassword,
            "the user name or password is wrong or missing",
        ),
        (C::NotAuthorized, "this client is not authorized"),
    ]);
}

#[test]
fn image_errors_display_cause() {
    use ImageError as E;
    check(&[
        (
            E::BufferTooSmall { needed: 99 },
            "buffer too small: the image needs 99 bytes",
        ),
        (
            E::NotAnImage,
            "not an image: the bytes are no saved session",
        ),
        (
            E::UnknownVersion { version: 9 },
            "unknown image version: 9; this library reads 2",
        ),
        (
            E::Truncated,
            "image incomplete: bytes are missing at its end",
        ),
        (E::Corrupt, "image corrupt: its checksum is wrong"),
        (
            E::Inconsistent,
            "image inconsistent: its parts do not belong together",
        ),
        (
            E::StorageTooSmall,
            "storage too small: use the capacities with which the image was saved",
        ),
    ]);
}

#[test]
fn client_errors_display_wrapped_error() {
    use client::Error as E;
    check(&[
        (E::Transport("no carrier"), "transport failed: no carrier"),
        (
            E::Closed,
            "connection closed: by the peer, or in an earlier call",
        ),
        (
            E::Protocol(ProtocolError::PingrespTimeout),
            "no PINGRESP: the server did not answer within the response timeout",
        ),
        (
            E::Source(ErrorKind::NotFound),
            "payload source failed: NotFound",
        ),
        (
            E::SourceEnded { missing: 7 },
            "payload source ended early: 7 bytes missing",
        ),
        (
            E::Request(RequestError::NotConnected),
            "not connected: there is no connection, or DISCONNECT was queued",
        ),
    ]);
}

#[test]
fn std_io_error_keeps_text_source_and_kind() {
    let io = || std::io::Error::new(std::io::ErrorKind::TimedOut, "too late");
    let error = std_io::Error(io());
    assert_eq!(error.to_string(), "too late");
    assert_eq!(error.source().unwrap().to_string(), "too late");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    let would_block = std_io::Error(std::io::ErrorKind::WouldBlock.into());
    assert_eq!(would_block.kind(), ErrorKind::TimedOut);
    let refused = std_io::Error(std::io::ErrorKind::ConnectionRefused.into());
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn valid_values_display_their_content() {
    assert_eq!(TopicName::new("a/b").unwrap().to_string(), "a/b");
    assert_eq!(TopicFilter::new("a/+/#").unwrap().to_string(), "a/+/#");
    assert_eq!(PacketId::MAX.to_string(), "65535");
    assert_eq!(
        QoS::try_from(3).unwrap_err().to_string(),
        "invalid QoS: 3, at most 2 (section 4.3)"
    );
}

/// The `Debug` output contains no payload and no password.
#[test]
fn debug_output_hides_password_and_payload() {
    let connect = Connect {
        will: Some(Will {
            retain: true,
            ..Will::new("a/b", b"last words")
        }),
        credentials: Some(Credentials {
            user_name: "me",
            password: Some(b"secret"),
        }),
        ..Connect::new("device")
    };
    let shown = format!("{connect:?}");
    assert!(
        shown.contains("Will { topic: \"a/b\", message: 10 bytes, qos: AtMostOnce, retain: true }"),
        "{shown}"
    );
    assert!(
        shown.contains("Credentials { user_name: \"me\", password: Some(hidden) }"),
        "{shown}"
    );
    assert_eq!(
        format!(
            "{:?}",
            Publish::new(TopicName::new("a/b").unwrap(), b"21.5")
        ),
        "Publish { topic: TopicName(\"a/b\"), payload: 4 bytes, delivery: AtMostOnce, retain: false }"
    );
    let filter = TopicFilter::new("a/#").unwrap();
    assert_eq!(format!("{filter:?}"), "TopicFilter(\"a/#\")");
}
