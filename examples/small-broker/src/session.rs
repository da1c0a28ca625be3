//! The session of one client.

use std::{
    collections::{HashSet, VecDeque},
    sync::mpsc::SyncSender,
};

use umqtt::codec::{Delivery, Packet, PacketId, Pubrel, QoS, TopicFilter};

use crate::state::{Stored, encode};

/// Number of messages that are sent before the first one is acknowledged.
const WINDOW: usize = 20;
/// Number of unacknowledged messages that are stored. Later ones are dropped.
const MAX_STORED: usize = 1_000;

/// Subscriptions and messages of a client, with its connection if it has one.
#[derive(Default)]
pub(crate) struct Session {
    /// Clean Session: the session ends with the connection.
    pub(crate) is_clean: bool,
    /// Number of the newest connection.
    pub(crate) number: u64,
    /// The packets for the connection. It is closed when this is dropped.
    pub(crate) connection: Option<SyncSender<Vec<u8>>>,
    pub(crate) subscriptions: Vec<(String, QoS)>,
    /// QoS 2 messages that were received and not released.
    pub(crate) received: HashSet<PacketId>,
    /// Messages that the client has not acknowledged, the oldest first.
    unacknowledged: VecDeque<Unacknowledged>,
    /// Number of messages at the front that were sent on this connection.
    sent: usize,
    last_id: u16,
}

struct Unacknowledged {
    id: PacketId,
    /// PUBLISH, or PUBREL after a PUBREC.
    bytes: Vec<u8>,
}

impl Session {
    /// Begins a connection, and sends its first packet.
    pub(crate) fn connect(&mut self, connection: SyncSender<Vec<u8>>, connack: Vec<u8>) {
        self.connection = Some(connection);
        self.sent = 0;
        self.send(connack);
        self.send_window();
    }

    /// Sends a packet. A client that does not read loses its connection.
    pub(crate) fn send(&mut self, bytes: Vec<u8>) {
        if let Some(connection) = &self.connection
            && connection.try_send(bytes).is_err()
        {
            self.connection = None;
        }
    }

    fn send_window(&mut self) {
        while self.sent < WINDOW
            && let Some(next) = self.unacknowledged.get_mut(self.sent)
        {
            let bytes = next.bytes.clone();
            // [MQTT-3.3.1-1] If it is sent once more, it has DUP.
            if let Some(first @ 0x30..0x40) = next.bytes.first_mut() {
                *first |= 0b1000;
            }
            self.sent = self.sent.saturating_add(1);
            self.send(bytes);
        }
    }

    /// Returns the highest QoS of the subscriptions to this topic.
    pub(crate) fn granted(&self, message: &Stored) -> Option<QoS> {
        let matching = |(filter, qos): &(String, QoS)| {
            let filter = TopicFilter::new(filter).ok()?;
            filter.matches(message.topic()?).then_some(*qos)
        };
        self.subscriptions.iter().filter_map(matching).max()
    }

    /// Sends a message with at most this QoS, now or later.
    pub(crate) fn publish(&mut self, message: &Stored, granted: QoS, retain: bool) {
        let dup = false;
        let delivery = match message.qos.min(granted) {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            _ if self.unacknowledged.len() >= MAX_STORED => return,
            QoS::AtLeastOnce => Delivery::AtLeastOnce {
                packet_id: self.new_id(),
                dup,
            },
            QoS::ExactlyOnce => Delivery::ExactlyOnce {
                packet_id: self.new_id(),
                dup,
            },
        };
        let Some(publish) = message.publish(delivery, retain) else {
            return;
        };
        let bytes = encode(&Packet::Publish(publish));
        match delivery.packet_id() {
            None => self.send(bytes),
            Some(id) => {
                self.unacknowledged.push_back(Unacknowledged { id, bytes });
                if self.connection.is_some() {
                    self.send_window();
                }
            }
        }
    }

    /// Returns an id that no unacknowledged message has.
    fn new_id(&mut self) -> PacketId {
        loop {
            self.last_id = self.last_id.wrapping_add(1);
            if let Some(id) = PacketId::new(self.last_id)
                && self.unacknowledged.iter().all(|message| message.id != id)
            {
                return id;
            }
        }
    }

    /// Handles a PUBACK or PUBCOMP.
    pub(crate) fn acknowledged(&mut self, id: PacketId) {
        let sent = self.unacknowledged.iter().take(self.sent);
        if let Some(at) = sent.into_iter().position(|message| message.id == id) {
            self.unacknowledged.remove(at);
            self.sent = self.sent.saturating_sub(1);
            self.send_window();
        }
    }

    /// Handles a PUBREC.
    pub(crate) fn half_acknowledged(&mut self, id: PacketId) {
        let pubrel = encode(&Packet::Pubrel(Pubrel::new(id)));
        let mut stored = self.unacknowledged.iter_mut();
        if let Some(message) = stored.find(|message| message.id == id) {
            message.bytes.clone_from(&pubrel);
        }
        self.send(pubrel);
    }
}
