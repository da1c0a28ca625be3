//! Ends of connections: received data is handled first, and the transport can be taken after any call.

use crate::common::{
    self, Client, DISCONNECT, Error, Fault, Network, Step, connack, connected, dup, encode,
    message, packet_id, pubcomp, publish, pubrec, pubrel, suback,
    world::{self, AsyncClient, World},
};
use embedded_io::ErrorKind;
use umqtt::{
    Event, ProtocolError, RequestError, Session, Storage,
    codec::{Connack, Connect, ConnectReturnCode, Packet, QoS, SubackReturnCode},
};

const COUNT: u16 = 20;
const RESET: Error = Error::Transport(Fault(ErrorKind::ConnectionReset));

fn storage() -> Storage<64, 256, 4> {
    Storage::new()
}

fn options() -> Connect<'static> {
    Connect {
        clean_session: false,
        ..Connect::new("me")
    }
}

fn messages(qos: QoS) -> Vec<u8> {
    (1..=COUNT)
        .flat_map(|id| publish("in", b"x", qos, id))
        .collect()
}

fn refusal() -> Vec<u8> {
    encode(&Packet::Connack(Connack::Refused(
        ConnectReturnCode::NotAuthorized,
    )))
}

#[test]
fn messages_received_before_reset_are_reported_first() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let (mut storage, network) = (storage(), Network::new());
        let mut session = Session::new(&mut storage);
        let mut client = connected(&mut session, &network, &options());
        network.feed(&messages(qos));
        network.reads(&[Step::Bytes(64); 3], Step::Broken);
        network.writes(&[], Step::Broken);
        client
            .publish(&message("out", b"x", QoS::AtLeastOnce))
            .unwrap();
        for _ in 1..=COUNT {
            assert!(matches!(client.recv(), Ok(Event::Message(_))), "{qos:?}");
        }
        assert_eq!(client.recv(), Err(RESET), "{qos:?}");
        assert_eq!(client.recv(), Err(Error::Closed));
        assert_eq!(network.take_sent(), [], "nothing is answered");
        assert_eq!(network.millis(), 0);
    }
}

#[test]
fn messages_received_before_reset_are_reported_first_async() {
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce] {
        let (mut storage, world) = (storage(), World::new());
        let mut session = Session::new(&mut storage);
        let mut client = world::connected(&mut session, &world, &options());
        world.feed(&messages(qos));
        world.reset();
        world.run(async {
            client
                .publish(&message("out", b"x", QoS::AtLeastOnce))
                .await
                .unwrap();
            for _ in 1..=COUNT {
                assert!(matches!(client.recv().await, Ok(Event::Message(_))));
            }
            assert_eq!(client.recv().await, Err(RESET));
            assert_eq!(client.recv().await, Err(Error::Closed));
        });
        assert_eq!(world.take_sent(), [], "nothing is answered");
        assert_eq!(world.millis(), 0);
    }
}

#[test]
fn refusal_received_after_failed_write_is_close_reason() {
    let refused = Error::Protocol(ProtocolError::Refused(ConnectReturnCode::NotAuthorized));

    let (mut storage_a, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage_a);
    let mut client = Client::open(&mut session, network.transport(), &network, &options()).unwrap();
    assert_eq!(client.poll(), Ok(None));
    network.feed(&refusal());
    network.writes(&[], Step::Broken);
    client
        .publish(&message("out", b"x", QoS::AtLeastOnce))
        .unwrap();
    assert_eq!(client.recv(), Err(refused));

    let (mut storage_b, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage_b);
    let mut client = AsyncClient::open(&mut session, world.dial(), &world, &options()).unwrap();
    world.run(async {
        assert_eq!(client.poll().await, Ok(None));
        world.feed(&refusal());
        world.reset();
        client
            .publish(&message("out", b"x", QoS::AtLeastOnce))
            .await
            .unwrap();
        assert_eq!(client.recv().await, Err(refused));
    });
}

/// The transport fails while DISCONNECT is written, or was known to have failed.
#[test]
fn disconnect_transport_failed_returns_at_once() {
    for is_known in [false, true] {
        let (mut storage_a, network) = (storage(), Network::new());
        let mut session = Session::new(&mut storage_a);
        let mut client = connected(&mut session, &network, &options());
        network.reads(&[], Step::Broken);
        network.writes(&[], Step::Broken);
        if is_known {
            assert_eq!(client.recv(), Err(RESET));
            assert_eq!(client.disconnect(), Err(Error::Closed));
        } else {
            assert_eq!(client.disconnect(), Err(RESET));
        }
        assert_eq!(network.millis(), 0);
        assert_eq!(network.take_sent(), []);

        let (mut storage_b, world) = (storage(), World::new());
        let mut session = Session::new(&mut storage_b);
        let mut client = world::connected(&mut session, &world, &options());
        world.cut();
        if is_known {
            assert!(world.run(client.recv()) == Err(RESET));
            assert_eq!(world.run(client.disconnect()), Err(Error::Closed));
        } else {
            assert_eq!(world.run(client.disconnect()), Err(RESET));
        }
        assert_eq!(world.millis(), 0);
        assert_eq!(world.take_sent(), []);
    }
}

/// After an error that is not fatal, the call can be repeated, or the transport taken.
#[test]
fn disconnect_checkpoint_due_keeps_transport() {
    let due = Error::Request(RequestError::CheckpointDue);
    for gives_up in [false, true] {
        let (mut storage_a, network) = (storage(), Network::with_server());
        let mut session = Session::new(&mut storage_a);
        session.set_checkpoints(true);
        let mut client = connected(&mut session, &network, &options());
        while client.poll().unwrap().is_some() {}
        client
            .publish(&message("out", b"x", QoS::AtLeastOnce))
            .unwrap();
        network.take_sent();
        assert_eq!(client.disconnect(), Err(due));
        assert!(!due.is_fatal());
        if !gives_up {
            assert!(matches!(client.poll(), Ok(Some(Event::CheckpointDue))));
            assert_eq!(client.disconnect(), Ok(true));
            let kept = publish("out", b"x", QoS::AtLeastOnce, 1);
            assert_eq!(network.take_sent(), [&kept[..], &DISCONNECT].concat());
        }
        let transport = client.into_transport();
        assert!(!network.is_dropped());
        drop(transport);
        assert!(network.is_dropped());
    }
}

/// A read fails after DISCONNECT was written. That is an error until DISCONNECT was flushed, because it may be lost.
#[test]
fn disconnect_read_failed_is_error_before_flush() {
    for (flushes, result) in [(0, Ok(false)), (1, Err(RESET)), (3, Err(RESET))] {
        let (mut storage, network) = (storage(), Network::new());
        let mut session = Session::new(&mut storage);
        let mut client = connected(&mut session, &network, &options());
        network.flushes(&[Step::Interrupted; 3][..flushes]);
        network.reads(&[], Step::Broken);
        assert_eq!(client.disconnect(), result);
        assert_eq!(network.take_sent(), DISCONNECT);
        assert_eq!(network.is_flushed(), flushes == 0);
    }
}

/// PINGRESP and messages in transit are read. The result is `true` if the server closed the connection.
#[test]
fn disconnect_returns_whether_server_closed() {
    for (closes, timeout, waits) in [
        (true, 1_000, 0),
        (false, 1_000, 1_000),
        (false, 300, 300),
        (false, 0, 0),
    ] {
        let (mut storage_a, network) = (storage(), Network::new());
        let mut session = Session::new(&mut storage_a);
        session.set_disconnect_timeout(timeout);
        let mut client = connected(&mut session, &network, &options());
        network.feed(&messages(QoS::AtLeastOnce));
        if closes {
            network.end();
        }
        assert_eq!(client.disconnect(), Ok(closes));
        assert_eq!(network.millis(), waits);
        assert_eq!(network.take_sent(), DISCONNECT);
        assert!(timeout == 0 || network.unread() == 0);
    }
}

/// Continues the session on a new connection. Returns the bytes after the CONNECT, and the events.
fn resume(session: &mut Session<'_>, received: &[u8]) -> (Vec<u8>, Vec<String>) {
    let network = Network::new();
    network.feed(&connack(true));
    let mut client = Client::connect(session, network.transport(), &network, &options()).unwrap();
    network.feed(received);
    let mut events = vec![];
    while let Some(event) = client.poll().unwrap() {
        events.push(format!("{event:?}"));
    }
    let sent = network.take_sent();
    let connect = encode(&Packet::Connect(options()));
    (sent.strip_prefix(&connect[..]).unwrap().to_vec(), events)
}

/// [MQTT-3.14.4-2] If a QoS 2 message is pending when disconnect is called, nothing is sent after DISCONNECT. The next
/// connection continues after the answers of the server.
#[test]
fn mqtt_3_14_4_2_qos2_publish_pending_at_disconnect_is_resumed() {
    let out = publish("out", b"x", QoS::ExactlyOnce, 1);
    for (answer, resumed) in [(vec![], dup(out.clone())), (pubrec(1), pubrel(1))] {
        let (mut storage, network) = (storage(), Network::new());
        let mut session = Session::new(&mut storage);
        let mut client = connected(&mut session, &network, &options());
        let id = client.publish(&message("out", b"x", QoS::ExactlyOnce));
        assert_eq!(id, Ok(Some(packet_id(1))));
        assert_eq!(network.take_sent(), out);
        network.feed(&answer);
        network.end();
        assert_eq!(client.disconnect(), Ok(true));
        assert_eq!(network.take_sent(), DISCONNECT, "and nothing after it");
        drop(client);

        assert_eq!(session.in_flight(), 1);
        let (sent, _) = resume(&mut session, &[]);
        assert_eq!(sent, resumed);
        let (_, events) = resume(&mut session, &[pubrec(1), pubcomp(1)].concat());
        assert_eq!(events.last().unwrap(), "Pubcomp(PacketId(1))");
        assert_eq!(session.in_flight(), 0);
    }
}

/// A message that the caller was not given is not acknowledged, so the server sends it again. One that was given is
/// acknowledged before DISCONNECT, and is not given again.
#[test]
fn disconnect_qos2_message_pending_is_delivered_once() {
    let received = publish("in", b"x", QoS::ExactlyOnce, 9);
    for is_given in [false, true] {
        let (mut storage, network) = (storage(), Network::new());
        let mut session = Session::new(&mut storage);
        let mut client = connected(&mut session, &network, &options());
        network.feed(&received);
        let mut acknowledged = vec![];
        if is_given {
            assert!(matches!(client.recv(), Ok(Event::Message(_))));
            acknowledged = pubrec(9);
            network.feed(&pubrel(9));
        }
        network.end();
        assert_eq!(client.disconnect(), Ok(true));
        assert_eq!(
            network.take_sent(),
            [&acknowledged[..], &DISCONNECT].concat()
        );
        drop(client);

        let (again, answer) = if is_given {
            (pubrel(9), pubcomp(9))
        } else {
            (dup(received.clone()), pubrec(9))
        };
        let (sent, events) = resume(&mut session, &again);
        assert_eq!(sent, answer);
        let messages = events.iter().filter(|it| it.starts_with("Message"));
        assert_eq!(messages.count(), usize::from(!is_given));
    }
}

/// The server answers the CONNECT late, after the time for which a disconnect waits.
#[test]
fn disconnect_connack_late_waits_without_spinning() {
    const LATE: u32 = 3_000;
    let (mut storage, world) = (storage(), World::new());
    let mut session = Session::new(&mut storage);
    let mut client = AsyncClient::open(&mut session, world.dial(), &world, &options()).unwrap();
    client
        .session()
        .publish(&message("out", b"x", QoS::AtMostOnce))
        .unwrap();
    assert_eq!(world.run_for(LATE, client.disconnect()), None);
    assert!(world.polls() < 10, "{} polls", world.polls());
    world.feed(&common::connack(false));
    world.end();
    assert_eq!(world.run(client.disconnect()), Ok(true));
    assert_eq!(world.millis(), LATE);
}

/// Packets that are received after DISCONNECT was sent are checked as all others.
#[test]
fn disconnect_server_sends_invalid_packet_returns_error() {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    network.answer(|_| vec![0xF0, 0]);
    assert!(matches!(
        client.disconnect(),
        Err(Error::Protocol(ProtocolError::Decode(_)))
    ));
}

/// A SUBACK with too many return codes, which is invalid only for its request, is also detected after DISCONNECT.
#[test]
fn disconnect_server_sends_invalid_suback_returns_error() {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    let id = client.subscribe(&[("t", QoS::AtMostOnce)]).unwrap().get();
    network.answer(move |packet| match packet {
        Packet::Disconnect => suback(id, &[SubackReturnCode::Granted(QoS::AtMostOnce); 2]),
        _ => Vec::new(),
    });
    let error = ProtocolError::SubackCount {
        expected: 1,
        got: 2,
    };
    assert_eq!(client.disconnect().err(), Some(Error::Protocol(error)));
}

/// A packet cannot be sent any more, and an event is pending.
#[test]
fn flush_stream_ended_before_event_was_taken_returns_not_connected() {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    network.writes(&[], Step::NotReady);
    network.feed(&publish("in", b"x", QoS::AtMostOnce, 1));
    network.end();
    client
        .publish(&message("out", b"x", QoS::AtLeastOnce))
        .unwrap();
    let not_connected = Error::Request(RequestError::NotConnected);
    assert_eq!(client.flush(), Err(not_connected));
    assert!(matches!(client.recv(), Ok(Event::Message(_))));
    assert_eq!(client.recv(), Err(Error::Closed));
}

/// Nothing is left to be sent after DISCONNECT.
#[test]
fn flush_server_closes_after_disconnect_succeeds() {
    let (mut storage, network) = (storage(), Network::new());
    let mut session = Session::new(&mut storage);
    let mut client = connected(&mut session, &network, &options());
    client.session().disconnect().unwrap();
    network.flushes(&[Step::TimedOut; 3]);
    network.end();
    assert_eq!(client.flush(), Ok(()));
    assert_eq!(network.take_sent(), DISCONNECT);
    assert_eq!(client.recv(), Err(Error::Closed));
    assert_eq!(client.flush(), Ok(()));
}
