//! A device with a clock, and the comparison of its behaviour with the rules.

use std::collections::BTreeMap;

use crate::{
    driver::Reason,
    rules::{Answer, Call, Facts, Time, Verdict, Wait, Window},
    subject::{Request, Subject},
};

/// A difference between the library and a rule.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Difference {
    /// The connection was closed before the wait had passed.
    EndedEarly,
    /// The first call after an absence ended the connection.
    EndedAfterAbsence,
    /// The connection ended because of a missing answer, although nothing could be read, or a read found data.
    EndedWithoutEmptyRead,
    /// A call had to end the connection and did not.
    NotEnded,
    /// The reason is not one of the valid ones.
    WrongReason,
    /// No PINGREQ, although one is due after the last packet sent.
    NoPingAfterLastPacket,
    /// No PINGREQ, although one is due after the last byte received.
    NoPingAfterLastByte,
    /// A PINGREQ before it is due.
    EarlyPing,
    /// The deadline is later than a PINGREQ that is due after the last packet sent.
    DeadlineAfterPing,
    /// The deadline is later than a PINGREQ that is due after the last byte received.
    DeadlineAfterReceivingPing,
    /// The deadline is later than the time at which an answer is late or the transport is blocked.
    DeadlineAfterWait,
    /// The deadline is earlier than anything that has to be done.
    EarlyDeadline,
    /// The deadline is not now, although something can be done at once.
    DeadlineNotNow,
    /// The deadline stays now, although nothing can be done.
    Spins,
}

/// A difference in a situation: the number of times that it was found, and an example.
#[derive(Default)]
pub(crate) struct Found {
    pub(crate) count: usize,
    /// It was also found where the clock never goes back.
    pub(crate) forwards: bool,
    pub(crate) example: String,
}

/// The differences that were found.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) found: BTreeMap<(Difference, &'static str), Found>,
    /// Number of sequences of calls.
    pub(crate) walks: usize,
    /// Number of calls that were compared.
    pub(crate) calls: usize,
}

impl Report {
    pub(crate) fn note(
        &mut self,
        difference: Difference,
        situation: &'static str,
        backwards: bool,
        example: impl FnOnce() -> String,
    ) {
        let found = self.found.entry((difference, situation)).or_default();
        if found.example.is_empty() {
            found.example = example();
        }
        found.count += 1;
        found.forwards |= !backwards;
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.walks += other.walks;
        self.calls += other.calls;
        for (key, mut found) in other.found {
            let known = self.found.entry(key).or_default();
            if known.example.is_empty() {
                known.example = std::mem::take(&mut found.example);
            }
            known.count += found.count;
            known.forwards |= found.forwards;
        }
    }
}

/// An event before a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Happening {
    Nothing,
    Receive(Vec<u8>),
    /// The transport accepts this many more bytes.
    Room(usize),
    /// The transport flushes the accepted bytes, or does not.
    Flush(bool),
    Request(Request),
    /// The caller provides this number of payload bytes.
    Stream(usize),
    /// More data arrives than the call may read.
    Flood(Vec<u8>),
    /// The caller handles no event in this call.
    NoEvents,
    /// As [`Self::Request`], and the caller handles no event in this call.
    RequestNoEvents(Request),
}

impl Happening {
    /// Returns the same with only a few bytes, for the history.
    fn short(&self) -> Self {
        match self {
            Self::Receive(bytes) => Self::Receive(bytes[..bytes.len().min(12)].to_vec()),
            Self::Flood(_) => Self::Flood(Vec::new()),
            other => other.clone(),
        }
    }
}

/// The connection is closed, and the walk ends.
pub(crate) struct Over;

/// Divides the data in one direction of a connection into packets.
#[derive(Default)]
struct Packets {
    rest: Vec<u8>,
}

/// One walk: a device, its clock and its connection, and the facts for the rules.
pub(crate) struct World<'w> {
    subject: &'w mut dyn Subject,
    pub(crate) facts: Facts,
    /// The clock of the device, without wrapping.
    pub(crate) now: Time,
    previous: Time,
    up: Packets,
    down: Packets,
    /// Bytes that arrived and were not read.
    arrived: Vec<u8>,
    /// Number of unsent PINGREQs that the caller has requested.
    asked_pings: usize,
    /// The previous call found nothing while something was late.
    late_before: bool,
    /// Number of bytes that were read since the last call that found nothing to read.
    flood: usize,
    /// Id and time of the first PUBREC that was sent. There is room for one id, because INBOUND is 1.
    pubrec_sent: Option<(u16, Time)>,
    situation: &'static str,
    /// The clock of this walk goes back once.
    backwards: bool,
    setting: String,
    /// Time, time since the step before, and the event.
    history: Vec<(Time, Time, Happening)>,
    report: &'w mut Report,
}

impl Packets {
    /// Calls `each` with the type and flags and the body of each packet that is complete now.
    fn take(&mut self, bytes: &[u8], mut each: impl FnMut(u8, &[u8])) {
        self.rest.extend(bytes);
        while let Some((start, end)) = whole(&self.rest) {
            each(self.rest[0], &self.rest[start..end]);
            self.rest.drain(..end);
        }
    }
}

/// Returns start and end of the body of the first packet, if it is complete.
fn whole(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut len = 0;
    for (at, byte) in bytes.iter().skip(1).enumerate() {
        len |= usize::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            let start = at + 2;
            return (bytes.len() >= start + len).then_some((start, start + len));
        }
    }
    None
}

fn id(body: &[u8]) -> u16 {
    u16::from_be_bytes([body[0], body[1]])
}

/// Returns the packet id of a PUBLISH.
fn publish_id(body: &[u8]) -> u16 {
    id(&body[2 + usize::from(id(body))..])
}

impl<'w> World<'w> {
    pub(crate) fn new(
        subject: &'w mut dyn Subject,
        report: &'w mut Report,
        (situation, setting, backwards): (&'static str, String, bool),
        facts: Facts,
        now: Time,
    ) -> Self {
        report.walks += 1;
        Self {
            subject,
            facts,
            now,
            previous: now,
            up: Packets::default(),
            down: Packets::default(),
            arrived: Vec::new(),
            asked_pings: 0,
            late_before: false,
            flood: 0,
            pubrec_sent: None,
            situation,
            backwards,
            setting,
            history: Vec::new(),
            report,
        }
    }

    fn clock(&self) -> u32 {
        (self.now & i64::from(u32::MAX)) as u32
    }

    fn note(&mut self, difference: Difference, what: &str) {
        let (setting, history) = (&self.setting, &self.history);
        self.report
            .note(difference, self.situation, self.backwards, || {
                let step =
                    |(now, gap, happening): &_| format!("    at {now} (+{gap}): {happening:?}\n");
                let steps: String = history.iter().map(step).collect();
                format!("{setting}\n{steps}    {what}")
            });
    }

    /// Advances the clock by `gap`, makes something happen, and calls the device.
    pub(crate) fn step(&mut self, gap: Time, happening: &Happening) -> Result<(), Over> {
        self.now += gap;
        // Rule 6: times are compared by their distance on a clock of 32 bits.
        if (gap as u32).cast_signed() < 0 {
            self.facts.restart(self.now);
            self.previous = self.now;
            self.late_before = false;
        }
        self.history.push((self.now, gap, happening.short()));
        let now = self.clock();
        match happening {
            Happening::Nothing | Happening::NoEvents => {}
            Happening::Receive(bytes) | Happening::Flood(bytes) => {
                self.subject.feed(bytes);
                self.arrived.extend(bytes);
            }
            Happening::Room(bytes) => self.subject.set_room(*bytes),
            Happening::Flush(works) => self.subject.set_flush(*works),
            Happening::Stream(bytes) => self.subject.stream(*bytes, now),
            Happening::Request(request) | Happening::RequestNoEvents(request) => {
                self.subject.request(*request, now);
                self.asked_pings += usize::from(*request == Request::Ping);
            }
        }
        self.call(happening)
    }

    fn call(&mut self, happening: &Happening) -> Result<(), Over> {
        self.report.calls += 1;
        let busy = matches!(happening, Happening::Flood(_));
        let no_events = matches!(
            happening,
            Happening::NoEvents | Happening::RequestNoEvents(_)
        );
        let due_before = self.facts.ping_due();
        let called = match happening {
            _ if no_events => self.subject.call_without_events(self.clock()),
            _ => self.subject.call(self.clock(), busy),
        };
        self.facts.cannot_read = no_events
            || (!called.found_nothing && !busy && !self.arrived.is_empty() && called.read == 0);
        self.received(called.read);
        self.sent(&called.sent, due_before);
        self.facts.in_payload = !self.up.rest.is_empty() && self.subject.is_streaming();
        if !called.sent.is_empty() || !self.facts.in_payload {
            self.facts.last_payload_byte = Some(self.now);
        }
        match called.refused {
            _ if called.result.is_err() && called.sent.is_empty() => {}
            true if called.sent.is_empty() => {
                self.facts.refused_since.get_or_insert(self.now);
            }
            true => self.facts.refused_since = Some(self.now),
            false => self.facts.refused_since = None,
        }
        self.flood = if called.found_nothing {
            0
        } else {
            self.flood + called.read
        };
        let call = Call {
            now: self.now,
            previous: self.previous,
            found_nothing: called.found_nothing && !self.facts.cannot_read,
            in_payload: self.facts.in_payload,
            second: self.late_before,
            flood: self.flood,
        };
        self.previous = self.now;
        self.check_end(&call, called.result)?;
        self.check_ping(due_before, called.refused);
        if no_events {
            // An event is pending, so there is something to do at once.
            if self.deadline() != Some(self.now) {
                self.note(
                    Difference::DeadlineNotNow,
                    &format!("{:?}", self.subject.deadline()),
                );
            }
            return Ok(());
        }
        self.check_deadline(&call, called.refused);
        Ok(())
    }

    /// Updates the facts after `n` bytes were read.
    fn received(&mut self, n: usize) {
        if n == 0 {
            return;
        }
        let bytes: Vec<u8> = self.arrived.drain(..n).collect();
        let inside = !self.down.rest.is_empty();
        if let Some(last) = self.facts.last_byte_received.filter(|_| inside) {
            let gap = self.now - last;
            let fast = n as Time * self.facts.timeout >= crate::rules::FAST * gap;
            for wait in self.facts.waits.iter_mut().filter(|_| fast) {
                wait.fast += self.now - last.max(wait.sent);
            }
        }
        self.facts.last_byte_received = Some(self.now);
        let (waits, pubrec_sent) = (&mut self.facts.waits, self.pubrec_sent);
        let mut answered = |answer: Answer| {
            if let Some(at) = waits.iter().position(|wait| wait.answer == answer) {
                waits.remove(at);
            }
        };
        let mut skipped = false;
        self.down.take(&bytes, |first, body| match first >> 4 {
            2 => answered(Answer::Connack),
            3 if first & 6 == 4 && pubrec_sent.is_some() => skipped = true,
            4 | 5 | 9 | 11 => answered(Answer::Request(id(body))),
            6 if pubrec_sent.is_some_and(|(known, _)| known == id(body)) => {
                answered(Answer::Pubrel);
            }
            7 => answered(Answer::Pubcomp(id(body))),
            13 => answered(Answer::Pingresp),
            _ => {}
        });
        if let Some((_, sent)) = pubrec_sent.filter(|_| skipped) {
            let answer = Answer::Pubrel;
            self.facts.waits.push(Wait {
                answer,
                sent,
                fast: 0,
            });
        }
    }

    /// Updates the facts after the transport accepted these bytes.
    fn sent(&mut self, bytes: &[u8], due_before: Option<Time>) {
        let now = self.now;
        let mut up = std::mem::take(&mut self.up);
        up.take(bytes, |first, body| {
            let due = [self.facts.ping_due(), due_before];
            let was_due =
                self.facts.ping_blocked || due.into_iter().flatten().any(|due| due <= now);
            self.facts.last_packet_sent = Some(now);
            let answer = match first >> 4 {
                1 => {
                    self.facts.connect_sent = Some(now);
                    Answer::Connack
                }
                3 if first & 6 > 0 => Answer::Request(publish_id(body)),
                6 => Answer::Pubcomp(id(body)),
                8 | 10 => Answer::Request(id(body)),
                12 => {
                    self.facts.ping_blocked = false;
                    if self.asked_pings > 0 {
                        self.asked_pings -= 1;
                    } else if !was_due {
                        self.note(Difference::EarlyPing, "PINGREQ");
                    }
                    Answer::Pingresp
                }
                5 => {
                    self.pubrec_sent.get_or_insert((id(body), now));
                    return;
                }
                14 => {
                    self.facts.disconnect_sent = true;
                    return;
                }
                _ => return,
            };
            self.facts.waits.push(Wait {
                answer,
                sent: now,
                fast: 0,
            });
        });
        self.up = up;
    }

    fn check_end(&mut self, call: &Call, result: Result<(), Reason>) -> Result<(), Over> {
        let mut windows = Vec::new();
        for wait in &self.facts.waits {
            let expected = match wait.answer {
                Answer::Connack => &[Reason::LateConnack][..],
                Answer::Pingresp => &[Reason::LatePingresp],
                Answer::Pubrel => &[Reason::LateAck, Reason::NoRoom],
                _ => &[Reason::LateAck],
            };
            windows.push((self.facts.late(wait), expected, *call));
        }
        if let Some(window) = self.facts.blocked() {
            let found_nothing = self.facts.refused_since != Some(self.now);
            let call = Call {
                found_nothing,
                in_payload: false,
                ..*call
            };
            windows.push((window, &[Reason::Blocked], call));
        }
        if let Some(window) = self.facts.payload_stopped() {
            let call = Call {
                found_nothing: true,
                ..*call
            };
            windows.push((window, &[Reason::Blocked, Reason::PayloadAborted], call));
        }
        let verdict =
            |(window, _, call): &(Window, &[Reason], Call)| self.facts.verdict(*window, call);
        let overall = windows.iter().map(verdict).max().unwrap_or(Verdict::GoesOn);
        let late = |(window, ..): &&(Window, &[Reason], Call)| window.earliest <= self.now;
        let was_late = windows
            .iter()
            .any(|window| late(&window) && window.2.found_nothing);
        self.late_before = was_late;
        let Err(reason) = result else {
            if overall == Verdict::Ends {
                self.note(Difference::NotEnded, &format!("{windows:?}"));
                return Err(Over);
            }
            return Ok(());
        };
        let named = |(_, reasons, _): &&(Window, &[Reason], Call)| reasons.contains(&reason);
        let late = |(window, ..): &&(Window, &[Reason], Call)| window.earliest <= self.now;
        let accused: Vec<_> = windows.iter().filter(named).filter(late).collect();
        let may_end = accused
            .iter()
            .any(|window| verdict(window) > Verdict::GoesOn);
        let closed = reason == Reason::Closed && self.facts.disconnect_sent;
        let difference = match () {
            () if closed || may_end => None,
            () if accused.iter().any(|(_, _, call)| !call.found_nothing) => {
                Some(Difference::EndedWithoutEmptyRead)
            }
            () if !accused.is_empty() => Some(Difference::EndedAfterAbsence),
            () if overall > Verdict::GoesOn => Some(Difference::WrongReason),
            () => Some(Difference::EndedEarly),
        };
        if let Some(difference) = difference {
            self.note(difference, &format!("{reason:?}, {windows:?}"));
        }
        Err(Over)
    }

    fn check_ping(&mut self, due_before: Option<Time>, refused: bool) {
        let due = |at: Option<Time>| at.is_some_and(|at| at <= self.now);
        if self.facts.in_payload && due(self.facts.ping_wanted()) {
            self.facts.ping_blocked = true;
        }
        if !due(self.facts.ping_due()) || !due(due_before) {
            return;
        }
        if refused {
            self.facts.ping_blocked = true;
        } else if due(self.facts.ping_after_last_packet()) {
            self.note(Difference::NoPingAfterLastPacket, "no PINGREQ");
        } else {
            self.note(Difference::NoPingAfterLastByte, "no PINGREQ");
        }
    }

    fn check_deadline(&mut self, call: &Call, refused: bool) {
        let due = self.facts.ping_due();
        if due.is_some_and(|due| due <= self.now) {
            return; // This difference was noted before, or is noted at the next call.
        }
        let expected = self.facts.deadline(call);
        let found = self.deadline();
        let what = format!("deadline {found:?}, expected {expected:?}");
        let is_late = |latest: Time| found.is_none_or(|found| found > latest);
        if expected.is_some_and(|expected| is_late(expected.latest)) {
            let difference = match due {
                Some(due) if is_late(due) && self.facts.ping_after_last_packet() == Some(due) => {
                    Difference::DeadlineAfterPing
                }
                Some(due) if is_late(due) => Difference::DeadlineAfterReceivingPing,
                _ => Difference::DeadlineAfterWait,
            };
            self.note(difference, &what);
        }
        let is_early = |found: Time| expected.is_none_or(|expected| found < expected.earliest);
        if !refused && !self.facts.in_payload && found.is_some_and(is_early) {
            self.note(Difference::EarlyDeadline, &what);
        }
    }

    /// Returns the deadline, or the present time if the deadline has passed.
    fn deadline(&self) -> Option<Time> {
        let deadline = self.subject.deadline()?;
        let distance = deadline.wrapping_sub(self.clock()).cast_signed();
        Some(self.now + Time::from(distance.max(0)))
    }

    /// Returns the times at which a rule applies next.
    pub(crate) fn instants(&self) -> Vec<Time> {
        let facts = &self.facts;
        let late = facts
            .waits
            .iter()
            .flat_map(|wait| [facts.late(wait).earliest, facts.late(wait).latest]);
        let blocked = facts.blocked().map(|window| window.latest);
        let pings = [facts.ping_after_last_packet(), facts.ping_after_last_byte()];
        let quarter = self.previous + facts.timeout / 4;
        let mut all: Vec<_> = late
            .chain(blocked)
            .chain(pings.into_iter().flatten())
            .chain([quarter])
            .collect();
        all.sort_unstable();
        all.dedup();
        all.retain(|at| *at > self.now + 1);
        all
    }

    /// Returns `true` if a packet from the server is allowed next.
    pub(crate) fn may_receive(&self) -> bool {
        let connack = self
            .facts
            .waits
            .iter()
            .any(|wait| wait.answer == Answer::Connack);
        self.facts.connect_sent.is_some() && !connack && self.down.rest.is_empty()
    }

    /// Runs a device that sleeps until each deadline, for at most this number of wakes.
    pub(crate) fn sleep(&mut self, wakes: usize) -> Result<(), Over> {
        let mut awake = 0;
        for _ in 0..wakes {
            let Some(deadline) = self.deadline() else {
                break;
            };
            awake = if deadline == self.now { awake + 1 } else { 0 };
            if self.facts.refused_since.is_some() {
                awake = 0;
            }
            if awake > 3 {
                self.note(Difference::Spins, "the deadline stays now");
                break;
            }
            self.step(deadline - self.now, &Happening::Nothing)?;
        }
        Ok(())
    }
}
