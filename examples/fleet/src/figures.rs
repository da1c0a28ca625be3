//! Counts and measurements.

use std::{fmt, time::Duration};

use hdrhistogram::Histogram;
use umqtt::codec::QoS;

/// Maximum latency in µs: an hour. Longer ones count as this.
const LONGEST: u64 = 3_600_000_000;

/// The figures of a run.
pub(crate) struct Figures {
    pub(crate) sessions: usize,
    /// Time until all sessions were connected and subscribed.
    pub(crate) connecting: Duration,
    /// Time for which messages were published.
    pub(crate) publishing: Duration,
    pub(crate) sent: u64,
    pub(crate) acknowledged: u64,
    pub(crate) received: u64,
    /// Number of messages for which no tried session had room.
    pub(crate) held_back: u64,
    /// Number of lost connections.
    pub(crate) lost: u64,
    /// Reason of the last one.
    pub(crate) last_loss: Option<String>,
    /// Time from publish to the receipt of the same message, in µs.
    latency: Histogram<u64>,
}

impl Figures {
    pub(crate) fn new(sessions: usize) -> Self {
        let latency = Histogram::new_with_bounds(1, LONGEST, 3)
            .unwrap_or_else(|_| unreachable!("these bounds are possible"));
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

    /// Counts a message that was received again after this time in µs.
    pub(crate) fn record_received(&mut self, latency: u64) {
        self.received = self.received.saturating_add(1);
        self.latency.saturating_record(latency);
    }

    /// Returns the time in ms within which this percentage of the messages was received again.
    pub(crate) fn latency_ms(&self, percent: f64) -> f64 {
        millis(self.latency.value_at_percentile(percent))
    }

    /// Returns `true` if all sent messages were received again and, above QoS 0, acknowledged.
    pub(crate) fn is_complete(&self, qos: QoS) -> bool {
        let acknowledged = qos == QoS::AtMostOnce || self.acknowledged >= self.sent;
        acknowledged && self.received >= self.sent
    }

    /// Returns an error if the guarantees of the QoS were violated.
    pub(crate) fn verdict(&self, qos: QoS) -> Result<(), String> {
        let missing = self.sent.saturating_sub(self.received);
        if qos > QoS::AtMostOnce && missing > 0 {
            return Err(format!("{missing} messages were not received again"));
        }
        if let Some(why) = &self.last_loss {
            return Err(format!("{} connections lost; the last: {why}", self.lost));
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
            "sessions  {} connected and subscribed within {:.1} s; {} connections lost",
            self.sessions,
            self.connecting.as_secs_f64(),
            self.lost
        )?;
        writeln!(
            f,
            "messages  {} sent, {} acknowledged, {} received again, in {:.1} s: {:.0} a second",
            self.sent,
            self.acknowledged,
            self.received,
            self.publishing.as_secs_f64(),
            per_second(self.received, self.publishing)
        )?;
        if self.held_back > 0 {
            writeln!(
                f,
                "held back {}: every tried session was full",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_latencies_are_reported_accurately() {
        let mut figures = Figures::new(1);
        for micros in [100, 200, 5_000_000] {
            figures.record_received(micros);
        }
        assert!((0.19..0.21).contains(&figures.latency_ms(50.0)));
        assert!((4_990.0..5_010.0).contains(&figures.latency_ms(100.0)));
    }

    #[test]
    fn messages_lost_above_qos_0_are_reported() {
        let mut figures = Figures::new(1);
        (figures.sent, figures.acknowledged) = (2, 2);
        figures.record_received(1);
        assert!(!figures.is_complete(QoS::AtLeastOnce));
        assert!(figures.verdict(QoS::AtLeastOnce).is_err());
        assert!(figures.verdict(QoS::AtMostOnce).is_ok());
    }
}
