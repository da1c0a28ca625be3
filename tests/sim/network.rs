//! A connection of two pipes: bytes in flight, latency, cuts, stalls.

use std::collections::VecDeque;

/// Virtual milliseconds since a history began.
pub(crate) type Time = u64;

/// One direction of a connection.
pub(crate) struct Pipe {
    /// Each byte with the time of its arrival. These times never decrease.
    bytes: VecDeque<(Time, u8)>,
    /// Maximum number of bytes in flight.
    window: usize,
    /// Time from which the reader sees the end of the stream, after all bytes were read.
    end: Option<Time>,
    /// Bytes that are written from now on are lost without an error.
    severed: bool,
    /// The reader has closed its end.
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

    /// Accepts as many bytes as the window allows. They arrive at `at`.
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

    /// Closes the sender's end. The reader sees the end of the stream after the last byte.
    pub(crate) fn close(&mut self, at: Time) {
        self.severed = true;
        let at = at.max(self.last_arrival);
        self.end.get_or_insert(at);
    }

    /// Breaks the connection: only `keep` of the bytes in flight arrive.
    pub(crate) fn sever(&mut self, keep: usize) {
        self.severed = true;
        self.bytes.truncate(keep);
    }

    /// Closes the reader's end. Bytes in flight are lost.
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

    /// Returns the time at which the reader has something to read, or the end of the stream.
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
    /// The transport accepts no byte before this time.
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

    /// Breaks both directions. Each side sees the end of the stream at `at`, or never.
    pub(crate) fn cut(&mut self, rng: &mut fastrand::Rng, at: Option<Time>) {
        for pipe in [&mut self.up, &mut self.down] {
            pipe.sever(rng.usize(..=pipe.in_flight()));
            if let Some(at) = at {
                pipe.close(at);
            }
        }
    }
}
