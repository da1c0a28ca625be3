//! More QoS 2 messages on their way in than the session has room for ids.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use umqtt::{Event, Instant, ProtocolError, Session, Storage, codec::Connect};

const T: Instant = Instant::from_millis(5);

fn connect(session: &mut Session<'_>, connack: &[u8]) {
    let options = Connect {
        clean_session: false,
        ..Connect::new("device")
    };
    session.connect(&options, T).unwrap();
    drain(session);
    feed(session, connack);
    while let Some(ready) = session.poll(T).unwrap() {
        session.event(ready).unwrap();
    }
}

fn feed(session: &mut Session<'_>, bytes: &[u8]) {
    session.space()[..bytes.len()].copy_from_slice(bytes);
    session.commit(bytes.len());
}

fn drain(session: &mut Session<'_>) -> Vec<u8> {
    let mut sent = Vec::new();
    while session.has_pending() {
        let bytes = session.pending(T).to_vec();
        session.consume(bytes.len(), T);
        sent.extend(bytes);
    }
    sent
}

/// What leaves and what is delivered until there is nothing more to do, or the connection is over.
fn run(session: &mut Session<'_>) -> (Vec<u8>, Vec<Vec<u8>>, Option<ProtocolError>) {
    let (mut sent, mut payloads) = (Vec::new(), Vec::new());
    loop {
        sent.extend(drain(session));
        match session.poll(T) {
            Ok(Some(ready)) => {
                if let Some(Event::Message(message)) = session.event(ready).unwrap() {
                    payloads.push(message.payload.to_vec());
                }
            }
            Ok(None) if session.has_pending() => {}
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
    let mut session = Session::new(&mut storage);
    let full = Some(ProtocolError::InboundFull { capacity: 1 });
    let burst = |first: u8, dup: u8| -> Vec<u8> {
        (first..=3)
            .flat_map(|id| [0x34 | dup, 6, 0, 1, b't', 0, id, id])
            .collect()
    };

    connect(&mut session, &[0x20, 2, 0, 0]);
    feed(&mut session, &burst(1, 0));
    let pubrec = vec![0x50, 2, 0, 1];
    assert_eq!(run(&mut session), (pubrec.clone(), vec![vec![1]], full));

    // Had the PUBREC been lost, it would go again.
    connect(&mut session, &[0x20, 2, 1, 0]);
    feed(&mut session, &burst(1, 8));
    assert_eq!(run(&mut session), (pubrec, vec![], full));

    connect(&mut session, &[0x20, 2, 1, 0]);
    feed(&mut session, &[&[0x62, 2, 0, 1], &burst(2, 8)[..]].concat());
    let (sent, payloads, reason) = run(&mut session);
    assert_eq!(sent, [0x70, 2, 0, 1, 0x50, 2, 0, 2]);
    assert_eq!((payloads, reason), (vec![vec![2]], full));
}

/// A message with a topic that does not fit is no event before there was room for its id.
#[test]
fn a_skipped_message_that_finds_no_room_is_not_reported() {
    let mut storage = Storage::<16, 64, 1, 1>::new();
    let mut session = Session::new(&mut storage);
    connect(&mut session, &[0x20, 2, 0, 0]);
    feed(&mut session, &[0x34, 6, 0, 1, b't', 0, 1, b'x']);
    assert_eq!(run(&mut session).2, None);

    let long = [&[0x34, 24, 0, 20][..], &[b't'; 20], &[0, 2]].concat();
    for piece in long.chunks(8) {
        feed(&mut session, piece);
        let (_, _, reason) = run(&mut session);
        if let Some(reason) = reason {
            assert_eq!(reason, ProtocolError::InboundFull { capacity: 1 });
            assert_eq!(session.poll(T), Err(reason), "and nothing else");
            return;
        }
    }
    unreachable!("there was no room");
}
