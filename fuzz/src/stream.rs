//! A session with a small buffer that receives bytes in arbitrary pieces has the same events and answers as with all
//! bytes at once.

use umqtt::{Event, Instant, Session, Storage, codec::Connect};

const T: Instant = Instant::from_millis(0);

/// Returns the events with joined chunks, the reason if the connection was closed, and the sent bytes.
fn run_session(
    bytes: &[u8],
    mut pieces: impl Iterator<Item = usize>,
) -> (Vec<u8>, String, Vec<u8>) {
    let mut storage = Storage::<24, 96, 3, 4>::new();
    let mut session = Session::new(&mut storage);
    session.connect(&Connect::new("a"), T).expect("it fits");
    let mut rest = &[&[0x20, 2, 0, 0], bytes].concat()[..];
    let (mut events, mut sent) = (Vec::new(), Vec::new());
    loop {
        while session.has_pending() {
            let pending = session.pending(T).to_vec();
            session.consume(pending.len(), T);
            sent.extend(pending);
        }
        match session.poll(T) {
            Ok(Some(ready)) => match session.event(ready) {
                Ok(Some(Event::Chunk(chunk))) => {
                    if chunk.offset == 0 {
                        events.extend(chunk.topic.as_bytes());
                        events.extend(chunk.total.to_be_bytes());
                    }
                    events.extend(chunk.bytes);
                }
                Ok(Some(event)) => events.extend(format!("{event:?}").bytes()),
                Ok(None) => unreachable!("an event was announced"),
                Err(reason) => return (events, format!("{reason:?}"), sent),
            },
            Ok(None) if session.has_pending() => {}
            Ok(None) => {
                let space = session.space();
                let n = pieces
                    .next()
                    .unwrap_or(1)
                    .clamp(1, space.len())
                    .min(rest.len());
                if n == 0 {
                    return (events, String::new(), sent);
                }
                space[..n].copy_from_slice(&rest[..n]);
                session.commit(n);
                rest = &rest[n..];
            }
            Err(reason) => return (events, format!("{reason:?}"), sent),
        }
    }
}

/// Compares the result of these bytes, received at once, with that of pieces of these sizes.
pub fn run((bytes, pieces): &(&[u8], Vec<u8>)) {
    let whole = run_session(bytes, core::iter::repeat(usize::MAX));
    let cut = run_session(bytes, pieces.iter().cycle().map(|n| usize::from(*n % 32)));
    assert_eq!((&whole.0, &whole.1), (&cut.0, &cut.1));
    // An answer that is queued when the connection is closed is not sent.
    let ended = !whole.1.is_empty();
    let prefix = whole.2.starts_with(&cut.2) || cut.2.starts_with(&whole.2);
    assert!(whole.2 == cut.2 || ended && prefix, "{whole:?}\n{cut:?}");
}
