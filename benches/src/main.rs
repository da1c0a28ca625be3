//! Compares codec and session with other crates, in instructions and nanoseconds, and prints the missed targets.
//!
//! `cargo run --release` prints the table. `--write` also writes it to the README of this package, a short form to the
//! README of the library, and the plots. `--instructions` omits nanoseconds.

mod checks;
mod codec;
mod floor;
mod growth;
mod line;
mod measure;
mod minimq;
mod mqttrust;
mod packets;
mod peer;
mod plot;
mod report;
mod run;
mod rust_mqtt;
mod session;

use std::error::Error;
use std::fs;
use std::path::Path;
use std::process::ExitCode;

use measure::{Jobs, Work};

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let has = |name: &str| arguments.iter().any(|argument| argument == name);
    if has("--once") {
        run::once(&mut jobs());
        return Ok(ExitCode::SUCCESS);
    }
    if has("--once-codec") {
        let mut jobs = jobs();
        jobs.retain(|job| run::is_codec(job.name()) || job.name() == run::NOTHING);
        run::once(&mut jobs);
        return Ok(ExitCode::SUCCESS);
    }
    if has("--often") {
        let out = arguments.last().ok_or("--often DIRECTORY")?;
        run::often(&mut jobs(), Path::new(out));
        return Ok(ExitCode::SUCCESS);
    }
    floor::verify();
    let (names, instructions) = run::instructions(&std::env::current_exe()?, "--once");
    let (codec_names, plain) = run::instructions(&run::plain(), "--once-codec");
    let nanoseconds = match has("--instructions") {
        true => run::Found::default(),
        false => run::nanoseconds(&names),
    };
    let table = report::table(&names, &instructions, &nanoseconds);
    let plain_table = report::plain_table(&codec_names, &plain);
    let (verdicts, all) = report::verdicts(&instructions, &plain);
    let text = report::text(&table, &plain_table, &verdicts, !nanoseconds.is_empty());
    println!("{text}");
    if has("--write") {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        plot::compare(&here.join("plot.svg"), &names, &instructions)?;
        plot::growth(&here.join("growth.svg"), &instructions)?;
        fs::write(here.join("README.md"), text)?;
        let summary = report::summary(&names, &instructions);
        insert(&here.join("../README.md"), &summary)?;
    }
    Ok(if all {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn jobs() -> Vec<Box<dyn Work>> {
    let mut jobs = Jobs::default();
    jobs.add(run::NOTHING.into(), || (), |()| ());
    codec::add(&mut jobs);
    minimq::codec(&mut jobs);
    session::add(&mut jobs);
    growth::add(&mut jobs);
    jobs.0
}

/// Writes the common rows between two marks in the README.
fn insert(path: &Path, table: &str) -> Result<(), Box<dyn Error>> {
    const BEGIN: &str = "<!-- written by benches -->\n";
    const END: &str = "<!-- end -->";
    let text = fs::read_to_string(path)?;
    let (before, rest) = text
        .split_once(BEGIN)
        .ok_or("the README has no first mark")?;
    let (_, after) = rest
        .split_once(END)
        .ok_or("the README has no second mark")?;
    Ok(fs::write(
        path,
        format!("{before}{BEGIN}{table}{END}{after}"),
    )?)
}
