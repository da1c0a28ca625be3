//! Receiving more QoS 2 messages than the session has room for ids.

use crate::wire::{KEEP, TIMEOUT, TestSession, pubcomp, publish, pubrec, pubrel};
use umqtt::{Event, ProtocolError, Storage};

/// Runs the session until nothing more can be done, or the connection is closed. Returns the sent packets, the
/// delivered messages, and the reason if the connection was closed.
fn run(driven: &mut TestSession<'_>) -> (Vec<u8>, Vec<Vec<u8>>, Option<ProtocolError>) {
    let (mut sent, mut payloads) = (Vec::new(), Vec::new());
    loop {
        sent.extend(driven.sent());
        match driven.session.poll(driven.at()) {
            Ok(Some(ready)) => {
                if let Some(Event::Message(message)) = driven.session.event(ready).unwrap() {
                    payloads.push(message.payload.to_vec());
                }
            }
            Ok(None) if driven.session.has_pending() => {}
            Ok(None) => {
                driven.session.space();
                return (sent, payloads, None);
            }
            Err(reason) => return (sent, payloads, Some(reason)),
        }
    }
}

/// [MQTT-4.8.0-2] The connection is closed with the reason, the session is kept, and the next connection continues.
/// Delivered messages are completed first, for any number of messages in one read.
#[test]
fn mqtt_4_8_0_2_inbound_ids_full_next_connection_continues() {
    let mut storage = Storage::<64, 64, 1, 1>::new();
    let mut driven = TestSession::new(&mut storage);
    let full = Some(ProtocolError::TooManyQos2Messages { capacity: 1 });
    let burst = |first: u8, dup: u8| -> Vec<u8> {
        (first..=3)
            .flat_map(|id| [0x34 | dup, 6, 0, 1, b't', 0, id, id])
            .collect()
    };

    driven.open(&KEEP, false);
    driven.feed(&burst(1, 0));
    assert_eq!(run(&mut driven), (pubrec(1), vec![vec![1]], None));
    // The server has received PUBREC, and does not release the id. The session waits only for a limited time.
    let deadline = driven.time_to_deadline().unwrap();
    assert_eq!(deadline, TIMEOUT);
    driven.pass(deadline - 1);
    assert_eq!(run(&mut driven), (vec![], vec![], None));
    driven.pass(1);
    assert_eq!(run(&mut driven), (vec![], vec![], full));

    // The server resends a message whose PUBREC was lost. PUBREC is then sent again.
    driven.open(&KEEP, true);
    driven.feed(&burst(1, 8));
    assert_eq!(run(&mut driven), (pubrec(1), vec![], None));
    driven.feed(&pubrel(1));
    assert_eq!(run(&mut driven), (pubcomp(1), vec![], full));

    driven.open(&KEEP, true);
    driven.feed(&burst(2, 8));
    assert_eq!(run(&mut driven), (pubrec(2), vec![vec![2]], None));
    driven.feed(&pubrel(2));
    assert_eq!(run(&mut driven), (pubcomp(2), vec![], full));
    driven.open(&KEEP, true);
    driven.feed(&burst(3, 8));
    assert_eq!(run(&mut driven), (pubrec(3), vec![vec![3]], None));
}

/// A PUBREL after a long message is accepted, even if that message takes many response timeouts.
#[test]
fn pubrel_after_long_message_is_handled() {
    let mut storage = Storage::<64, 64, 1, 1>::new();
    let mut driven = TestSession::connected(&mut storage);
    for id in 1..=2 {
        driven.feed(&publish(2, id, b"x"));
        run(&mut driven);
    }
    let long = publish(0, 0, &[b'x'; 150]);
    for piece in long.chunks(32) {
        driven.pass(TIMEOUT - 1);
        driven.feed(piece);
        assert_eq!(run(&mut driven).2, None);
    }
    driven.feed(&pubrel(1));
    let full = ProtocolError::TooManyQos2Messages { capacity: 1 };
    assert_eq!(run(&mut driven), (pubcomp(1), vec![], Some(full)));
}

/// If there is no room for its id, a message with a topic that does not fit is not reported, and not acknowledged.
#[test]
fn skipped_message_inbound_ids_full_is_not_reported() {
    let mut storage = Storage::<16, 64, 1, 1>::new();
    let mut driven = TestSession::connected(&mut storage);
    driven.feed(&[0x34, 6, 0, 1, b't', 0, 1, b'x']);
    assert_eq!(run(&mut driven).2, None);

    let long = [&[0x34, 24, 0, 20][..], &[b't'; 20], &[0, 2]].concat();
    for piece in long.chunks(8) {
        driven.receive(piece, &[]);
        assert_eq!(run(&mut driven), (vec![], vec![], None));
    }
    driven.feed(&pubrel(1));
    let full = ProtocolError::TooManyQos2Messages { capacity: 1 };
    assert_eq!(run(&mut driven), (pubcomp(1), vec![], Some(full)));
    assert_eq!(driven.close_reason(), full, "and nothing else");
}

/// A long message after one without room is also skipped, even if there is room by then.
#[test]
fn long_message_after_skipped_one_is_skipped() {
    let mut storage = Storage::<64, 64, 1, 1>::new();
    let mut driven = TestSession::connected(&mut storage);
    for id in 1..=2 {
        driven.feed(&publish(2, id, b"x"));
        run(&mut driven);
    }
    let long = publish(2, 3, &[b'x'; 150]);
    driven.feed(&[&pubrel(1), &long[..50]].concat());
    let full = ProtocolError::TooManyQos2Messages { capacity: 1 };
    assert_eq!(run(&mut driven).2, Some(full));
}
