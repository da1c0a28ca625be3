//! The clients that are compared. Each is a program that works on a [`Case`].

use std::{
    env,
    ffi::OsString,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::{
    broker::{CLIENT_CPU, on_cpu},
    case::Case,
    worker::{self, Sample},
};

/// Time in seconds after which a worker is killed. It normally ends before.
const PATIENCE: &str = "30";

pub(crate) struct Client {
    /// Name with version.
    pub(crate) name: String,
    program: OsString,
    arguments: &'static [&'static str],
}

/// A worker in this program.
struct Worker {
    name: &'static str,
    arguments: &'static [&'static str],
    run: fn(&Case) -> Result<Sample>,
}

const WORKERS: [Worker; 6] = [
    Worker {
        name: "umqtt blocking",
        arguments: &["worker", "blocking"],
        run: worker::blocking::run,
    },
    Worker {
        name: "umqtt async",
        arguments: &["worker", "async"],
        run: worker::asynch::run,
    },
    Worker {
        name: "umqtt blocking device",
        arguments: &["worker", "blocking-device"],
        run: worker::blocking_device::run,
    },
    Worker {
        name: "umqtt async device",
        arguments: &["worker", "async-device"],
        run: worker::async_device::run,
    },
    Worker {
        name: "floor",
        arguments: &["worker", "floor"],
        run: worker::floor::run,
    },
    Worker {
        name: "rumqttc",
        arguments: &["worker", "rumqttc"],
        run: worker::rumqttc::run,
    },
];

/// Runs a case in the process of a worker, and prints the result.
pub(crate) fn work(name: &str, arguments: &[String]) -> Result<()> {
    let worker = WORKERS
        .iter()
        .find(|worker| worker.arguments.last() == Some(&name))
        .context("no worker has this name")?;
    let Sample {
        messages,
        wall,
        cpu,
    } = (worker.run)(&Case::parse(arguments)?)?;
    println!("{messages} {} {}", wall.as_nanos(), cpu.as_nanos());
    Ok(())
}

/// Returns all clients that are installed.
pub(crate) fn all(folder: &Path) -> Result<Vec<Client>> {
    let program = env::current_exe()?.into_os_string();
    let mut clients: Vec<_> = WORKERS
        .iter()
        .map(|worker| Client {
            // umqtt has no version here: it is the one in this repository.
            name: match locked(worker.name) {
                Some(version) => format!("{} {version}", worker.name),
                None => worker.name.to_owned(),
            },
            program: program.clone(),
            arguments: worker.arguments,
        })
        .collect();
    match paho(folder) {
        Ok(client) => clients.push(client),
        Err(why) => eprintln!(
            "without Paho's C client (Debian: apt-get install gcc libpaho-mqtt-dev): {why}"
        ),
    }
    Ok(clients)
}

impl Client {
    pub(crate) fn run(&self, case: &Case) -> Result<Sample> {
        let output = on_cpu(CLIENT_CPU)
            .args(["timeout", PATIENCE])
            .arg(&self.program)
            .args(self.arguments)
            .args(case.arguments())
            .stderr(Stdio::inherit())
            .output()?;
        ensure!(
            output.status.success(),
            "{case}: {} {}",
            self.name,
            output.status
        );
        let text = String::from_utf8(output.stdout)?;
        let mut numbers = text.split_whitespace().map(str::parse);
        let mut next = || numbers.next().context("three numbers")?.context("a number");
        Ok(Sample {
            messages: usize::try_from(next()?)?,
            wall: Duration::from_nanos(next()?),
            cpu: Duration::from_nanos(next()?),
        })
    }
}

/// Builds the worker that uses Paho's C client.
fn paho(folder: &Path) -> Result<Client> {
    let program = folder.join("paho");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/paho.c");
    let mut compiler = Command::new("cc");
    compiler
        .args(["-O3", "-Wall", source, "-lpaho-mqtt3a", "-o"])
        .arg(&program);
    ensure!(compiler.status()?.success(), "it does not compile");
    let version = Command::new(&program).arg("--version").output()?.stdout;
    Ok(Client {
        name: format!("Paho C {}", String::from_utf8_lossy(&version).trim()),
        program: program.into_os_string(),
        arguments: &[],
    })
}

/// Returns the version of a dependency.
fn locked(name: &str) -> Option<&'static str> {
    let (_, entry) =
        include_str!("../Cargo.lock").split_once(&format!("name = \"{name}\"\nversion = \""))?;
    entry.split('"').next()
}
