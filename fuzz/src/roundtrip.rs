//! A decoded packet can be encoded, and decoded to the same packet. A padded length may become shorter.

use umqtt::codec::{Packet, Suback, Subscribe, Unsubscribe};

/// Any bytes.
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
        Packet::Subscribe(came) => {
            let filters: Vec<_> = came.filters().collect();
            let own = Subscribe::new(came.packet_id(), &filters).expect("not empty");
            assert_eq!(own.encode(&mut out), Ok(again));
        }
        Packet::Unsubscribe(came) => {
            let filters: Vec<_> = came.filters().collect();
            let own = Unsubscribe::new(came.packet_id(), &filters).expect("not empty");
            assert_eq!(own.encode(&mut out), Ok(again));
        }
        Packet::Suback(came) => {
            let codes: Vec<_> = came.codes().iter().collect();
            let own = Suback::new(came.packet_id(), &codes).expect("not empty");
            assert_eq!(own.encode(&mut out), Ok(again));
        }
        _ => {}
    }
}
