//! A program that uses only the codec: `cargo run --example codec`.
//!
//! The server side of a connection: it decodes packets from a byte stream that is received in pieces, and encodes the
//! answers. It has no session, no socket and no clock.

use std::{error::Error, process::ExitCode};

use umqtt::codec::{
    Connack, Connect, Delivery, EncodeError, Packet, PacketId, Puback, Pubcomp, Publish, Pubrec,
    QoS, Suback, SubackReturnCode, Subscribe, TopicFilter, TopicName,
};

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Box<dyn Error>> {
    let stream = client_bytes()?;
    let mut received = Vec::new();
    let mut buffer = [0; 64];
    for piece in stream.chunks(5) {
        received.extend_from_slice(piece);
        // A piece may complete no packet, one, or several.
        while let Some((packet, len)) = Packet::decode(&received)? {
            println!("received {packet:?}");
            let answer = answer(&packet, &mut buffer)?;
            println!("    answer {answer:02x?}");
            received.drain(..len);
        }
    }
    println!("{} bytes are left", received.len());
    Ok(())
}

/// Writes the answer to a packet into `out` and returns it; empty if the packet needs none.
fn answer<'o>(packet: &Packet<'_>, out: &'o mut [u8]) -> Result<&'o [u8], EncodeError> {
    match packet {
        Packet::Connect(_) => {
            let session_present = false;
            Connack::Accepted { session_present }.encode(out)
        }
        Packet::Publish(publish) => match publish.delivery {
            Delivery::AtMostOnce => Ok(&[]),
            Delivery::AtLeastOnce { packet_id, .. } => Puback::new(packet_id).encode(out),
            Delivery::ExactlyOnce { packet_id, .. } => Pubrec::new(packet_id).encode(out),
        },
        Packet::Pubrel(pubrel) => Pubcomp::new(pubrel.packet_id).encode(out),
        Packet::Subscribe(subscribe) => {
            let granted = |(_, qos)| SubackReturnCode::Granted(qos);
            let codes: Vec<_> = subscribe.filters().map(granted).collect();
            Suback::new(subscribe.packet_id(), &codes)?.encode(out)
        }
        Packet::Pingreq => Packet::Pingresp.encode(out),
        _ => Ok(&[]),
    }
}

/// Returns the packets of a client, one after the other.
fn client_bytes() -> Result<Vec<u8>, Box<dyn Error>> {
    let filters = [(TopicFilter::new("led/#")?, QoS::AtLeastOnce)];
    let reading = Publish {
        delivery: Delivery::AtLeastOnce {
            packet_id: PacketId::MAX,
            dup: false,
        },
        ..Publish::new(TopicName::new("room/celsius")?, b"21.5")
    };
    let mut stream = Vec::new();
    for packet in [
        Packet::Connect(Connect::new("sensor-7")),
        Packet::Subscribe(Subscribe::new(PacketId::MIN, &filters)?),
        Packet::Publish(reading),
        Packet::Pingreq,
        Packet::Disconnect,
    ] {
        stream.extend_from_slice(packet.encode(&mut [0; 64])?);
    }
    Ok(stream)
}
