//! How much is run, and with which chances.

use std::env;

/// How much of a run is made.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scale {
    /// What `cargo test` has patience for.
    Sample,
    /// What is run for every change.
    Ci,
    /// All of it.
    All,
}

impl Scale {
    /// What the environment asks for with `FAULTS`: `ci`, `all`, or nothing.
    pub fn wanted() -> Self {
        match env::var("FAULTS").as_deref() {
            Ok("all") => Self::All,
            Ok("ci") => Self::Ci,
            _ => Self::Sample,
        }
    }

    /// One of three, by the scale that is wanted.
    pub fn pick<T>(sample: T, ci: T, all: T) -> T {
        match Self::wanted() {
            Self::Sample => sample,
            Self::Ci => ci,
            Self::All => all,
        }
    }
}

/// The seed of a run: that of `FAULTS_SEED`, or any. It is printed.
pub fn seed(run: &str) -> u64 {
    let given = env::var("FAULTS_SEED").map(|seed| seed.parse().expect("a number in FAULTS_SEED"));
    let seed = given.unwrap_or_else(|_| fastrand::u64(..));
    println!("{run}: FAULTS_SEED={seed}");
    seed
}
