//! Calls of a client in unusual orders: no event is lost, and no wrong result is returned.

use crate::common::{self, DISCONNECT, Network, Step, pubcomp, publish, pubrel};
use embedded_io::{ErrorKind, Read};
use umqtt::{
    Event, Instant, Message, ProtocolError, Publisher, ReadFn, RequestError, Session, Storage,
    StreamedPublish, blocking,
    client::Error,
    codec::{
        Connect, DecodeError, Delivery, PacketId, Publish, QoS, SubackReturnCode, TopicError,
        TopicName,
    },
};

type Memory = Storage<64, 256, 4>;
type Client<'s, 'b, 'n> = blocking::Client<'s, 'b, common::Transport, &'n Network>;

const FRESH: [u8; 4] = [0x20, 2, 0, 0];
const PRESENT: [u8; 4] = [0x20, 2, 1, 0];

fn options() -> Connect<'static> {
    Connect {
        clean_session: false,
        ..Connect::new("device")
    }
}

fn at_qos_1<'a>(topic: &'a str, payload: &'a [u8]) -> Message<'a> {
    Message {
        qos: QoS::AtLeastOnce,
        ..Message::new(topic, payload)
    }
}

fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

/// Returns a PUBLISH at QoS 1 with id 7.
fn incoming(topic: &str, payload: &[u8]) -> Vec<u8> {
    let delivery = Delivery::AtLeastOnce {
        packet_id: id(7),
        dup: false,
    };
    let mut out = vec![0; 2_000];
    let topic = TopicName::new(topic).unwrap();
    let publish = Publish {
        delivery,
        ..Publish::new(topic, payload)
    };
    publish.encode(&mut out).unwrap().to_vec()
}

fn connect<'s, 'b, 'n>(session: &'s mut Session<'b>, network: &'n Network) -> Client<'s, 'b, 'n> {
    network.feed(&FRESH);
    Client::connect(session, network.transport(), network, &options()).unwrap()
}

/// Opens a connection that must resend a message of an older one. CONNACK is received later.
fn reopen<'s, 'b, 'n>(session: &'s mut Session<'b>, network: &'n Network) -> Client<'s, 'b, 'n> {
    let older = Network::new();
    connect(session, &older)
        .publish(&at_qos_1("old", b"x"))
        .unwrap();
    network.feed_at(50, &PRESENT);
    Client::open(session, network.transport(), network, &options()).unwrap()
}

fn contains(sent: &[u8], part: &[u8]) -> bool {
    sent.windows(part.len()).any(|window| window == part)
}

#[test]
fn reader_checkpoint_due_returns_error_and_keeps_message() {
    let (network, mut storage) = (Network::new(), Memory::new());
    let mut session = Session::new(&mut storage);
    session.set_checkpoints(true);
    let mut client = connect(&mut session, &network);
    while client.poll().unwrap().is_some() {}
    let mut message = incoming("a", &[9; 300]);
    let rest = message.split_off(message.len() - 100);
    network.feed(&message);
    assert!(matches!(client.recv().unwrap(), Event::Chunk(_)));
    client.publish(&at_qos_1("t", b"x")).unwrap();

    let mut reader = client.payload();
    let mut buf = [0; 500];
    let mut read = 0;
    let error = loop {
        match reader.read(&mut buf) {
            Ok(n) => read += n,
            Err(error) => break error,
        }
    };
    assert_eq!(read, 200, "the received bytes");
    let due = Error::Request(RequestError::CheckpointDue);
    assert_eq!(error, due);
    assert_eq!(reader.read(&mut buf), Err(due));
    drop(reader);
    assert!(matches!(client.recv().unwrap(), Event::CheckpointDue));
    // The rest of the message was not skipped.
    network.feed(&rest);
    assert!(matches!(client.recv().unwrap(), Event::Chunk(chunk) if chunk.offset == 200));
    let mut reader = client.payload();
    while read < 300 {
        read += reader.read(&mut buf).unwrap();
    }
    drop(reader);
    // The acknowledgement of the message is also a change of the session.
    assert!(matches!(client.poll().unwrap(), Some(Event::CheckpointDue)));
}

/// After a publish between two chunks of a QoS 2 message, the reader gets all received bytes.
#[test]
fn reader_checkpoint_due_message_received_is_read_whole() {
    let (network, mut storage) = (Network::new(), Memory::new());
    let mut session = Session::new(&mut storage);
    session.set_checkpoints(true);
    let mut client = connect(&mut session, &network);
    while client.poll().unwrap().is_some() {}
    let mut bytes = vec![0x34, 0xB1, 0x02, 0, 1, b'a', 0, 7];
    bytes.extend([9; 300]);
    network.feed(&bytes);
    assert!(matches!(client.recv().unwrap(), Event::Chunk(_)));
    client.publish(&at_qos_1("t", b"x")).unwrap();
    let (mut buf, mut read) = ([0; 16], 0);
    let mut reader = client.payload();
    loop {
        match reader.read(&mut buf).unwrap() {
            0 => break,
            n => read += n,
        }
    }
    drop(reader);
    assert_eq!(read, 300);
    // The answer waits for the checkpoint.
    let pubrec = [0x50, 2, 0, 7];
    assert!(!contains(&network.take_sent(), &pubrec));
    assert!(matches!(client.recv().unwrap(), Event::CheckpointDue));
    assert!(client.poll().unwrap().is_none());
    assert!(contains(&network.take_sent(), &pubrec));
}

/// While a checkpoint is due, `disconnect` returns that error, and client and transport are unchanged.
#[test]
fn disconnect_checkpoint_due_keeps_connection() {
    let (network, mut storage) = (Network::new(), Memory::new());
    let mut session = Session::new(&mut storage);
    session.set_checkpoints(true);
    let mut client = connect(&mut session, &network);
    while client.poll().unwrap().is_some() {}
    client.publish(&at_qos_1("t", b"x")).unwrap();
    let due = Error::Request(RequestError::CheckpointDue);
    assert_eq!(client.disconnect(), Err(due));
    assert!(!network.is_dropped());
    while client.poll().unwrap().is_some() {}
    network.end();
    assert_eq!(client.disconnect(), Ok(true));
    assert!(network.take_sent().ends_with(&DISCONNECT));
    let _transport = client.into_transport();
    assert!(!network.is_dropped());
}

/// A flush that must wait finds the first chunk of another message, whose event was not taken.
#[test]
fn reader_next_message_not_taken_skips_no_chunk() {
    let (network, mut storage) = (Network::new(), Memory::new());
    let mut session = Session::new(&mut storage);
    let mut client = connect(&mut session, &network);
    network.feed(&[0x30, 8, 0, 1, b'a', b'f', b'i', b'r', b's', b't']);
    network.feed(&incoming("b", &[9; 300]));
    assert!(matches!(client.recv().unwrap(), Event::Message(_)));
    network.writes(&[Step::NotReady, Step::NotReady], Step::Bytes(usize::MAX));
    client.publish(&Message::new("t", b"x")).unwrap();
    client.flush().unwrap();

    let mut buf = [0; 400];
    assert_eq!(client.payload().read(&mut buf), Ok(0));
    let mut bytes = 0;
    while bytes < 300 {
        match client.recv().unwrap() {
            Event::Chunk(chunk) => {
                assert_eq!((chunk.topic, chunk.offset), ("b", bytes));
                bytes += chunk.bytes.len();
            }
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn flush_resend_pending_waits_for_connack() {
    let (network, mut storage) = (Network::new(), Memory::new());
    let mut session = Session::new(&mut storage);
    let mut client = reopen(&mut session, &network);
    client.publish(&Message::new("t", b"now")).unwrap();
    client.flush().unwrap();
    assert!(contains(&network.take_sent(), b"now"));
}

#[test]
fn qos_0_publish_resend_pending_waits_for_connack() {
    let (network, mut storage) = (Network::new(), Memory::new());
    let mut session = Session::new(&mut storage);
    let mut client = reopen(&mut session, &network);
    client
        .publish_and_wait(&Message::new("t", b"now"), |_, _| {})
        .unwrap();
    assert!(contains(&network.take_sent(), b"now"));
}

#[test]
fn publish_accepted_connection_fails_returns_packet_id() {
    let (network, mut storage) = (Network::new(), Memory::new());
    let mut session = Session::new(&mut storage);
    let mut client = connect(&mut session, &network);
    network.writes(&[], Step::Broken);
    assert_eq!(client.publish(&at_qos_1("t", b"x")), Ok(Some(id(1))));
    assert!(matches!(client.recv(), Err(Error::Transport(_))));
    assert_eq!(client.recv(), Err(Error::Closed));
    assert_eq!(client.publish(&at_qos_1("t", b"y")), Err(Error::Closed));
    assert_eq!(session.in_flight(), 1);
}

#[test]
fn streamed_publish_connection_fails_packet_id_is_known() {
    let (network, mut storage) = (Network::new(), Memory::new());
    let mut session = Session::new(&mut storage);
    let mut client = connect(&mut session, &network);
    network.writes(&[Step::Bytes(100)], Step::Broken);
    let message = StreamedPublish::New {
        topic: "t",
        qos: QoS::AtLeastOnce,
        retain: false,
    };
    let failed = client.publish_slices(message, &[&[1; 1_000]], |_, _| {});
    assert!(matches!(failed, Err(Error::Transport(_))));
    let known = client.session().last_packet_id();
    let network = Network::new();
    let mut client = connect(&mut session, &network);
    assert_eq!(client.recv().map(|event| format!("{event:?}")), {
        let needed = Event::PayloadNeeded(known.unwrap());
        Ok(format!("{needed:?}"))
    });
}

#[test]
fn report_not_taken_occupies_its_slot() {
    let (network, mut storage) = (Network::new(), Storage::<64, 256, 1>::new());
    let mut session = Session::new(&mut storage);
    let filters = [("led/#", QoS::AtLeastOnce)];
    connect(&mut session, &network).subscribe(&filters).unwrap();
    let network = Network::new();
    let mut client = connect(&mut session, &network);
    let full = Err(Error::Request(RequestError::InflightFull { capacity: 1 }));
    assert_eq!(client.session().in_flight(), 1);
    assert_eq!(client.subscribe(&filters), full);
    assert_eq!(client.recv().unwrap(), Event::OutcomeUnknown(id(1)));
    client.subscribe(&filters).unwrap();
}

#[test]
fn connect_too_large_keeps_connection_open() {
    let (network, mut storage) = (Network::new(), Storage::<64, 64, 4>::new());
    let mut session = Session::new(&mut storage);
    connect(&mut session, &network);
    let too_long = "i".repeat(60);
    let options = Connect::new(&too_long);
    let refused = session.connect(&options, umqtt::Instant::default());
    assert!(matches!(refused, Err(RequestError::PacketTooLarge { .. })));
    assert!(session.is_connected());
}

/// [MQTT-1.5.3-2] [MQTT-3.3.2-2] A topic that does not fit into the buffer is checked byte by byte.
#[test]
fn skipped_topic_is_checked_byte_by_byte() {
    let at = 40;
    for (byte, expected) in [
        (0, DecodeError::TopicName(TopicError::Nul { at })),
        (b'#', DecodeError::TopicName(TopicError::Wildcard { at })),
        (b'+', DecodeError::TopicName(TopicError::Wildcard { at })),
        (0xFF, DecodeError::InvalidUtf8 { at }),
    ] {
        let (network, mut storage) = (Network::new(), Memory::new());
        let mut session = Session::new(&mut storage);
        let mut client = connect(&mut session, &network);
        let mut packet = incoming(&"a".repeat(100), b"x");
        packet[4 + at] = byte;
        network.feed(&packet);
        let reason = ProtocolError::Decode(expected);
        assert_eq!(client.recv(), Err(Error::Protocol(reason)), "{byte:#x}");
    }
}

/// The acknowledgement of a long message is reported after its id is known, even if the server answers at once.
#[test]
fn streamed_publish_acknowledged_early_returns_id_first() {
    for pieces in [1, 7, 1_000] {
        let (network, mut storage) = (Network::with_server(), Memory::new());
        let mut session = Session::new(&mut storage);
        let mut client =
            Client::connect(&mut session, network.transport(), &network, &options()).unwrap();
        network.writes(&[], Step::Bytes(pieces));
        let message = StreamedPublish::New {
            topic: "t",
            qos: QoS::AtLeastOnce,
            retain: false,
        };
        let payload = [1; 1_000];
        let meanwhile = |event: Event<'_>, _: &mut Publisher<'_, '_>| panic!("{event:?}");
        let sent = client.publish_slices(message, &[&payload], meanwhile);
        assert_eq!(sent, Ok(Some(id(1))));
        assert_eq!(client.recv(), Ok(Event::Puback(id(1))));
        let sent = client.publish_from(message, payload.len(), &payload[..], meanwhile);
        assert_eq!(sent, Ok(Some(id(2))));
        assert_eq!(client.recv(), Ok(Event::Puback(id(2))));
        let mut bytes = payload.iter();
        let closure = ReadFn(|buf: &mut [u8]| {
            let len = buf.len().min(3);
            for (to, from) in buf.iter_mut().zip(bytes.by_ref().take(len)) {
                *to = *from;
            }
            Ok::<_, ErrorKind>(len)
        });
        let sent = client.publish_from(message, payload.len(), closure, meanwhile);
        assert_eq!(sent, Ok(Some(id(3))));
        assert_eq!(client.recv(), Ok(Event::Puback(id(3))));
    }
}

/// On a closed connection, every call of a client returns `Closed`.
#[test]
fn calls_connection_closed_return_closed() {
    let (network, mut storage) = (Network::new(), Memory::new());
    let mut session = Session::new(&mut storage);
    let mut client = connect(&mut session, &network);
    network.end();
    assert_eq!(client.recv().err(), Some(Error::Closed));
    let waited = client.publish_and_wait(&at_qos_1("t", b"x"), |_, _| {});
    assert_eq!(waited, Err(Error::Closed));
    let subscribed = client.subscribe_and_wait(&[("t", QoS::AtMostOnce)], |_, _| {});
    assert_eq!(subscribed.err(), Some(Error::Closed));
}

/// If the session changes while the last bytes of a message are sent, the call returns `Ok`.
#[test]
fn publish_sent_while_session_changes_returns_ok() {
    let (network, mut storage) = (Network::new(), Memory::new());
    let mut session = Session::new(&mut storage);
    session.set_checkpoints(true);
    let mut client = connect(&mut session, &network);
    while client.poll().unwrap().is_some() {}
    network.feed(&publish("t", b"x", QoS::ExactlyOnce, 9));
    while client.poll().unwrap().is_some() {}
    while client.poll().unwrap().is_some() {}
    network.take_sent();
    // The answer to the PUBREC is received while the transport flushes the message.
    network.flushes(&[Step::TimedOut; 8]);
    network.feed_at(network.millis() + 1, &pubrel(9));
    let sent = client.publish_and_wait(&Message::new("u", b"y"), |_, _| {});
    assert_eq!(sent, Ok(()));
    let mut left = publish("u", b"y", QoS::AtMostOnce, 0);
    left.extend(pubcomp(9));
    assert_eq!(network.take_sent(), left);
}

/// After a SUBACK, a reader returns no bytes of it.
#[test]
fn reader_after_suback_returns_no_bytes() {
    let (network, mut storage) = (Network::with_server(), Memory::new());
    let mut session = Session::new(&mut storage);
    let mut client = common::connected(&mut session, &network, &options());
    let filters = [
        ("a", QoS::AtMostOnce),
        ("b", QoS::AtLeastOnce),
        ("c", QoS::ExactlyOnce),
    ];
    let granted = client.subscribe_and_wait(&filters, |_, _| {}).unwrap();
    assert_eq!(
        granted.first(),
        Some(SubackReturnCode::Granted(QoS::AtMostOnce))
    );
    let mut buf = [0xFF; 8];
    assert_eq!(client.payload().read(&mut buf), Ok(0), "{buf:?}");
}

/// The room of a long CONNECT is free again for a new session.
#[test]
fn clean_session_shorter_connect_frees_buffer_space() {
    let mut storage = Memory::new();
    let mut session = Session::new(&mut storage);
    let long = "i".repeat(200);
    session
        .connect(&Connect::new(&long), Instant::from_millis(0))
        .unwrap();
    session.connection_lost();
    session
        .connect(&Connect::new("me"), Instant::from_millis(0))
        .unwrap();
    assert!(session.publish(&Message::new("t", &[0; 100])).is_ok());
}

/// A flush does not succeed while packets wait after a payload, and DISCONNECT does not wait for them.
#[test]
fn flush_payload_needed_returns_error() {
    let mut storage = Memory::new();
    let mut session = Session::new(&mut storage);
    let older = Network::new();
    let mut client = connect(&mut session, &older);
    let long = StreamedPublish::New {
        topic: "t",
        qos: QoS::AtLeastOnce,
        retain: false,
    };
    client
        .publish_slices(long, &[b"payload"], |_, _| {})
        .unwrap();
    drop(client);

    let network = Network::new();
    network.feed(&PRESENT);
    let mut client =
        Client::connect(&mut session, network.transport(), &network, &options()).unwrap();
    network.take_writes();
    client.publish(&Message::new("t", b"behind")).unwrap();
    let refused = Error::Request(RequestError::PayloadPending);
    assert_eq!(client.flush(), Err(refused));
    assert_eq!(network.take_sent(), []);
    assert!(client.disconnect().is_ok());
    assert_eq!(network.take_sent(), DISCONNECT);
    assert_eq!(session.in_flight(), 1, "its payload is requested again");
}
