//! Explores every interleaving of events in small models of a session, a broker, and a connection that breaks.
//!
//! It visits every state. `explore NAME` visits the worlds with this name. The run fails if it finds a violation, or does
//! not find a planted defect.

extern crate explored as umqtt;

mod broker;
mod client;
#[path = "../../common/driver.rs"]
mod driver;
mod finding;
mod fingerprint;
mod planted;
mod search;
mod setup;
mod wire;
mod world;
mod worlds;

use std::{
    process::ExitCode,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use client::Defect;
use search::{Report, explore};
use setup::Setup;
use world::{ACTIONS, Action};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let begin = Instant::now();
    let is_wanted = |setup: &&Setup| {
        let mut names = arguments.iter();
        arguments.is_empty() || names.any(|name| setup.name.contains(name.as_str()))
    };
    let worlds: Vec<_> = worlds::WORLDS.iter().filter(is_wanted).collect();

    let queue = Mutex::new(worlds.iter());
    let results = Mutex::new(vec![]);
    let work = || {
        loop {
            let next = queue.lock().expect("no worker panics").next();
            let Some(setup) = next else { return };
            let begin = Instant::now();
            let report = explore(setup, None);
            print(setup, &report, begin.elapsed());
            results.lock().expect("no worker panics").push(report);
        }
    };
    thread::scope(|scope| {
        let workers = thread::available_parallelism().map_or(1, usize::from);
        for _ in 0..workers {
            scope.spawn(work);
        }
    });
    let results = results.into_inner().expect("no worker panics");
    let mut is_sound = judge(&results, arguments.is_empty());
    for defect in Defect::ALL {
        match planted::find(defect) {
            Ok(states) => println!("planted: {defect:?}: found within {states} states"),
            Err(why) => {
                println!("NOT FOUND: {defect:?}: {why}");
                is_sound = false;
            }
        }
    }
    println!("{:.0} s", begin.elapsed().as_secs_f32());
    if is_sound {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print(setup: &Setup, report: &Report, took: Duration) {
    let mut text = format!(
        "{}: {} states, {} steps, depth {}, {:.1} s",
        setup.name,
        report.states,
        report.steps,
        report.depth,
        took.as_secs_f32()
    );
    if report.nobody_can_know > 0 {
        text += &format!(
            "; {} paths end where the server forgot and its CONNACK was lost",
            report.nobody_can_know
        );
    }
    for (finding, count, path) in &report.findings {
        text += &format!(
            "\n    {count} x {:?}: {}: {path:?}",
            finding.kind, finding.text
        );
    }
    println!("{text}");
}

/// Returns `true` if there is no finding. If the run is `complete`, each action must also have occurred.
fn judge(results: &[Report], complete: bool) -> bool {
    let mut is_sound = true;
    for (finding, ..) in results.iter().flat_map(|report| &report.findings) {
        println!("FOUND: {:?}", finding.kind);
        is_sound = false;
    }
    if results.iter().any(|report| report.left_over > 0) {
        println!("TOO MANY STATES");
        is_sound = false;
    }
    let total = |count: fn(&Report) -> usize| results.iter().map(count).sum::<usize>();
    println!(
        "{} worlds, {} states, {} steps, depth {} at most",
        results.len(),
        total(|report| report.states),
        total(|report| report.steps),
        results.iter().map(|report| report.depth).max().unwrap_or(0),
    );
    if !complete {
        return is_sound;
    }
    let actions = results.iter().fold(0, |all, report| all | report.actions);
    let missing = |action: &Action| actions & 1 << *action as u8 == 0;
    for action in ACTIONS.into_iter().filter(missing) {
        println!("NEVER TOOK PLACE: {action:?}");
        is_sound = false;
    }
    is_sound
}
