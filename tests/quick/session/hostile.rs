//! A hostile server: the limits of protection that SECURITY.md states.

use umqtt::{Event, Message, RequestError, Storage};

use crate::wire::*;

/// The library compares no topic with the filters of the caller.
#[test]
fn message_on_unsubscribed_topic_is_delivered() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    let other = Message::new("not/subscribed", b"x");
    driven.receive(
        &publish_on("not/subscribed", 0, 0, b"x"),
        &[Event::Message(other)],
    );
}

/// A QoS 2 message is identified by its packet id only.
#[test]
fn qos2_message_with_new_id_is_delivered_again() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    let shown = [Event::Message(message(2, b"x"))];
    driven.receive(&publish(2, 7, b"x"), &shown);
    driven.receive(&dup(publish(2, 7, b"x")), &[]);
    driven.receive(&publish(2, 8, b"x"), &shown);
    assert_eq!(driven.sent(), [pubrec(7), pubrec(7), pubrec(8)].concat());
    // PUBREL ends the exchange of an id.
    driven.receive(&pubrel(7), &[]);
    driven.receive(&publish(2, 7, b"x"), &shown);
}

/// A server that acknowledges nothing occupies all slots. Then a call returns an error, and no message is lost.
#[test]
fn nothing_acknowledged_in_flight_is_full() {
    let mut storage = Storage::<64, 256, 2, 1>::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish_and_send(1, b"first");
    driven.publish_and_send(2, b"second");
    assert_eq!(
        driven.session.publish(&message(1, b"third")),
        Err(RequestError::InflightFull { capacity: 2 })
    );
    assert_eq!(driven.session.in_flight(), 2);
}

/// After DISCONNECT, nothing is sent. The session continues on the next connection.
#[test]
fn answers_after_disconnect_are_used_on_next_connection() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    let packet_id = driven.publish_and_send(2, b"x");
    driven.session.disconnect().unwrap();
    assert_eq!(driven.sent(), DISCONNECT);
    driven.receive(&pubrec(packet_id), &[]);
    driven.receive(&pubrec(packet_id), &[]);
    // A message larger than the receive buffer is skipped, and not acknowledged.
    assert_eq!(driven.stream(&publish(1, 7, &[0; 100])), [""; 0]);
    assert_eq!(driven.sent(), b"");
    driven.lose();
    driven.open(&KEEP, true);
    assert_eq!(driven.sent(), pubrel(packet_id));
}

/// A report that was announced and not taken is announced again on the next connection.
#[test]
fn dropped_messages_announced_and_not_taken_are_reported_again() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.publish(0, b"lost");
    driven.session.connection_lost();
    let token = driven.session.poll(driven.at()).unwrap();
    assert!(token.is_some(), "Qos0Dropped");
    driven.connect(&KEEP);
    driven.sent();
    driven.accept(false);
    driven.expect(&[Event::Qos0Dropped(1)]);
}

#[test]
fn response_timeout_set_is_returned() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::new(&mut storage);
    assert_eq!(driven.session.response_timeout(), TIMEOUT);
    driven.session.set_response_timeout(3_000);
    assert_eq!(driven.session.response_timeout(), 3_000);
}

/// From 16,382 filters on, the length of a SUBACK takes three bytes.
#[test]
fn subscribe_sixteen_thousand_filters_answer_too_large_has_its_length() {
    for (filters, needed) in [(16_381, 16_386), (16_382, 16_388)] {
        let mut storage = Box::new(Storage::<64, 70_000, 2>::new());
        let mut driven = TestSession::connected(&mut *storage);
        let filters = vec![("t", qos(0)); filters];
        let capacity = 64;
        assert_eq!(
            driven.session.subscribe(&filters),
            Err(RequestError::AnswerTooLarge { needed, capacity })
        );
    }
}

/// A PINGREQ does not divide an acknowledgement that the transport accepted in part.
#[test]
fn ping_acknowledgement_sent_in_part_is_sent_after_it() {
    let mut storage = TestStorage::new();
    let mut driven = TestSession::connected(&mut storage);
    for accepted in 1..4 {
        driven.receive(&publish(1, 7, b"x"), &[Event::Message(message(1, b"x"))]);
        assert_eq!(driven.send_up_to(accepted), puback(7)[..accepted]);
        driven.session.ping().unwrap();
        let rest = &puback(7)[accepted..];
        assert_eq!(driven.sent(), [rest, &PINGREQ].concat());
        driven.receive(&PINGRESP, &[]);
    }
}
