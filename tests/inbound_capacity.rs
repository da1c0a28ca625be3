//! More QoS 2 messages on their way in than the session has room for ids.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

#[path = "common/wire.rs"]
mod wire;

use umqtt::{Event, ProtocolError, Storage};
use wire::{Driven, KEEP};

/// What leaves and what is delivered until there is nothing more to do, or the connection is over.
fn run(driven: &mut Driven<'_>) -> (Vec<u8>, Vec<Vec<u8>>, Option<ProtocolError>) {
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
            Ok(None) => return (sent, payloads, None),
            Err(reason) => return (sent, payloads, Some(reason)),
        }
    }
}

/// [MQTT-4.8.0-2] The connection ends with the reason, the session is kept, and reconnecting gets further: what has
/// been delivered is acknowledged first, however much comes in one piece.
#[test]
fn mqtt_4_8_0_2_each_connection_gets_further() {
    let mut storage = Storage::<64, 64, 1, 1>::new();
    let mut driven = Driven::new(&mut storage);
    let full = Some(ProtocolError::InboundFull { capacity: 1 });
    let burst = |first: u8, dup: u8| -> Vec<u8> {
        (first..=3)
            .flat_map(|id| [0x34 | dup, 6, 0, 1, b't', 0, id, id])
            .collect()
    };

    driven.open(&KEEP, false);
    driven.feed(&burst(1, 0));
    let pubrec = vec![0x50, 2, 0, 1];
    assert_eq!(run(&mut driven), (pubrec.clone(), vec![vec![1]], full));

    // Had the PUBREC been lost, it would go again.
    driven.open(&KEEP, true);
    driven.feed(&burst(1, 8));
    assert_eq!(run(&mut driven), (pubrec, vec![], full));

    driven.open(&KEEP, true);
    driven.feed(&[&[0x62, 2, 0, 1], &burst(2, 8)[..]].concat());
    let (sent, payloads, reason) = run(&mut driven);
    assert_eq!(sent, [0x70, 2, 0, 1, 0x50, 2, 0, 2]);
    assert_eq!((payloads, reason), (vec![vec![2]], full));
}

/// A message with a topic that does not fit is no event before there was room for its id.
#[test]
fn a_skipped_message_that_finds_no_room_is_not_reported() {
    let mut storage = Storage::<16, 64, 1, 1>::new();
    let mut driven = Driven::new(&mut storage);
    driven.open(&KEEP, false);
    driven.feed(&[0x34, 6, 0, 1, b't', 0, 1, b'x']);
    assert_eq!(run(&mut driven).2, None);

    let long = [&[0x34, 24, 0, 20][..], &[b't'; 20], &[0, 2]].concat();
    for piece in long.chunks(8) {
        driven.feed(piece);
        let (_, _, reason) = run(&mut driven);
        if let Some(reason) = reason {
            assert_eq!(reason, ProtocolError::InboundFull { capacity: 1 });
            assert_eq!(
                driven.session.poll(driven.at()),
                Err(reason),
                "and nothing else"
            );
            return;
        }
    }
    unreachable!("there was no room");
}
