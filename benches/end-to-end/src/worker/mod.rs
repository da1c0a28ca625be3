//! The workers. Each runs a client in a process of its own, whose CPU time is measured.
//!
//! All except the floor do the same work: they number and send every payload, or read every byte of it.

pub(crate) mod async_device;
pub(crate) mod asynch;
pub(crate) mod blocking;
pub(crate) mod blocking_device;
pub(crate) mod floor;
pub(crate) mod rumqttc;

use std::{
    hint::black_box,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use nix::time::{ClockId, clock_gettime};
use umqtt::{Message, codec::Connect};

use crate::case::{Case, Direction};

pub(crate) const TOPIC: &str = "end/to/end/benchmark";
pub(crate) const KEEP_ALIVE: u16 = 60;

/// Largest window.
pub(crate) const SLOTS: usize = 16;

/// The storage of umqtt, for messages of 16 KiB in both directions. The send buffer has room for two windows of 16
/// messages, because an acknowledged packet frees its room only after all packets before it. There is a QoS 2 id for
/// each message in the broker: mosquitto 2.0.11 ignores its window after the first messages are complete.
pub(crate) type Memory<const SLOTS: usize> =
    umqtt::Storage<{ 20 * 1024 }, { 33 * 17 * 1024 }, SLOTS, 10_016>;

/// The result of a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    pub(crate) messages: usize,
    pub(crate) wall: Duration,
    pub(crate) cpu: Duration,
}

/// Wall clock and CPU time since its creation.
#[derive(Clone, Copy)]
pub(crate) struct Meter {
    wall: Instant,
    cpu: Duration,
    limit: Duration,
}

impl Meter {
    pub(crate) fn start(case: &Case) -> Result<Self> {
        Ok(Self {
            wall: Instant::now(),
            cpu: cpu()?,
            limit: case.limit,
        })
    }

    pub(crate) fn is_over(&self) -> bool {
        self.wall.elapsed() > self.limit
    }

    pub(crate) fn stop(self, messages: usize) -> Result<Sample> {
        Ok(Sample {
            messages,
            wall: self.wall.elapsed(),
            cpu: cpu()?.saturating_sub(self.cpu),
        })
    }
}

/// Returns the CPU time of all threads of this process.
fn cpu() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_PROCESS_CPUTIME_ID)?.into())
}

/// Messages to be sent, numbered.
pub(crate) struct Source<'c> {
    case: &'c Case,
    payload: Vec<u8>,
    sent: usize,
    ended: bool,
}

impl<'c> Source<'c> {
    pub(crate) fn new(case: &'c Case) -> Self {
        Self {
            case,
            payload: vec![b'x'; case.size],
            sent: 0,
            ended: false,
        }
    }

    /// Returns the next message. After the time limit, it is the last one.
    pub(crate) fn next(&mut self, meter: &Meter) -> Option<Message<'_>> {
        if self.ended {
            return None;
        }
        for (to, byte) in self.payload.iter_mut().zip(self.sent.to_le_bytes()) {
            *to = byte;
        }
        self.sent += 1;
        self.ended = self.sent == self.case.count || meter.is_over();
        Some(Message {
            qos: self.case.qos_of(self.ended),
            ..Message::new(TOPIC, &self.payload)
        })
    }

    pub(crate) const fn sent(&self) -> usize {
        self.sent
    }

    pub(crate) const fn has_ended(&self) -> bool {
        self.ended
    }
}

/// Reads every byte.
pub(crate) fn consume(case: &Case, payload: &[u8]) -> Result<()> {
    ensure!(
        payload.len() == case.size,
        "{} bytes were received",
        payload.len()
    );
    black_box(payload.iter().copied().map(u64::from).sum::<u64>());
    Ok(())
}

pub(crate) fn options(case: &Case) -> Connect<'_> {
    Connect {
        clean_session: case.direction == Direction::Publish,
        keep_alive: KEEP_ALIVE,
        ..Connect::new(&case.client_id)
    }
}
