//! What the session waits for, and how long.

use super::{Link, Over, ProtocolError, Session};
use crate::time::Instant;

/// The wait that began first, and the error that ends the connection if it is too long.
type Wait = Option<(Instant, ProtocolError)>;

impl Session<'_> {
    /// When [`Self::poll`] has to be called even if nothing comes; `None` means never.
    ///
    /// This is for a caller that has sent what is pending, or whose transport takes nothing at present, and to whom
    /// `poll` has nothing to tell.
    pub fn deadline(&self) -> Option<Instant> {
        if !self.is_open() {
            return None;
        }
        let mut deadline = self.longest_wait().map(|(since, _)| since);
        // While an event waits, `poll` looks at nothing but the transport.
        if self.due.is_nothing() {
            deadline = sooner(deadline, self.pace.since());
        }
        deadline = deadline.map(|since| since.add_millis(self.response_timeout));
        if self.due.is_nothing() {
            deadline = sooner(deadline, self.ping_due());
            if self.behind && self.may_answer() {
                // At once: that moment is not to come.
                deadline = sooner(deadline, Some(self.waits_since));
            }
        }
        deadline
    }

    /// When a PINGREQ is due, CONNACK or not, if nothing else leaves before \[MQTT-3.1.2-23\].
    pub(super) fn ping_due(&self) -> Option<Instant> {
        let due = self.keep_alive.due()?;
        (!self.leaving && self.sender.is_idle()).then_some(due)
    }

    /// What must be answered, or taken by the transport, within the response timeout. While an event waits, an answer
    /// may have come and lie behind it.
    fn longest_wait(&self) -> Wait {
        let mut wait = None;
        keep_first(&mut wait, self.stalled_since, ProtocolError::WriteTimeout);
        if !self.due.is_nothing() {
            return wait;
        }
        if let Link::Connecting(since) = self.link {
            keep_first(&mut wait, Some(since), ProtocolError::ConnackTimeout);
        }
        let since = self.keep_alive.waiting_since();
        keep_first(&mut wait, since, ProtocolError::PingrespTimeout);
        // For the PUBRELs of the messages that found room.
        keep_first(&mut wait, self.full_since, self.inbound_full());
        for slot in self.sender.in_flight.iter() {
            let packet_id = slot.id;
            let since = slot.is_sent().then_some(slot.since);
            keep_first(
                &mut wait,
                since,
                ProtocolError::RequestTimeout { packet_id },
            );
        }
        wait
    }

    /// Whether [`Self::poll`] may end the connection at `now` for the lack of something, which may have come by then and
    /// not been read.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.is_open() && !self.is_calm(now)
    }

    /// Whether nothing can be overdue: what is waited for began too short a time ago. The whole distance counts, since
    /// the clock may have gone half round while nobody looked.
    fn is_calm(&self, now: Instant) -> bool {
        let since = self.waits_since.as_millis();
        now.as_millis().wrapping_sub(since) < self.response_timeout
    }

    /// Ends the connection if something is overdue. Until something can be, nothing is looked at.
    pub(super) fn check_waits(&mut self, now: Instant) -> Result<(), Over> {
        if self.is_calm(now) {
            return Ok(());
        }
        let wait = self.longest_wait();
        if let Some((since, reason)) = wait
            && since.add_millis(self.response_timeout).has_passed(now)
        {
            return Err(self.fail(reason));
        }
        if self.due.is_nothing() {
            let since = wait.map(|(since, _)| since);
            self.waits_since = sooner(since, self.pace.since()).unwrap_or(now);
        }
        Ok(())
    }
}

#[inline(never)] // one copy, for each kind of wait
fn keep_first(wait: &mut Wait, since: Option<Instant>, reason: ProtocolError) {
    if let Some(since) = since
        && wait.is_none_or(|(first, _)| !first.has_passed(since))
    {
        *wait = Some((since, reason));
    }
}

fn sooner(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}
