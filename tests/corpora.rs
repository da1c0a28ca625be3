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

use arbitrary::{Arbitrary, Result, Unstructured};
use targets::{client, decode, device, roundtrip, save_restore, session, stream, topic};

/// Runs a target with each input of its corpus.
fn replay(target: &str, run: impl Fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut inputs = 0;
    for file in fs::read_dir(&folder).unwrap() {
        let file = file.unwrap().path();
        println!("{}", file.display());
        run(&fs::read(&file).unwrap());
        inputs += 1;
    }
    assert!(inputs > 0, "{} is empty", folder.display());
}

/// Returns the input that the fuzzer makes from these bytes.
fn input<'a, I: Arbitrary<'a>>(bytes: &'a [u8]) -> Result<I> {
    I::arbitrary_take_rest(Unstructured::new(bytes))
}

#[test]
fn decode() {
    replay("decode", decode::run);
}

#[test]
fn roundtrip() {
    replay("roundtrip", roundtrip::run);
}

#[test]
fn stream() {
    replay("stream", |bytes| {
        let _ = input(bytes).map(|input| stream::run(&input));
    });
}

#[test]
fn session() {
    replay("session", |bytes| {
        let _ = input(bytes).map(|calls: Vec<session::Call<'_>>| session::run(&calls));
    });
}

#[test]
fn client() {
    replay("client", |bytes| {
        let _ = input(bytes).map(|input| client::run(&input));
    });
}

#[test]
fn device() {
    replay("device", |bytes| {
        let _ = input(bytes).map(|input| device::run(&input));
    });
}

#[test]
fn topic() {
    replay("topic", |bytes| {
        let _ = input(bytes).map(|input| topic::run(&input));
    });
}

#[test]
fn save_restore() {
    replay("save_restore", |bytes| {
        let _ = input(bytes).map(|input| save_restore::run(&input));
    });
}
