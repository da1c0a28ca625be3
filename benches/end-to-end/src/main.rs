//! Compares MQTT clients with one mosquitto on this machine: messages per second, and CPU time per message.
//!
//! `cargo run --release` in this folder prints the table. `--quick` sends fewer messages in one round. `--write` writes
//! the table to `results.md`.
//!
//! Messages to be received are stored in the broker before the client connects, so that no client waits for a
//! publisher. The order of the clients changes with each round, and the table has medians. Each ratio compares two
//! clients in the same round. Broker and client run on one CPU each.

mod broker;
mod case;
mod client;
mod report;
mod worker;

use std::{env, fs, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;
use umqtt::{
    Session, Storage,
    codec::{Connect, QoS},
};

use self::{
    broker::Broker,
    case::{Case, Direction},
    client::Client,
    report::Table,
    worker::{Sample, TOPIC, blocking},
};

const ROUNDS: usize = 5;
const WINDOWS: [usize; 2] = [1, worker::SLOTS];
const SIZES: [usize; 2] = [64, 16 * 1024];
const LIMIT: Duration = Duration::from_secs(1);

fn main() -> Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let [worker, name, case @ ..] = arguments.as_slice()
        && worker == "worker"
    {
        return client::work(name, case);
    }
    let (mut quick, mut write) = (false, false);
    for argument in &arguments {
        match argument.as_str() {
            "--quick" => quick = true,
            "--write" => write = true,
            _ => bail!("usage: [--quick] [--write]"),
        }
    }
    let table = measure(quick)?;
    println!("{table}");
    if write {
        fs::write(concat!(env!("CARGO_MANIFEST_DIR"), "/results.md"), &table)?;
    }
    Ok(())
}

fn measure(quick: bool) -> Result<String> {
    let folder = TempDir::new()?;
    let clients = client::all(folder.path())?;
    let brokers = WINDOWS.map(Broker::start);
    let cases = cases(quick);
    let rounds = if quick { 1 } else { ROUNDS };
    let mut table = Table::new(&clients, rounds);
    for (number, case) in cases.iter().enumerate() {
        eprintln!("{:2} of {}: {case}", number + 1, cases.len());
        let broker = brokers
            .iter()
            .zip(WINDOWS)
            .find(|(_, window)| *window == case.window);
        let (broker, _) = broker.context("no broker has this window")?;
        let Ok(broker) = broker else {
            bail!("mosquitto does not start")
        };
        let case = Case {
            port: broker.port,
            ..case.clone()
        };
        let mut samples: Vec<Vec<Option<Sample>>> = vec![Vec::new(); clients.len()];
        for round in 0..rounds {
            play(&case, &clients, round, &mut samples)?;
        }
        table.add(&case, samples);
    }
    table.finish()
}

/// Runs one round of every client. Each round begins with another client.
fn play(
    case: &Case,
    clients: &[Client],
    round: usize,
    samples: &mut [Vec<Option<Sample>>],
) -> Result<()> {
    let named = |number: usize| Case {
        client_id: format!("client-{number}"),
        ..case.clone()
    };
    if case.direction == Direction::Receive {
        for number in 0..clients.len() {
            subscribe(&named(number))?;
        }
        let filler = Case {
            direction: Direction::Publish,
            client_id: "filler".to_owned(),
            limit: 10 * LIMIT,
            ..case.clone()
        };
        blocking::run(&filler)?;
    }
    for turn in 0..clients.len() {
        let number = (turn + round) % clients.len();
        let (Some(client), Some(samples)) = (clients.get(number), samples.get_mut(number)) else {
            continue;
        };
        match client.run(&named(number)) {
            Ok(sample) => samples.push(Some(sample)),
            Err(why) => {
                eprintln!("{why}");
                samples.push(None);
            }
        }
    }
    if case.direction == Direction::Receive {
        for number in 0..clients.len() {
            forget(&named(number))?;
        }
    }
    Ok(())
}

/// Creates a session for this client, for which the broker stores messages.
fn subscribe(case: &Case) -> Result<()> {
    let mut storage = Storage::<128, 256, 4>::new();
    let mut session = Session::new(&mut storage);
    let mut client = blocking::connect(case.port, &mut session, &worker::options(case))?;
    let codes = client.subscribe_and_wait(&[(TOPIC, case.qos)], |_, _| {})?;
    ensure!(codes.all_granted(), "the broker refused the subscription");
    client.disconnect()?;
    Ok(())
}

/// Removes the session of this client from the broker.
fn forget(case: &Case) -> Result<()> {
    let mut storage = Storage::<128, 256, 4>::new();
    let mut session = Session::new(&mut storage);
    blocking::connect(case.port, &mut session, &Connect::new(&case.client_id))?.disconnect()?;
    Ok(())
}

fn cases(quick: bool) -> Vec<Case> {
    let mut cases = Vec::new();
    for direction in [Direction::Publish, Direction::Receive] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for size in SIZES {
                for window in WINDOWS {
                    // Messages that the broker sends at QoS 0 have no window.
                    if direction == Direction::Receive && qos == QoS::AtMostOnce && window == 1 {
                        continue;
                    }
                    cases.push(Case {
                        direction,
                        port: 0,
                        client_id: String::new(),
                        qos,
                        size,
                        window,
                        count: count(qos, size, window) / if quick { 10 } else { 1 },
                        limit: LIMIT,
                    });
                }
            }
        }
    }
    cases
}

/// Returns the number of messages for a run of some tenths of a second.
const fn count(qos: QoS, size: usize, window: usize) -> usize {
    match (qos, size, window) {
        (QoS::AtMostOnce, 64, _) => 50_000,
        (QoS::AtMostOnce, _, _) => 5_000,
        (_, 64, 16) => 10_000,
        _ => 1_000,
    }
}
