//! An independent checker of bytes: the rules of MQTT 3.1.1, section by section, in the simplest form. It shares no
//! code with the library.
#![allow(clippy::indexing_slicing, clippy::arithmetic_side_effects, dead_code)]

/// The verdict on some bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// More bytes are needed.
    Incomplete,
    /// The bytes are not a packet.
    Refused,
    /// The first bytes, of this number, are a packet.
    Accepted(usize),
}

/// Checks the packet at the start of some bytes.
pub(crate) fn judge(bytes: &[u8]) -> Verdict {
    let Some(first) = bytes.first() else {
        return Verdict::Incomplete;
    };
    if !first_byte_is_legal(*first) {
        return Verdict::Refused;
    }
    let (length, header_len) = match remaining_length(&bytes[1..]) {
        Length::Incomplete => return Verdict::Incomplete,
        Length::TooLong => return Verdict::Refused,
        Length::Is(length, digits) => (length, 1 + digits),
    };
    if !length_is_possible(*first, length) {
        return Verdict::Refused;
    }
    if bytes.len() < header_len + length {
        return Verdict::Incomplete;
    }
    let body = &bytes[header_len..header_len + length];
    if body_is_legal(*first, body) {
        Verdict::Accepted(header_len + length)
    } else {
        Verdict::Refused
    }
}

/// Sections 2.2.1, 2.2.2 and 3.3.1.
fn first_byte_is_legal(first: u8) -> bool {
    match first {
        0x10 | 0x20 | 0x40 | 0x50 | 0x62 | 0x70 | 0x82 | 0x90 | 0xA2 | 0xB0 | 0xC0 | 0xD0
        | 0xE0 => true,
        0x30 | 0x31 => true,               // QoS 0, never DUP
        0x32 | 0x33 | 0x3A | 0x3B => true, // QoS 1
        0x34 | 0x35 | 0x3C | 0x3D => true, // QoS 2
        _ => false,
    }
}

enum Length {
    Incomplete,
    TooLong,
    Is(usize, usize),
}

/// Section 2.2.3.
fn remaining_length(bytes: &[u8]) -> Length {
    let mut value = 0;
    let mut multiplier = 1;
    for digits in 0..4 {
        if digits == bytes.len() {
            return Length::Incomplete;
        }
        value += (bytes[digits] as usize % 128) * multiplier;
        multiplier *= 128;
        if bytes[digits] < 128 {
            return Length::Is(value, digits + 1);
        }
    }
    Length::TooLong
}

/// Returns `true` if a packet with this first byte may have this Remaining Length.
fn length_is_possible(first: u8, length: usize) -> bool {
    match first {
        0x10 => length >= 12,       // 00 04 M Q T T 04 flags keep-alive(2) client-id(2)
        0x20 => length == 2,        // flags, code
        0x30 | 0x31 => length >= 3, // 00 01 x
        0x32..=0x3F => length >= 5, // 00 01 x id(2)
        0x40 | 0x50 | 0x62 | 0x70 | 0xB0 => length == 2, // id
        0x82 => length >= 6,        // id(2) 00 01 x qos
        0x90 => length >= 3,        // id(2) code
        0xA2 => length >= 5,        // id(2) 00 01 x
        _ => length == 0,
    }
}

fn body_is_legal(first: u8, body: &[u8]) -> bool {
    match first {
        0x10 => connect(body).is_some(),
        0x20 => connack(body),
        0x30..=0x3F => publish(first, body).is_some(),
        0x40 | 0x50 | 0x62 | 0x70 | 0xB0 => id(body) != Some(0),
        0x82 => subscribe(body, true).is_some(),
        0x90 => suback(body),
        0xA2 => subscribe(body, false).is_some(),
        _ => true,
    }
}

/// Section 3.1.
fn connect(body: &[u8]) -> Option<()> {
    let (name, rest) = field(body)?;
    let [level, flags, _, _] = *rest.first_chunk::<4>()?;
    let rest = &rest[4..];
    require(name == b"MQTT" && level == 4)?;
    let bit = |n: u8| (flags >> n) & 1 == 1;
    let will_qos = (flags >> 3) & 3;
    require(!bit(0))?;
    if bit(2) {
        require(will_qos != 3)?;
    } else {
        require(will_qos == 0 && !bit(5))?;
    }
    require(bit(7) || !bit(6))?;
    let (client_id, mut rest) = field(rest)?;
    require(is_string(client_id))?;
    require(!client_id.is_empty() || bit(1))?;
    if bit(2) {
        let (topic, after) = field(rest)?;
        require(is_topic_name(topic))?;
        let (_message, after) = field(after)?;
        rest = after;
    }
    if bit(7) {
        let (user_name, after) = field(rest)?;
        require(is_string(user_name))?;
        rest = after;
    }
    if bit(6) {
        let (_password, after) = field(rest)?;
        rest = after;
    }
    require(rest.is_empty())
}

/// Section 3.2.
fn connack(body: &[u8]) -> bool {
    matches!(body, [0, 0..=5] | [1, 0])
}

/// Section 3.3.
fn publish(first: u8, body: &[u8]) -> Option<()> {
    let (topic, rest) = field(body)?;
    require(is_topic_name(topic))?;
    if first & 0b0110 != 0 {
        require(id(rest)? != 0)?;
    }
    Some(())
}

/// Sections 3.8 (with a QoS after each filter) and 3.10 (without).
fn subscribe(body: &[u8], with_qos: bool) -> Option<()> {
    require(id(body)? != 0)?;
    let mut rest = &body[2..];
    require(!rest.is_empty())?;
    while !rest.is_empty() {
        let (filter, after) = field(rest)?;
        require(is_topic_filter(filter))?;
        rest = after;
        if with_qos {
            require(*rest.first()? <= 2)?;
            rest = &rest[1..];
        }
    }
    Some(())
}

/// Section 3.9.
fn suback(body: &[u8]) -> bool {
    id(body) != Some(0)
        && body.len() > 2
        && body[2..].iter().all(|code| [0, 1, 2, 0x80].contains(code))
}

fn require(condition: bool) -> Option<()> {
    condition.then_some(())
}

fn id(bytes: &[u8]) -> Option<u16> {
    Some(256 * u16::from(*bytes.first()?) + u16::from(*bytes.get(1)?))
}

/// Returns a field after its two-byte length, and the bytes after it (section 1.5.3).
fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = usize::from(id(bytes)?);
    Some((bytes.get(2..2 + len)?, &bytes[2 + len..]))
}

/// Section 1.5.3.
pub(crate) fn is_string(bytes: &[u8]) -> bool {
    match String::from_utf8(bytes.to_vec()) {
        Ok(string) => !string.contains('\0'),
        Err(_) => false,
    }
}

/// Section 4.7.
pub(crate) fn is_topic_name(bytes: &[u8]) -> bool {
    is_string(bytes) && !bytes.is_empty() && !bytes.contains(&b'+') && !bytes.contains(&b'#')
}

/// Section 4.7.
pub(crate) fn is_topic_filter(bytes: &[u8]) -> bool {
    if !is_string(bytes) || bytes.is_empty() {
        return false;
    }
    let text = String::from_utf8(bytes.to_vec()).unwrap_or_default();
    let levels: Vec<&str> = text.split('/').collect();
    levels.iter().enumerate().all(|(n, level)| {
        let last = n == levels.len() - 1;
        (*level == "#" && last) || *level == "+" || !level.contains(['#', '+'])
    })
}

/// Section 4.7: returns `true` if a filter matches a topic, level by level and by recursion.
pub(crate) fn is_match(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && filter.starts_with(['+', '#']) {
        return false;
    }
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    levels_match(&filter, &topic)
}

fn levels_match(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) => true,
        ([], []) => true,
        ([], _) | (_, []) => false,
        ([f, filter @ ..], [t, topic @ ..]) => (*f == "+" || f == t) && levels_match(filter, topic),
    }
}

/// Section 4.7.1: returns the levels of a topic that the wildcards of a filter match, if the filter matches the topic.
pub(crate) fn captures(filter: &str, topic: &str) -> Option<Vec<String>> {
    if !is_match(filter, topic) {
        return None;
    }
    let levels: Vec<&str> = topic.split('/').collect();
    let mut captures = Vec::new();
    for (at, pattern) in filter.split('/').enumerate() {
        match pattern {
            "+" => captures.push(levels[at].to_owned()),
            "#" if at < levels.len() => captures.push(levels[at..].join("/")),
            _ => {}
        }
    }
    Some(captures)
}
