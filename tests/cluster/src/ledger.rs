//! A record of all messages: published, acknowledged, sent by a broker, received.

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
    /// Number of times that a broker sent it to the receiver.
    sent: u32,
    /// Number of these times as a new message. At QoS 2, its id was not in use.
    sent_as_new: u32,
    /// Number of deliveries to the handler of the receiver.
    received: u32,
}

impl Entry {
    /// Returns `true` if a broker acknowledged the message, but no broker sent it.
    fn is_lost_by_broker(&self) -> bool {
        self.outcome == Outcome::Acknowledged && self.sent == 0
    }

    /// Returns `true` if the device read the message, but did not deliver it to its handler.
    const fn is_lost_by_device(&self) -> bool {
        self.sent > 0 && self.received == 0
    }

    /// Returns `true` if the handler received the message more often than the brokers sent it as new.
    const fn is_repeated_by_device(&self) -> bool {
        self.received > self.sent_as_new
    }
}

/// The messages by their payloads, and the connections.
#[derive(Debug)]
pub(crate) struct Ledger {
    messages: HashMap<String, Entry>,
    last_received: Instant,
    connections: u32,
    kept_sessions: u32,
    subscribed: usize,
    /// Messages that were received only after each device had connected once more.
    late: usize,
    /// Longest time from the end of a connection to the next CONNACK.
    longest_away: Duration,
    /// Longest time from a publish to its acknowledgement.
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

    /// Creates the payload of a new message.
    pub(crate) fn publish(&mut self, device: usize, qos: QoS, count: u32) -> String {
        let payload = format!("{device} {} {count}", qos as u8);
        let entry = Entry {
            qos,
            outcome: Outcome::Pending,
            sent: 0,
            sent_as_new: 0,
            received: 0,
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

    fn entry(&mut self, payload: &[u8]) -> Option<&mut Entry> {
        let payload = core::str::from_utf8(payload).ok()?;
        self.messages.get_mut(payload)
    }

    /// Counts a message that a broker sent. The transport of the receiver has read it.
    pub(crate) fn sent(&mut self, payload: &[u8], is_new: bool) {
        if let Some(entry) = self.entry(payload) {
            entry.sent = entry.sent.saturating_add(1);
            entry.sent_as_new = entry.sent_as_new.saturating_add(is_new.into());
        }
    }

    /// Counts a delivery to the handler of the receiver.
    pub(crate) fn received(&mut self, payload: &[u8]) {
        self.last_received = Instant::now();
        if let Some(entry) = self.entry(payload) {
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

    /// Returns the number of granted subscriptions, with the repeated ones.
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

    /// Returns `true` if nothing was received for some time.
    pub(crate) fn is_quiet(&self) -> bool {
        self.last_received.elapsed() > Duration::from_secs(15)
    }

    pub(crate) fn missing(&self) -> usize {
        self.messages.values().filter(|it| it.received == 0).count()
    }

    /// Records the number of messages that were missing before each device connected once more.
    pub(crate) fn connected_again(&mut self, missing: usize) {
        self.late = missing.saturating_sub(self.missing());
    }

    fn count(&self, qos: QoS, which: impl Fn(&Entry) -> bool) -> usize {
        self.messages
            .values()
            .filter(|it| it.qos == qos && which(it))
            .count()
    }

    /// Returns the number of messages at this QoS whose publisher received no answer, or an error.
    fn unanswered(&self, qos: QoS) -> usize {
        self.count(qos, |it| {
            matches!(it.outcome, Outcome::Pending | Outcome::Failed)
        })
    }

    /// Returns `true` if each message was answered, and no device lost or repeated one. If the brokers are `apart`,
    /// repetitions are allowed.
    pub(crate) fn is_kept(&self, apart: bool) -> bool {
        [QoS::AtLeastOnce, QoS::ExactlyOnce].iter().all(|qos| {
            // Without a common session, the next broker sends a message again that the killed one had sent.
            let repeated = if apart {
                0
            } else {
                self.count(*qos, Entry::is_repeated_by_device)
            };
            self.unanswered(*qos) == 0
                && self.count(*qos, Entry::is_lost_by_device) == 0
                && repeated == 0
        })
    }
}

type Row<'r> = (&'r str, &'r dyn Fn(QoS) -> usize);

impl fmt::Display for Ledger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| messages | QoS 1 | QoS 2 |")?;
        writeln!(f, "| --- | ---: | ---: |")?;
        let outcome = |outcome| move |qos| self.count(qos, |it: &Entry| it.outcome == outcome);
        let rows: [Row<'_>; 9] = [
            ("published", &|qos| self.count(qos, |_| true)),
            (
                "acknowledged to the publisher",
                &outcome(Outcome::Acknowledged),
            ),
            ("reported as `DeliveryUnknown`", &outcome(Outcome::Unknown)),
            ("neither", &|qos| self.unanswered(qos)),
            ("received", &|qos| self.count(qos, |it| it.received > 0)),
            (
                "lost by the brokers: acknowledged, never sent to the receiver",
                &|qos| self.count(qos, Entry::is_lost_by_broker),
            ),
            (
                "lost by a device: sent to it, not given to its handler",
                &|qos| self.count(qos, Entry::is_lost_by_device),
            ),
            ("received more than once", &|qos| {
                self.count(qos, |it| it.received > 1)
            }),
            ("of these, repeated by a device", &|qos| {
                self.count(qos, Entry::is_repeated_by_device)
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
