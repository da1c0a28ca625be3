//! `cargo bench`: builds the package `benches` and runs it with the arguments after `--`.

use std::{
    env, io,
    process::{Command, ExitCode},
};

fn main() -> io::Result<ExitCode> {
    let (by_bench, arguments): (Vec<_>, Vec<_>) = env::args()
        .skip(1)
        .partition(|argument| argument == "--bench");
    if by_bench.is_empty() {
        println!("no test: `cargo bench` measures");
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "For messages per second with a broker: cargo run --release --manifest-path benches/end-to-end/Cargo.toml"
    );
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["run", "--release", "--locked", "--manifest-path"])
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/../Cargo.toml"))
        .arg("--")
        .args(arguments)
        .status()?;
    Ok(if status.success() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
