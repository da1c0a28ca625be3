//! Everything that is due is also done between the bytes of a packet.

use umqtt::{
    Event, ProtocolError, Storage,
    codec::{Connect, PacketId, QoS},
};

use crate::wire::*;

/// Bytes without an empty read after which a long wait ends.
const FLOOD: usize = 1 << 20;

/// A message of 60 bytes.
fn packet() -> Vec<u8> {
    publish(0, 0, &[b'x'; 55])
}

/// Receives one byte of the message, and returns the events that follow.
fn next_byte(driven: &mut TestSession<'_>) -> Vec<String> {
    driven.feed(b"x");
    driven.events()
}

/// Receives the first bytes of the message in small reads.
fn begin_packet(driven: &mut TestSession<'_>) {
    for byte in &packet()[..10] {
        driven.receive(&[*byte], &[]);
    }
}

/// Returns a session that has received a part of the message.
fn inside_packet<'b>(storage: &'b mut TestStorage, keep_alive: u16) -> TestSession<'b> {
    let options = Connect { keep_alive, ..KEEP };
    let mut driven = TestSession::connected_with(storage, &options);
    begin_packet(&mut driven);
    driven
}

/// Receives the message `count` times, each in three reads. Returns the reason if the connection is closed.
fn flood(driven: &mut TestSession<'_>, count: usize) -> Option<ProtocolError> {
    let message = packet();
    for _ in 0..count {
        for part in [&message[..4], &message[4..30], &message[30..]] {
            driven.feed(part);
            while let Some(token) = match driven.session.poll(driven.at()) {
                Ok(token) => token,
                Err(reason) => return Some(reason),
            } {
                assert!(driven.session.event(token).unwrap().is_some());
            }
        }
    }
    None
}

/// Receives a flood in which an answer is missing: it is late at the second read of a message, and not at the first.
#[track_caller]
fn late_in_flood(driven: &mut TestSession<'_>, reason: ProtocolError) {
    driven.expect(&[]);
    driven.pass(10 * TIMEOUT);
    assert_eq!(flood(driven, FLOOD / 60), None);
    driven.feed(&packet()[..4]);
    assert_eq!(driven.session.poll(driven.at()), Ok(None));
    driven.feed(&packet()[4..30]);
    assert_eq!(driven.session.poll(driven.at()), Err(reason));
}

#[test]
fn discarded_publish_inside_packet_is_reported() {
    let mut storage = TestStorage::new();
    let mut driven = inside_packet(&mut storage, 0);
    driven.publish(1, b"x");
    driven.session.discard_publish(PacketId::MIN).unwrap();
    let discarded = Event::PublishDiscarded(PacketId::MIN);
    assert_eq!(next_byte(&mut driven), texts(&[discarded]));
}

#[test]
fn checkpoint_inside_packet_is_announced() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.receive(&publish(1, 7, b"x"), &[Event::Message(message(1, b"x"))]);
    assert_eq!(driven.sent(), puback(7));
    begin_packet(&mut driven);
    driven.session.set_checkpoints(true);
    let events = next_byte(&mut driven);
    assert_eq!(events.len(), 1);
    assert!(events[0].starts_with("Checkpoint"), "{events:?}");
}

/// [MQTT-3.1.2-23] A server that sends a packet slowly receives PINGREQ in time.
#[test]
fn mqtt_3_1_2_23_pingreq_inside_packet_is_sent() {
    let mut storage = TestStorage::new();
    let mut driven = inside_packet(&mut storage, 8);
    driven.pass(5_999);
    assert_eq!(next_byte(&mut driven), texts(&[]));
    assert_eq!(driven.sent(), b"");
    driven.pass(1);
    assert_eq!(next_byte(&mut driven), texts(&[]));
    assert_eq!(driven.sent(), PINGREQ);
}

#[test]
fn blocked_write_inside_packet_is_late() {
    let mut storage = TestStorage::new();
    let mut driven = inside_packet(&mut storage, 0);
    driven.publish(0, b"x");
    driven.refuse();
    for _ in 0..9 {
        driven.pass(TIMEOUT / 10);
        assert_eq!(next_byte(&mut driven), texts(&[]));
    }
    driven.pass(TIMEOUT / 10);
    driven.feed(b"x");
    let dropped = texts(&[Event::Qos0Dropped(1)]);
    assert_eq!(
        driven.events_and_reason(),
        (dropped, ProtocolError::WriteTimeout)
    );
}

/// A PUBREL is sent once, although the packet after its PUBREC is incomplete.
#[test]
fn pubrel_inside_packet_is_sent() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    let number = driven.publish_and_send(2, b"x");
    let packet = packet();
    driven.feed(&wire(&[&pubrec(number), &packet[..10]]));
    driven.expect(&[]);
    assert_eq!(driven.sent(), pubrel(number));
    driven.receive(&packet[10..20], &[]);
    assert_eq!(driven.sent(), b"");
    driven.feed(&packet[20..]);
    assert_eq!(driven.events().len(), 1);
    driven.receive(&pubcomp(number), &[Event::Pubcomp(PacketId::MIN)]);
}

#[test]
fn inbound_ids_released_inside_packet_closes_connection() {
    let mut storage = Storage::<64, 64, 1, 1>::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.receive(&publish(2, 1, b"x"), &[Event::Message(message(2, b"x"))]);
    assert_eq!(driven.sent(), pubrec(1));
    driven.receive(&publish(2, 2, b"x"), &[]);
    driven.receive(&wire(&[&pubrel(1), &packet()[..10]]), &[]);
    assert_eq!(driven.sent(), pubcomp(1));
    driven.feed(b"x");
    let full = ProtocolError::TooManyQos2Messages { capacity: 1 };
    assert_eq!(driven.close_reason(), full);
}

#[test]
fn connection_lost_inside_packet_is_reported() {
    let mut storage = TestStorage::new();
    let mut driven = inside_packet(&mut storage, 0);
    driven.feed(b"x");
    driven.session.connection_lost();
    assert_eq!(driven.close_reason(), ProtocolError::Closed);
}

/// After DISCONNECT, bytes are read for a limited time.
#[test]
fn disconnected_inside_packet_closes_connection_in_time() {
    let mut storage = TestStorage::new();
    let mut driven = inside_packet(&mut storage, 0);
    driven.session.set_disconnect_timeout(300);
    driven.session.disconnect().unwrap();
    assert_eq!(driven.sent(), DISCONNECT);
    driven.pass(299);
    assert_eq!(next_byte(&mut driven), texts(&[]));
    driven.pass(1);
    driven.feed(b"x");
    assert_eq!(driven.close_reason(), ProtocolError::Closed);
}

/// In a flood, an answer is late at the same byte as between two packets.
#[test]
fn answer_missing_in_flood_inside_packet_is_late_after_one_mebibyte() {
    let request = ProtocolError::RequestTimeout { packet_id: id(1) };
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.session.ping().unwrap();
    assert_eq!(driven.sent(), PINGREQ);
    late_in_flood(&mut driven, ProtocolError::PingrespTimeout);

    driven.open(&CLEAN, false);
    assert_eq!(driven.publish_and_send(1, b"x"), 1);
    late_in_flood(&mut driven, request);

    // The SUBSCRIBE of the standing subscriptions has no slot.
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    let filters = &[("f", QoS::AtMostOnce)];
    driven.session.set_subscriptions(filters).unwrap();
    driven.open(&KEEP, false);
    assert_eq!(driven.sent(), subscribe(1, "f"));
    late_in_flood(&mut driven, request);
}

/// Bytes count that were received while no answer was awaited. A read that found nothing ends the flood.
#[test]
fn flood_before_request_counts_until_empty_read() {
    for has_empty_read in [false, true] {
        let mut storage = TestStorage::new();
        let mut driven = TestSession::connected(&mut storage);
        assert_eq!(flood(&mut driven, FLOOD / 60), None);
        for part in [&packet()[..4], &packet()[4..30]] {
            driven.feed(part);
            assert_eq!(driven.session.poll(driven.at()), Ok(None));
        }
        if has_empty_read {
            driven.session.space();
        }
        assert_eq!(driven.session.poll(driven.at()), Ok(None));
        driven.session.ping().unwrap();
        assert_eq!(driven.sent(), PINGREQ);
        driven.pass(10 * TIMEOUT);
        driven.feed(&packet()[30..40]);
        let late = Err(ProtocolError::PingrespTimeout);
        let expected = if has_empty_read { Ok(None) } else { late };
        assert_eq!(driven.session.poll(driven.at()), expected);
    }
}

/// The time of each byte counts, and that of the call.
#[test]
fn answer_missing_after_byte_inside_packet_is_late_in_time() {
    let mut storage = TestStorage::new();
    let mut driven = inside_packet(&mut storage, 0);
    for _ in 0..20 {
        driven.pass(1_000);
        assert_eq!(next_byte(&mut driven), texts(&[]));
    }
    driven.session.ping().unwrap();
    assert_eq!(driven.session.deadline(), Some(driven.at()), "PINGREQ");
    assert_eq!(driven.sent(), PINGREQ);
    for _ in 0..4 {
        driven.pass(TIMEOUT / 4 - 1);
        driven.expect(&[]);
    }
    driven.pass(3);
    driven.expect(&[]);
    driven.pass(1);
    assert_eq!(driven.close_reason(), ProtocolError::PingrespTimeout);
}
