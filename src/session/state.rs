//! The parts of a session, and the rules that concern several of them.

use super::{
    events::EventQueue,
    link::{ConnectionClosed, Link},
    receive::Receiver,
    received_ids::ReceivedIds,
    send::{Sender, SentPacket},
    timers::{Awaited, Timers},
};
use crate::{
    codec::{PacketId, QoS, wire},
    time::Instant,
};

/// An MQTT session (section 1.2): the state of a client that outlives each network connection \[MQTT-4.1.0-1\]
/// \[MQTT-4.1.0-2\].
///
/// It belongs to one client id.
///
/// | kind | calls |
/// | --- | --- |
/// | commands | [`connect`](Self::connect), [`publish`](Self::publish), [`subscribe`](Self::subscribe), [`unsubscribe`](Self::unsubscribe), [`ping`](Self::ping), [`disconnect`](Self::disconnect) |
/// | send | [`pending`](Self::pending), [`consume`](Self::consume) |
/// | receive | [`space`](Self::space), [`commit`](Self::commit) |
/// | packets and events | [`poll`](Self::poll), [`event`](Self::event) |
/// | time | [`deadline`](Self::deadline) |
/// | connection closed | [`connection_lost`](Self::connection_lost) |
/// | streamed payload | [`begin_payload`](Self::begin_payload), [`payload_left`](Self::payload_left), [`payload_sent`](Self::payload_sent), [`payload_space`](Self::payload_space), [`payload_commit`](Self::payload_commit), [`abandon_payload`](Self::abandon_payload), [`decline_payload`](Self::decline_payload) |
/// | current message | [`read_payload`](Self::read_payload), [`skip_message`](Self::skip_message) |
/// | deep sleep | [`save`](Self::save), [`restore`](Self::restore), [`set_checkpoints`](Self::set_checkpoints) |
// The small parts are first, where a Thumb instruction reaches them: 330 bytes of code.
#[repr(C)]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub struct Session<'b> {
    pub(super) link: Link,
    pub(super) events: EventQueue,
    pub(super) timers: Timers,
    pub(super) received_ids: ReceivedIds<'b>,
    pub(super) sender: Sender<'b>,
    pub(super) receiver: Receiver<'b>,
}

impl Session<'_> {
    /// Returns `true` if nothing may be sent before the caller has taken a checkpoint.
    pub(crate) const fn checkpoint_pending(&self) -> bool {
        self.events.checkpoints && self.sender.is_changed() && self.link.is_connected()
    }

    /// Returns `true` if data is waiting to be sent.
    pub fn has_pending(&self) -> bool {
        self.link.is_open() && !self.checkpoint_pending() && !self.sender.is_empty()
    }

    /// Returns `true` if the transport has something to accept, now or once the caller provides it.
    pub(super) fn has_more(&self) -> bool {
        self.has_pending() || self.sender.buffer.is_in_payload()
    }

    /// Returns `true` if the next packet may be handled: no checkpoint is pending, and there is room for its answer.
    ///
    /// If the table of received ids is full, new QoS 2 messages are not acknowledged. Once the earlier messages are
    /// complete, the session closes the connection, and the server sends the others on the next one. (If it closed at
    /// once, a server that sends without a limit would not receive the acknowledgements.) A message larger than the
    /// receive buffer closes it at once: the acknowledgements of the messages before it must be sent first, or the next
    /// connection would get no further.
    pub(super) fn may_answer(&self) -> bool {
        if self.checkpoint_pending() {
            false
        } else if self.received_ids.is_full() {
            self.sender.acks.is_empty()
        } else {
            self.sender.acks.has_room(1)
        }
    }

    /// Returns `true` if nothing is sent at present that makes a PINGREQ needless.
    pub(super) fn may_ping(&self) -> bool {
        !self.link.disconnecting && self.sender.is_idle()
    }

    /// The transport accepted bytes, and packets with them.
    pub(super) fn on_bytes_sent(&mut self, now: Instant) {
        let is_connecting = self.link.connecting_since().is_some();
        while let Some(sent) = self.sender.next_sent_packet(is_connecting, now) {
            self.timers.on_packet_sent(now);
            // Before CONNACK the server may still refuse the connection: its answer closes it.
            if matches!(sent, SentPacket::Disconnect) && !is_connecting {
                self.link.finish_disconnect();
            }
        }
        self.timers.on_write(self.has_more(), now);
        if self.sender.buffer.is_in_payload() && !self.may_answer() {
            // Answers cannot be read before the payload is sent.
            self.restart_answer_timers(now);
        }
    }

    /// Bytes are transferred that delay every answer.
    pub(super) fn restart_answer_timers(&mut self, now: Instant) {
        self.timers.on_answers_delayed(now);
        self.sender.in_flight.restart_timeouts(now);
    }

    /// Closes the connection if a timeout has run out.
    pub(super) fn check_timeouts(&mut self, now: Instant) -> Result<(), ConnectionClosed> {
        let awaited = awaited(&self.link, &self.events, &self.received_ids, &self.sender);
        match self.timers.check(&awaited, now) {
            None => Ok(()),
            Some(reason) => Err(self.link.close(reason)),
        }
    }

    /// Cleans up once after a connection that was closed. What a session must keep stays \[MQTT-4.8.0-1\].
    pub(super) fn clean_up_connection(&mut self) {
        if !self.link.take_clean_up() {
            return;
        }
        self.sender.end_connection(self.link.was_refused());
        let chunks_aborted = self.receiver.reset();
        self.events.on_connection_closed(chunks_aborted);
        self.timers.on_connection_closed();
    }
}

/// Queues a PINGREQ, if there is room.
pub(super) fn queue_ping(sender: &mut Sender<'_>, timers: &mut Timers) {
    if sender.acks.push(&wire::PINGREQ_PACKET) {
        timers.on_ping_queued(sender.acks.len());
    }
}

/// Returns what the timers wait for.
pub(super) fn awaited<'a>(
    link: &Link,
    events: &EventQueue,
    received_ids: &ReceivedIds<'_>,
    sender: &'a Sender<'_>,
) -> Awaited<'a> {
    Awaited {
        event_pending: !events.is_empty(),
        connecting_since: link.connecting_since(),
        ids_capacity: received_ids.capacity(),
        in_flight: &sender.in_flight,
    }
}

/// Queues the acknowledgement of a message that the caller was given \[MQTT-3.3.4-1\], with its id
/// \[MQTT-2.3.1-6\], in order \[MQTT-4.6.0-2\] \[MQTT-4.6.0-3\] and not before \[MQTT-4.3.2-2\]. The id of a QoS 2
/// message is kept.
pub(super) fn acknowledge_message(
    qos: QoS,
    id: Option<PacketId>,
    sender: &mut Sender<'_>,
    received_ids: &mut ReceivedIds<'_>,
) {
    let Some(id) = id else {
        return;
    };
    if qos == QoS::ExactlyOnce {
        received_ids.insert(id);
        sender.acknowledge_message(wire::PUBREC, id);
    } else {
        sender.acknowledge_message(wire::PUBACK, id);
    }
}
