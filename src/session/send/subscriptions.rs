//! Standing subscriptions: filters that the session itself subscribes to, on each connection whose server may lack
//! them.

use super::{Sender, SmallPacket};
use crate::{
    bytes::Span,
    codec::{EncodeError, PacketId, QoS, SubackCodes, SubackReturnCode, subscribe, wire},
    log,
    time::Instant,
};

/// Maximum number of filters in one SUBSCRIBE. Some servers close the connection at more.
pub(super) const MAX_FILTERS: usize = 8;

/// The state of the standing subscriptions.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
#[non_exhaustive]
pub enum SubscriptionState {
    /// There is no connection, or the server has not answered for all filters.
    Pending,
    /// The server has granted all filters, some perhaps at a lower QoS, or the list is empty.
    Granted,
    /// The server has refused a filter. It is sent again on the next connection.
    Refused,
}

/// The functions for a list of filters. A program that sets no list does not link them.
pub(super) struct Functions {
    /// Handles a CONNACK.
    pub(super) on_connected: fn(&mut Sender<'_>),
    /// Handles the answer to the SUBSCRIBE.
    pub(super) on_answer: fn(&mut Sender<'_>, SubackCodes<'_>),
    /// Handles the end of the connection. The `bool` is `true` if it was closed without a reason.
    pub(super) on_end: fn(&mut Sender<'_>, bool),
    /// See [`Subscriptions::suspect`].
    pub(super) suspect: fn(&Sender<'_>) -> Option<(usize, u16)>,
    /// Returns the bytes of the SUBSCRIBE that are sent next.
    pub(super) lend: for<'r> fn(&'r mut Sender<'_>) -> &'r [u8],
    /// Counts this number of bytes, which the transport accepted.
    pub(super) consume: fn(&mut Sender<'_>, usize, Instant) -> Option<SmallPacket>,
}

static FUNCTIONS: Functions = Functions {
    on_connected,
    on_answer,
    on_end,
    suspect,
    lend: |sender| sender.subscriptions.unsent(sender.buffer.reserved()),
    consume,
};

/// Hashes nothing: the functions are the same for each list.
#[cfg(feature = "fingerprint")]
impl core::hash::Hash for Functions {
    fn hash<H: core::hash::Hasher>(&self, _: &mut H) {}
}

fn on_connected(sender: &mut Sender<'_>) {
    if sender.subscriptions.begin_round() {
        // Until the round is complete, the server has an older list in part.
        if sender.subscriptions.forget() {
            sender.changes.add();
        }
        subscribe_next(sender);
    }
}

/// Queues the next SUBSCRIBE, if there is one.
fn subscribe_next(sender: &mut Sender<'_>) {
    if !sender.subscriptions.has_next() {
        return;
    }
    let id = sender.in_flight.insert_standing();
    let room = sender.buffer.reserved();
    if !sender.subscriptions.write_next(id, room) {
        sender.in_flight.standing = None;
    }
}

fn on_answer(sender: &mut Sender<'_>, codes: SubackCodes<'_>) {
    sender.in_flight.standing = None;
    if sender.subscriptions.on_answer(codes) {
        sender.changes.add();
    }
    subscribe_next(sender);
}

fn on_end(sender: &mut Sender<'_>, is_silent: bool) {
    let is_subscribe_sent = is_subscribe_sent(sender);
    sender
        .subscriptions
        .end_connection(is_subscribe_sent && is_silent);
}

fn is_subscribe_sent(sender: &Sender<'_>) -> bool {
    sender.in_flight.standing.is_some_and(|slot| slot.is_sent())
}

fn suspect(sender: &Sender<'_>) -> Option<(usize, u16)> {
    sender
        .subscriptions
        .suspect()
        .filter(|_| is_subscribe_sent(sender))
}

fn consume(sender: &mut Sender<'_>, n: usize, now: Instant) -> Option<SmallPacket> {
    let sent = sender.subscriptions.consume(n);
    if sent && let Some(slot) = &mut sender.in_flight.standing {
        log::sent(wire::SUBSCRIBE, Some(slot.id), 0);
        slot.mark_sent(now);
    }
    sent.then_some(SmallPacket::Subscribe)
}

/// The list of filters, and the part of it that the server has answered.
///
/// A round sends the whole list, one SUBSCRIBE after the other.
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub(in crate::session) struct Subscriptions<'b> {
    /// The functions, once there is a list.
    pub(super) functions: Option<&'static Functions>,
    list: &'b [(&'b str, QoS)],
    /// Filters before this one were answered in this round.
    next: usize,
    /// Filters in the SUBSCRIBE that was queued last; 0 if it was answered.
    in_packet: usize,
    /// Bytes of that SUBSCRIBE that were not sent, in the room of the send buffer.
    unsent: Span,
    /// A part of the SUBSCRIBE was sent.
    is_partly_sent: bool,
    /// Each SUBSCRIBE has one filter, because the server closed the last connection before it answered.
    one_by_one: bool,
    state: SubscriptionState,
    /// Checksum of the list for which the last round was complete, or 0.
    granted_checksum: u32,
    /// Connections in a row that the server closed before it answered a SUBSCRIBE.
    closed_in_a_row: u16,
}

impl<'b> Subscriptions<'b> {
    pub(super) const fn new() -> Self {
        Self {
            functions: None,
            list: &[],
            next: 0,
            in_packet: 0,
            unsent: Span { start: 0, end: 0 },
            is_partly_sent: false,
            one_by_one: false,
            state: SubscriptionState::Pending,
            granted_checksum: 0,
            closed_in_a_row: 0,
        }
    }

    /// Replaces the list between connections.
    pub(super) const fn set_list(&mut self, list: &'b [(&'b str, QoS)]) {
        self.functions = Some(&FUNCTIONS);
        self.list = list;
        self.closed_in_a_row = 0;
        self.one_by_one = false;
    }

    /// Returns the filters of the SUBSCRIBE that is not answered.
    pub(in crate::session) fn current(&self) -> &'b [(&'b str, QoS)] {
        let rest = self.list.get(self.next..).unwrap_or_default();
        rest.get(..self.in_packet).unwrap_or_default()
    }
}

impl Subscriptions<'_> {
    pub(super) const fn has_filters(&self) -> bool {
        !self.list.is_empty()
    }

    pub(in crate::session) const fn state(&self) -> SubscriptionState {
        if self.has_filters() {
            self.state
        } else {
            SubscriptionState::Granted
        }
    }

    /// Returns the checksum to be saved in an image, or 0.
    pub(in crate::session) const fn granted_checksum(&self) -> u32 {
        self.granted_checksum
    }

    /// Restores the checksum of a saved session.
    pub(in crate::session) const fn restore(&mut self, granted_checksum: u32) {
        self.granted_checksum = granted_checksum;
    }

    /// Forgets the recorded list, because the server may have lost the subscriptions. Returns `true` if a list was
    /// recorded.
    pub(in crate::session) const fn forget(&mut self) -> bool {
        core::mem::replace(&mut self.granted_checksum, 0) != 0
    }

    /// Handles a CONNACK. Returns `true` if a round begins, because the server may lack a filter of the list.
    fn begin_round(&mut self) -> bool {
        self.next = 0;
        self.state = SubscriptionState::Granted;
        let is_needed = self.has_filters() && self.granted_checksum != checksum(self.list);
        if is_needed {
            self.state = SubscriptionState::Pending;
        }
        is_needed
    }

    /// Returns `true` if a filter was not answered in this round.
    const fn has_next(&self) -> bool {
        self.next < self.list.len()
    }

    /// Writes the next SUBSCRIBE of the round into this room. Returns `false` if the round is complete.
    fn write_next(&mut self, id: PacketId, room: &mut [u8]) -> bool {
        let rest = self.list.get(self.next..).unwrap_or_default();
        let most = if self.one_by_one { 1 } else { MAX_FILTERS };
        let mut count = rest.len().min(most);
        while count > 0 {
            let filters = rest.iter().take(count).copied();
            if let Ok(len) = subscribe::encode(id, filters, room) {
                self.in_packet = count;
                self.unsent = Span::at(0, len);
                self.is_partly_sent = false;
                return true;
            }
            count = count.saturating_sub(1);
        }
        false
    }

    /// Handles the codes with which the SUBSCRIBE was answered. Returns `true` if the round is complete and was
    /// recorded.
    fn on_answer(&mut self, codes: SubackCodes<'_>) -> bool {
        if codes.iter().any(|code| code == SubackReturnCode::Failure) {
            self.state = SubscriptionState::Refused;
        }
        self.next = self.next.saturating_add(self.in_packet);
        self.in_packet = 0;
        if self.has_next() {
            return false;
        }
        self.closed_in_a_row = 0;
        self.one_by_one = false;
        if self.state == SubscriptionState::Pending {
            self.state = SubscriptionState::Granted;
            self.granted_checksum = checksum(self.list);
            return true;
        }
        false
    }

    /// Handles the end of the connection. `unanswered` is `true` if the server closed it before it answered a
    /// SUBSCRIBE.
    fn end_connection(&mut self, unanswered: bool) {
        if unanswered {
            self.closed_in_a_row = self.closed_in_a_row.saturating_add(1);
            self.one_by_one = true;
        }
        self.in_packet = 0;
        self.unsent = Span { start: 0, end: 0 };
        self.is_partly_sent = false;
        self.state = SubscriptionState::Pending;
    }

    /// Returns the bytes of the SUBSCRIBE that were not sent.
    fn unsent<'r>(&self, room: &'r [u8]) -> &'r [u8] {
        self.unsent.of(room)
    }

    pub(super) fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    pub(super) const fn is_between_packets(&self) -> bool {
        !self.is_partly_sent
    }

    /// Counts `n` bytes that the transport accepted. Returns `true` if the whole SUBSCRIBE was sent.
    fn consume(&mut self, n: usize) -> bool {
        let n = n.min(self.unsent.len());
        self.unsent.start = self.unsent.start.wrapping_add(n);
        self.is_partly_sent = self.has_unsent() && (self.is_partly_sent || n > 0);
        !self.has_unsent()
    }

    /// Returns the index of the filter at which the server closes the connection, and on how many connections in a row.
    ///
    /// It is known after a SUBSCRIBE with only this filter was not answered.
    fn suspect(&self) -> Option<(usize, u16)> {
        (self.in_packet == 1 && self.closed_in_a_row > 0)
            .then(|| (self.next, self.closed_in_a_row.saturating_add(1)))
    }
}

/// Returns the room for a SUBSCRIBE of these filters: all of them, up to `limit` bytes, but at least the longest.
pub(super) fn room_for(list: &[(&str, QoS)], limit: usize) -> Result<usize, EncodeError> {
    let mut longest = 0;
    for filter in list {
        let filters = core::iter::once(*filter);
        match subscribe::encode(PacketId::MIN, filters, &mut []) {
            Err(EncodeError::BufferTooSmall { needed }) => longest = needed.max(longest),
            Err(error) => return Err(error),
            Ok(_) => {}
        }
    }
    let first = list.iter().take(MAX_FILTERS).copied();
    match subscribe::encode(PacketId::MIN, first, &mut []) {
        Err(EncodeError::BufferTooSmall { needed }) => Ok(needed.min(limit).max(longest)),
        _ => Ok(longest),
    }
}

/// Returns a checksum of the list (FNV-1a), which is not 0.
fn checksum(list: &[(&str, QoS)]) -> u32 {
    let mut sum: u32 = 0x811C_9DC5;
    let mut add = |byte: u8| sum = (sum ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    for (filter, qos) in list {
        filter.bytes().for_each(&mut add);
        // No byte of UTF-8: it separates the filters.
        add(0xF8 | (*qos as u8));
    }
    sum.max(1)
}
