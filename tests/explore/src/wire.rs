//! The packets of the model broker, and their encoding (section 3). No code of the library is used.

/// Length of a payload that does not fit into the receive buffer, in bytes.
pub(crate) const LONG: usize = 40;

/// A control packet. The topic is always the same, and the payload repeats the number of the message.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Packet {
    Connect,
    Connack { session_present: bool },
    Publish(Publish),
    Puback(u16),
    Pubrec(u16),
    Pubrel(u16),
    Pubcomp(u16),
    Subscribe(u16, Filters),
    Suback(u16, Filters),
    Pingreq,
    Pingresp,
    Disconnect,
}

/// Up to two filters of one letter, each with the requested QoS. In a SUBACK, each has the return code instead.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Filters(pub(crate) [Option<(u8, u8)>; 2]);

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) struct Publish {
    pub(crate) qos: u8,
    pub(crate) dup: bool,
    /// 0 at QoS 0.
    pub(crate) id: u16,
    pub(crate) message: u8,
    pub(crate) is_long: bool,
}

impl Packet {
    pub(crate) fn encode(self) -> Vec<u8> {
        let ack = |first: u8, id: u16| {
            let [high, low] = id.to_be_bytes();
            vec![first, 2, high, low]
        };
        match self {
            Self::Connack { session_present } => vec![0x20, 2, u8::from(session_present), 0],
            Self::Publish(publish) => {
                let mut body = vec![0, 1, b't'];
                if publish.qos > 0 {
                    body.extend(publish.id.to_be_bytes());
                }
                body.extend(payload(publish.message, publish.is_long));
                let first = 0x30 | u8::from(publish.dup) << 3 | publish.qos << 1;
                let mut packet = vec![first, body.len() as u8];
                packet.extend(body);
                packet
            }
            Self::Puback(id) => ack(0x40, id),
            Self::Pubrec(id) => ack(0x50, id),
            Self::Pubrel(id) => ack(0x62, id),
            Self::Pubcomp(id) => ack(0x70, id),
            Self::Suback(id, Filters(codes)) => {
                let [high, low] = id.to_be_bytes();
                let codes = codes.iter().flatten().map(|(_, code)| *code);
                let mut packet = vec![0x90, 2, high, low];
                packet.extend(codes);
                packet[1] = packet.len() as u8 - 2;
                packet
            }
            Self::Pingresp => vec![0xD0, 0],
            Self::Connect | Self::Pingreq | Self::Subscribe(..) | Self::Disconnect => {
                unreachable!("a server sends no {self:?}")
            }
        }
    }

    /// Decodes a packet of a client; `None` if it cannot occur in a world.
    pub(crate) fn decode(bytes: &[u8]) -> Option<Self> {
        let (first, rest) = bytes.split_first()?;
        let (len, body) = rest.split_first()?;
        if usize::from(*len) != body.len() {
            return None;
        }
        let id = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
        let ack = || if body.len() == 2 { id(0) } else { None };
        Some(match first {
            0x10 => Self::Connect,
            0x40 => Self::Puback(ack()?),
            0x50 => Self::Pubrec(ack()?),
            0x62 => Self::Pubrel(ack()?),
            0x70 => Self::Pubcomp(ack()?),
            0x82 => Self::Subscribe(id(0)?, filters(&body[2..])?),
            0xC0 if body.is_empty() => Self::Pingreq,
            0xE0 if body.is_empty() => Self::Disconnect,
            0x30..0x40 => {
                let qos = first >> 1 & 3;
                let (before, id) = if qos == 0 { (3, 0) } else { (5, id(3)?) };
                let payload = body.get(before..)?;
                let (message, is_long) = message(payload)?;
                let dup = first & 8 != 0;
                let id_fits = qos < 3 && (id > 0) == (qos > 0) && (qos > 0 || !dup);
                let topic_fits = body.get(..3) == Some(&[0, 1, b't']);
                if !(id_fits && topic_fits && first & 1 == 0) {
                    return None;
                }
                Self::Publish(Publish {
                    qos,
                    dup,
                    id,
                    message,
                    is_long,
                })
            }
            _ => return None,
        })
    }
}

/// Returns the filters of a SUBSCRIBE, each of one letter.
fn filters(mut bytes: &[u8]) -> Option<Filters> {
    let mut filters = [None; 2];
    for place in &mut filters {
        let Some((filter, rest)) = bytes.split_first_chunk::<4>() else {
            break;
        };
        let [0, 1, letter, qos @ 0..3] = *filter else {
            return None;
        };
        *place = Some((letter, qos));
        bytes = rest;
    }
    (bytes.is_empty() && filters[0].is_some()).then_some(Filters(filters))
}

/// Returns the payload of a message: its number, repeated.
pub(crate) fn payload(message: u8, is_long: bool) -> Vec<u8> {
    vec![message; if is_long { LONG } else { 1 }]
}

/// Returns the message of this payload, and `true` if it is long.
pub(crate) fn message(payload: &[u8]) -> Option<(u8, bool)> {
    let message = *payload.first()?;
    let is_known = payload.len() == 1 || payload.len() == LONG;
    let is_whole = is_known && payload.iter().all(|byte| *byte == message);
    is_whole.then_some((message, payload.len() > 1))
}

/// Returns the length of the packet at the start, if its fixed header was received.
pub(crate) fn packet_len(bytes: &[u8]) -> Option<usize> {
    bytes.get(1).map(|len| 2 + usize::from(*len))
}
