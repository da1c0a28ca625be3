//! Thousands of MQTT sessions on one thread: a load generator over the sans-IO API. `fleet --help` lists its options.

mod broker;
mod device;
mod figures;
mod fleet;
mod limits;
mod options;

use std::{
    fmt,
    process::{self, ExitCode},
    sync::atomic::{AtomicBool, Ordering},
};

use clap::Parser;

use crate::{
    device::{Device, Memory},
    fleet::Fleet,
    options::Options,
};

/// The user pressed Ctrl-C.
static STOP: AtomicBool = AtomicBool::new(false);

type Error = Box<dyn std::error::Error>;
type Result<T> = core::result::Result<T, Error>;

fn main() -> ExitCode {
    match run(&Options::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &Options) -> Result<()> {
    listen_for_ctrl_c()?;
    limits::allow_sockets(options)?;
    let address = broker::reach(options)?;
    let before = limits::resident_kib();
    let mut memories: Vec<Memory> = (0..options.sessions).map(|_| Memory::new()).collect();
    let run = fastrand::u32(..);
    let devices = memories
        .iter_mut()
        .enumerate()
        .map(|(number, memory)| Device::new(memory, run, number, options))
        .collect();
    let mut fleet = Fleet::new(devices, address, options)?;
    fleet.connect()?;
    let memory = Footprint {
        sessions: options.sessions,
        grown_kib: limits::resident_kib()
            .zip(before)
            .map(|(now, before)| now.saturating_sub(before)),
        // A broker in this process uses a part of it.
        shared: options.broker.is_none(),
    };
    fleet.publish()?;
    fleet.leave()?;
    println!("{}", fleet.figures());
    println!("{memory}");
    fleet.figures().verdict(options.qos).map_err(Error::from)
}

/// Handles Ctrl-C: the first one ends the run in order, the second one ends the program at once.
fn listen_for_ctrl_c() -> Result<()> {
    ctrlc::set_handler(|| {
        if STOP.swap(true, Ordering::SeqCst) {
            process::exit(130);
        }
    })?;
    Ok(())
}

fn is_stopped() -> bool {
    STOP.load(Ordering::SeqCst)
}

/// The memory of the sessions.
struct Footprint {
    sessions: usize,
    /// Growth of the process while they connected.
    grown_kib: Option<usize>,
    shared: bool,
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lent = size_of::<Memory>();
        let device = size_of::<Device<'_>>();
        write!(
            f,
            "memory    {} bytes a session: {lent} lent to it, {device} for itself and its socket",
            lent.saturating_add(device)
        )?;
        let Some(grown) = self.grown_kib else {
            return Ok(());
        };
        let bytes = grown.saturating_mul(1_024);
        let each = bytes.checked_div(self.sessions).unwrap_or(bytes);
        write!(
            f,
            "; the process grew by {grown} KiB, {each} bytes a session"
        )?;
        if self.shared {
            write!(f, ", the broker inside it included")?;
        }
        Ok(())
    }
}
