//! What the session waits for, and how long.

use super::{Link, ProtocolError, Session, receive::Due};
use crate::time::Instant;

impl Session<'_> {
    /// When [`Self::poll`] has to be called even if nothing comes; `None` means never.
    ///
    /// This is for a caller that has sent what is pending, or whose transport takes nothing at present, and to whom
    /// `poll` has nothing to tell.
    pub fn deadline(&self) -> Option<Instant> {
        let ping = match self.link {
            Link::Down(_) => return None,
            Link::Connecting | Link::Up => self.ping_due(),
        };
        let pace = self.pace.deadline(self.response_timeout);
        let behind = self.behind_since.filter(|_| self.may_answer());
        self.timeouts()
            .map(|(since, _)| since.after(self.response_timeout))
            // While an event waits, `poll` looks at nothing but the transport.
            .chain(
                ping.into_iter()
                    .chain(pace)
                    .chain(behind)
                    .filter(|_| self.due == Due::Nothing),
            )
            .reduce(Instant::earlier)
    }

    /// When a PINGREQ is due, CONNACK or not, if nothing else leaves before \[MQTT-3.1.2-23\].
    pub(super) fn ping_due(&self) -> Option<Instant> {
        let may_leave = !self.leaving && self.outbound.is_idle();
        may_leave.then(|| self.keep_alive.due()).flatten()
    }

    /// What must be answered, or taken by the transport, within the response timeout: since when, and the error that
    /// ends the connection otherwise. While an event waits, an answer may have come and lie behind it.
    pub(super) fn timeouts(&self) -> impl Iterator<Item = (Instant, ProtocolError)> {
        let connack = (self.link == Link::Connecting)
            .then_some((self.connect_since, ProtocolError::ConnackTimeout));
        let write = self
            .stalled_since
            .map(|since| (since, ProtocolError::WriteTimeout));
        let pingresp = self
            .keep_alive
            .waiting_since()
            .map(|since| (since, ProtocolError::PingrespTimeout));
        let requests = self.inflight.iter().filter(|slot| slot.sent).map(|slot| {
            let packet_id = slot.id;
            (slot.since, ProtocolError::RequestTimeout { packet_id })
        });
        let nothing_waits = self.due == Due::Nothing;
        let answers = connack.into_iter().chain(pingresp).chain(requests);
        write
            .into_iter()
            .chain(answers.filter(move |_| nothing_waits))
    }

    pub(super) fn check_timeouts(&self, now: Instant) -> Result<(), ProtocolError> {
        let mut overdue = self
            .timeouts()
            .filter(|(since, _)| since.after(self.response_timeout).is_reached(now));
        overdue.next().map_or(Ok(()), |(_, reason)| Err(reason))
    }
}
