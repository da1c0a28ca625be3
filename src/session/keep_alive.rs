//! Keep alive (section 3.1.2.10): when a PINGREQ is due, and when its answer is overdue.

use crate::time::Instant;

/// How much earlier than due a PINGREQ goes, at most, in milliseconds: the promise is about the moment at which it
/// begins to leave, and a timer may be late.
const MARGIN: u32 = 2_000;

#[cfg_attr(feature = "fingerprint", derive(Hash))]
pub(super) struct KeepAlive {
    /// Milliseconds; 0 when keep alive is off.
    interval: u32,
    /// When the last packet had left.
    last_sent: Instant,
    ping: Ping,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "fingerprint", derive(Hash))]
enum Ping {
    Idle,
    /// A PINGREQ is queued: so many bytes have to leave before it has left.
    Queued(usize),
    /// A PINGREQ has left, or bytes of a packet have come since, at this moment.
    Sent(Instant),
}

impl KeepAlive {
    pub(super) fn new() -> Self {
        Self {
            interval: 0,
            last_sent: Instant::default(),
            ping: Ping::Idle,
        }
    }

    /// A connection begins; `seconds` is the keep alive of its CONNECT.
    pub(super) fn start(&mut self, seconds: u16, now: Instant) {
        self.interval = u32::from(seconds).saturating_mul(1_000);
        self.last_sent = now;
        self.ping = Ping::Idle;
    }

    /// A packet has left, whole.
    pub(super) fn packet_sent(&mut self, now: Instant) {
        self.last_sent = now;
    }

    /// When the next PINGREQ is due, unless something else is sent before.
    pub(super) fn due(&self) -> Option<Instant> {
        let early = MARGIN.min(self.interval / 4);
        // [MQTT-3.1.2-24] 0 is off.
        (self.interval > 0 && !matches!(self.ping, Ping::Queued(_))).then(|| {
            self.last_sent
                .add_millis(self.interval.saturating_sub(early))
        })
    }

    /// A PINGREQ has been queued as the last of `queued` bytes.
    pub(super) fn ping_queued(&mut self, queued: usize) {
        if self.ping == Ping::Idle {
            self.ping = Ping::Queued(queued);
        }
    }

    /// So many of the bytes queued with it have left.
    pub(super) fn lane_sent(&mut self, bytes: usize, now: Instant) {
        if let Ping::Queued(left) = &mut self.ping {
            *left = left.saturating_sub(bytes);
            if *left == 0 {
                self.ping = Ping::Sent(now);
            }
        }
    }

    /// Bytes of a packet have come: the peer lives, even if its PINGRESP has to wait behind them.
    pub(super) fn progress(&mut self, now: Instant) {
        if let Ping::Sent(since) = &mut self.ping {
            *since = now;
        }
    }

    /// PINGRESP came; nobody need have asked for it.
    pub(super) fn pingresp(&mut self) {
        if self.waiting_since().is_some() {
            self.ping = Ping::Idle;
        }
    }

    /// Since when a PINGRESP is owed.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        match self.ping {
            Ping::Sent(since) => Some(since),
            _ => None,
        }
    }
}
