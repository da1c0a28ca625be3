//! Keep alive, timeouts and the minimum receive rate: every comparison of two instants.

use super::{error::ProtocolError, in_flight::InFlight};
use crate::time::Instant;

/// How long an answer may take unless [`Session::set_response_timeout`](super::Session::set_response_timeout) says otherwise, in milliseconds.
pub const RESPONSE_TIMEOUT: u32 = 10_000;

/// Maximum time in ms by which a PINGREQ is queued before it is due. A timer of the caller may be late.
const PING_MARGIN_MS: u32 = 2_000;

/// How long acknowledgements may wait for the next packet in the receive buffer, so that one write sends both, in ms.
const ACK_DELAY_MS: u32 = 20;

/// The time rules of a session.
///
/// | timer | runs out |
/// | --- | --- |
/// | write | when the transport has accepted nothing for the response timeout |
/// | CONNACK, PINGRESP, request | when the server has not answered within the response timeout |
/// | QoS 2 ids | when no id has become free within the response timeout |
/// | receive rate | at the end of each window, a response timeout long |
/// | ping | shortly before the keep alive interval ends in which nothing was sent |
#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub(super) struct Timers {
    /// Response timeout in ms.
    response_timeout: u32,
    /// Lower bound for the start of every timeout that is pending.
    earliest_start: Instant,
    /// Time since which the transport has accepted nothing of what it was offered.
    write_blocked_since: Option<Instant>,
    /// Time since which QoS 2 messages are skipped because the id table is full.
    ids_full_since: Option<Instant>,
    /// Keep alive interval in ms; 0 disables it.
    keep_alive: u32,
    /// Time at which the last packet was sent.
    last_sent_at: Instant,
    ping: Ping,
    /// Minimum receive rate in bytes per second; 0 disables it.
    min_rate: u32,
    /// Start of the current window of the receive rate, and bytes received in it; `None` between packets.
    rate_window: Option<(Instant, u32)>,
}

#[derive(Clone, Copy)]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
enum Ping {
    Idle,
    /// A PINGREQ is queued. This number of bytes must be sent before it is sent.
    Queued(usize),
    /// PINGREQ was sent, or bytes of a packet were received after it, at this time.
    Sent(Instant),
}

/// What is awaited, as the other parts of a session know it.
pub(super) struct Awaited<'a> {
    /// An event is pending. The answers to everything else may have been received after it.
    pub(super) event_pending: bool,
    /// Time of a CONNECT without a CONNACK.
    pub(super) connecting_since: Option<Instant>,
    /// Capacity of the table of received ids.
    pub(super) ids_capacity: usize,
    pub(super) in_flight: &'a InFlight<'a>,
}

impl Timers {
    pub(super) const fn new() -> Self {
        Self {
            response_timeout: RESPONSE_TIMEOUT,
            earliest_start: Instant::from_millis(0),
            write_blocked_since: None,
            ids_full_since: None,
            keep_alive: 0,
            last_sent_at: Instant::from_millis(0),
            ping: Ping::Idle,
            min_rate: 0,
            rate_window: None,
        }
    }

    pub(super) const fn response_timeout(&self) -> u32 {
        self.response_timeout
    }

    pub(super) fn set_response_timeout(&mut self, millis: u32) {
        // Instants further apart cannot be compared.
        self.response_timeout = millis.min(u32::MAX / 2);
    }

    pub(super) const fn set_minimum_rate(&mut self, bytes_per_second: u32) {
        self.min_rate = bytes_per_second;
        self.rate_window = None;
    }

    /// CONNECT was queued, with this keep alive interval in seconds.
    pub(super) fn on_connect(&mut self, keep_alive: u16, now: Instant) {
        self.earliest_start = now;
        self.keep_alive = u32::from(keep_alive).saturating_mul(1_000);
        self.last_sent_at = now;
        self.ping = Ping::Idle;
        self.rate_window = None;
    }

    /// The connection was closed.
    pub(super) const fn on_connection_closed(&mut self) {
        self.write_blocked_since = None;
        self.ids_full_since = None;
    }

    /// Bytes were offered to the transport.
    pub(super) fn on_write_offered(&mut self, now: Instant) {
        self.write_blocked_since.get_or_insert(now);
    }

    /// The transport accepted bytes; `has_more` says whether more are waiting.
    pub(super) fn on_write(&mut self, has_more: bool, now: Instant) {
        self.write_blocked_since = has_more.then_some(now);
    }

    /// Nothing is offered to the transport any more.
    pub(super) const fn on_write_withdrawn(&mut self) {
        self.write_blocked_since = None;
    }

    /// Returns `true` if bytes were offered to the transport that it has not accepted.
    pub(super) const fn is_write_pending(&self) -> bool {
        self.write_blocked_since.is_some()
    }

    /// A packet was sent.
    pub(super) const fn on_packet_sent(&mut self, now: Instant) {
        self.last_sent_at = now;
    }

    /// This number of bytes of the acknowledgement queue was sent.
    pub(super) fn on_acks_sent(&mut self, bytes: usize, now: Instant) {
        if let Ping::Queued(left) = &mut self.ping {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                self.ping = Ping::Sent(now);
            }
        }
    }

    /// PINGREQ was queued as the last of this number of bytes in the acknowledgement queue.
    pub(super) const fn on_ping_queued(&mut self, queued: usize) {
        if matches!(self.ping, Ping::Idle) {
            self.ping = Ping::Queued(queued);
        }
    }

    /// PINGRESP was received, whether or not it was asked for.
    pub(super) const fn on_pingresp(&mut self) {
        if matches!(self.ping, Ping::Sent(_)) {
            self.ping = Ping::Idle;
        }
    }

    /// This number of bytes was received.
    pub(super) fn on_bytes_received(&mut self, n: usize) {
        if let Some((_, bytes)) = &mut self.rate_window {
            *bytes = bytes.saturating_add(u32::try_from(n).unwrap_or(u32::MAX));
        }
    }

    /// Bytes of an incomplete packet were received. The PINGRESP may follow that packet.
    pub(super) const fn on_data_received(&mut self, now: Instant) {
        if let Ping::Sent(since) = &mut self.ping {
            *since = now;
        }
    }

    /// A packet is being transferred that delays every answer, except those to requests in flight, which are not known here.
    pub(super) fn on_answers_delayed(&mut self, now: Instant) {
        self.on_data_received(now);
        self.ids_full_since = self.ids_full_since.map(|_| now);
    }

    /// A QoS 2 message was skipped because the table of received ids is full.
    pub(super) fn on_ids_full(&mut self, now: Instant) {
        self.ids_full_since.get_or_insert(now);
    }

    /// Returns `true` if a QoS 2 message was skipped on this connection because the table of received ids was full.
    pub(super) const fn were_ids_full(&self) -> bool {
        self.ids_full_since.is_some()
    }

    /// Returns when [`Self::check`] must be called; `None` if no timer is running.
    pub(super) fn deadline(&self, awaited: &Awaited<'_>, can_ping: bool) -> Option<Instant> {
        let mut deadline = self.first_started(awaited).map(|(since, _)| since);
        if !awaited.event_pending {
            deadline = earliest(deadline, self.window_start());
        }
        deadline = deadline.map(|since| since.add_millis(self.response_timeout));
        if !awaited.event_pending && can_ping {
            deadline = earliest(deadline, self.ping_due_at());
        }
        deadline
    }

    /// Returns `deadline`, or an instant in the past if that is earlier.
    pub(super) fn at_once(&self, deadline: Option<Instant>) -> Option<Instant> {
        earliest(deadline, Some(self.earliest_start))
    }

    /// Returns why the connection must be closed, if a timer has run out.
    pub(super) fn check(&mut self, awaited: &Awaited<'_>, now: Instant) -> Option<ProtocolError> {
        if !self.may_be_overdue(now) {
            return None;
        }
        let first = self.first_started(awaited);
        if let Some((since, reason)) = first
            && since.add_millis(self.response_timeout).has_passed(now)
        {
            return Some(reason);
        }
        if !awaited.event_pending {
            let since = first.map(|(since, _)| since);
            self.earliest_start = earliest(since, self.window_start()).unwrap_or(now);
        }
        None
    }

    /// Returns `true` if [`Self::check`] may return a timeout.
    ///
    /// The whole distance counts: the clock may have run through half its range since the last call.
    pub(super) const fn may_be_overdue(&self, now: Instant) -> bool {
        let since = self.earliest_start.as_millis();
        now.as_millis().wrapping_sub(since) >= self.response_timeout
    }

    /// Returns `true` if a PINGREQ must be queued, unless another packet is being sent \[MQTT-3.1.2-23\].
    pub(super) fn is_ping_due(&self, now: Instant) -> bool {
        self.ping_due_at().is_some_and(|at| at.has_passed(now))
    }

    /// Returns `true` if a window of the receive rate has ended with too few bytes; `inside_packet` says whether the
    /// server must send the rest of a packet.
    pub(super) fn is_too_slow(&mut self, inside_packet: bool, now: Instant) -> bool {
        if self.min_rate == 0 || !inside_packet {
            self.rate_window = None;
            return false;
        }
        let mut too_slow = false;
        if let Some((start, bytes)) = self.rate_window {
            if !start.add_millis(self.response_timeout).has_passed(now) {
                return false;
            }
            // No division: u64 division adds 600 bytes on Cortex-M0.
            let needed = u64::from(self.min_rate).wrapping_mul(u64::from(self.response_timeout));
            let received = u64::from(bytes).wrapping_add(1).wrapping_mul(1_000);
            too_slow = received <= needed;
        }
        self.rate_window = Some((now, 0));
        too_slow
    }

    fn window_start(&self) -> Option<Instant> {
        self.rate_window.map(|(start, _)| start)
    }

    /// Returns when a PINGREQ must be queued if no packet is sent before.
    fn ping_due_at(&self) -> Option<Instant> {
        // [MQTT-3.1.2-24] 0 disables keep alive.
        if self.keep_alive == 0 || matches!(self.ping, Ping::Queued(_)) {
            return None;
        }
        let margin = PING_MARGIN_MS.min(self.keep_alive / 4);
        let delay = self.keep_alive.saturating_sub(margin);
        Some(self.last_sent_at.add_millis(delay))
    }

    /// Returns when the first timer was started, and why the connection is closed when it runs out. Of two that were
    /// started together, the first below counts.
    fn first_started(&self, awaited: &Awaited<'_>) -> Option<(Instant, ProtocolError)> {
        let mut first = None;
        keep_first(
            &mut first,
            self.write_blocked_since,
            ProtocolError::WriteTimeout,
        );
        if awaited.event_pending {
            return first;
        }
        keep_first(
            &mut first,
            awaited.connecting_since,
            ProtocolError::ConnackTimeout,
        );
        if let Ping::Sent(since) = self.ping {
            keep_first(&mut first, Some(since), ProtocolError::PingrespTimeout);
        }
        let ids_full = ProtocolError::TooManyQos2Messages {
            capacity: awaited.ids_capacity,
        };
        keep_first(&mut first, self.ids_full_since, ids_full);
        for slot in awaited.in_flight.iter() {
            let since = slot.is_sent().then_some(slot.since);
            let reason = ProtocolError::RequestTimeout { packet_id: slot.id };
            keep_first(&mut first, since, reason);
        }
        first
    }
}

#[inline(never)] // called for each timer
fn keep_first(
    first: &mut Option<(Instant, ProtocolError)>,
    since: Option<Instant>,
    reason: ProtocolError,
) {
    if let Some(since) = since
        && first.is_none_or(|(first, _)| !first.has_passed(since))
    {
        *first = Some((since, reason));
    }
}

/// Returns the earlier of two instants, if any.
fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The time rules of a client that writes to a transport: flushing, and delayed acknowledgements.
#[derive(Default)]
pub(crate) struct WriteTimers {
    /// Time of the last write that was not flushed.
    unflushed_since: Option<Instant>,
    /// Time since which acknowledgements have been delayed.
    acks_delayed_since: Option<Instant>,
}

impl WriteTimers {
    /// The transport accepted bytes.
    pub(crate) const fn on_write(&mut self, now: Instant) {
        self.unflushed_since = Some(now);
    }

    /// The transport has sent all bytes that it accepted.
    pub(crate) const fn on_flush(&mut self) {
        self.unflushed_since = None;
    }

    /// Returns `true` if the transport has sent all bytes that it accepted.
    pub(crate) const fn is_flushed(&self) -> bool {
        self.unflushed_since.is_none()
    }

    /// Returns when flushing takes too long, or `deadline` if that is earlier.
    pub(crate) fn flush_deadline(
        &self,
        deadline: Option<Instant>,
        response_timeout: u32,
    ) -> Option<Instant> {
        let flush = self.unflushed_since;
        earliest(
            deadline,
            flush.map(|since| since.add_millis(response_timeout)),
        )
    }

    /// Returns `true` if flushing takes too long.
    pub(crate) fn is_flush_overdue(&self, response_timeout: u32, now: Instant) -> bool {
        self.flush_deadline(None, response_timeout)
            .is_some_and(|at| at.has_passed(now))
    }

    /// Returns `true` if pending acknowledgements may wait for the next packet.
    pub(crate) fn may_delay_acks(&mut self, now: Instant) -> bool {
        let since = *self.acks_delayed_since.get_or_insert(now);
        !since.add_millis(ACK_DELAY_MS).has_passed(now)
    }

    /// Pending acknowledgements are no longer delayed.
    pub(crate) const fn end_ack_delay(&mut self) {
        self.acks_delayed_since = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: u32 = RESPONSE_TIMEOUT;

    fn at(millis: u32) -> Instant {
        Instant::from_millis(millis)
    }

    #[test]
    fn rate_too_low_is_noticed_at_end_of_window() {
        let mut timers = Timers::new();
        timers.set_minimum_rate(10);
        assert!(!timers.is_too_slow(true, at(0)));
        timers.on_bytes_received(99);
        assert_eq!(timers.window_start(), Some(at(0)));
        assert!(!timers.is_too_slow(true, at(WINDOW - 1)));
        assert!(timers.is_too_slow(true, at(WINDOW)));
    }

    #[test]
    fn rate_is_checked_per_window() {
        let mut timers = Timers::new();
        timers.set_minimum_rate(10);
        assert!(!timers.is_too_slow(true, at(0)));
        timers.on_bytes_received(100);
        assert!(!timers.is_too_slow(true, at(WINDOW)));
        timers.on_bytes_received(50);
        assert!(timers.is_too_slow(true, at(2 * WINDOW)));
    }

    #[test]
    fn rate_between_packets_is_not_checked() {
        let mut timers = Timers::new();
        assert!(!timers.is_too_slow(true, at(0)));
        assert!(!timers.is_too_slow(true, at(5 * WINDOW)));
        timers.set_minimum_rate(10);
        assert!(!timers.is_too_slow(true, at(5 * WINDOW)));
        assert!(!timers.is_too_slow(false, at(7 * WINDOW)));
        assert_eq!(timers.window_start(), None);
        assert!(!timers.is_too_slow(true, at(9 * WINDOW)));
    }
}
