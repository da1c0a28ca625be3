//! The smallest device. It uses only the codec: connects with user and password, subscribes at QoS 1, publishes at QoS
//! 1, receives and acknowledges, pings.
#![no_std]
#![no_main]

use embedded_io::{Read, Write};
use size::{Line, show};
use umqtt::codec::{
    Connack, Connect, Credentials, Delivery, FixedHeader, PacketId, PacketType, Puback, Publish,
    QoS, Suback, SubackReturnCode, Subscribe, TopicFilter, TopicName,
};

const PINGREQ: [u8; 2] = [0xC0, 0];

/// Any error. A device would connect again.
struct Failed;

impl<E: core::error::Error> From<E> for Failed {
    fn from(_: E) -> Self {
        Self
    }
}

#[unsafe(no_mangle)]
fn run(rx: &mut [u8; 256], tx: &mut [u8; 256]) -> bool {
    device(rx, tx).is_ok()
}

fn device(rx: &mut [u8], tx: &mut [u8]) -> Result<(), Failed> {
    let mut device = Device { rx, filled: 0 };
    let connect = Connect {
        keep_alive: 60,
        credentials: Some(Credentials {
            user_name: "user",
            password: Some(b"password"),
        }),
        ..Connect::new("sensor-7")
    };
    send(connect.encode(tx)?)?;
    device.handle()?;
    let filters = [(TopicFilter::new("light/set")?, QoS::AtLeastOnce)];
    send(Subscribe::new(PacketId::MIN, &filters)?.encode(tx)?)?;
    device.handle()?;
    let publish = Publish {
        delivery: Delivery::AtLeastOnce {
            packet_id: PacketId::MAX,
            dup: false,
        },
        ..Publish::new(TopicName::new("light/state")?, b"on")
    };
    send(publish.encode(tx)?)?;
    loop {
        device.handle()?;
        send(&PINGREQ)?;
    }
}

fn send(mut bytes: &[u8]) -> Result<(), Failed> {
    while !bytes.is_empty() {
        let n = Line.write(bytes)?;
        bytes = bytes.get(n..).ok_or(Failed)?;
    }
    Ok(())
}

struct Device<'a> {
    rx: &'a mut [u8],
    filled: usize,
}

impl Device<'_> {
    /// Reads the next whole packet, and handles it.
    fn handle(&mut self) -> Result<(), Failed> {
        let (header, start, end) = self.receive()?;
        let body = self.rx.get(start..end).ok_or(Failed)?;
        match header.packet_type {
            PacketType::Connack => match Connack::decode_body(body)? {
                Connack::Accepted { .. } => {}
                Connack::Refused(_) => return Err(Failed),
            },
            PacketType::Publish => {
                let message = Publish::decode_body(&header, body)?;
                show(message.payload);
                if let Delivery::AtLeastOnce { packet_id, .. } = message.delivery {
                    send(&Puback::new(packet_id).to_bytes())?;
                }
            }
            PacketType::Puback => {
                if Puback::decode_body(body)?.packet_id != PacketId::MAX {
                    return Err(Failed);
                }
            }
            PacketType::Suback => {
                let suback = Suback::decode_body(body)?;
                if suback.codes().first() == Some(SubackReturnCode::Failure) {
                    return Err(Failed);
                }
            }
            PacketType::Pingresp => {}
            _ => return Err(Failed),
        }
        self.rx.copy_within(end..self.filled, 0);
        self.filled = self.filled.saturating_sub(end);
        Ok(())
    }

    /// Returns the header of the whole packet at the start of the buffer, with the start and the end of its body.
    fn receive(&mut self) -> Result<(FixedHeader, usize, usize), Failed> {
        loop {
            let bytes = self.rx.get(..self.filled).ok_or(Failed)?;
            if let Some((header, start)) = FixedHeader::decode(bytes)? {
                let end = start.saturating_add(usize::try_from(header.remaining_length)?);
                if end <= self.filled {
                    return Ok((header, start, end));
                }
            }
            let space = self.rx.get_mut(self.filled..).ok_or(Failed)?;
            match Line.read(space)? {
                0 => return Err(Failed),
                n => self.filled = self.filled.saturating_add(n),
            }
        }
    }
}
