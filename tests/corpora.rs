//! Runs the inputs of the fuzzing corpora through the functions of the fuzz targets, so that a fixed defect stays
//! fixed.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "the library of the fuzz targets is written as tests are"
)]

#[path = "../fuzz/src/lib.rs"]
mod targets;

use std::{fs, path::Path};

use arbitrary::{Arbitrary, Error, Result, Unstructured};
use targets::{client, decode, device, roundtrip, save_restore, session, stream, topic};

/// Runs a target with each input of its corpus. `run` returns `false` if the fuzzer rejects the input, because it cannot
/// make the arguments of the target from it. The corpus contains no such input.
fn replay(target: &str, run: impl Fn(&[u8]) -> bool) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut inputs = 0;
    let mut rejected = Vec::new();
    for file in fs::read_dir(&folder).unwrap() {
        let file = file.unwrap().path();
        println!("{}", file.display());
        inputs += 1;
        if !run(&fs::read(&file).unwrap()) {
            rejected.push(file);
        }
    }
    assert!(inputs > 0, "{} is empty", folder.display());
    assert!(
        rejected.is_empty(),
        "{} of {inputs} inputs are rejected: {rejected:?}",
        rejected.len()
    );
}

/// Returns the input that the fuzzer makes from these bytes, as `fuzz_target!` does.
fn input<'a, I: Arbitrary<'a>>(bytes: &'a [u8]) -> Result<I> {
    if bytes.len() < I::size_hint(0).0 {
        return Err(Error::NotEnoughData);
    }
    I::arbitrary_take_rest(Unstructured::new(bytes))
}

#[test]
fn decode() {
    replay("decode", |bytes| {
        decode::run(bytes);
        true
    });
}

#[test]
fn roundtrip() {
    replay("roundtrip", |bytes| {
        roundtrip::run(bytes);
        true
    });
}

#[test]
fn stream() {
    replay("stream", |bytes| {
        input(bytes).map(|input| stream::run(&input)).is_ok()
    });
}

#[test]
fn session() {
    replay("session", |bytes| {
        input(bytes)
            .map(|calls: Vec<session::Call<'_>>| session::run(&calls))
            .is_ok()
    });
}

#[test]
fn client() {
    replay("client", |bytes| {
        input(bytes).map(|input| client::run(&input)).is_ok()
    });
}

#[test]
fn device() {
    replay("device", |bytes| {
        input(bytes).map(|input| device::run(&input)).is_ok()
    });
}

#[test]
fn topic() {
    replay("topic", |bytes| {
        input(bytes).map(|input| topic::run(&input)).is_ok()
    });
}

#[test]
fn save_restore() {
    replay("save_restore", |bytes| {
        input(bytes).map(|input| save_restore::run(&input)).is_ok()
    });
}
