//! Compares the codec with other implementations of MQTT. `.ci/oracles` runs it.
//!
//! ```text
//! oracles write SEED COUNT     valid packets of all fourteen types, one a line, as bytes and as fields
//! oracles compare ORACLE FILE  compares the results of an oracle, one a line, with those of umqtt
//! ```
//!
//! A line is `{"bytes": .., "sent": .., "theirs": ..}`. Strings and payloads are in hex, too.
//!
//! - `bytes`: the encoded packet in hex.
//! - `sent`: its fields, or null if it was damaged on purpose.
//! - `theirs`: the fields that the oracle decoded, or its error as a string.
//!
//! Every disagreement must be listed in `disagreements.tsv`, with the deciding rule of the specification.

#[path = "../../checker/mod.rs"]
mod checker;
mod compare;
mod fields;
mod random;

use std::{
    env, fs,
    io::{self, Write},
    process::ExitCode,
};

use serde_json::json;

fn main() -> ExitCode {
    let args: Vec<String> = env::args().skip(1).collect();
    match &args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", seed, count] => {
            write(
                seed.parse().expect("a seed"),
                count.parse().expect("a count"),
            );
            ExitCode::SUCCESS
        }
        ["compare", oracle, file] => {
            let lines = fs::read_to_string(file).expect("a file of lines");
            compare::run(oracle, &lines)
        }
        _ => {
            eprintln!("usage: oracles write SEED COUNT | oracles compare ORACLE FILE");
            ExitCode::from(2)
        }
    }
}

fn write(seed: u64, count: usize) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut out = io::stdout().lock();
    for n in 0..count {
        random::packet(&mut rng, n % 14, |packet| {
            let mut bytes = vec![0; packet.encoded_len().expect("a valid packet")];
            packet.encode(&mut bytes).expect("a valid packet");
            let line = json!({ "bytes": fields::hex(&bytes), "sent": fields::of(packet) });
            writeln!(out, "{line}").expect("somebody reads");
        });
    }
}
