//! What is counted and measured.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;
use umqtt::codec::QoS;

/// The figures of a run.
pub(crate) struct Figures {
    pub(crate) sessions: usize,
    /// How long it took until all were connected and subscribed.
    pub(crate) connecting: Duration,
    /// How long messages were published.
    pub(crate) publishing: Duration,
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) received: u64,
    /// Messages that found no room in any session that was tried.
    pub(crate) held_back: u64,
    /// Connections that broke.
    pub(crate) lost: u64,
    /// Why the last of them did.
    pub(crate) last_loss: Option<String>,
    /// From publish to its return, in microseconds.
    latency: Histogram<u64>,
}

impl Figures {
    pub(crate) fn new(sessions: usize) -> Self {
        // Three digits, up to any time.
        let latency =
            Histogram::new(3).unwrap_or_else(|_| unreachable!("three digits are possible"));
        Self {
            sessions,
            connecting: Duration::ZERO,
            publishing: Duration::ZERO,
            sent: 0,
            acknowledged: 0,
            received: 0,
            held_back: 0,
            lost: 0,
            last_loss: None,
            latency,
        }
    }

    /// A message has come back after so many microseconds.
    pub(crate) fn came(&mut self, latency: u64) {
        self.received = self.received.saturating_add(1);
        self.latency.saturating_record(latency);
    }

    /// Milliseconds within which so many of 100 messages came back.
    pub(crate) fn latency_ms(&self, percent: f64) -> f64 {
        millis(self.latency.value_at_percentile(percent))
    }

    /// Whether everything that was promised has come.
    pub(crate) fn verdict(&self, qos: QoS) -> Result<(), String> {
        let missing = self.sent.saturating_sub(self.received);
        if qos > QoS::AtMostOnce && missing > 0 {
            return Err(format!("{missing} messages did not come back"));
        }
        if let Some(why) = &self.last_loss {
            return Err(format!("{} connections broke; the last: {why}", self.lost));
        }
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn millis(micros: u64) -> f64 {
    micros as f64 / 1_000.0
}

#[expect(clippy::cast_precision_loss, reason = "for people to read")]
fn per_second(count: u64, time: Duration) -> f64 {
    count as f64 / time.as_secs_f64().max(0.001)
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "sessions  {} connected and subscribed within {:.1} s; {} connections broke",
            self.sessions,
            self.connecting.as_secs_f64(),
            self.lost
        )?;
        writeln!(
            f,
            "messages  {} sent, {} acknowledged, {} came back, in {:.1} s: {:.0} a second",
            self.sent,
            self.acknowledged,
            self.received,
            self.publishing.as_secs_f64(),
            per_second(self.received, self.publishing)
        )?;
        if self.held_back > 0 {
            writeln!(
                f,
                "held back {}: every session tried had as much in flight as it can",
                self.held_back
            )?;
        }
        write!(f, "latency  ")?;
        for percent in [50.0, 90.0, 99.0, 99.9] {
            write!(f, " {percent} %: {:.2} ms,", self.latency_ms(percent))?;
        }
        write!(f, " longest: {:.2} ms", millis(self.latency.max()))
    }
}
