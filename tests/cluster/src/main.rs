//! Devices on a cluster of two brokers, one of which is killed. It counts lost, repeated and unknown messages.
//!
//! Started by `tests/cluster/run`.

mod device;
mod ledger;
mod servers;
mod wire;

use std::{cell::RefCell, env, fs, path::Path, process::ExitCode, rc::Rc, time::Duration};

use tokio::{
    runtime::Builder,
    sync::watch,
    task::LocalSet,
    time::{Instant, sleep},
};

use crate::{device::Phase, ledger::Ledger, servers::Servers};

pub(crate) type Result<T> = core::result::Result<T, Box<dyn std::error::Error>>;

/// The options of the command line.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Options {
    pub(crate) devices: usize,
    /// Messages of a device at each QoS.
    pub(crate) messages: u32,
    /// Pause between two messages of a device at one QoS.
    pub(crate) pace: Duration,
    /// The brokers share nothing, so each device publishes to itself.
    pub(crate) apart: bool,
    /// The table is written to its file.
    write: bool,
}

impl Options {
    fn parse() -> Result<Self> {
        let mut options = Self {
            devices: 200,
            messages: 30,
            pace: Duration::from_secs(1),
            apart: false,
            write: false,
        };
        let mut arguments = env::args().skip(1);
        while let Some(name) = arguments.next() {
            let mut value = || {
                arguments
                    .next()
                    .ok_or_else(|| format!("{name}: a number is missing"))
            };
            match &*name {
                "--devices" => options.devices = value()?.parse()?,
                "--messages" => options.messages = value()?.parse()?,
                "--pace" => options.pace = Duration::from_millis(value()?.parse()?),
                "--apart" => options.apart = true,
                "--write" => options.write = true,
                _ => {
                    return Err(
                        "usage: [--devices N] [--messages N] [--pace MILLISECONDS] [--apart] [--write]"
                            .into(),
                    );
                }
            }
        }
        Ok(options)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the scenario. Returns `true` if no device lost or repeated a message.
fn run() -> Result<bool> {
    let options = Options::parse()?;
    let mut servers = Servers::start(options.apart)?;
    let ledger = Rc::new(RefCell::new(Ledger::new()));
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let scenario = scenario(options, &mut servers, &ledger);
    LocalSet::new().block_on(&runtime, scenario)?;
    let ledger = ledger.borrow();
    print!("{ledger}");
    let file = if options.apart {
        "apart.md"
    } else {
        "result.md"
    };
    if options.write {
        fs::write(
            Path::new(env!("CARGO_MANIFEST_DIR")).join(file),
            report(options, &ledger),
        )?;
    }
    Ok(ledger.is_kept(options.apart))
}

/// Maximum time until all devices have subscribed. Also the maximum time from the last message to the last answer.
const PATIENCE: Duration = Duration::from_secs(120);
const NAP: Duration = Duration::from_millis(100);

async fn scenario(
    options: Options,
    servers: &mut Servers,
    ledger: &Rc<RefCell<Ledger>>,
) -> Result<()> {
    let (phase, phases) = watch::channel(Phase::Subscribe);
    let mut publishers = Vec::new();
    for number in 0..options.devices {
        publishers.extend(device::start(
            number,
            options,
            servers.address,
            ledger,
            &phases,
        )?);
    }
    let start = Instant::now();
    while ledger.borrow().subscriptions() < options.devices {
        if start.elapsed() > PATIENCE {
            return Err("not every device has subscribed".into());
        }
        sleep(NAP).await;
    }
    phase.send(Phase::Publish)?;
    let start = Instant::now();
    // The broker is killed after half of the messages.
    let working = options.pace.saturating_mul(options.messages);
    sleep(working.mul_f32(0.5)).await;
    println!(
        "{} connections; a broker is killed",
        ledger.borrow().connections()
    );
    servers.kill_one();
    while !publishers.iter().all(|task| task.is_finished())
        && start.elapsed() < working.saturating_add(PATIENCE)
    {
        sleep(NAP).await;
    }
    let quiet = async || {
        while !ledger.borrow().is_quiet() {
            sleep(NAP).await;
        }
    };
    quiet().await;
    let missing = ledger.borrow().missing();
    phase.send(Phase::ConnectAgain)?;
    sleep(Duration::from_secs(15)).await;
    quiet().await;
    ledger.borrow_mut().connected_again(missing);
    println!("{:.0} s", start.elapsed().as_secs_f32());
    Ok(())
}

fn report(options: Options, ledger: &Ledger) -> String {
    let (brokers, receiver) = if options.apart {
        ("share nothing", "itself")
    } else {
        ("share their sessions through Redis", "its neighbour")
    };
    format!(
        "# A cluster of brokers that {brokers}

Written by `tests/cluster/run --write`. {} devices are connected through haproxy to two aedes brokers. Each publishes {} messages at
QoS 1 and as many at QoS 2 to {receiver}, one of each in {} ms. In the middle, one broker is killed and not started again. At
the end, each device connects once more. The transport of each device records the messages that a broker
sends. This shows whether a broker or a device lost a message.

{ledger}",
        options.devices,
        options.messages,
        options.pace.as_millis(),
    )
}
