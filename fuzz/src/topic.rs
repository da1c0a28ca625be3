//! Compares names, filters and matches with a simple model of section 4.7.

use umqtt::codec::{
    Delivery, Packet, PacketId, Publish, QoS, Subscribe, TopicError, TopicFilter, TopicName,
};

use super::checker::{self, is_match, is_topic_filter, is_topic_name};

/// Checks the bytes of a filter and of a name.
pub fn run((filter, name): &(&[u8], &[u8])) {
    for bytes in [*filter, name] {
        check_name(bytes);
        check_filter(bytes);
    }
    let text = (core::str::from_utf8(filter), core::str::from_utf8(name));
    let (Ok(filter), Ok(name)) = text else { return };
    if let (Ok(filter), Ok(name)) = (TopicFilter::new(filter), TopicName::new(name)) {
        let expected = is_match(filter.as_str(), name.as_str());
        assert_eq!(filter.matches(name), expected, "{filter} {name}");
        let captures = filter.captures(name);
        let captures = captures.map(|levels| levels.map(String::from).collect());
        assert_eq!(captures, checker::captures(filter.as_str(), name.as_str()));
    }
    // Every name is also a filter that matches only itself.
    if let Ok(name) = TopicName::new(name) {
        let itself = TopicFilter::new(name.as_str()).expect("a name is a filter");
        assert!(itself.matches(name));
    }
}

/// Checks a name, as a string and as a field of a packet. Both have the result of the model.
fn check_name(bytes: &[u8]) {
    let expected = is_topic_name(bytes) && bytes.len() <= 65_535;
    if let Ok(text) = core::str::from_utf8(bytes) {
        let name = TopicName::new(text);
        assert_eq!(name.is_ok(), expected);
        match name {
            Ok(name) => assert_eq!(name.as_str(), text),
            Err(error) => assert_eq!(error, first_fault(text, misplaced_in_name)),
        }
    }
    if let Ok(len) = u16::try_from(bytes.len()) {
        let body = [&len.to_be_bytes(), bytes].concat();
        let packet = framed(0x30, &body);
        let topic = TopicName::new(core::str::from_utf8(bytes).unwrap_or_default());
        match Packet::decode(&packet) {
            Ok(decoded) => {
                let topic = topic.expect("a topic that was received");
                let publish = Publish {
                    topic,
                    payload: &[],
                    delivery: Delivery::AtMostOnce,
                    retain: false,
                };
                assert_eq!(decoded, Some((Packet::Publish(publish), packet.len())));
            }
            Err(_) => assert!(!expected),
        }
    }
}

/// Checks a filter, as a string and as a field of a packet. Both have the result of the model.
fn check_filter(bytes: &[u8]) {
    let expected = is_topic_filter(bytes) && bytes.len() <= 65_535;
    if let Ok(text) = core::str::from_utf8(bytes) {
        let filter = TopicFilter::new(text);
        assert_eq!(filter.is_ok(), expected);
        match filter {
            Ok(filter) => assert_eq!(filter.as_str(), text),
            Err(error) => assert_eq!(error, first_fault(text, misplaced_in_filter)),
        }
    }
    if let Ok(len) = u16::try_from(bytes.len()) {
        let body = [&[0, 1], &len.to_be_bytes()[..], bytes, &[2]].concat();
        let packet = framed(0x82, &body);
        let filter = TopicFilter::new(core::str::from_utf8(bytes).unwrap_or_default());
        match Packet::decode(&packet) {
            Ok(decoded) => {
                let filters = [(
                    filter.expect("a filter that was received"),
                    QoS::ExactlyOnce,
                )];
                let subscribe = Subscribe::new(PacketId::MIN, &filters).expect("one filter");
                assert_eq!(decoded, Some((Packet::Subscribe(subscribe), packet.len())));
            }
            Err(_) => assert!(!expected),
        }
    }
}

fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    let mut rest = body.len();
    loop {
        let digit = rest % 128;
        rest /= 128;
        packet.push((digit + if rest > 0 { 128 } else { 0 }) as u8);
        if rest == 0 {
            return [&packet, body].concat();
        }
    }
}

/// Returns the first error of a string.
fn first_fault(text: &str, misplaced: fn(&str, usize) -> bool) -> TopicError {
    let len = text.len();
    if text.is_empty() {
        return TopicError::Empty;
    }
    if len > 65_535 {
        return TopicError::TooLong { len };
    }
    let mut faults = text.char_indices().filter_map(|(at, c)| match c {
        '\0' => Some(TopicError::Nul { at }),
        '+' | '#' if misplaced(text, at) => Some(TopicError::Wildcard { at }),
        _ => None,
    });
    faults.next().expect("something is wrong")
}

fn misplaced_in_name(_: &str, _: usize) -> bool {
    true
}

/// Returns `true` if the wildcard shares its level, or is a `#` that is not last.
fn misplaced_in_filter(text: &str, at: usize) -> bool {
    let before = text[..at].ends_with('/') || at == 0;
    let after = &text[at + 1..];
    let last = after.is_empty();
    !before || !(last || text[at..].starts_with("+/"))
}
