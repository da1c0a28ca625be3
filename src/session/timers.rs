//! All time rules: keep alive, late answers, a blocked transport, and the next deadline.

use super::{error::ProtocolError, in_flight::InFlight};
use crate::time::Instant;

/// The default of [`Session::set_response_timeout`](super::Session::set_response_timeout), in ms.
pub const RESPONSE_TIMEOUT: u32 = 10_000;

/// Default time in ms for which received bytes are read after DISCONNECT.
const DISCONNECT_TIMEOUT: u32 = 1_000;

/// Longest response timeout in ms. [`PATIENCE`] of them are less than half the range of the clock.
const MAX_RESPONSE_TIMEOUT: u32 = 1 << 27;

/// Maximum time in ms by which a PINGREQ is queued before it is due. A timer of the caller may be late.
const PING_MARGIN_MS: u32 = 2_000;

/// Maximum wait, in response timeouts, to which received bytes can extend it.
const PATIENCE: u32 = 10;

/// Minimum bytes per response timeout at which one packet extends a wait beyond [`PATIENCE`].
const MIN_PACKET_BYTES: u32 = 64;

/// Received bytes without an empty read after which a wait longer than [`PATIENCE`] ends nevertheless.
const FLOOD_BYTES: u32 = 1 << 20;

/// Time in ms after which a caller that was away must poll again.
const LOOK_AGAIN_MS: u32 = 20;

/// The time rules of a session.
///
/// | timer | runs out |
/// | --- | --- |
/// | ping | shortly before the keep alive interval ends, counted from the end of the last packet sent. While no PINGREQ is unanswered, it is also counted from the last byte received |
/// | CONNACK, PINGRESP, request, PUBREL | when the response timeout has passed since the later of two instants: the request was sent whole, the last byte was received. Received bytes extend a wait to [`PATIENCE`] response timeouts. Time in which one packet is received at [`MIN_PACKET_BYTES`] or more per response timeout does not count there |
/// | write | when the transport has accepted and flushed nothing for the response timeout |
///
/// Only a read that found nothing proves that an answer is late. Only a refused write proves that the transport is
/// blocked. If the caller was away for more than a quarter of the response timeout, its first call proves neither. The
/// transport may not have processed the bytes of that time yet.
pub(super) struct Timers {
    /// A PINGREQ is queued.
    ping_queued: bool,
    /// CONNECT was sent, and DISCONNECT was not.
    pings: bool,
    /// After the last call of [`Self::begin_poll`], the caller was given space for bytes.
    read_offered: bool,
    /// After that call, bytes or a flush were offered to the transport.
    write_offered: bool,
    /// The transport has accepted nothing since bytes or a flush were offered last.
    write_refused: bool,
    /// The transport has not flushed the bytes that it accepted.
    unflushed: bool,
    /// The caller was not away before the present call of `poll`.
    was_here: bool,
    /// The present call of `poll` may find an answer late.
    may_judge_reads: bool,
    /// The present call of `poll` may find the transport blocked.
    may_judge_writes: bool,
    /// A packet is being received, and its bytes are counted.
    window_open: bool,
    /// Response timeout in ms.
    response_timeout: u32,
    /// Time in ms for which received bytes are read after DISCONNECT.
    disconnect_timeout: u32,
    /// Keep alive interval in ms; 0 disables it.
    keep_alive: u32,
    last_poll_at: Instant,
    /// First call of [`Self::begin_poll`] after the caller was away.
    returned_at: Instant,
    /// End of the last packet sent.
    last_sent_at: Instant,
    /// Time of the last byte received, or the end of CONNECT before the first.
    last_received_at: Instant,
    /// Bytes received since the last call of [`Self::begin_poll`].
    received: u32,
    /// Bytes received since the last read that found nothing.
    flood: u32,
    window_start: Instant,
    /// Bytes of one packet received in the present window.
    window_bytes: u32,
    /// End of CONNECT, until CONNACK is received.
    connect_sent_at: Option<Instant>,
    /// Time at which reading ends, on a connection on which nothing more is sent.
    input_ends_at: Option<Instant>,
    /// End of the first PINGREQ that is unanswered.
    ping_sent_at: Option<Instant>,
    /// Time since which QoS 2 messages are skipped because the id table is full.
    ids_full_since: Option<Instant>,
    /// Time since which the transport has accepted no byte and no flush that it was offered.
    write_blocked_since: Option<Instant>,
}

/// Reports of the other parts.
impl Timers {
    pub(super) const fn new() -> Self {
        let never = Instant::from_millis(0);
        Self {
            ping_queued: false,
            pings: false,
            read_offered: false,
            write_offered: false,
            write_refused: false,
            unflushed: false,
            was_here: false,
            may_judge_reads: false,
            may_judge_writes: false,
            window_open: false,
            response_timeout: RESPONSE_TIMEOUT,
            disconnect_timeout: DISCONNECT_TIMEOUT,
            keep_alive: 0,
            last_poll_at: never,
            returned_at: never,
            last_sent_at: never,
            last_received_at: never,
            received: 0,
            flood: 0,
            window_start: never,
            window_bytes: 0,
            connect_sent_at: None,
            input_ends_at: None,
            ping_sent_at: None,
            ids_full_since: None,
            write_blocked_since: None,
        }
    }

    pub(super) const fn response_timeout(&self) -> u32 {
        self.response_timeout
    }

    pub(super) fn set_response_timeout(&mut self, millis: u32) {
        self.response_timeout = millis.min(MAX_RESPONSE_TIMEOUT);
    }

    pub(super) fn set_disconnect_timeout(&mut self, millis: u32) {
        self.disconnect_timeout = millis.min(MAX_RESPONSE_TIMEOUT);
    }

    /// Starts a connection whose CONNECT was queued, with this keep alive interval in seconds.
    pub(super) fn on_connect(&mut self, keep_alive: u16, now: Instant) {
        *self = Self {
            response_timeout: self.response_timeout,
            disconnect_timeout: self.disconnect_timeout,
            keep_alive: u32::from(keep_alive).saturating_mul(1_000),
            last_poll_at: now,
            returned_at: now,
            last_sent_at: now,
            last_received_at: now,
            ..Self::new()
        };
    }

    /// Records the time at which CONNECT was sent.
    pub(super) const fn on_connect_sent(&mut self, now: Instant) {
        self.pings = true;
        self.last_received_at = now;
        self.connect_sent_at = Some(now);
    }

    /// Records that CONNACK was received.
    pub(super) const fn on_connack(&mut self) {
        self.connect_sent_at = None;
    }

    /// Records that DISCONNECT was sent. Nothing may follow it \[MQTT-3.14.4-2\].
    pub(super) const fn on_disconnect_sent(&mut self) {
        self.pings = false;
    }

    /// Starts the time for which bytes are read after DISCONNECT was sent and CONNACK received.
    pub(super) const fn await_end(&mut self, now: Instant) {
        self.input_ends_at = Some(now.add_millis(self.disconnect_timeout));
    }

    /// Records that the transport accepts nothing more. Its received bytes are read for at most the response timeout.
    pub(super) const fn on_output_ended(&mut self, now: Instant) {
        self.pings = false;
        self.unflushed = false;
        self.write_blocked_since = None;
        self.input_ends_at = Some(now.add_millis(self.response_timeout));
    }

    /// Returns `true` if nothing more is read on a connection that ends.
    pub(super) fn is_input_over(&self, now: Instant) -> bool {
        self.input_ends_at.is_some_and(|at| at.has_passed(now))
    }

    /// Records the time at which a packet was sent.
    pub(super) fn on_packet_sent(&mut self, now: Instant) {
        self.last_sent_at = now;
        self.limit_silence(now);
    }

    /// Records that PINGREQ was queued.
    pub(super) const fn on_ping_queued(&mut self) {
        self.ping_queued = true;
    }

    /// Records the time at which PINGREQ was sent.
    pub(super) fn on_ping_sent(&mut self, now: Instant) {
        self.ping_queued = false;
        self.ping_sent_at.get_or_insert(now);
    }

    /// Records that PINGRESP was received, requested or not.
    pub(super) const fn on_pingresp(&mut self) {
        self.ping_sent_at = None;
    }

    /// Records that a QoS 2 message was skipped because the table of received ids is full.
    pub(super) fn on_ids_full(&mut self, now: Instant) {
        self.ids_full_since.get_or_insert(now);
    }

    /// Returns `true` if a QoS 2 message was skipped on this connection because the table of received ids was full.
    pub(super) const fn were_ids_full(&self) -> bool {
        self.ids_full_since.is_some()
    }

    /// Records that bytes or a flush were offered to the transport, which has not accepted them.
    pub(super) fn on_write_offered(&mut self, now: Instant) {
        self.write_offered = true;
        self.write_refused = true;
        self.write_blocked_since.get_or_insert(now);
    }

    /// Records that the rest of a packet is payload, which the caller has not provided or the transport has not
    /// accepted.
    pub(super) const fn on_payload_missing(&mut self) {
        self.write_offered = true;
        self.write_refused = true;
    }

    /// Records that the transport accepted bytes. `has_more` is `true` if there are more for it.
    pub(super) fn on_write(&mut self, has_more: bool, now: Instant) {
        self.write_offered = false;
        self.write_refused = false;
        self.write_blocked_since = (has_more || self.unflushed).then_some(now);
    }

    /// Records that the transport has not flushed the bytes that it accepted. The wait for the end of the stream begins
    /// with the flush.
    pub(super) fn on_flush_pending(&mut self, now: Instant) {
        self.input_ends_at = None;
        self.unflushed = true;
        self.on_write_offered(now);
    }

    /// Records that the transport flushed the bytes that it accepted. `has_more` is `true` if there are more for it.
    pub(super) fn on_flushed(&mut self, has_more: bool, now: Instant) {
        self.unflushed = false;
        self.on_write(has_more, now);
    }

    /// Records that no bytes are offered to the transport any more.
    pub(super) const fn on_write_withdrawn(&mut self) {
        if !self.unflushed {
            self.write_refused = false;
            self.write_blocked_since = None;
        }
    }

    /// Returns `true` if the transport was offered something that it has not accepted.
    pub(super) const fn is_write_pending(&self) -> bool {
        self.write_blocked_since.is_some()
    }

    /// Returns `true` if the transport has not flushed the bytes that it accepted.
    pub(super) const fn is_flush_pending(&self) -> bool {
        self.unflushed
    }

    /// Returns `true` if the transport has accepted nothing since it was offered bytes or a flush last.
    pub(super) const fn is_write_refused(&self) -> bool {
        self.write_refused
    }

    /// Returns `true` if bytes were received since the last call of `poll`, no answer is awaited, and the transport is not
    /// blocked. The answers to CONNECT and to requests are not considered.
    pub(super) const fn has_only_received(&self) -> bool {
        self.received > 0
            && self.write_blocked_since.is_none()
            && self.ping_sent_at.is_none()
            && self.ids_full_since.is_none()
    }

    /// Records that the caller was given space for received bytes. If it commits none, its read found nothing.
    pub(super) const fn on_read_offered(&mut self) {
        self.read_offered = true;
    }

    /// Records that `n` bytes were received.
    pub(super) fn on_bytes_received(&mut self, n: usize) {
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        self.received = self.received.saturating_add(n);
    }

    /// Records that a packet was received whole, or the first part of one that is larger than the receive buffer.
    pub(super) const fn on_packet_received(&mut self) {
        self.window_open = false;
        self.window_bytes = 0;
    }
}

/// The rules.
impl Timers {
    /// Begins a call of `poll`.
    pub(super) fn begin_poll(&mut self, now: Instant, in_flight: &mut InFlight<'_>) {
        self.on_poll(now, in_flight);
        // Other calls at the instant of the return prove no more than the first.
        let limit = self.absence_limit();
        self.was_here &= age(self.returned_at, now) >= limit.min(1);
        if self.was_here {
            self.returned_at = Instant::from_millis(now.as_millis().wrapping_sub(limit));
        }
        let has_read = core::mem::take(&mut self.read_offered);
        let found_nothing = has_read && self.received == 0;
        self.count_received(now);
        if found_nothing {
            self.flood = 0;
        }
        self.limit_silence(now);
        self.may_judge_reads = found_nothing && self.was_here;
        self.may_judge_writes =
            core::mem::take(&mut self.write_offered) && self.write_refused && self.was_here;
    }

    /// As [`Self::begin_poll`] and [`Self::on_input_handled`], if bytes of an incomplete packet were received and
    /// nothing is awaited.
    pub(super) fn continue_packet(&mut self, now: Instant, in_flight: &mut InFlight<'_>) {
        self.on_poll(now, in_flight);
        self.read_offered = false;
        self.count_received(now);
        self.on_input_handled(true, now, in_flight);
    }

    /// Records the time of a call of `poll`, and whether the caller was away before it.
    fn on_poll(&mut self, now: Instant, in_flight: &mut InFlight<'_>) {
        let absence = age(self.last_poll_at, now);
        self.check_clock(now, in_flight);
        self.last_poll_at = now;
        self.was_here = absence <= self.absence_limit();
        if !self.was_here {
            self.returned_at = now;
        }
    }

    /// Returns the time in ms between two calls after which the caller was away.
    const fn absence_limit(&self) -> u32 {
        self.response_timeout / 4
    }

    /// Counts the bytes that were received since the last call.
    fn count_received(&mut self, now: Instant) {
        let received = core::mem::take(&mut self.received);
        if received > 0 {
            self.last_received_at = now;
            self.flood = self.flood.saturating_add(received);
            self.window_bytes = self.window_bytes.saturating_add(received);
        }
    }

    /// Restarts all waits if the clock went back, or if no call was made for half of its range. Older instants cannot
    /// be compared then.
    pub(super) fn check_clock(&mut self, now: Instant, in_flight: &mut InFlight<'_>) {
        if age(self.last_poll_at, now) <= u32::MAX / 2 {
            return;
        }
        self.last_poll_at = now;
        self.last_sent_at = now;
        self.last_received_at = now;
        self.window_open = false;
        self.change_waits(in_flight, &|since| *since = now);
        self.write_blocked_since = self.write_blocked_since.map(|_| now);
        self.input_ends_at = self.input_ends_at.map(|_| now);
    }

    /// Records that the received bytes were handled. `inside_packet` is `true` if the rest of a packet is missing.
    ///
    /// While one packet is received fast enough, the latest end of all waits is postponed.
    pub(super) fn on_input_handled(
        &mut self,
        inside_packet: bool,
        now: Instant,
        in_flight: &mut InFlight<'_>,
    ) {
        if !inside_packet {
            self.on_packet_received();
            return;
        }
        if !core::mem::replace(&mut self.window_open, true) {
            self.window_start = now;
        }
        let elapsed = age(self.window_start, now);
        if elapsed < self.response_timeout {
            return;
        }
        if self.window_bytes >= MIN_PACKET_BYTES {
            // A wait that began later is not extended. Silence after the last byte counts.
            let end = self.last_received_at;
            self.change_waits(in_flight, &|since| {
                if !end.has_passed(*since) {
                    *since = since.add_millis(elapsed.min(age(*since, end)));
                }
            });
        }
        self.window_start = now;
        self.window_bytes = 0;
    }

    /// Returns the reason to close the connection, if a timer has run out. If several answers are late, the reason
    /// names the one awaited longest.
    ///
    /// `input_handled` is `true` if all packets that were received whole were handled.
    pub(super) fn check(
        &self,
        input_handled: bool,
        in_flight: &InFlight<'_>,
        ids_capacity: usize,
        now: Instant,
    ) -> Option<ProtocolError> {
        if self.may_judge_writes
            && let Some(since) = self.write_blocked_since
            && age(since, now) >= self.response_timeout
        {
            return Some(ProtocolError::WriteTimeout);
        }
        if !input_handled || (!self.may_judge_reads && self.flood < FLOOD_BYTES) {
            return None;
        }
        let silence = age(self.last_received_at, now);
        let mut longest = 0;
        let mut late = None;
        self.each_wait(in_flight, ids_capacity, &mut |since, reason| {
            let waited = age(since, now);
            let is_silent = self.may_judge_reads && silence.min(waited) >= self.response_timeout;
            if (is_silent || waited >= self.max_wait()) && (late.is_none() || waited > longest) {
                longest = waited;
                late = Some(reason);
            }
        });
        late
    }

    /// Limits the age of instants, so that they can still be compared.
    fn limit_silence(&mut self, now: Instant) {
        if age(self.last_received_at, now) > u32::MAX / 4 {
            self.last_received_at =
                Instant::from_millis(now.as_millis().wrapping_sub(u32::MAX / 4));
        }
    }

    /// Returns `true` if a PINGREQ must be queued \[MQTT-3.1.2-23\].
    pub(super) fn is_ping_due(&self, now: Instant) -> bool {
        self.ping_due_at().is_some_and(|at| at.has_passed(now))
    }

    /// Returns the time at which `poll` must be called even if nothing is received; `None` if no timer is running.
    ///
    /// `no_event` is `true` if no event is pending. The connection is not closed while an event is pending.
    pub(super) fn deadline(
        &self,
        no_event: bool,
        input_handled: bool,
        in_flight: &InFlight<'_>,
        can_ping: bool,
    ) -> Option<Instant> {
        let mut deadline = self
            .write_blocked_since
            .map(|since| since.add_millis(self.response_timeout));
        if input_handled {
            let silent_at = self.last_received_at.add_millis(self.response_timeout);
            self.each_wait(in_flight, 0, &mut |since, _| {
                let late_at = since.add_millis(self.response_timeout);
                let late_at = if late_at.has_passed(silent_at) {
                    silent_at
                } else {
                    late_at
                };
                let late_at = late_at.min(since.add_millis(self.max_wait()));
                deadline = earliest(deadline, Some(late_at));
            });
        }
        // The last call could not decide about a timer that has run out.
        if deadline.is_some_and(|at| at.has_passed(self.last_poll_at)) {
            let looked_at = if self.was_here {
                self.last_poll_at
            } else {
                self.returned_at
            };
            deadline = Some(looked_at.add_millis(LOOK_AGAIN_MS));
        }
        if no_event {
            deadline = earliest(deadline, self.input_ends_at);
        }
        let ping_due_at = if can_ping { self.ping_due_at() } else { None };
        earliest(deadline, ping_due_at)
    }

    /// Returns the time of the last call of `poll`, which is a deadline that has passed.
    pub(super) const fn at_once(&self) -> Instant {
        self.last_poll_at
    }

    /// Returns the time at which a PINGREQ must be queued if no packet is sent before.
    fn ping_due_at(&self) -> Option<Instant> {
        // [MQTT-3.1.2-24] 0 disables keep alive.
        if self.keep_alive == 0 || self.ping_queued || !self.pings {
            return None;
        }
        let margin = PING_MARGIN_MS.min(self.keep_alive / 4);
        let delay = self.keep_alive.saturating_sub(margin);
        let mut due_at = self.last_sent_at.add_millis(delay);
        if self.ping_sent_at.is_none() {
            due_at = due_at.min(self.last_received_at.add_millis(delay));
        }
        Some(due_at)
    }

    /// Returns the maximum time in ms to which received bytes can extend a wait.
    fn max_wait(&self) -> u32 {
        self.response_timeout.saturating_mul(PATIENCE)
    }

    /// Calls `visit` for each answer that is awaited. It passes the time at which the request was sent, and the reason
    /// to close the connection if the answer is late.
    fn each_wait(
        &self,
        in_flight: &InFlight<'_>,
        ids_capacity: usize,
        visit: &mut dyn FnMut(Instant, ProtocolError),
    ) {
        let full = ProtocolError::TooManyQos2Messages {
            capacity: ids_capacity,
        };
        let waits = [
            (self.connect_sent_at, ProtocolError::ConnackTimeout),
            (self.ping_sent_at, ProtocolError::PingrespTimeout),
            (self.ids_full_since, full),
        ];
        for (since, reason) in waits {
            if let Some(since) = since {
                visit(since, reason);
            }
        }
        let slots = in_flight.iter().chain(&in_flight.standing);
        for slot in slots.filter(|slot| slot.is_sent()) {
            let packet_id = slot.id;
            visit(slot.since, ProtocolError::RequestTimeout { packet_id });
        }
    }

    /// Changes the start of each wait.
    // `dyn`, so that the program contains it once for all changes.
    fn change_waits(&mut self, in_flight: &mut InFlight<'_>, change: &dyn Fn(&mut Instant)) {
        let own = [
            &mut self.connect_sent_at,
            &mut self.ping_sent_at,
            &mut self.ids_full_since,
        ];
        own.into_iter().flatten().for_each(change);
        in_flight.sent_times().for_each(change);
    }
}

/// Returns the time in ms from `since` to `now`. It is more than half the range of the clock if `since` is later.
fn age(since: Instant, now: Instant) -> u32 {
    now.as_millis().wrapping_sub(since.as_millis())
}

/// Returns the earlier of two instants, if any.
fn earliest(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// Hashes times relative to the last call of `poll`, and byte counts only while they are compared.
#[cfg(feature = "fingerprint")]
impl core::hash::Hash for Timers {
    fn hash<H: core::hash::Hasher>(&self, state: &mut H) {
        let Self {
            ping_queued,
            pings,
            read_offered,
            write_offered,
            write_refused,
            unflushed,
            was_here: _,
            may_judge_reads: _,
            may_judge_writes: _,
            window_open,
            response_timeout,
            disconnect_timeout: _,
            keep_alive,
            last_poll_at: now,
            returned_at,
            last_sent_at,
            last_received_at,
            received,
            flood: _,
            window_start,
            window_bytes,
            connect_sent_at,
            input_ends_at,
            ping_sent_at,
            ids_full_since,
            write_blocked_since,
        } = self;
        (
            ping_queued,
            pings,
            read_offered,
            write_offered,
            write_refused,
            unflushed,
        )
            .hash(state);
        (now, response_timeout, keep_alive, received).hash(state);
        window_open
            .then_some((age(*window_start, *now), window_bytes))
            .hash(state);
        (returned_at == now).hash(state);
        for instant in [last_sent_at, last_received_at] {
            age(*instant, *now).hash(state);
        }
        input_ends_at.map(|at| at.millis_after(*now)).hash(state);
        for instant in [
            connect_sent_at,
            ping_sent_at,
            ids_full_since,
            write_blocked_since,
        ] {
            instant.map(|instant| age(instant, *now)).hash(state);
        }
    }
}
