//! Compares codec and session with other crates, in instructions and nanoseconds, and prints the missed targets.
//!
//! `cargo run --release` prints the table. `--write` also writes it to the README of this package, a short form to the
//! README of the library, and the plots. `--instructions` omits nanoseconds.

mod codec;
mod growth;
mod measure;
mod minimq;
mod packets;
mod plot;
mod report;
mod run;
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
    if has("--often") {
        let out = arguments.last().ok_or("--often DIRECTORY")?;
        run::often(&mut jobs(), Path::new(out));
        return Ok(ExitCode::SUCCESS);
    }
    let (names, instructions) = run::instructions();
    let nanoseconds = match has("--instructions") {
        true => run::Found::default(),
        false => run::nanoseconds(&names),
    };
    let table = report::table(&names, &instructions, &nanoseconds, |_| true);
    let (verdicts, all) = report::verdicts(&instructions);
    println!("{table}\n{}\n{verdicts}", report::NOTES);
    if has("--write") {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        plot::compare(&here.join("plot.svg"), &names, &instructions)?;
        plot::growth(&here.join("growth.svg"), &instructions)?;
        write(&here.join("README.md"), &table, &verdicts)?;
        let common = report::table(&names, &instructions, &nanoseconds, report::is_common);
        insert(&here.join("../README.md"), &common)?;
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

/// Writes the whole table, with the verdicts.
fn write(path: &Path, table: &str, verdicts: &str) -> Result<(), Box<dyn Error>> {
    let text = format!(
        "# Speed\n\n\
        Instructions for each packet or step, and the median time in ns, on x86-64. In brackets: the ratio to umqtt.\n\
        Written by `cargo run --release --manifest-path benches/Cargo.toml -- --write`.\n\n\
        {table}\n{}\n![instructions of each row](plot.svg)\n\n## Targets and growth\n\n```text\n{verdicts}```\n\n{}\n![growth of cost](growth.svg)\n",
        report::NOTES,
        report::MISSED
    );
    Ok(fs::write(path, text)?)
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
