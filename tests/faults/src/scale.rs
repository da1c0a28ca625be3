//! The scale of the runs, and their random numbers.

use std::env;

/// The scale of a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scale {
    /// A short run, for `cargo test`.
    Sample,
    /// A longer run, for every change.
    Ci,
    /// The whole run.
    All,
}

impl Scale {
    /// Returns the scale in the environment variable `FAULTS`: `ci`, `all`, or nothing.
    pub fn wanted() -> Self {
        match env::var("FAULTS").as_deref() {
            Ok("all") => Self::All,
            Ok("ci") => Self::Ci,
            _ => Self::Sample,
        }
    }

    /// Returns the value for the selected scale.
    pub fn pick<T>(sample: T, ci: T, all: T) -> T {
        match Self::wanted() {
            Self::Sample => sample,
            Self::Ci => ci,
            Self::All => all,
        }
    }
}

/// Returns the seed of a run, from `FAULTS_SEED` or random, and prints it.
pub fn seed(run: &str) -> u64 {
    let given = env::var("FAULTS_SEED").map(|seed| seed.parse().expect("a number in FAULTS_SEED"));
    let seed = given.unwrap_or_else(|_| fastrand::u64(..));
    println!("{run}: FAULTS_SEED={seed}");
    seed
}
