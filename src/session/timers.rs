//! Keep alive, timeouts and the minimum receive rate: every comparison of two instants.

use super::error::ProtocolError;
use crate::{codec::PacketId, time::Instant};

/// How long an answer may take unless [`Session::set_response_timeout`](super::Session::set_response_timeout) says otherwise, in milliseconds.
pub const RESPONSE_TIMEOUT: u32 = 10_000;

/// Maximum time in ms by which a PINGREQ is queued before it is due. A timer of the caller may be late.
const PING_MARGIN_MS: u32 = 2_000;

/// The time rules of a session.
///
/// | timer | runs out |
/// | --- | --- |
/// | write | when the transport has accepted nothing for the response timeout |
/// | CONNACK, PINGRESP, request | when the server has not answered within the response timeout |
/// | QoS 2 ids | when no id has become free within the response timeout |
/// | receive rate | at the end of each window, a response timeout long |
/// | ping | shortly before the keep alive interval ends in which nothing was sent |
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
    /// Start of the current window of the receive rate; `None` between packets.
    window_start: Option<Instant>,
    /// Bytes received in the current window.
    window_bytes: u32,
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
pub(super) struct Awaited<R> {
    /// An event is pending. The answers to everything else may have been received after it.
    pub(super) event_pending: bool,
    /// Time of a CONNECT without a CONNACK.
    pub(super) connecting_since: Option<Instant>,
    /// Requests that were sent and are not acknowledged, with the time at which they were sent.
    pub(super) requests: R,
}

/// A timer that has run out.
#[derive(Clone, Copy)]
pub(super) enum Timeout {
    Write,
    Connack,
    Pingresp,
    Qos2Ids,
    Request(PacketId),
}

impl Timeout {
    /// Returns why the connection must be closed; `ids` is the capacity of the table of received ids.
    pub(super) const fn reason(self, ids: usize) -> ProtocolError {
        match self {
            Self::Write => ProtocolError::WriteTimeout,
            Self::Connack => ProtocolError::ConnackTimeout,
            Self::Pingresp => ProtocolError::PingrespTimeout,
            Self::Qos2Ids => ProtocolError::TooManyQos2Messages { capacity: ids },
            Self::Request(packet_id) => ProtocolError::RequestTimeout { packet_id },
        }
    }
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
            window_start: None,
            window_bytes: 0,
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
        self.window_start = None;
    }

    /// CONNECT was queued, with this keep alive interval in seconds.
    pub(super) fn on_connect(&mut self, keep_alive: u16, now: Instant) {
        self.earliest_start = now;
        self.keep_alive = u32::from(keep_alive).saturating_mul(1_000);
        self.last_sent_at = now;
        self.ping = Ping::Idle;
        self.window_start = None;
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
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        self.window_bytes = self.window_bytes.saturating_add(n);
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
    pub(super) fn deadline(
        &self,
        awaited: Awaited<impl Iterator<Item = (PacketId, Instant)>>,
        can_ping: bool,
    ) -> Option<Instant> {
        let event_pending = awaited.event_pending;
        let mut deadline = self.first_started(awaited).map(|(since, _)| since);
        if !event_pending {
            deadline = earliest(deadline, self.window_start);
        }
        deadline = deadline.map(|since| since.add_millis(self.response_timeout));
        if !event_pending && can_ping {
            deadline = earliest(deadline, self.ping_due_at());
        }
        deadline
    }

    /// Returns `deadline`, or an instant in the past if that is earlier.
    pub(super) fn at_once(&self, deadline: Option<Instant>) -> Option<Instant> {
        earliest(deadline, Some(self.earliest_start))
    }

    /// Returns the timer that has run out, if any.
    pub(super) fn check(
        &mut self,
        awaited: Awaited<impl Iterator<Item = (PacketId, Instant)>>,
        now: Instant,
    ) -> Option<Timeout> {
        if !self.may_be_overdue(now) {
            return None;
        }
        let event_pending = awaited.event_pending;
        let first = self.first_started(awaited);
        if let Some((since, timeout)) = first
            && since.add_millis(self.response_timeout).has_passed(now)
        {
            return Some(timeout);
        }
        if !event_pending {
            let since = first.map(|(since, _)| since);
            self.earliest_start = earliest(since, self.window_start).unwrap_or(now);
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
            self.window_start = None;
            return false;
        }
        let ended = match self.window_start {
            Some(since) => since.add_millis(self.response_timeout).has_passed(now),
            None => false,
        };
        if self.window_start.is_some() && !ended {
            return false;
        }
        // No division: u64 division adds 600 bytes on Cortex-M0.
        let needed = u64::from(self.min_rate).wrapping_mul(u64::from(self.response_timeout));
        let received = u64::from(self.window_bytes).wrapping_add(1);
        let too_slow = ended && received.wrapping_mul(1_000) <= needed;
        self.window_start = Some(now);
        self.window_bytes = 0;
        too_slow
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

    /// Returns the timeout that was started first, and when. Of two that started together, the first below counts.
    fn first_started(
        &self,
        awaited: Awaited<impl Iterator<Item = (PacketId, Instant)>>,
    ) -> Option<(Instant, Timeout)> {
        let mut first = None;
        keep_first(&mut first, self.write_blocked_since, Timeout::Write);
        if awaited.event_pending {
            return first;
        }
        keep_first(&mut first, awaited.connecting_since, Timeout::Connack);
        if let Ping::Sent(since) = self.ping {
            keep_first(&mut first, Some(since), Timeout::Pingresp);
        }
        keep_first(&mut first, self.ids_full_since, Timeout::Qos2Ids);
        for (id, since) in awaited.requests {
            keep_first(&mut first, Some(since), Timeout::Request(id));
        }
        first
    }
}

#[inline(never)] // called for each timeout
fn keep_first(first: &mut Option<(Instant, Timeout)>, since: Option<Instant>, timeout: Timeout) {
    if let Some(since) = since
        && first.is_none_or(|(first, _)| !first.has_passed(since))
    {
        *first = Some((since, timeout));
    }
}

/// Returns the earlier of two instants, if any.
fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Outside a window, its count of bytes has no meaning.
#[cfg(feature = "fingerprint")]
impl core::hash::Hash for Timers {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        let Self {
            response_timeout,
            earliest_start,
            write_blocked_since,
            ids_full_since,
            keep_alive,
            last_sent_at,
            ping,
            min_rate,
            window_start,
            window_bytes,
        } = self;
        (response_timeout, earliest_start, write_blocked_since).hash(state);
        (ids_full_since, keep_alive, last_sent_at, ping).hash(state);
        (min_rate, window_start, window_start.map(|_| window_bytes)).hash(state);
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
        assert_eq!(timers.window_start, Some(at(0)));
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
        assert_eq!(timers.window_start, None);
        assert!(!timers.is_too_slow(true, at(9 * WINDOW)));
    }
}
