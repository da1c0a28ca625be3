//! Arbitrary bytes: the decoder follows the specification and does not panic.

use umqtt::codec::{FixedHeader, Packet, Publish, PublishHeader};

use super::checker::{Verdict, judge};

/// Decodes these bytes, and checks the result.
pub fn run(bytes: &[u8]) {
    match Packet::decode(bytes) {
        Ok(None) => assert_eq!(judge(bytes), Verdict::Incomplete),
        Ok(Some((packet, used))) => {
            assert_eq!(judge(bytes), Verdict::Accepted(used));
            if let Packet::Publish(publish) = packet {
                check_header_in_pieces(&bytes[..used], publish);
            }
        }
        Err(_) => assert_eq!(judge(bytes), Verdict::Refused),
    }
}

/// Checks that the header of a PUBLISH can be decoded before its payload is received, with the same result.
fn check_header_in_pieces(packet: &[u8], publish: Publish<'_>) {
    let (header, at) = FixedHeader::decode(packet).expect("whole").expect("whole");
    let before = packet.len() - at - publish.payload.len();
    for end in 0..=before {
        let found = PublishHeader::decode_body(&header, &packet[at..at + end]);
        let expected = (end == before).then(|| (publish.header(), before));
        assert_eq!(found, Ok(expected));
    }
}
