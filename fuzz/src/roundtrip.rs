//! What was decoded can be encoded, and is the same packet again; a padded length may shrink.

use umqtt::codec::Packet;

/// Any bytes.
pub fn run(bytes: &[u8]) {
    let Ok(Some((packet, used))) = Packet::decode(bytes) else {
        return;
    };
    let mut out = vec![0; used];
    let again = packet.encode(&mut out).expect("it was a packet");
    assert_eq!(packet.encoded_len(), Ok(again.len()));
    assert_eq!(Packet::decode(again), Ok(Some((packet, again.len()))));
    // A payload may follow from elsewhere.
    if let Packet::Publish(publish) = packet {
        let mut front = vec![0; again.len() - publish.payload.len()];
        publish.header().encode(&mut front).expect("it fits");
        assert_eq!([&front, publish.payload].concat(), again);
    }
}
