//! The published messages, the events of the devices, and the received messages.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

use tokio::time::Instant;
use umqtt::{DeviceError, codec::QoS};

use crate::device::Outcome;

#[derive(Debug)]
struct Entry {
    qos: QoS,
    outcome: Outcome,
    received: u32,
    /// One of the later times, the server sent it as a new message: without DUP.
    is_sent_anew: bool,
}

/// The messages by their payloads, and the connections.
#[derive(Debug)]
pub(crate) struct Ledger {
    messages: HashMap<String, Entry>,
    last_received: Instant,
    connections: u32,
    kept_sessions: u32,
    subscribed: usize,
    /// Messages that were received only on one more connection.
    late: usize,
    /// From the end of a connection to the next CONNACK.
    longest_away: Duration,
    /// From a publish to its acknowledgement.
    longest_answer: Duration,
    ends: BTreeMap<String, u32>,
}

impl Ledger {
    pub(crate) fn new() -> Self {
        Self {
            messages: HashMap::new(),
            last_received: Instant::now(),
            connections: 0,
            kept_sessions: 0,
            subscribed: 0,
            late: 0,
            longest_away: Duration::ZERO,
            longest_answer: Duration::ZERO,
            ends: BTreeMap::new(),
        }
    }

    /// The payload of a new message.
    pub(crate) fn publish(&mut self, device: usize, qos: QoS, count: u32) -> String {
        let payload = format!("{device} {} {count}", qos as u8);
        let entry = Entry {
            qos,
            outcome: Outcome::Pending,
            received: 0,
            is_sent_anew: false,
        };
        self.messages.insert(payload.clone(), entry);
        payload
    }

    pub(crate) fn answered(
        &mut self,
        payload: &str,
        result: Result<(), DeviceError>,
        after: Duration,
    ) {
        self.longest_answer = self.longest_answer.max(after);
        if let Some(entry) = self.messages.get_mut(payload) {
            entry.outcome = result.into();
        }
    }

    pub(crate) fn received(&mut self, payload: &[u8], dup: bool) {
        self.last_received = Instant::now();
        let entry = core::str::from_utf8(payload)
            .ok()
            .and_then(|it| self.messages.get_mut(it));
        if let Some(entry) = entry {
            entry.is_sent_anew |= entry.received > 0 && !dup;
            entry.received = entry.received.saturating_add(1);
        }
    }

    pub(crate) fn connected(&mut self, session_present: bool, away: Duration) {
        self.connections = self.connections.saturating_add(1);
        self.kept_sessions = self.kept_sessions.saturating_add(session_present.into());
        self.longest_away = self.longest_away.max(away);
    }

    pub(crate) const fn subscribed(&mut self) {
        self.subscribed = self.subscribed.saturating_add(1);
    }

    /// Counts granted subscriptions, first ones and repeated ones.
    pub(crate) const fn subscriptions(&self) -> usize {
        self.subscribed
    }

    pub(crate) fn ended(&mut self, reason: &str) {
        let count = self.ends.entry(reason.to_owned()).or_default();
        *count = count.saturating_add(1);
    }

    pub(crate) const fn connections(&self) -> u32 {
        self.connections
    }

    /// Nothing has been received for a while.
    pub(crate) fn is_quiet(&self) -> bool {
        self.last_received.elapsed() > Duration::from_secs(15)
    }

    pub(crate) fn missing(&self) -> usize {
        self.messages.values().filter(|it| it.received == 0).count()
    }

    /// So many messages were missing before each device connected once more.
    pub(crate) fn connected_again(&mut self, missing: usize) {
        self.late = missing.saturating_sub(self.missing());
    }

    /// The payloads of lost messages.
    pub(crate) fn lost_payloads(&self) -> Vec<&str> {
        let lost = self
            .messages
            .iter()
            .filter(|(_, it)| it.outcome == Outcome::Acknowledged && it.received == 0);
        lost.map(|(payload, _)| &**payload).collect()
    }

    fn count(&self, qos: QoS, which: impl Fn(&Entry) -> bool) -> usize {
        self.messages
            .values()
            .filter(|it| it.qos == qos && which(it))
            .count()
    }

    /// Returns the messages at this QoS that were acknowledged to their publisher, and received by no device.
    pub(crate) fn lost(&self, qos: QoS) -> usize {
        self.count(qos, |it| {
            it.outcome == Outcome::Acknowledged && it.received == 0
        })
    }

    /// Messages at this QoS that were received more than once.
    pub(crate) fn repeated(&self, qos: QoS) -> usize {
        self.count(qos, |it| it.received > 1)
    }

    /// Messages at this QoS whose publisher was told nothing, or a failure.
    pub(crate) fn unanswered(&self, qos: QoS) -> usize {
        self.count(qos, |it| {
            matches!(it.outcome, Outcome::Pending | Outcome::Failed)
        })
    }
}

type Row<'r> = (&'r str, &'r dyn Fn(QoS) -> usize);

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| messages | QoS 1 | QoS 2 |")?;
        writeln!(f, "| --- | ---: | ---: |")?;
        let outcome = |outcome| move |qos| self.count(qos, |it: &Entry| it.outcome == outcome);
        let rows: [Row<'_>; 8] = [
            ("published", &|qos| self.count(qos, |_| true)),
            (
                "acknowledged to the publisher",
                &outcome(Outcome::Acknowledged),
            ),
            ("reported as `DeliveryUnknown`", &outcome(Outcome::Unknown)),
            ("neither", &|qos| self.unanswered(qos)),
            ("received", &|qos| self.count(qos, |it| it.received > 0)),
            ("acknowledged, not received", &|qos| self.lost(qos)),
            ("received more than once", &|qos| self.repeated(qos)),
            ("of these, sent anew by the broker, without DUP", &|qos| {
                self.count(qos, |it| it.is_sent_anew)
            }),
        ];
        for (name, count) in rows {
            writeln!(
                f,
                "| {name} | {} | {} |",
                count(QoS::AtLeastOnce),
                count(QoS::ExactlyOnce)
            )?;
        }
        writeln!(f, "\n| connections | |")?;
        writeln!(f, "| --- | ---: |")?;
        writeln!(f, "| accepted | {} |", self.connections)?;
        writeln!(f, "| with the session kept | {} |", self.kept_sessions)?;
        writeln!(
            f,
            "| longest time without one | {:.1} s |",
            self.longest_away.as_secs_f32()
        )?;
        writeln!(
            f,
            "| longest wait for an acknowledgement | {:.1} s |",
            self.longest_answer.as_secs_f32()
        )?;
        writeln!(
            f,
            "| messages that were received only on one more connection | {} |",
            self.late
        )?;
        for (reason, count) in &self.ends {
            writeln!(f, "| ended: {reason} | {count} |")?;
        }
        Ok(())
    }
}
