//! Two pipes make a connection: bytes in flight, latency, cuts, stalls.

use std::collections::VecDeque;

/// Virtual milliseconds since a history began.
pub(crate) type Time = u64;

/// One direction of a connection.
pub(crate) struct Pipe {
    /// Each byte with the moment at which it arrives; these never decrease.
    bytes: VecDeque<(Time, u8)>,
    /// Bytes in flight before the sender has to wait.
    window: usize,
    /// When the reader sees the end of the stream, once all bytes have been read.
    end: Option<Time>,
    /// Whatever is written from now on is lost, and nobody says so.
    severed: bool,
    /// The reader has gone.
    abandoned: bool,
    last_arrival: Time,
}

impl Pipe {
    fn new(window: usize) -> Self {
        Self {
            bytes: VecDeque::new(),
            window,
            end: None,
            severed: false,
            abandoned: false,
            last_arrival: 0,
        }
    }

    /// Takes as many bytes as the window allows, to arrive at `at`.
    pub(crate) fn write(&mut self, bytes: &[u8], at: Time) -> usize {
        if self.severed {
            return bytes.len();
        }
        let taken = bytes
            .len()
            .min(self.window.saturating_sub(self.bytes.len()));
        self.last_arrival = self.last_arrival.max(at);
        let at = self.last_arrival;
        self.bytes
            .extend(bytes[..taken].iter().map(|byte| (at, *byte)));
        taken
    }

    /// Moves bytes that have arrived into `space`.
    pub(crate) fn read(&mut self, now: Time, space: &mut [u8]) -> usize {
        let taken = self.arrived(now).min(space.len());
        for (place, (_, byte)) in space.iter_mut().zip(self.bytes.drain(..taken)) {
            *place = byte;
        }
        taken
    }

    pub(crate) fn arrived(&self, now: Time) -> usize {
        self.bytes.partition_point(|(at, _)| *at <= now)
    }

    /// The sender closes: the end of the stream follows the last byte.
    pub(crate) fn close(&mut self, at: Time) {
        self.severed = true;
        let at = at.max(self.last_arrival);
        self.end.get_or_insert(at);
    }

    /// The line breaks: of the bytes in flight only `keep` arrive.
    pub(crate) fn sever(&mut self, keep: usize) {
        self.severed = true;
        self.bytes.truncate(keep);
    }

    /// The reader closes: nothing is read any more.
    pub(crate) fn abandon(&mut self) {
        self.sever(0);
        self.abandoned = true;
    }

    pub(crate) fn is_severed(&self) -> bool {
        self.severed
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.bytes.len()
    }

    /// When the reader has something to read next, if only the end.
    pub(crate) fn next(&self) -> Option<Time> {
        let next = self.bytes.front().map(|(at, _)| *at).or(self.end);
        next.filter(|_| !self.abandoned)
    }

    pub(crate) fn has_ended(&self, now: Time) -> bool {
        self.bytes.is_empty() && self.end.is_some_and(|end| end <= now)
    }
}

/// A network connection: `up` is from the client to the broker.
pub(crate) struct Connection {
    pub(crate) up: Pipe,
    pub(crate) down: Pipe,
    /// The transport takes nothing before this moment.
    pub(crate) stalled_until: Time,
}

impl Connection {
    pub(crate) fn new(window: usize) -> Self {
        Self {
            up: Pipe::new(window),
            down: Pipe::new(usize::MAX),
            stalled_until: 0,
        }
    }

    /// Both directions break; each side sees the end of the stream at `at`, or never.
    pub(crate) fn cut(&mut self, rng: &mut fastrand::Rng, at: Option<Time>) {
        for pipe in [&mut self.up, &mut self.down] {
            pipe.sever(rng.usize(..=pipe.in_flight()));
            if let Some(at) = at {
                pipe.close(at);
            }
        }
    }
}
