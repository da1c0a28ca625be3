//! The table of results.

use std::{fmt::Write as _, fs, process::Command, thread::available_parallelism};

use anyhow::Result;

use crate::{broker, case::Case, client::Client, worker::Sample};

/// Remarks that explain the figures.
const REMARKS: &str = "
- floor: a loop on a socket that writes bytes encoded before, and counts the bytes that come back. It checks nothing. The rest
  of the CPU time of umqtt is its own work. It numbers each payload, encodes the message and copies it to the send buffer. It
  checks each received packet, reads every byte of a payload, and keeps the state of the session. The async rows also contain
  the work of tokio.
- At QoS 0, a window of 16 means that 16 messages are queued before they are written. umqtt and the floor send them in one
  write. The blocking device differs: each `publish` writes at once. The rest of its row with window 16 is these system calls.
  In the row with window 1, the floor writes each message too.
- Receiving at QoS 1 and 2, several acknowledgements are sent in one write. umqtt acknowledges together the messages that the
  caller has taken, at most eight. rumqttc acknowledges together all messages of one read.
- With a window of 1, most of the time is spent in the operating system, which wakes the two processes in turn.
";

/// Clients that others are compared with.
const RUMQTTC: &str = "rumqttc";
const FLOOR: &str = "floor";

pub(crate) struct Table {
    names: Vec<String>,
    rows: Vec<(Case, Vec<Vec<Option<Sample>>>)>,
    rounds: usize,
    /// Load of the machine before the measurement.
    load: String,
}

impl Table {
    pub(crate) fn new(clients: &[Client], rounds: usize) -> Self {
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            names: clients.iter().map(|client| client.name.clone()).collect(),
            rows: Vec::new(),
            rounds,
            load: load.split(' ').next().unwrap_or_default().to_owned(),
        }
    }

    /// Adds a row with the results of each client in each round.
    pub(crate) fn add(&mut self, case: &Case, samples: Vec<Vec<Option<Sample>>>) {
        self.rows.push((case.clone(), samples));
    }

    /// Returns medians of messages per second and CPU time.
    fn medians(&self) -> String {
        let mut text = head(
            "messages per second (µs of CPU time per message)",
            &self.names,
        );
        for (case, samples) in &self.rows {
            let _ = write!(text, "| {case} |");
            for samples in samples {
                let values = |of: fn(&Sample) -> f64| samples.iter().flatten().map(of).collect();
                let _ = match (median(values(rate)), median(values(cpu))) {
                    (Some(rate), Some(cpu)) => write!(text, " {} ({cpu:.1}) |", thousands(rate)),
                    _ => write!(text, " failed |"),
                };
            }
            text.push('\n');
        }
        text
    }

    /// Returns ratios of the clients of umqtt to another client: the median of all rounds, the lowest and the highest.
    fn ratios(&self, title: &str, base: &str, of: fn(&Sample) -> f64) -> String {
        let base = self.names.iter().position(|name| name.starts_with(base));
        let ours = |name: &&String| name.starts_with("umqtt");
        let names: Vec<String> = self.names.iter().filter(ours).cloned().collect();
        let mut text = head(title, &names);
        for (case, samples) in &self.rows {
            let _ = write!(text, "| {case} |");
            let base = base.and_then(|base| samples.get(base));
            for (name, samples) in self.names.iter().zip(samples) {
                if !ours(&name) {
                    continue;
                }
                let pairs = samples.iter().zip(base.into_iter().flatten());
                let ratios =
                    pairs.filter_map(|(ours, base)| Some(of(ours.as_ref()?) / of(base.as_ref()?)));
                let mut ratios: Vec<f64> = ratios.collect();
                ratios.sort_by(f64::total_cmp);
                let _ = match (ratios.first(), median(ratios.clone()), ratios.last()) {
                    (Some(lowest), Some(median), Some(highest)) => {
                        write!(text, " {median:.2} ({lowest:.2} to {highest:.2}) |")
                    }
                    _ => write!(text, " failed |"),
                };
            }
            text.push('\n');
        }
        text
    }

    pub(crate) fn finish(self) -> Result<String> {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = info
            .lines()
            .find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let (_, model) = model.unwrap_or(("", "an unknown processor"));
        let mut text = self.medians();
        writeln!(
            text,
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
        text.push_str(REMARKS);
        let title = "median of the ratios in each round (lowest to highest)";
        text.push_str("\n## CPU time, as a multiple of rumqttc (lower is better)\n\n");
        text.push_str(&self.ratios(title, RUMQTTC, cpu));
        text.push_str("\n## Messages per second, as a multiple of rumqttc (higher is better)\n\n");
        text.push_str(&self.ratios(title, RUMQTTC, rate));
        text.push_str("\n## CPU time, as a multiple of the floor (lower is better)\n\n");
        text.push_str(&self.ratios(title, FLOOR, cpu));
        Ok(text)
    }
}

fn head(title: &str, columns: &[String]) -> String {
    format!(
        "| {title} | {} |\n| --- |{}\n",
        columns.join(" | "),
        " ---: |".repeat(columns.len())
    )
}

/// Messages per second.
fn rate(sample: &Sample) -> f64 {
    sample.messages as f64 / sample.wall.as_secs_f64()
}

/// CPU time per message in µs.
fn cpu(sample: &Sample) -> f64 {
    sample.cpu.as_secs_f64() * 1e6 / sample.messages as f64
}

fn compiler() -> Result<String> {
    let version = Command::new("rustc").arg("--version").output()?.stdout;
    Ok(String::from_utf8_lossy(&version).trim().to_owned())
}

fn median(mut values: Vec<f64>) -> Option<f64> {
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
