//! Runs the images of the embassy example in QEMU, with mosquitto at the other end of the network.
//!
//! `light` and `light-tls` are measured. `check` runs twice: once to count its instructions per message, and once
//! through a killed broker, a silent link and a reset. In that run, a client in this program sends messages and checks
//! the answers. Everything runs in a separate network namespace.

mod broker;
mod check;
mod chip;
mod host;
mod instructions;
mod isolation;
mod light;
mod packets;
mod table;
mod tls;

use std::{
    env,
    error::Error,
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// Maximum time of each step. On a machine with twenty processes for each processor, sending 1 MiB took half a minute.
const PATIENCE: Duration = Duration::from_secs(180);

fn main() -> ExitCode {
    match run() {
        Ok(code) => code,
        Err(error) => {
            eprintln!("failed: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<ExitCode> {
    let mut arguments: Vec<_> = env::args_os().skip(1).collect();
    let write = arguments.first().is_some_and(|first| first == "--write");
    if write {
        arguments.remove(0);
    }
    let [directory] = arguments.as_slice() else {
        eprintln!(
            "usage: embassy-runner [--write] DIRECTORY, which has the images `light`, `check` and `light-tls`"
        );
        return Ok(ExitCode::FAILURE);
    };
    if let Some(code) = isolation::enter()? {
        return Ok(code);
    }
    let directory = PathBuf::from(directory);
    let scratch = tempfile::tempdir()?;
    isolation::start_name_server(scratch.path())?;
    let start = Instant::now();
    let mut table = table::Table::default();
    light::run(&directory.join("light"), &mut table)?;
    tls::run(&directory.join("light-tls"), &mut table)?;
    instructions::run(&directory.join("check"), &mut table)?;
    check::run(&directory.join("check"), &mut table)?;
    println!("run time: {:.1} s", start.elapsed().as_secs_f32());
    table.keep_or_compare(write)?;
    Ok(ExitCode::SUCCESS)
}

/// Waits until `attempt` returns a value.
fn wait_for<T>(what: &str, mut attempt: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let start = Instant::now();
    loop {
        if let Some(found) = attempt()? {
            return Ok(found);
        }
        if start.elapsed() > PATIENCE {
            return Err(format!("{what}: not found in time").into());
        }
        thread::sleep(Duration::from_millis(1));
    }
}
