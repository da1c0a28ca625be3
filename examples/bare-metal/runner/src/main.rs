//! Runs the images of `firmware` in an emulator, each with a mosquitto of its own at the other end of the serial line.
//!
//! `light` is connected to it directly. `check` is connected through a [relay](relay::Relay), so that the broker can be
//! restarted. Meanwhile, a client in this process sends messages to it and checks its answers.

mod emulator;
mod exchange;
mod mosquitto;
mod relay;

use std::{env, error::Error, path::Path, process::ExitCode, time::Instant};

use crate::{emulator::Emulator, mosquitto::Mosquitto};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    let directories: Vec<_> = env::args_os().skip(1).collect();
    if directories.is_empty() {
        eprintln!(
            "usage: bare-metal-runner DIRECTORY...: each must contain the images `light` and `check`"
        );
        return ExitCode::FAILURE;
    }
    for directory in directories {
        let directory = Path::new(&directory);
        for (name, program) in [
            ("light", light as fn(&Path) -> Result<()>),
            ("check", check),
        ] {
            let image = directory.join(name);
            println!("\n{}", image.display());
            let start = Instant::now();
            if let Err(error) = program(&image) {
                eprintln!("failed: {error}");
                return ExitCode::FAILURE;
            }
            println!("run time: {:.1} s", start.elapsed().as_secs_f32());
        }
    }
    ExitCode::SUCCESS
}

/// Runs `light`, connected to a broker directly. It succeeds if it receives its own messages.
fn light(image: &Path) -> Result<()> {
    let broker = Mosquitto::start()?;
    Emulator::start(image, broker.address)?.succeeds()
}

/// Runs `check`, connected to a broker through a relay.
fn check(image: &Path) -> Result<()> {
    let mut broker = Mosquitto::start()?;
    let relay = relay::Relay::start(broker.address)?;
    let emulator = Emulator::start(image, relay.address)?;
    exchange::run(&mut broker, &relay, emulator)
}
