//! Random packets that the specification allows, small ones more often than large ones.

use fastrand::Rng;
use umqtt::codec::{
    Connack, Connect, ConnectReturnCode, Credentials, Delivery, Packet, PacketId, Puback, Pubcomp,
    Publish, Pubrec, Pubrel, QoS, Suback, SubackReturnCode, Subscribe, TopicFilter, TopicName,
    Unsuback, Unsubscribe, Will,
};

/// Passes a random packet to `take`. `kind` is 0 to 13, in the order of the packet types.
pub(crate) fn packet(rng: &mut Rng, kind: usize, take: impl FnOnce(&Packet<'_>)) {
    let id = packet_id(rng);
    match kind {
        0 => connect(rng, take),
        1 => take(&Packet::Connack(connack(rng))),
        2 => publish(rng, take),
        3 => take(&Packet::Puback(Puback::new(id))),
        4 => take(&Packet::Pubrec(Pubrec::new(id))),
        5 => take(&Packet::Pubrel(Pubrel::new(id))),
        6 => take(&Packet::Pubcomp(Pubcomp::new(id))),
        7 => {
            let texts = filters(rng);
            let filters = texts.iter().map(|text| TopicFilter::new(text).unwrap());
            let filters: Vec<_> = filters.map(|filter| (filter, qos(rng))).collect();
            take(&Packet::Subscribe(Subscribe::new(id, &filters).unwrap()));
        }
        8 => {
            let codes: Vec<_> = (0..=length(rng)).map(|_| code(rng)).collect();
            take(&Packet::Suback(Suback::new(id, &codes).unwrap()));
        }
        9 => {
            let texts = filters(rng);
            let filters = texts.iter().map(|text| TopicFilter::new(text).unwrap());
            let filters: Vec<_> = filters.collect();
            take(&Packet::Unsubscribe(
                Unsubscribe::new(id, &filters).unwrap(),
            ));
        }
        10 => take(&Packet::Unsuback(Unsuback::new(id))),
        11 => take(&Packet::Pingreq),
        12 => take(&Packet::Pingresp),
        _ => take(&Packet::Disconnect),
    }
}

fn connect(rng: &mut Rng, take: impl FnOnce(&Packet<'_>)) {
    let client_id = text(rng, "");
    let (topic, message) = (name(rng), payload(rng));
    let (user_name, password) = (text(rng, ""), payload(rng));
    let (will_qos, will_retain) = (qos(rng), rng.bool());
    take(&Packet::Connect(Connect {
        client_id: &client_id,
        clean_session: rng.bool() || client_id.is_empty(),
        keep_alive: rng.u16(..),
        will: rng.bool().then(|| Will {
            topic: &topic,
            message: &message,
            qos: will_qos,
            retain: will_retain,
        }),
        credentials: rng.bool().then(|| Credentials {
            user_name: &user_name,
            password: rng.bool().then_some(&password),
        }),
    }));
}

fn connack(rng: &mut Rng) -> Connack {
    use ConnectReturnCode as Code;
    match rng.u8(..7) {
        0 => Connack::Refused(Code::UnacceptableProtocolVersion),
        1 => Connack::Refused(Code::IdentifierRejected),
        2 => Connack::Refused(Code::ServerUnavailable),
        3 => Connack::Refused(Code::BadUserNameOrPassword),
        4 => Connack::Refused(Code::NotAuthorized),
        _ => Connack::Accepted {
            session_present: rng.bool(),
        },
    }
}

fn publish(rng: &mut Rng, take: impl FnOnce(&Packet<'_>)) {
    let (topic, payload) = (name(rng), payload(rng));
    let (packet_id, dup) = (packet_id(rng), rng.bool());
    take(&Packet::Publish(Publish {
        topic: TopicName::new(&topic).unwrap(),
        payload: &payload,
        delivery: match qos(rng) {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup },
            QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
        },
        retain: rng.bool(),
    }));
}

fn qos(rng: &mut Rng) -> QoS {
    QoS::try_from(rng.u8(..3)).expect("0, 1 and 2 are levels")
}

fn code(rng: &mut Rng) -> SubackReturnCode {
    match rng.u8(..4) {
        3 => SubackReturnCode::Failure,
        _ => SubackReturnCode::Granted(qos(rng)),
    }
}

fn packet_id(rng: &mut Rng) -> PacketId {
    let id = match rng.u8(..4) {
        0 => rng.u16(1..4),
        1 => u16::MAX,
        _ => rng.u16(1..),
    };
    PacketId::new(id).expect("it is not 0")
}

/// Returns a length: usually short, sometimes too long for one or two bytes of Remaining Length.
fn length(rng: &mut Rng) -> usize {
    match rng.u16(..1_000) {
        0 => rng.usize(16_300..20_000),
        1..20 => rng.usize(120..140),
        20..40 => rng.usize(140..700),
        _ => rng.usize(..24),
    }
}

fn payload(rng: &mut Rng) -> Vec<u8> {
    (0..length(rng)).map(|_| rng.u8(..)).collect()
}

/// Returns any string without U+0000 and without the excluded characters.
fn text(rng: &mut Rng, without: &str) -> String {
    let (latin, count) = (rng.bool(), length(rng));
    let characters = (0..count).map(|_| character(rng, latin));
    characters.filter(|c| !without.contains(*c)).collect()
}

fn character(rng: &mut Rng, latin: bool) -> char {
    match (latin, rng.u8(..8)) {
        (_, 0) => '/',
        (true, _) => rng.char(' '..='~'),
        (false, 1) => rng.char('\u{1}'..='\u{FF}'),
        (false, 2) => '\u{FEFF}',
        (false, 3) => rng.char('\u{10000}'..),
        (false, _) => rng.char('\u{1}'..'\u{FFFF}'),
    }
}

/// Returns a topic name.
fn name(rng: &mut Rng) -> String {
    Some(text(rng, "+#"))
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "$SYS/x".into())
}

/// Returns topic filters, with wildcards at valid places.
fn filters(rng: &mut Rng) -> Vec<String> {
    let count = 1 + length(rng).min(30);
    (0..count).map(|_| filter(rng)).collect()
}

fn filter(rng: &mut Rng) -> String {
    let mut filter = name(rng);
    if rng.u8(..3) == 0 {
        filter = format!("+/{filter}");
    }
    if rng.u8(..3) == 0 {
        filter.push_str("/#");
    }
    match rng.u8(..20) {
        0 => "#".into(),
        1 => "+".into(),
        _ => filter,
    }
}
