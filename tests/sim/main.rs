//! Random histories of a client, a broker and the connection between them, under a virtual clock.
//!
//! A seed determines a history. The broker is a small model of the specification. Connections break at any byte,
//! devices are killed and restored, the broker restarts and loses sessions. The guarantees are checked at each step
//! (`ledger.rs`), and in the end all deliveries must be complete.
//!
//! - `SIM_COUNT=n` and `SIM_FIRST=n` choose the number of histories and the first seed.
//! - `SIM_SEED=n cargo test --test sim replayed -- --nocapture` replays one and prints its steps.
//!
//! Seeds that failed are added to `seeds.txt`, and run first.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod broker;
mod history;
mod ledger;
mod long_day;
mod network;

use std::{
    fs::OpenOptions,
    io::Write,
    panic::{AssertUnwindSafe, catch_unwind},
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

/// Seeds that failed once.
const SEEDS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/sim/seeds.txt");

/// Default number of histories.
const COUNT: u64 = 10_000;

#[test]
fn recorded_failed_histories_pass() {
    let seeds = include_str!("seeds.txt");
    for seed in seeds.lines().filter_map(|line| line.parse().ok()) {
        println!("seed {seed}");
        history::run(seed, false);
    }
}

#[test]
fn replayed_history_keeps_all_rules() {
    if let Some(seed) = setting("SIM_SEED") {
        history::run(seed, true);
    }
}

#[test]
fn random_histories_keep_all_rules() {
    let first = setting("SIM_FIRST").unwrap_or(0);
    let next = AtomicU64::new(first);
    let end = first + setting("SIM_COUNT").unwrap_or(COUNT);
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= end {
                return None;
            }
            if catch_unwind(AssertUnwindSafe(|| history::run(seed, false))).is_err() {
                next.store(end, Ordering::Relaxed);
                return Some(seed);
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let failed: Vec<u64> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let results = workers.into_iter().map(|worker| worker.join().unwrap());
        results.flatten().collect()
    });
    for seed in &failed {
        keep(*seed);
    }
    assert!(
        failed.is_empty(),
        "replay with SIM_SEED={} cargo test --test sim replayed -- --nocapture",
        failed[0]
    );
}

fn setting<T: FromStr>(name: &str) -> Option<T> {
    std::env::var(name).ok()?.parse().ok()
}

fn keep(seed: u64) {
    let file = OpenOptions::new().append(true).open(SEEDS);
    if let Ok(mut file) = file
        && let Err(error) = writeln!(file, "{seed}")
    {
        println!("seed {seed} is not kept: {error}");
    }
}
