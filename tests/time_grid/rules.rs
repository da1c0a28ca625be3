//! The rules of time, one function each. They use only what an observer of the connection can see.
//!
//! These functions were written from the description of the rules, not from the code of the library. Times are
//! milliseconds that do not wrap.

/// A time or a duration in ms.
pub(crate) type Time = i64;

/// After this number of bytes without an empty read, a wait that has passed its maximum ends the connection.
pub(crate) const FLOOD: usize = 1 << 20;

/// Time in ms after which a caller that was away must poll again.
pub(crate) const SOON: Time = 20;

/// Bytes per response timeout at which one packet counts as received fast enough.
pub(crate) const FAST: Time = 64;

/// The knowledge of an observer about a connection.
#[derive(Clone, Default)]
pub(crate) struct Facts {
    /// Keep alive in ms; 0 disables it.
    pub(crate) keep_alive: Time,
    /// Response timeout in ms.
    pub(crate) timeout: Time,
    /// Time at which the transport accepted the last byte of CONNECT.
    pub(crate) connect_sent: Option<Time>,
    /// DISCONNECT was sent.
    pub(crate) disconnect_sent: bool,
    /// Time at which the transport accepted the last byte of the last packet.
    pub(crate) last_packet_sent: Option<Time>,
    /// Time of the last received byte on this connection.
    pub(crate) last_byte_received: Option<Time>,
    /// The answers that the server has not sent yet.
    pub(crate) waits: Vec<Wait>,
    /// A PINGREQ was due while the transport accepted nothing, and was not sent yet.
    pub(crate) ping_blocked: bool,
    /// Time since which the transport has accepted nothing although data waits for it.
    pub(crate) refused_since: Option<Time>,
    /// The caller streams the payload of a packet of which a part was sent.
    pub(crate) in_payload: bool,
    /// Time at which the last payload byte was sent.
    pub(crate) last_payload_byte: Option<Time>,
    /// No data can be read: the acknowledgement queue is full, or a checkpoint is due.
    pub(crate) cannot_read: bool,
}

/// An answer that the server has to send.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wait {
    pub(crate) answer: Answer,
    /// Time at which the transport accepted the last byte of the request.
    pub(crate) sent: Time,
    /// Time since then in which one packet was received fast enough, in ms.
    pub(crate) fast: Time,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Answer {
    Connack,
    Pingresp,
    /// PUBACK, PUBREC, SUBACK or UNSUBACK.
    Request(u16),
    Pubcomp(u16),
    /// PUBREL of an earlier message, while a QoS 2 message is skipped for lack of an id.
    Pubrel,
}

/// Something happens between these two times.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Window {
    pub(crate) earliest: Time,
    pub(crate) latest: Time,
}

/// One call of the device.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Call {
    pub(crate) now: Time,
    /// Time of the previous call.
    pub(crate) previous: Time,
    /// The last read found nothing, or the only write was refused.
    pub(crate) found_nothing: bool,
    /// The caller streams a payload: an empty read may count, but need not.
    pub(crate) in_payload: bool,
    /// The previous call found nothing either, after the wait was late.
    pub(crate) second: bool,
    /// Bytes received since the last empty read.
    pub(crate) flood: usize,
}

/// Whether a call may or must close the connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Verdict {
    GoesOn,
    MayEnd,
    Ends,
}

impl Facts {
    /// Returns the time in ms by which a PINGREQ is sent before it would be too late.
    fn margin(&self) -> Time {
        (self.keep_alive / 4).min(2_000)
    }

    /// Returns `true` if the client sends PINGREQs at present.
    fn pings(&self) -> bool {
        self.keep_alive > 0 && self.connect_sent.is_some() && !self.disconnect_sent
    }

    /// Rule 1: a PINGREQ is due when the keep alive less a margin has passed since the end of the last packet sent. It
    /// does not matter whether an earlier PINGREQ is unanswered. The rule applies from CONNECT to DISCONNECT.
    pub(crate) fn ping_after_last_packet(&self) -> Option<Time> {
        let sent = self.last_packet_sent?;
        self.pings().then(|| sent + self.keep_alive - self.margin())
    }

    /// Rule 2: if no PINGREQ is unanswered, one is also due when this time has passed since the last received byte.
    /// Before the first byte, the time runs from the end of CONNECT.
    pub(crate) fn ping_after_last_byte(&self) -> Option<Time> {
        let waiting = |wait: &Wait| wait.answer == Answer::Pingresp;
        let received = self.last_byte_received.or(self.connect_sent)?;
        (self.pings() && !self.waits.iter().any(waiting))
            .then(|| received + self.keep_alive - self.margin())
    }

    /// Rules 1 and 2. Inside a payload that the caller streams, nothing else can be sent.
    pub(crate) fn ping_due(&self) -> Option<Time> {
        self.ping_wanted().filter(|_| !self.in_payload)
    }

    /// Rules 1 and 2, also inside a payload. A PINGREQ that is due there may follow the payload.
    pub(crate) fn ping_wanted(&self) -> Option<Time> {
        let both = [self.ping_after_last_packet(), self.ping_after_last_byte()];
        both.into_iter().flatten().min()
    }

    /// Rule 3: an answer is late when the response timeout has passed since the later of two times: its request was
    /// sent, the last byte was received.
    fn quiet(&self, wait: &Wait) -> Time {
        wait.sent.max(self.last_byte_received.unwrap_or(wait.sent)) + self.timeout
    }

    /// Rule 3: whole packets extend a wait to at most ten response timeouts. The maximum does not run while one packet
    /// is received fast enough; a rate can be measured only over a response timeout.
    pub(crate) fn maximum(&self, wait: &Wait) -> Window {
        let earliest = wait.sent + 10 * self.timeout + wait.fast;
        Window {
            earliest,
            latest: earliest + self.timeout,
        }
    }

    /// Rule 3, both parts.
    pub(crate) fn late(&self, wait: &Wait) -> Window {
        Window {
            earliest: self.quiet(wait).min(self.maximum(wait).earliest),
            latest: self.quiet(wait).min(self.maximum(wait).latest),
        }
    }

    /// Rule 4: a transport is blocked if it has accepted nothing for the response timeout while something waits for it.
    pub(crate) fn blocked(&self) -> Option<Window> {
        let at = self.refused_since? + self.timeout;
        Some(Window {
            earliest: at,
            latest: at,
        })
    }

    /// If a caller streams a payload and provides no byte of it for the response timeout, the connection may be closed.
    pub(crate) fn payload_stopped(&self) -> Option<Window> {
        let last = self.last_payload_byte.filter(|_| self.in_payload)?;
        Some(Window {
            earliest: last + self.timeout,
            latest: Time::MAX,
        })
    }

    /// Rule 5: lateness is checked only after a read that found nothing. If the previous call was more than a quarter
    /// of the response timeout ago, this call checks nothing. After the maximum of a wait, only a limited number of
    /// bytes is received without an empty read. Bytes that were received before the maximum may count.
    pub(crate) fn verdict(&self, window: Window, call: &Call) -> Verdict {
        let recent = call.now - call.previous <= self.timeout / 4;
        let flooded = call.flood >= FLOOD;
        match () {
            () if call.now < window.earliest => Verdict::GoesOn,
            () if !call.found_nothing && flooded && call.now >= window.latest => Verdict::Ends,
            () if !call.found_nothing && flooded => Verdict::MayEnd,
            () if !call.found_nothing => Verdict::GoesOn,
            () if recent && call.now >= window.latest && !call.in_payload => Verdict::Ends,
            () if recent || call.second => Verdict::MayEnd,
            () => Verdict::GoesOn,
        }
    }

    /// Rule 6: a clock that shows an earlier time than before restarts all waits.
    pub(crate) fn restart(&mut self, now: Time) {
        let times = [
            &mut self.last_payload_byte,
            &mut self.connect_sent,
            &mut self.last_packet_sent,
            &mut self.last_byte_received,
            &mut self.refused_since,
        ];
        times.into_iter().flatten().for_each(|time| *time = now);
        for wait in &mut self.waits {
            (wait.sent, wait.fast) = (now, 0);
        }
    }

    /// Rule 7: the deadline is the first time at which the device must do something, or never. After a call that
    /// checked nothing although a wait is late, the deadline is soon. Other late waits can be handled then.
    pub(crate) fn deadline(&self, call: &Call) -> Option<Window> {
        let exact = |at| Window {
            earliest: at,
            latest: at,
        };
        let ping = self
            .ping_due()
            .filter(|_| self.refused_since.is_none())
            .map(exact);
        let can_read = !self.in_payload && !self.cannot_read;
        let mut waits = self.waits.iter().filter(|_| can_read);
        let unchecked = waits.any(|wait| self.late(wait).earliest <= call.now);
        let late = self.waits.iter().filter(|_| can_read);
        let late = late.map(|wait| self.late(wait));
        let soon = call.now + self.timeout / 4;
        let absent = call.now - call.previous > self.timeout / 4;
        let late = late.map(|window| match absent {
            true => Window {
                earliest: call.now,
                ..window
            },
            false => window,
        });
        let all = late.chain(self.blocked()).map(|window| match unchecked {
            true => Window {
                latest: window.latest.max(call.now + SOON),
                ..window
            },
            false => window,
        });
        let all = all.chain(ping);
        all.map(|window| Window {
            earliest: window.earliest.max(call.now),
            latest: if window.latest > call.now {
                window.latest
            } else {
                soon
            },
        })
        .reduce(|one, other| Window {
            earliest: one.earliest.min(other.earliest),
            latest: one.latest.min(other.latest),
        })
    }
}
