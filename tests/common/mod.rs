//! Shared code of the tests of the clients: a scripted network with a clock, and encoded packets.
//!
//! ```text
//! let network = Network::new();                  // the network, the peer, and the time
//! network.feed(&connack(false));                 // bytes that the peer has sent
//! Client::connect(&mut session, network.transport(), &network, &options)
//! network.take_writes();                         // the bytes of each write
//! ```
#![allow(
    dead_code,
    unused_imports,
    reason = "every test file compiles this module, and none needs all of it"
)]

mod network;
mod packets;
mod seen;
pub(crate) mod world;

pub(crate) use network::*;
pub(crate) use packets::*;
pub(crate) use seen::*;

use umqtt::{
    Message, blocking,
    codec::{Delivery, Packet, QoS, SubackReturnCode},
};

/// The client under test.
pub(crate) type Client<'s, 'b, 'n> = blocking::Client<'s, 'b, Transport, &'n Network>;

/// The result of a call of a client under test.
pub(crate) type Result<T> = core::result::Result<T, Error>;

/// The error of a call of a client under test.
pub(crate) type Error = umqtt::client::Error<Fault>;

/// A minimal server: it accepts, grants and acknowledges everything, and forwards nothing.
pub(crate) fn server(packet: &Packet<'_>) -> Vec<u8> {
    match packet {
        Packet::Connect(_) => connack(false),
        Packet::Publish(publish) => match publish.delivery {
            Delivery::AtMostOnce => Vec::new(),
            Delivery::AtLeastOnce { packet_id, .. } => puback(packet_id.get()),
            Delivery::ExactlyOnce { packet_id, .. } => pubrec(packet_id.get()),
        },
        Packet::Pubrec(ack) => pubrel(ack.packet_id.get()),
        Packet::Pubrel(ack) => pubcomp(ack.packet_id.get()),
        Packet::Subscribe(subscribe) => {
            let codes: Vec<_> = subscribe
                .filters()
                .map(|(_, qos)| SubackReturnCode::Granted(qos))
                .collect();
            suback(subscribe.packet_id().get(), &codes)
        }
        Packet::Unsubscribe(unsubscribe) => unsuback(unsubscribe.packet_id().get()),
        Packet::Pingreq => PINGRESP.to_vec(),
        _ => Vec::new(),
    }
}

/// Returns a message at this QoS.
pub(crate) fn message<'a>(topic: &'a str, payload: &'a [u8], qos: QoS) -> Message<'a> {
    Message {
        qos,
        ..Message::new(topic, payload)
    }
}
