//! The parts of a session, and the rules that concern several of them.

use super::{
    events::EventQueue,
    link::{ConnectionClosed, Link},
    receive::Receiver,
    received_ids::ReceivedIds,
    send::{Sender, SentPacket, SmallPacket},
    timers::Timers,
};
use crate::{
    bytes::OPTIMIZE_FOR_SPEED,
    codec::{PacketId, QoS, wire},
    time::Instant,
};

/// An MQTT session (section 1.2): the state of a client that outlives each network connection \[MQTT-4.1.0-1\]
/// \[MQTT-4.1.0-2\].
///
/// It belongs to one client id.
///
/// ```text
///             pending, consume                                poll
/// transport <------------------ send buffer     received  -----------> EventToken
///           ------------------> receive buffer   packets                   |
///             space, commit                                  event(token)  v
///                                                                        Event
/// ```
///
/// The order of calls on a connection:
///
/// 1. [`connect`](Self::connect) queues CONNECT.
/// 2. [`poll`](Self::poll) and [`event`](Self::event), until `poll` returns `None`.
/// 3. While [`pending`](Self::pending) returns bytes, write them, and report their number with
///    [`consume`](Self::consume).
/// 4. Read into [`space`](Self::space), and report the number of bytes with [`commit`](Self::commit). If there is
///    nothing to read, wait for the transport or until [`deadline`](Self::deadline).
/// 5. Continue with step 2. Requests can be made at any time.
/// 6. If the transport fails or ends, call [`connection_lost`](Self::connection_lost), and repeat step 2 until `poll`
///    returns an error.
///
/// ```
/// use umqtt::{Event, Instant, Session, Storage, codec::Connect};
///
/// let mut storage = Storage::<128, 128, 2>::new();
/// let mut session = Session::new(&mut storage);
/// let now = Instant::from_millis(0); // from a clock
/// session.connect(&Connect::new("sensor-7"), now)?;
///
/// let sent = session.pending(now).len(); // write these bytes to the transport
/// session.consume(sent, now);
///
/// let received = b"\x20\x02\0\0"; // read from the transport: a CONNACK
/// session.space()[..received.len()].copy_from_slice(received);
/// session.commit(received.len());
///
/// let token = session.poll(now)?.expect("an event is pending");
/// assert!(matches!(session.event(token)?, Some(Event::Connected { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// | kind | calls |
/// | --- | --- |
/// | commands | [`connect`](Self::connect), [`publish`](Self::publish), [`subscribe`](Self::subscribe), [`unsubscribe`](Self::unsubscribe), [`ping`](Self::ping), [`disconnect`](Self::disconnect) |
/// | send | [`pending`](Self::pending), [`consume`](Self::consume) |
/// | receive | [`space`](Self::space), [`commit`](Self::commit) |
/// | packets and events | [`poll`](Self::poll), [`event`](Self::event) |
/// | time | [`deadline`](Self::deadline) |
/// | connection closed | [`connection_lost`](Self::connection_lost) |
/// | streamed payload | [`begin_payload`](Self::begin_payload), [`payload_left`](Self::payload_left), [`payload_sent`](Self::payload_sent), [`payload_space`](Self::payload_space), [`payload_commit`](Self::payload_commit), [`abandon_payload`](Self::abandon_payload), [`discard_publish`](Self::discard_publish) |
/// | current message | [`read_payload`](Self::read_payload), [`skip_message`](Self::skip_message) |
/// | deep sleep | [`save`](Self::save), [`restore`](Self::restore), [`set_checkpoints`](Self::set_checkpoints) |
// The small parts are first, where a short Thumb instruction reaches them. This saves 330 bytes of code.
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
        self.events.checkpoints && self.sender.changes.are_unsaved() && self.link.is_accepted()
    }

    /// Returns `true` if data is waiting to be sent. While a checkpoint is pending, only a PINGREQ is sent.
    pub fn has_pending(&self) -> bool {
        self.link.can_send()
            && if self.checkpoint_pending() {
                self.sender.can_send_ping()
            } else {
                !self.sender.is_empty()
            }
    }

    /// Returns `true` if there are bytes for the transport, now or after the caller has provided payload.
    pub(super) fn has_more(&self) -> bool {
        self.has_pending() || (self.link.can_send() && self.sender.buffer.is_in_payload())
    }

    /// Returns `true` if the next packet may be handled: no checkpoint is pending, and there is room for its answer.
    ///
    /// Inside a message that is received in chunks, a checkpoint waits until all received chunks were taken. A caller
    /// that reads the payload then gets all received bytes.
    pub(super) fn may_answer(&self) -> bool {
        if self.checkpoint_pending() && !self.receiver.is_streaming() {
            false
        } else if self.link.is_ending() {
            // Nothing is answered.
            true
        } else {
            self.sender.acks.has_room(1)
        }
    }

    /// Counts `n` bytes that the transport accepted of those provided last.
    pub(super) fn on_write_accepted(&mut self, n: usize, now: Instant) {
        if let Some(sent) = self.sender.consume(n, now) {
            self.timers.on_packet_sent(now);
            if matches!(sent, SmallPacket::Ping) {
                self.timers.on_ping_sent(now);
            }
        }
        self.on_bytes_sent(now);
    }

    /// Handles each packet that the transport accepted whole.
    pub(super) fn on_bytes_sent(&mut self, now: Instant) {
        let is_connecting = self.link.is_connecting();
        while let Some(sent) = self.sender.next_sent_packet(is_connecting, now) {
            self.timers.on_packet_sent(now);
            match sent {
                SentPacket::Connect => self.timers.on_connect_sent(now),
                SentPacket::Disconnect => {
                    self.timers.on_disconnect_sent();
                    // Before CONNACK, the server may still refuse the connection. The session waits for its answer.
                    if !is_connecting {
                        self.timers.await_end(now);
                        self.link.finish_disconnect();
                    }
                }
                // If the acknowledgement was a PUBREC, its PUBREL can be queued now.
                SentPacket::AnsweredRequest => self.send_pubrels(),
                SentPacket::Qos0Publish | SentPacket::Request(_) => {}
            }
        }
        self.timers.on_write(self.has_more(), now);
    }

    /// Returns `true` if every whole packet in the receive buffer was handled, and its event was taken.
    pub(super) fn is_input_handled(&self) -> bool {
        self.events.is_empty() && !self.receiver.is_blocked
    }

    /// Returns `true` if a call of `poll` can only count received bytes of an incomplete packet: no answer is awaited,
    /// and there is nothing to report.
    ///
    /// A shortcut of 64-bit hosts. With it, reads of 1 byte need half of the instructions.
    pub(super) fn only_continues_packet(&self) -> bool {
        OPTIMIZE_FOR_SPEED
            && self.receiver.awaits_bytes()
            && self.link.is_connected()
            && self.events.is_empty()
            && !self.checkpoint_pending()
            && self.timers.has_only_received()
            && self.sender.in_flight.is_idle()
    }

    /// Does all that `poll` does if the received bytes [only continue a packet](Self::only_continues_packet).
    pub(super) fn continue_packet(&mut self, now: Instant) {
        self.receiver.is_blocked = false;
        self.timers.continue_packet(now, &mut self.sender.in_flight);
        self.ping_if_due(now);
    }

    /// Queues a PINGREQ if it is due.
    pub(super) fn ping_if_due(&mut self, now: Instant) {
        if self.timers.is_ping_due(now) {
            queue_ping(&mut self.sender, &mut self.timers);
        }
    }

    /// Closes the connection if a timeout has run out.
    pub(super) fn check_timeouts(&mut self, now: Instant) -> Result<(), ConnectionClosed> {
        let input_handled = self.is_input_handled();
        let ids_capacity = self.received_ids.capacity();
        match self
            .timers
            .check(input_handled, &self.sender.in_flight, ids_capacity, now)
        {
            None => Ok(()),
            Some(reason) => Err(self.link.close(reason)),
        }
    }

    /// Cleans up once after a connection that was closed. The state that a session must keep stays \[MQTT-4.8.0-1\].
    pub(super) fn clean_up_connection(&mut self) {
        if !self.link.take_clean_up() {
            return;
        }
        self.link
            .end_connect(self.sender.buffer.may_connect_be_sent());
        self.sender
            .end_connection(self.link.was_refused(), self.link.was_closed_silently());
        let chunks_aborted = self.receiver.reset();
        self.events.on_connection_closed(chunks_aborted);
    }
}

/// Queues a PINGREQ.
pub(super) fn queue_ping(sender: &mut Sender<'_>, timers: &mut Timers) {
    sender.queue_ping();
    timers.on_ping_queued();
}

/// Queues the acknowledgement of a message, with its id \[MQTT-2.3.1-6\], in the order of the messages
/// \[MQTT-4.6.0-2\] \[MQTT-4.6.0-3\]. The caller was given the message before \[MQTT-3.3.4-1\] \[MQTT-4.3.2-2\].
/// The id of a QoS 2 message is kept.
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
