//! A decoded packet can be encoded, and decoded to the same packet. A padded length may become shorter.

use umqtt::codec::{Packet, Suback, Subscribe, Unsubscribe};

/// Decodes these bytes. Checks that a decoded packet can be encoded and decoded again.
pub fn run(bytes: &[u8]) {
    let Ok(Some((packet, used))) = Packet::decode(bytes) else {
        return;
    };
    let mut out = vec![0; used];
    let again = packet.encode(&mut out).expect("it was a packet");
    assert_eq!(packet.encoded_len(), Ok(again.len()));
    assert_eq!(Packet::decode(again), Ok(Some((packet, again.len()))));
    let mut out = vec![0; again.len()];
    match packet {
        // A payload may be provided separately.
        Packet::Publish(publish) => {
            let mut front = vec![0; again.len() - publish.payload.len()];
            publish.header().encode(&mut front).expect("it fits");
            assert_eq!([&front, publish.payload].concat(), again);
        }
        // A received list is encoded unchanged. A list of its items has the same encoding.
        Packet::Subscribe(decoded) => {
            let filters: Vec<_> = decoded.filters().collect();
            let own = Subscribe::new(decoded.packet_id(), &filters).expect("not empty");
            assert_eq!(own.encode(&mut out), Ok(again));
        }
        Packet::Unsubscribe(decoded) => {
            let filters: Vec<_> = decoded.filters().collect();
            let own = Unsubscribe::new(decoded.packet_id(), &filters).expect("not empty");
            assert_eq!(own.encode(&mut out), Ok(again));
        }
        Packet::Suback(decoded) => {
            let codes: Vec<_> = decoded.codes().iter().collect();
            let own = Suback::new(decoded.packet_id(), &codes).expect("not empty");
            assert_eq!(own.encode(&mut out), Ok(again));
        }
        _ => {}
    }
}
