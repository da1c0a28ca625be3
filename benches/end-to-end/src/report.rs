//! The table of results.

use std::{fmt::Write as _, fs, process::Command, thread::available_parallelism};

use anyhow::Result;

use crate::{broker, case::Case, client::Client, worker::Sample};

/// Remarks that explain the figures.
const REMARKS: &str = "
- At QoS 0, a window of 16 means that 16 messages are queued before they are written. umqtt sends them in one write.
- Receiving at QoS 1 and 2, several acknowledgements are sent in one write. umqtt acknowledges together the messages that the
  caller has taken, at most eight. rumqttc acknowledges together all messages of one read.
- With a window of 1, most of the time is spent in the operating system, which wakes the two processes in turn.
";

pub(crate) struct Table {
    text: String,
    rounds: usize,
    /// Load of the machine before the measurement.
    load: String,
}

impl Table {
    pub(crate) fn new(clients: &[Client], rounds: usize) -> Self {
        let names: Vec<&str> = clients.iter().map(|client| client.name.as_str()).collect();
        let mut text = format!(
            "| messages per second (µs of CPU time per message) | {} |\n",
            names.join(" | ")
        );
        text.push_str("| --- |");
        text.push_str(&" ---: |".repeat(clients.len()));
        text.push('\n');
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let load = load.split(' ').next().unwrap_or_default().to_owned();
        Self { text, rounds, load }
    }

    /// Adds a row with the results of each client in each round.
    pub(crate) fn add(&mut self, case: &Case, samples: &[Vec<Sample>]) {
        let _ = write!(self.text, "| {case} |");
        for samples in samples {
            let rate = median(samples, |sample| {
                sample.messages as f64 / sample.wall.as_secs_f64()
            });
            let cpu = median(samples, |sample| {
                sample.cpu.as_secs_f64() * 1e6 / sample.messages as f64
            });
            let _ = match (rate, cpu) {
                (Some(rate), Some(cpu)) => write!(self.text, " {} ({cpu:.1}) |", thousands(rate)),
                _ => write!(self.text, " failed |"),
            };
        }
        self.text.push('\n');
    }

    pub(crate) fn finish(mut self) -> Result<String> {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let (_, model) = model.unwrap_or(("", "an unknown processor"));
        writeln!(
            self.text,
            "\nMedians of {} rounds, broker and client on a CPU each. {}, {} cores, load {} before, Linux {}; {}; {}.",
            self.rounds,
            model,
            available_parallelism()?,
            self.load,
            fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim(),
            broker::version()?,
            compiler()?,
        )?;
        self.text.push_str(REMARKS);
        Ok(self.text)
    }
}

fn compiler() -> Result<String> {
    let version = Command::new("rustc").arg("--version").output()?.stdout;
    Ok(String::from_utf8_lossy(&version).trim().to_owned())
}

fn median(samples: &[Sample], value: impl Fn(&Sample) -> f64) -> Option<f64> {
    let mut values: Vec<f64> = samples.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

/// Formats a number as in 12,345.
fn thousands(value: f64) -> String {
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place) % 3 == 0 {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
