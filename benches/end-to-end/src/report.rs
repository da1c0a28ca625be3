//! The table.

use std::{fmt::Write as _, fs, process::Command, thread::available_parallelism};

use anyhow::Result;

use crate::{broker, case::Case, client::Client, worker::Sample};

/// What the figures do not tell by themselves.
const REMARKS: &str = "
- At QoS 0, a window of 16 is 16 messages queued before they are written: ours leave in one write.
- Receiving at QoS 1 and 2, acknowledgements of messages that came together leave together: with us those of messages
  that the caller has had, eight at most; with rumqttc those of all that one read brought.
- With a window of 1, most of the time goes to the operating system waking one process and then the other.
";

pub(crate) struct Table {
    text: String,
    rounds: usize,
    /// How busy the machine was with other things.
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

    /// A row: what each client made of this case in each round.
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

/// 12,345
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
