//! The floor: the least work that makes the checks of umqtt. For each row, it is written by hand for this packet alone.
//!
//! A result refers to the received bytes, as in umqtt. [`verify`] compares the checks with those of umqtt.

use std::hint::black_box;

use umqtt::codec::Packet;

use crate::measure::Jobs;
use crate::packets::{self, FILTERS, KINDS, TOPIC};

/// Passes the function that decodes this kind to a macro.
macro_rules! with_decoder {
    ($kind:expr, $use:ident) => {
        match $kind {
            "CONNECT, will+user+password" => $use!(connect),
            "CONNACK" => $use!(connack),
            "PUBACK" => $use!(puback),
            "SUBSCRIBE x 4" => $use!(subscribe),
            "SUBACK x 4" => $use!(suback),
            "PINGRESP" => $use!(pingresp),
            _ => $use!(publish),
        }
    };
}

/// Passes a closure that encodes this kind to a macro.
macro_rules! with_encoder {
    ($kind:expr, $use:ident) => {{
        let topic = black_box(TOPIC);
        let id = black_box(77);
        match $kind {
            "PUBLISH QoS 0, 64 B" => {
                let payload = payload(64);
                $use!(move |out: &mut [u8]| put_publish(out, topic, None, payload))
            }
            "PUBLISH QoS 1, 1 KiB" => {
                let payload = payload(1 << 10);
                $use!(move |out: &mut [u8]| put_publish(out, topic, Some(id), payload))
            }
            "PUBLISH QoS 0, 64 KiB" => {
                let payload = payload(1 << 16);
                $use!(move |out: &mut [u8]| put_publish(out, topic, None, payload))
            }
            "CONNECT, will+user+password" => {
                let connect = black_box(CONNECT);
                $use!(move |out: &mut [u8]| put_connect(out, &connect))
            }
            "CONNACK" => {
                let code = black_box(0);
                $use!(move |out: &mut [u8]| put(out, [0x20, 2, 0, code]))
            }
            "PUBACK" => $use!(move |out: &mut [u8]| {
                let [high, low] = id.to_be_bytes();
                put(out, [0x40, 2, high, low])
            }),
            "SUBSCRIBE x 4" => {
                let filters: &[_] = black_box(FILTERS.map(|filter| (filter, 1))).to_vec().leak();
                $use!(move |out: &mut [u8]| put_subscribe(out, id, filters))
            }
            "SUBACK x 4" => {
                let codes: &[u8] = black_box([1; 4]).to_vec().leak();
                $use!(move |out: &mut [u8]| put_suback(out, id, codes))
            }
            _ => $use!(|out: &mut [u8]| put(out, [0xD0, 0])),
        }
    }};
}

/// Adds both rows of a kind.
pub fn add(jobs: &mut Jobs, kind: &str, bytes: &'static [u8]) {
    let name = format!("decode/{kind}/floor");
    macro_rules! decode {
        ($decode:expr) => {
            jobs.add(name, move || bytes, |bytes| $decode(bytes))
        };
    }
    with_decoder!(kind, decode);
    let name = format!("encode/{kind}/floor");
    let mut out = vec![0; 1 << 17];
    macro_rules! encode {
        ($encode:expr) => {{
            let encode = $encode;
            jobs.add(name, || (), move |()| encode(&mut out))
        }};
    }
    with_encoder!(kind, encode);
}

/// Number of bytes at the start of a packet that [`verify`] changes.
pub const VERIFIED: usize = 120;

/// Compares the floor with umqtt: if one byte of a packet takes any other value, both accept it or both refuse it. Both
/// encode the same bytes.
pub fn verify() {
    for kind in KINDS {
        let valid = packets::with(kind, |packet| packets::encoded(&packet));
        let mut bytes = valid.clone();
        macro_rules! accepts {
            ($decode:expr) => {
                $decode(&bytes).is_some()
            };
        }
        for at in 0..bytes.len().min(VERIFIED) {
            for value in 0..=u8::MAX {
                bytes[at] = value;
                let ours = match Packet::decode(&bytes) {
                    Ok(Some((packet, _))) => packet.packet_type() as u8 == valid[0] >> 4,
                    _ => false,
                };
                let floor = with_decoder!(kind, accepts);
                assert_eq!(floor, ours, "{kind}: {value} in place of byte {at}");
            }
            bytes[at] = valid[at];
        }
        let mut out = vec![0; 1 << 17];
        macro_rules! encode {
            ($encode:expr) => {{
                let encode = $encode;
                encode(&mut out)
            }};
        }
        let len = with_encoder!(kind, encode).expect("it fits");
        assert!(out[..len] == valid, "{kind} is encoded as by umqtt");
    }
}

/// Returns the length of a PUBLISH or PUBREL at the start of a stream, if it is complete and valid.
pub fn next(bytes: &[u8]) -> Option<usize> {
    if let [0x62, 2, high, low, ..] = bytes {
        black_box(id(*high, *low)?);
        return Some(4);
    }
    let message = black_box(publish(bytes)?);
    Some(message.used)
}

#[expect(dead_code, reason = "the fields of a result, which no row reads")]
struct Message<'a> {
    flags: u8,
    topic: &'a [u8],
    id: u16,
    payload: &'a [u8],
    used: usize,
}

/// A checked list, whose elements are read later.
#[expect(dead_code, reason = "the fields of a result, which no row reads")]
struct List<'a> {
    id: u16,
    elements: &'a [u8],
    used: usize,
}

#[derive(Clone, Copy)]
struct Connect<'a> {
    keep_alive: u16,
    flags: u8,
    client_id: &'a str,
    will: Option<(&'a [u8], &'a [u8])>,
    user: Option<&'a str>,
    password: Option<&'a [u8]>,
}

const CONNECT: Connect<'_> = Connect {
    keep_alive: 60,
    flags: 0b1100_0110,
    client_id: "sensor-0007",
    will: Some((b"sensors/7/state", b"offline")),
    user: Some("sensor-user"),
    password: Some(b"correct horse"),
};

const MAX_REMAINING_LENGTH: usize = 268_435_455;
const PROTOCOL: [u8; 7] = *b"\0\x04MQTT\x04";

fn publish(bytes: &[u8]) -> Option<Message<'_>> {
    let (first, body, used) = split(bytes)?;
    let flags = first & 0x0F;
    // QoS 3 is invalid, and so is DUP at QoS 0.
    if first >> 4 != 3 || flags & 0b0110 == 0b0110 || flags & 0b1110 == 0b1000 {
        return None;
    }
    let (topic, rest) = field(body)?;
    if !is_plain(topic) && !is_other_topic(topic) {
        return None;
    }
    let (id, payload) = match flags & 0b0110 {
        0 => (0, rest),
        _ => match rest {
            [high, low, payload @ ..] => (id(*high, *low)?, payload),
            _ => return None,
        },
    };
    Some(Message {
        flags,
        topic,
        id,
        payload,
        used,
    })
}

fn connect(bytes: &[u8]) -> Option<(Connect<'_>, usize)> {
    let (0x10, body, used) = split(bytes)? else {
        return None;
    };
    let (protocol, rest) = body.split_first_chunk()?;
    let [flags, high, low, rest @ ..] = rest else {
        return None;
    };
    let has = |flag| flags & flag != 0;
    let has_will = has(0b100);
    if *protocol != PROTOCOL
        || has(1)
        || flags & 0b1_1000 == 0b1_1000
        || !has_will && has(0b11_1000)
        || !has(0x80) && has(0x40)
    {
        return None;
    }
    let (client_id, mut rest) = field(rest)?;
    // A client without an id needs Clean Session.
    if client_id.is_empty() && !has(0b10) {
        return None;
    }
    let mut connect = Connect {
        keep_alive: u16::from_be_bytes([*high, *low]),
        flags: *flags,
        client_id: string(client_id)?,
        will: None,
        user: None,
        password: None,
    };
    if has_will {
        let (topic, after) = field(rest)?;
        let (message, after) = field(after)?;
        if !is_plain(topic) && !is_other_topic(topic) {
            return None;
        }
        connect.will = Some((topic, message));
        rest = after;
    }
    if has(0x80) {
        let (user, after) = field(rest)?;
        connect.user = Some(string(user)?);
        rest = after;
    }
    if has(0x40) {
        let (password, after) = field(rest)?;
        connect.password = Some(password);
        rest = after;
    }
    rest.is_empty().then_some((connect, used))
}

fn connack(bytes: &[u8]) -> Option<(bool, u8)> {
    match bytes {
        [0x20, 2, present @ 0..=1, 0, ..] => Some((*present == 1, 0)),
        [0x20, 2, 0, code @ 1..=5, ..] => Some((false, *code)),
        _ => None,
    }
}

fn puback(bytes: &[u8]) -> Option<u16> {
    match bytes {
        [0x40, 2, high, low, ..] => id(*high, *low),
        _ => None,
    }
}

fn subscribe(bytes: &[u8]) -> Option<List<'_>> {
    let (0x82, [high, low, elements @ ..], used) = split(bytes)? else {
        return None;
    };
    let mut rest = elements;
    loop {
        let (filter, after) = field(rest)?;
        let [0..=2, after @ ..] = after else {
            return None;
        };
        if !is_plain(filter) && !is_other_filter(filter) {
            return None;
        }
        rest = after;
        if rest.is_empty() {
            break;
        }
    }
    Some(List {
        id: id(*high, *low)?,
        elements,
        used,
    })
}

fn suback(bytes: &[u8]) -> Option<List<'_>> {
    let (0x90, [high, low, elements @ ..], used) = split(bytes)? else {
        return None;
    };
    let is_valid = |code: &u8| matches!(code, 0..=2 | 0x80);
    (!elements.is_empty() && elements.iter().all(is_valid)).then_some(List {
        id: id(*high, *low)?,
        elements,
        used,
    })
}

fn pingresp(bytes: &[u8]) -> Option<()> {
    matches!(bytes, [0xD0, 0, ..]).then_some(())
}

/// Returns the first byte, the body and the length of a packet.
#[inline(always)]
fn split(bytes: &[u8]) -> Option<(u8, &[u8], usize)> {
    let [first, length, rest @ ..] = bytes else {
        return None;
    };
    let low = usize::from(*length & 0x7F);
    if *length < 0x80 {
        return Some((*first, rest.get(..low)?, low + 2));
    }
    let (mut length, mut rest) = (low, rest);
    for place in 1..4 {
        let (byte, after) = rest.split_first()?;
        length |= usize::from(byte & 0x7F) << (7 * place);
        rest = after;
        if *byte < 0x80 {
            return Some((*first, rest.get(..length)?, length + 2 + place));
        }
    }
    None
}

/// Splits off a field. The first two bytes are its length.
#[inline(always)]
fn field(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = bytes.split_first_chunk()?;
    rest.split_at_checked(u16::from_be_bytes(*len).into())
}

#[inline(always)]
fn id(high: u8, low: u8) -> Option<u16> {
    match u16::from_be_bytes([high, low]) {
        0 => None,
        id => Some(id),
    }
}

fn string(bytes: &[u8]) -> Option<&str> {
    all(bytes, |byte| byte != 0).then(|| std::str::from_utf8(bytes).ok())?
}

/// Returns `true` for one or more ASCII characters without NUL and wildcards.
#[inline(always)]
fn is_plain(bytes: &[u8]) -> bool {
    all(bytes, |byte| {
        byte.is_ascii() & (byte != 0) & (byte | 0x08 != b'+')
    }) && !bytes.is_empty()
}

/// Checks blocks of 16 or 8 bytes. The last block may overlap the one before it.
#[inline(always)]
fn all(bytes: &[u8], is_valid: impl Fn(u8) -> bool + Copy) -> bool {
    fn block<const N: usize>(block: &[u8; N], is_valid: impl Fn(u8) -> bool) -> bool {
        block.iter().fold(true, |all, &byte| all & is_valid(byte))
    }
    if let Some(last) = bytes.last_chunk::<16>() {
        let (blocks, _) = bytes.as_chunks();
        blocks.iter().all(|it| block::<16>(it, is_valid)) && block(last, is_valid)
    } else if let (Some(first), Some(last)) = (bytes.first_chunk::<8>(), bytes.last_chunk::<8>()) {
        block(first, is_valid) && block(last, is_valid)
    } else {
        bytes.iter().all(|&byte| is_valid(byte))
    }
}

/// Checks a topic that is not plain.
#[cold]
fn is_other_topic(topic: &[u8]) -> bool {
    let is_valid = |byte: &u8| !matches!(byte, 0 | b'#' | b'+');
    !topic.is_empty() && topic.iter().all(is_valid) && string(topic).is_some()
}

/// Checks a filter that is not plain.
fn is_other_filter(filter: &[u8]) -> bool {
    let mut before = b'/';
    for (at, &byte) in filter.iter().enumerate() {
        let is_valid = match byte {
            0 => false,
            b'#' => before == b'/' && at + 1 == filter.len(),
            b'+' => before == b'/' && matches!(filter.get(at + 1), None | Some(b'/')),
            _ => true,
        };
        if !is_valid {
            return false;
        }
        before = byte;
    }
    !filter.is_empty() && (filter.is_ascii() || string(filter).is_some())
}

fn payload(len: usize) -> &'static [u8] {
    black_box(vec![b'x'; len].leak())
}

fn put<const N: usize>(out: &mut [u8], bytes: [u8; N]) -> Option<usize> {
    *out.first_chunk_mut()? = bytes;
    Some(N)
}

fn put_publish(out: &mut [u8], topic: &str, id: Option<u16>, payload: &[u8]) -> Option<usize> {
    let header_len = topic.len() + if id.is_some() { 4 } else { 2 };
    let first = if id.is_some() { 0x32 } else { 0x30 };
    let (body, len) = start(out, first, header_len + payload.len())?;
    let mut rest = put_field(body, topic.as_bytes())?;
    if let Some(id) = id {
        let (to, after) = rest.split_first_chunk_mut()?;
        *to = id.to_be_bytes();
        rest = after;
    }
    rest.copy_from_slice(payload);
    Some(len)
}

fn put_connect(out: &mut [u8], connect: &Connect<'_>) -> Option<usize> {
    let no_nul = |text: &str| all(text.as_bytes(), |byte| byte != 0);
    let len = |bytes: &[u8]| (bytes.len() <= 0xFFFF).then_some(bytes.len() + 2);
    let id = connect.client_id.as_bytes();
    let mut total = 10 + len(id)?;
    let mut is_valid = no_nul(connect.client_id);
    if let Some((topic, message)) = connect.will {
        total += len(topic)? + len(message)?;
        is_valid &= is_plain(topic) || is_other_topic(topic);
    }
    if let Some(user) = connect.user {
        total += len(user.as_bytes())?;
        is_valid &= no_nul(user);
    }
    if let Some(password) = connect.password {
        total += len(password)?;
    }
    if !is_valid {
        return None;
    }
    let (body, len) = start(out, 0x10, total)?;
    let (to, rest) = body.split_first_chunk_mut()?;
    *to = PROTOCOL;
    let (to, rest) = rest.split_first_chunk_mut()?;
    let [high, low] = connect.keep_alive.to_be_bytes();
    *to = [connect.flags, high, low];
    let mut rest = put_field(rest, id)?;
    if let Some((topic, message)) = connect.will {
        rest = put_field(put_field(rest, topic)?, message)?;
    }
    if let Some(user) = connect.user {
        rest = put_field(rest, user.as_bytes())?;
    }
    if let Some(password) = connect.password {
        put_field(rest, password)?;
    }
    Some(len)
}

fn put_subscribe(out: &mut [u8], id: u16, filters: &[(&str, u8)]) -> Option<usize> {
    let fields: usize = filters.iter().map(|(filter, _)| filter.len() + 3).sum();
    let (body, len) = start(out, 0x82, 2 + fields)?;
    let (to, mut rest) = body.split_first_chunk_mut()?;
    *to = id.to_be_bytes();
    for (filter, qos) in filters {
        let (to, after) = put_field(rest, filter.as_bytes())?.split_first_mut()?;
        *to = *qos;
        rest = after;
    }
    Some(len)
}

fn put_suback(out: &mut [u8], id: u16, codes: &[u8]) -> Option<usize> {
    let (body, len) = start(out, 0x90, 2 + codes.len())?;
    let (to, rest) = body.split_first_chunk_mut()?;
    *to = id.to_be_bytes();
    rest.copy_from_slice(codes);
    Some(len)
}

/// Writes the fixed header. Returns the room for the body, and the length of the packet.
#[inline(always)]
fn start(out: &mut [u8], first: u8, len: usize) -> Option<(&mut [u8], usize)> {
    let more = |shift| (len >> shift) as u8 | 0x80;
    let last = |shift| (len >> shift) as u8;
    macro_rules! header {
        ($($byte:expr),*) => {{
            let header = [first, $($byte),*];
            let (to, rest) = out.split_first_chunk_mut()?;
            *to = header;
            Some((rest.get_mut(..len)?, len + header.len()))
        }};
    }
    match len {
        0..=0x7F => header!(last(0)),
        0x80..=0x3FFF => header!(more(0), last(7)),
        0x4000..=0x1F_FFFF => header!(more(0), more(7), last(14)),
        0x20_0000..=MAX_REMAINING_LENGTH => header!(more(0), more(7), more(14), last(21)),
        _ => None,
    }
}

/// Writes a field with its length. Returns the room after it.
#[inline(always)]
fn put_field<'o>(out: &'o mut [u8], bytes: &[u8]) -> Option<&'o mut [u8]> {
    let (to, rest) = out.split_first_chunk_mut()?;
    *to = (bytes.len() as u16).to_be_bytes();
    let (to, rest) = rest.split_at_mut_checked(bytes.len())?;
    match bytes.len() {
        8..=16 => copy_blocks::<8>(to, bytes)?,
        17..=32 => copy_blocks::<16>(to, bytes)?,
        _ => to.copy_from_slice(bytes),
    }
    Some(rest)
}

/// Copies the first and the last block. Together, they cover all bytes.
#[inline(always)]
fn copy_blocks<const N: usize>(to: &mut [u8], from: &[u8]) -> Option<()> {
    *to.first_chunk_mut::<N>()? = *from.first_chunk()?;
    *to.last_chunk_mut::<N>()? = *from.last_chunk()?;
    Some(())
}
