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
    driven.lose();
    driven.open(&KEEP, true);
    let kept = [publish(1, 1, b"first"), publish(2, 2, b"second")].map(dup);
    assert_eq!(driven.sent(), kept.concat());
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
