//! Checks the bytes of a client on a connection: a stream of valid packets that begins with the only CONNECT.

use umqtt::codec::Packet;

/// The sent bytes of one connection: those of an incomplete packet, and the number of packets before it.
#[derive(Default)]
pub(crate) struct Wire {
    unparsed: Vec<u8>,
    packets: usize,
}

impl Wire {
    /// Adds sent bytes, and calls `on_packet` for each packet that is now complete.
    pub(crate) fn take(&mut self, bytes: &[u8], mut on_packet: impl FnMut(&Packet<'_>)) {
        self.unparsed.extend_from_slice(bytes);
        let mut at = 0;
        while let Some((packet, used)) =
            Packet::decode(&self.unparsed[at..]).expect("sent packets are valid")
        {
            assert_eq!(self.packets == 0, matches!(packet, Packet::Connect(_)));
            on_packet(&packet);
            self.packets += 1;
            at += used;
        }
        self.unparsed.drain(..at);
    }
}
