//! What errors say to a person: the fact, the number that explains it, and where the specification has the rule.
#![allow(
    clippy::unwrap_used,
    reason = "helpers of tests, which may panic as tests do"
)]

use core::error::Error;
use core::fmt::Display;

use embedded_io::Error as _;
use embedded_io::ErrorKind;
use umqtt::{
    ImageError, ProtocolError, RequestError, client,
    codec::{
        Connect, ConnectReturnCode, Credentials, DecodeError, EncodeError, PacketId, PacketType,
        Publish, QoS, TopicError, TopicFilter, TopicName, Will,
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
fn a_peers_mistake_is_named_with_its_section() {
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
            "in a topic name, there is no character (section 4.7.3)",
        ),
        (
            E::TopicFilter(TopicError::Nul { at: 7 }),
            "in a topic filter, there is U+0000 at byte 7 (section 4.7.3)",
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
fn what_cannot_be_encoded_is_named_with_its_section() {
    use EncodeError as E;
    check(&[
        (
            E::BufferTooSmall { needed: 7 },
            "buffer is too small: 7 bytes are needed",
        ),
        (
            E::StringTooLong { len: 70_000 },
            "field of 70000 bytes is longer than 65535 (section 1.5.3)",
        ),
        (E::NulInString, "string has U+0000 in it (section 1.5.3)"),
        (
            E::Topic(TopicError::Wildcard { at: 7 }),
            "in a topic, there is a misplaced wildcard at byte 7 (section 4.7.1)",
        ),
        (
            E::Topic(TopicError::TooLong { len: 70_000 }),
            "in a topic, there are 70000 bytes, more than 65535 (section 4.7.3)",
        ),
        (
            E::PacketTooLong {
                remaining_length: 268_435_456,
            },
            "Remaining Length 268435456 is above 268435455 (section 2.2.3)",
        ),
        (
            E::EmptyClientId,
            "client id is empty and Clean Session is 0 (section 3.1.3.1)",
        ),
        (
            E::NoFilters,
            "no topic filter is given (sections 3.8.3 and 3.10.3)",
        ),
        (E::NoReturnCodes, "no return code is given (section 3.9.3)"),
    ]);
}

#[test]
fn a_refused_request_says_what_to_wait_for() {
    use RequestError as E;
    check(&[
        (E::NotConnected, "there is no connection"),
        (
            E::InflightFull { capacity: 4 },
            "all 4 in-flight slots are taken; wait for an acknowledgement",
        ),
        (
            E::SendBufferFull { needed: 9, free: 7 },
            "the packet needs 9 bytes and 7 of the send buffer are free; wait for an acknowledgement",
        ),
        (
            E::PacketTooLarge {
                needed: 9,
                capacity: 7,
            },
            "the packet needs 9 bytes and the send buffer can hold 7",
        ),
        (
            E::CheckpointDue,
            "a checkpoint has to be seen first; take the events",
        ),
        (
            E::PayloadPending,
            "a payload has to be handed over, or declined, before anything else",
        ),
        (E::PayloadNotNeeded, "no payload is asked for under this id"),
        (
            E::PayloadLength { expected: 7 },
            "the payload was announced with 7 bytes",
        ),
        (
            E::ClientIdMismatch,
            "the session belongs to another client id; connect with Clean Session 1 to discard it",
        ),
        (
            E::Encode(EncodeError::NoFilters),
            "no topic filter is given (sections 3.8.3 and 3.10.3)",
        ),
    ]);
}

#[test]
fn the_end_of_a_connection_says_whose_fault_it_was() {
    use ProtocolError as E;
    check(&[
        (E::Closed, "the connection is closed"),
        (
            E::Refused(ConnectReturnCode::NotAuthorized),
            "the server refused the connection: this client is not authorized",
        ),
        (
            E::Decode(DecodeError::Truncated),
            "the server sent a malformed packet: packet ends inside a field",
        ),
        (
            E::UnexpectedPacket(PacketType::Subscribe),
            "the server sent a Subscribe packet, which it must not",
        ),
        (
            E::BeforeConnack(PacketType::Publish),
            "the server sent a Publish packet where a CONNACK was due",
        ),
        (
            E::SessionPresentAfterCleanSession,
            "the server claims to have kept a session that was asked to be clean",
        ),
        (
            E::UnexpectedAck {
                packet_type: PacketType::Puback,
                packet_id: PacketId::MAX,
            },
            "the server sent a Puback packet for id 65535, which does not wait for it",
        ),
        (
            E::SubackCount {
                expected: 2,
                got: 1,
            },
            "the server answered 2 subscriptions with 1 codes",
        ),
        (
            E::ReceiveBufferTooSmall { needed: 300 },
            "a packet of 300 bytes does not fit into the receive buffer",
        ),
        (
            E::TooManyQos2Messages { capacity: 4 },
            "more than 4 messages at QoS 2 came at once; give the storage room for more",
        ),
        (
            E::ConnackTimeout,
            "the server did not answer the CONNECT in time",
        ),
        (
            E::PingrespTimeout,
            "the server did not answer a ping in time",
        ),
        (
            E::RequestTimeout {
                packet_id: PacketId::MAX,
            },
            "the server did not acknowledge packet 65535 in time",
        ),
        (E::PayloadAborted, "a payload was given up half-way"),
        (E::WriteTimeout, "the network took no byte in time"),
    ]);
}

#[test]
fn each_refusal_of_a_connection_is_told_apart() {
    use ConnectReturnCode as C;
    check(&[
        (
            C::UnacceptableProtocolVersion,
            "it does not speak this version of the protocol",
        ),
        (C::IdentifierRejected, "it does not allow this client id"),
        (C::ServerUnavailable, "it is not available"),
        (
            C::BadUserNameOrPassword,
            "the user name or password is wrong or missing",
        ),
        (C::NotAuthorized, "this client is not authorized"),
    ]);
}

#[test]
fn an_image_that_is_not_taken_says_why() {
    use ImageError as E;
    check(&[
        (
            E::BufferTooSmall { needed: 99 },
            "the image needs a buffer of 99 bytes",
        ),
        (E::NotAnImage, "this is no image of a session"),
        (
            E::UnknownVersion { version: 9 },
            "the image has version 9, known is 2",
        ),
        (E::Truncated, "the image is incomplete"),
        (E::Corrupt, "the checksum of the image is wrong"),
        (E::Inconsistent, "the image contradicts itself"),
        (
            E::StorageTooSmall,
            "the image holds more than the storage has room for",
        ),
    ]);
}

#[test]
fn a_clients_error_says_what_lies_beneath() {
    use client::Error as E;
    check(&[
        (E::Transport("no carrier"), "transport failed: no carrier"),
        (E::Closed, "connection closed"),
        (
            E::Protocol(ProtocolError::WriteTimeout),
            "the network took no byte in time",
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
            "there is no connection",
        ),
    ]);
}

#[test]
fn a_standard_streams_error_is_passed_on() {
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
fn what_is_valid_is_shown_as_it_is() {
    assert_eq!(TopicName::new("a/b").unwrap().to_string(), "a/b");
    assert_eq!(TopicFilter::new("a/+/#").unwrap().to_string(), "a/+/#");
    assert_eq!(PacketId::MAX.to_string(), "65535");
    assert_eq!(
        QoS::try_from(3).unwrap_err().to_string(),
        "3 is no QoS: 0, 1 and 2 are (section 4.3)"
    );
}

/// What is logged holds neither payloads nor passwords.
#[test]
fn secrets_are_not_shown() {
    let topic = TopicName::new("a/b").unwrap();
    let connect = Connect {
        will: Some(Will {
            retain: true,
            ..Will::new(topic, b"last words")
        }),
        credentials: Some(Credentials {
            user_name: "me",
            password: Some(b"secret"),
        }),
        ..Connect::new("device")
    };
    let shown = format!("{connect:?}");
    assert!(
        shown.contains(
            "Will { topic: TopicName(\"a/b\"), message: 10 bytes, qos: AtMostOnce, retain: true }"
        ),
        "{shown}"
    );
    assert!(
        shown.contains("Credentials { user_name: \"me\", password: Some(hidden) }"),
        "{shown}"
    );
    assert_eq!(
        format!("{:?}", Publish::new(topic, b"21.5")),
        "Publish { topic: TopicName(\"a/b\"), payload: 4 bytes, delivery: AtMostOnce, retain: false }"
    );
    let filter = TopicFilter::new("a/#").unwrap();
    assert_eq!(format!("{filter:?}"), "TopicFilter(\"a/#\")");
}
