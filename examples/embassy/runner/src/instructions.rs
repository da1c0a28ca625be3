//! Counts the instructions of `check` per message.
//!
//! QEMU counts instructions as time, so a sleep would count as well. A task keeps the chip awake, and counts its turns.
//! The cost of a turn is measured without messages, and subtracted. Other work in between only adds to a result, so the
//! lowest of some repetitions is taken. A repetition is skipped if the connection ended in it, or if its count is
//! impossible: on a busy machine, the short period of an idle chip can be as long as the long one.

use std::{
    path::Path,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;
use umqtt::codec::QoS;

use crate::{Result, broker::Broker, chip::Chip, host::Host, table::Table};

/// Number of messages to the chip at each QoS. It has room for 128 ids of messages at QoS 2.
const TO_CHIP: u32 = 100;

/// Number of messages of each counting task.
const FROM_CHIP: u32 = 200;

const REPETITIONS: usize = 5;

/// Maximum number of repetitions, including those that are skipped.
const ATTEMPTS: usize = 50;

/// Minimum length of a long period of an idle chip.
const PERIOD: Duration = Duration::from_millis(500);

/// Instructions and turns since the start.
#[derive(Clone, Copy)]
struct Counts {
    instructions: f64,
    turns: f64,
}

/// The costs without messages, in instructions.
struct Idle {
    turn: f64,
    /// Two readings of the counts.
    reading: f64,
}

pub(crate) fn run(image: &Path, table: &mut Table) -> Result<()> {
    println!("{}, its instructions", image.display());
    let _broker = Broker::start()?;
    let mut chip = Chip::start_in(TempDir::new()?, image, &["-icount", "shift=0"])?;
    let chip = &mut chip;
    let mut host = Host::connect("check/from/#")?;
    let host = &mut host;
    chip.wait_for_line("subscribed")?;
    host.send("check/to/spin", b"", QoS::AtLeastOnce)?;
    read(host, chip)?;
    let idle = Idle::measure(host, chip)?;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let lowest = idle.lowest(host, chip, |host, _| {
            (0..TO_CHIP).try_for_each(|_| host.send("check/to/tick", b"", qos))
        })?;
        let name = format!("in at QoS {}", qos as u8);
        table.instructions.push((name, lowest / f64::from(TO_CHIP)));
    }
    for (task, name) in [
        ("count-a", "out at QoS 1"),
        (
            "count-b",
            "out at QoS 2, each after the one before was acknowledged",
        ),
    ] {
        let lowest = idle.lowest(host, chip, |host, chip| {
            host.send(&format!("check/to/{task}"), b"", QoS::AtLeastOnce)?;
            let topic = format!("check/from/{task}");
            (0..FROM_CHIP).try_for_each(|_| host.receive(&topic, chip).map(drop))
        })?;
        table
            .instructions
            .push((name.to_owned(), lowest / f64::from(FROM_CHIP)));
    }
    Ok(())
}

impl Idle {
    /// Measures the idle chip in a short period and in a long one, from whose difference the cost of a turn follows.
    fn measure(host: &mut Host, chip: &mut Chip) -> Result<Self> {
        let all = repeat(chip, |chip| {
            let start = Instant::now();
            let first = read(host, chip)?;
            let second = read(host, chip)?;
            thread::sleep(start.elapsed().saturating_mul(20).max(PERIOD));
            let third = read(host, chip)?;
            let (short, long) = (second.since(first), third.since(second));
            let turn = (long.instructions - short.instructions) / (long.turns - short.turns);
            let reading = short.instructions - short.turns * turn;
            let is_possible = short.turns > 0.0
                && long.turns > 10.0 * short.turns
                && (10.0..10_000.0).contains(&turn)
                && reading > 0.0;
            Ok(is_possible.then_some((turn, reading)))
        })?;
        Ok(Self {
            turn: lowest(all.iter().map(|&(turn, _)| turn)),
            reading: lowest(all.iter().map(|&(_, reading)| reading)),
        })
    }

    /// Returns the instructions that `act` needs, the lowest of some repetitions.
    fn lowest(
        &self,
        host: &mut Host,
        chip: &mut Chip,
        act: impl Fn(&mut Host, &mut Chip) -> Result<()>,
    ) -> Result<f64> {
        let sums = repeat(chip, |chip| {
            let start = read(host, chip)?;
            // After a lost connection, messages at QoS 1 are received twice.
            host.forget_received();
            act(host, chip)?;
            let sum = self.without(start, read(host, chip)?);
            println!("    {sum:.0} instructions");
            Ok((sum > 0.0).then_some(sum))
        })?;
        Ok(lowest(sums))
    }

    /// Returns the instructions from one reading to another, without those of the idle chip.
    fn without(&self, start: Counts, end: Counts) -> f64 {
        let all = end.since(start);
        all.instructions - all.turns * self.turn - self.reading
    }
}

/// Repeats a measurement. It is skipped if its result is `None`, or if the connection ended in it.
fn repeat<T>(
    chip: &mut Chip,
    mut measure: impl FnMut(&mut Chip) -> Result<Option<T>>,
) -> Result<Vec<T>> {
    let mut results = Vec::new();
    for _ in 0..ATTEMPTS {
        let ended = chip.count_lines("connection ended");
        let result = measure(chip)?;
        match result.filter(|_| chip.count_lines("connection ended") == ended) {
            Some(result) => results.push(result),
            None => println!("    disturbed, so it is repeated"),
        }
        if results.len() == REPETITIONS {
            return Ok(results);
        }
    }
    Err(format!(
        "only {} of {ATTEMPTS} repetitions were undisturbed",
        results.len()
    )
    .into())
}

fn lowest(results: impl IntoIterator<Item = f64>) -> f64 {
    results.into_iter().fold(f64::INFINITY, f64::min)
}

impl Counts {
    fn since(self, start: Self) -> Self {
        Self {
            instructions: self.instructions - start.instructions,
            turns: self.turns - start.turns,
        }
    }
}

/// Reads the counts from the chip.
fn read(host: &mut Host, chip: &mut Chip) -> Result<Counts> {
    // At QoS 2, a lost connection cannot duplicate an answer, which would be taken for that of the next reading.
    host.send("check/to/instructions", b"", QoS::ExactlyOnce)?;
    let counts = host.receive("check/from/instructions", chip)?.payload;
    let number = |bytes: Option<&[u8]>| {
        let bytes = bytes.unwrap_or_default().iter();
        bytes.fold(0.0, |sum, &byte| sum * 256.0 + f64::from(byte))
    };
    Ok(Counts {
        instructions: number(counts.get(..8)),
        turns: number(counts.get(8..)),
    })
}
