//! Calls in an order that a careful client would not make.

use umqtt::{
    Event, Instant, Message, ProtocolError, RequestError, Session, Storage, StreamedPublish,
    codec::{Connect, DecodeError, QoS, TopicError},
};

use crate::{common::DISCONNECT, wire::streamed};

const T: Instant = Instant::from_millis(5);

fn connect(session: &mut Session<'_>) {
    session.connect(&Connect::new("device"), T).unwrap();
    let len = session.pending(T).len();
    session.consume(len, T);
}

fn feed(session: &mut Session<'_>, bytes: &[u8]) {
    session.space()[..bytes.len()].copy_from_slice(bytes);
    session.commit(bytes.len());
}

/// Bytes that are committed after the connection was closed are discarded.
#[test]
fn bytes_committed_after_close_are_discarded() {
    let mut storage = Storage::<64, 64, 1>::new();
    let mut session = Session::new(&mut storage);
    connect(&mut session);
    session.connection_lost();
    assert_eq!(session.poll(T), Err(ProtocolError::Closed));
    feed(&mut session, &[0x30, 9, 0]);

    connect(&mut session);
    feed(&mut session, &[0x20, 2, 0, 0]);
    let ready = session.poll(T).unwrap().unwrap();
    assert!(matches!(
        session.event(ready),
        Ok(Some(Event::Connected { .. }))
    ));
}

/// If the caller commits more bytes than the space has, only the bytes of the space count.
#[test]
fn commit_larger_than_space_fills_buffer() {
    for too_many in [64, 1_000, usize::MAX - 1, usize::MAX] {
        let mut storage = Storage::<64, 64, 1>::new();
        let mut session = Session::new(&mut storage);
        connect(&mut session);
        feed(&mut session, &[0x20]);
        let space = session.space();
        space.fill(0);
        space[..3].copy_from_slice(&[2, 0, 0]);
        session.commit(too_many);
        let ready = session.poll(T).unwrap().unwrap();
        assert!(matches!(
            session.event(ready),
            Ok(Some(Event::Connected { .. }))
        ));
        // CONNACK is followed by a packet of type 0, which does not exist.
        assert!(matches!(session.poll(T), Err(ProtocolError::Decode(_))));
    }
}

/// [MQTT-3.1.0-1] The first packet is a CONNECT, even if the message after it is removed before it was sent.
#[test]
fn mqtt_3_1_0_1_message_aborted_before_send_keeps_connect() {
    let mut storage = Storage::<64, 64, 1>::new();
    let mut session = Session::new(&mut storage);
    session.connect(&Connect::new("device"), T).unwrap();
    let connect = session.pending(T).to_vec();
    session.begin_payload(streamed(0), 9).unwrap();
    session.abandon_payload();
    assert_eq!(session.pending(T), connect);

    session.publish(&Message::new("t", b"x")).unwrap();
    assert_eq!(
        session.pending(T),
        [&connect[..], &[0x30, 4, 0, 1, b't', b'x']].concat()
    );
    let len = session.pending(T).len();
    session.consume(len, T);
    assert!(!session.has_pending());
}

/// While a payload is being provided, a DISCONNECT would be sent as a part of it.
#[test]
fn disconnect_inside_payload_is_refused() {
    let mut storage = Storage::<64, 64, 1>::new();
    let mut session = Session::new(&mut storage);
    connect(&mut session);
    session.begin_payload(StreamedPublish::new("t"), 1).unwrap();
    for taken in [2, 3] {
        assert_eq!(session.disconnect(), Err(RequestError::PayloadPending));
        assert!(session.pending(T).len() >= taken);
        session.consume(taken, T);
    }
    assert_eq!(session.disconnect(), Err(RequestError::PayloadPending));
    assert_eq!(session.payload_left(), 1);
    session.payload_sent(1, T);
    session.disconnect().unwrap();
    assert_eq!(session.pending(T), DISCONNECT);
}

/// Several queued pings are sent as one PINGREQ, which uses no room for acknowledgements.
#[test]
fn repeated_pings_leave_room_for_acknowledgement() {
    let mut storage = Storage::<64, 64, 1>::new();
    let mut session = Session::new(&mut storage);
    connect(&mut session);
    feed(&mut session, &[0x20, 2, 0, 0, 0x32, 5, 0, 1, b't', 0, 9]);
    for connected in [true, false] {
        let ready = session.poll(T).unwrap().unwrap();
        let event = session.event(ready).unwrap().unwrap();
        assert_eq!(matches!(event, Event::Connected { .. }), connected);
        for _ in 0..100 {
            assert_eq!(session.ping(), Ok(()));
        }
    }
    let mut sent = Vec::new();
    while session.has_pending() {
        let pending = session.pending(T).to_vec();
        session.consume(pending.len(), T);
        sent.extend(pending);
    }
    assert_eq!(sent, [0xC0, 0, 0x40, 2, 0, 9]);
}

/// A repeated message is checked like a new one.
#[test]
fn repeated_message_malformed_closes_connection() {
    let mut storage = Storage::<64, 64, 1>::new();
    let mut session = Session::new(&mut storage);
    connect(&mut session);
    feed(&mut session, &[0x20, 2, 0, 0, 0x34, 5, 0, 1, b't', 0, 9]);
    for _ in 0..2 {
        let ready = session.poll(T).unwrap().unwrap();
        assert!(session.event(ready).unwrap().is_some());
    }
    assert_eq!(session.poll(T), Ok(None));
    feed(&mut session, &[0x3C, 5, 0, 1, b'+', 0, 9]);
    let wildcard = DecodeError::TopicName(TopicError::Wildcard { at: 0 });
    assert_eq!(session.poll(T), Err(ProtocolError::Decode(wildcard)));
}

/// Without a connection, no payload is requested.
#[test]
fn payload_needed_without_connection_is_none() {
    let mut storage = Storage::<64, 64, 1>::new();
    let mut session = Session::new(&mut storage);
    connect(&mut session);
    session.begin_payload(streamed(1), 9).unwrap();
    session.connection_lost();
    assert_eq!(session.payload_needed(), None);
}

/// Bytes that are sent on a closed connection are not counted.
#[test]
fn bytes_consumed_after_close_are_ignored() {
    let mut storage = Storage::<64, 64, 1>::new();
    let mut session = Session::new(&mut storage);
    connect(&mut session);
    session.connection_lost();
    session.consume(9, T);
    assert_eq!(session.poll(T), Err(ProtocolError::Closed));
    assert_eq!(session.deadline(), None);
    session.connect(&Connect::new("device"), T).unwrap();
    assert_eq!(session.pending(T)[0], 0x10);
}

/// An expected SUBACK is checked like an unexpected one.
#[test]
fn expected_suback_malformed_closes_connection() {
    let mut storage = Storage::<64, 64, 1>::new();
    let mut session = Session::new(&mut storage);
    connect(&mut session);
    feed(&mut session, &[0x20, 2, 0, 0]);
    let ready = session.poll(T).unwrap().unwrap();
    assert!(session.event(ready).unwrap().is_some());
    session.subscribe(&[("a", QoS::AtMostOnce)]).unwrap();
    let len = session.pending(T).len();
    session.consume(len, T);
    feed(&mut session, &[0x90, 3, 0, 1, 3]);
    let ready = session.poll(T).unwrap().unwrap();
    let reserved = ProtocolError::Decode(DecodeError::UnknownSubackReturnCode { code: 3 });
    assert_eq!(session.event(ready).err(), Some(reserved));
}
