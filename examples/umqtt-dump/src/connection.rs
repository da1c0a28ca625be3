//! A connection: decodes both directions and keeps the unanswered packets.

use std::{collections::BTreeMap, fmt, io, mem, time::Instant};

use umqtt::codec::{Connect, DecodeError, Delivery, FixedHeader, Packet, PacketId, Publish};

use crate::print;

/// Maximum number of bytes of a payload or a malformed packet that are shown.
const SHOWN: usize = 64;

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Side {
    Client,
    Broker,
}

#[derive(Default)]
pub(crate) struct Connection {
    number: u64,
    /// Name and time of each unanswered packet, by its sender and the name of its answer.
    unanswered: BTreeMap<(Side, String), (String, Instant)>,
    /// The last packet as printed.
    last: Option<String>,
    /// The incomplete packet of each side.
    incomplete: BTreeMap<Side, Vec<u8>>,
    /// Sides whose next packets cannot be found after an error.
    undecodable: Vec<Side>,
    connected: bool,
    closed: bool,
}

impl Connection {
    pub(crate) fn new(number: u64) -> Self {
        Self {
            number,
            ..Self::default()
        }
    }

    /// Prints the packets that these bytes complete.
    pub(crate) fn receive(&mut self, sender: Side, bytes: &[u8]) {
        if self.undecodable.contains(&sender) {
            return;
        }
        let mut received = self.incomplete.remove(&sender).unwrap_or_default();
        received.extend_from_slice(bytes);
        let mut rest = received.as_slice();
        loop {
            let len = match Packet::decode(rest) {
                Ok(None) => break,
                Ok(Some((packet, len))) => self.show(sender, &packet, len),
                Err(error) => self.show_malformed(sender, rest, error),
            };
            rest = rest.get(len..).unwrap_or_default();
        }
        received.drain(..received.len().saturating_sub(rest.len()));
        self.incomplete.insert(sender, received);
    }

    /// Prints a packet and returns its length.
    fn show(&mut self, sender: Side, packet: &Packet<'_>, len: usize) -> usize {
        let (id, answer, fields) = describe(packet);
        let id = id.map_or_else(String::new, |id| format!(" {id}"));
        let packet_type = format!("{:?}", packet.packet_type()).to_uppercase();
        let name = format!("{packet_type}{id}");
        self.connected |= packet_type == "CONNECT";
        self.unanswered
            .retain(|(side, answer), _| *side == sender || *answer != name);
        let name = format!("{sender:?} {name}");
        let text = format!("{name} {fields}");
        if !answer.is_empty() {
            let request = self.unanswered.entry((sender, format!("{answer}{id}")));
            request.or_insert((name, Instant::now()));
        }
        self.show_text(text.trim_end().to_owned());
        len
    }

    /// Prints an error and returns the length to skip.
    fn show_malformed(&mut self, sender: Side, bytes: &[u8], error: DecodeError) -> usize {
        use DecodeError::{UnsupportedProtocolLevel, WrongProtocolName};
        let (name, len) = header(bytes);
        // The bytes after the fixed header of a CONNECT may be a password.
        let is_secret = sender == Side::Client && (!self.connected || bytes.starts_with(&[0x10]));
        let shown = len.filter(|_| !is_secret).unwrap_or(5);
        let hex = bytes.iter().take(shown.min(SHOWN));
        let hex: String = hex.map(|byte| format!(" {byte:02x}")).collect();
        let mut text = format!("{sender:?} malformed {name}: {error}:{hex}");
        // After a CONNECT of another version, all packets have another format.
        let is_foreign = matches!(error, WrongProtocolName | UnsupportedProtocolLevel { .. });
        if len.is_none() || is_foreign {
            text += "; the next packets cannot be decoded";
            self.undecodable.push(sender);
        }
        self.show_text(text);
        len.filter(|_| !is_foreign).unwrap_or(bytes.len())
    }

    fn show_text(&mut self, text: String) {
        print(self.number, &format!("{text} | {}", self.unanswered()));
        self.last = Some(text);
    }

    /// Prints the side that closed the connection first, the last packet, and the unanswered packets.
    pub(crate) fn close(&mut self, side: Side, error: Option<&io::Error>) {
        if mem::replace(&mut self.closed, true) {
            return;
        }
        let number = self.number;
        let error = error.map_or_else(String::new, |error| format!(": {error}"));
        print(number, &format!("{side:?} closed the connection{error}"));
        let last = self.last.as_deref().unwrap_or("none");
        print(number, &format!("  last packet: {last}"));
        print(number, &format!("  {}", self.unanswered()));
        for (side, bytes) in self.incomplete.iter().filter(|(_, it)| !it.is_empty()) {
            let (name, len) = (header(bytes).0, bytes.len());
            print(number, &format!("  {side:?} sent {len} bytes of a {name}"));
        }
    }

    /// Returns the number of unanswered packets, and the oldest of them.
    fn unanswered(&self) -> String {
        let mut oldest: Vec<_> = self.unanswered.values().collect();
        oldest.sort_by_key(|(_, sent_at)| *sent_at);
        let text = |it: &(String, Instant)| format!(", {} ({:.1?})", it.0, it.1.elapsed());
        let listed: String = oldest.into_iter().take(10).map(text).collect();
        format!("unanswered: {}{listed}", self.unanswered.len())
    }
}

/// Returns the name of the packet that starts with these bytes, and its length.
fn header(bytes: &[u8]) -> (String, Option<usize>) {
    let Ok(Some((header, start))) = FixedHeader::decode(bytes) else {
        return ("packet".to_owned(), None);
    };
    let len = start.saturating_add(header.remaining_length as usize);
    let name = format!("{:?}", header.packet_type).to_uppercase();
    (format!("{name} of {len} bytes"), Some(len))
}

/// Returns the id of a packet, the type of its answer (empty if it needs none), and its other fields.
fn describe(packet: &Packet<'_>) -> (Option<PacketId>, &'static str, String) {
    match packet {
        Packet::Connect(it) => (None, "CONNACK", connect(it)),
        Packet::Connack(it) => (None, "", format!("{it:?}")),
        Packet::Publish(it) => match it.delivery {
            Delivery::AtMostOnce => (None, "", publish(it)),
            Delivery::AtLeastOnce { packet_id, .. } => (Some(packet_id), "PUBACK", publish(it)),
            Delivery::ExactlyOnce { packet_id, .. } => (Some(packet_id), "PUBREC", publish(it)),
        },
        Packet::Puback(it) => (Some(it.packet_id), "", String::new()),
        Packet::Pubrec(it) => (Some(it.packet_id), "PUBREL", String::new()),
        Packet::Pubrel(it) => (Some(it.packet_id), "PUBCOMP", String::new()),
        Packet::Pubcomp(it) => (Some(it.packet_id), "", String::new()),
        Packet::Subscribe(it) => (Some(it.packet_id()), "SUBACK", list(it.filters())),
        Packet::Suback(it) => (Some(it.packet_id()), "", list(it.codes().iter())),
        Packet::Unsubscribe(it) => (Some(it.packet_id()), "UNSUBACK", list(it.filters())),
        Packet::Unsuback(it) => (Some(it.packet_id), "", String::new()),
        Packet::Pingreq => (None, "PINGRESP", String::new()),
        Packet::Pingresp | Packet::Disconnect => (None, "", String::new()),
    }
}

fn connect(it: &Connect<'_>) -> String {
    let (id, clean, keep_alive, will) = (it.client_id, it.clean_session, it.keep_alive, it.will);
    // Some brokers take a token as user name, so it is not shown either.
    let user = it.credentials.is_some();
    let password = it.credentials.is_some_and(|it| it.password.is_some());
    let login = format!("user name: {user}, password: {password}");
    format!("{id:?}, clean session: {clean}, keep alive: {keep_alive} s, {login}, will: {will:?}")
}

fn publish(it: &Publish<'_>) -> String {
    let (qos, dup, retain) = (it.delivery.qos(), it.delivery.dup(), it.retain);
    let (topic, len) = (it.topic.as_str(), it.payload.len());
    let shown = it.payload.get(..SHOWN).unwrap_or(it.payload).escape_ascii();
    let more = if len > SHOWN { "..." } else { "" };
    format!("{qos:?}, dup: {dup}, retain: {retain}, {topic:?}, {len} bytes: \"{shown}\"{more}")
}

fn list(items: impl Iterator<Item = impl fmt::Debug>) -> String {
    format!("{:?}", items.collect::<Vec<_>>())
}
