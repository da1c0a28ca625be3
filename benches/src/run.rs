//! Runs all routines in a child process, under callgrind or criterion, and reads the results.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use criterion::Criterion;

use crate::measure::Work;

/// The empty routine. Its cost is subtracted from all others.
pub const NOTHING: &str = "nothing/at all/umqtt";

/// Results: a number for each name.
pub type Found = HashMap<String, f64>;

/// Runs each routine once, in order. Only the child under callgrind calls this.
pub fn once(jobs: &mut [Box<dyn Work>]) {
    for job in jobs {
        println!("{}", job.name());
        job.once();
    }
}

/// Returns the instructions of every routine that `program` runs with this argument, and the names in their order.
pub fn instructions(program: &Path, argument: &str) -> (Vec<String>, Found) {
    let out = scratch("callgrind");
    // Callgrind writes a file at the end of each call: out.1, out.2, ...
    let measured = "benches::measure::measured";
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(format!("--zero-before={measured}"))
        .arg(format!("--dump-after={measured}"))
        .arg(format!(
            "--callgrind-out-file={}",
            out.join("out").display()
        ))
        .arg(program)
        .arg(argument)
        .stderr(Stdio::inherit())
        .output()
        .expect("valgrind is installed");
    assert!(run.status.success(), "callgrind failed");
    let names: Vec<_> = String::from_utf8(run.stdout)
        .expect("names are text")
        .lines()
        .map(String::from)
        .collect();
    let cost = |n: usize| {
        let text = fs::read_to_string(out.join(format!("out.{n}"))).expect("it was measured");
        let line = text.lines().find_map(|line| line.strip_prefix("summary: "));
        line.and_then(|cost| cost.parse().ok()).expect("a number")
    };
    let mut found: Found = (1..)
        .zip(&names)
        .map(|(n, name)| (name.clone(), cost(n)))
        .collect();
    let nothing = found
        .get(NOTHING)
        .copied()
        .expect("the empty routine was measured");
    found.values_mut().for_each(|cost| *cost -= nothing);
    (names, found)
}

/// Builds this program with the settings of cargo for a release, as most users build, and returns its path.
pub fn plain() -> PathBuf {
    let target = std::env::current_exe().expect("it runs");
    let target = target.ancestors().nth(2).expect("cargo has built it");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--locked", "--profile", "plain", "--target-dir"])
        .arg(target)
        .args([
            "--manifest-path",
            concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"),
        ])
        // The default of a release. A developer's environment may set another value.
        .env("CARGO_INCREMENTAL", "0")
        .status()
        .expect("cargo is installed");
    assert!(built.success(), "the plain release does not build");
    target.join("plain/benches")
}

/// Runs the routine of each row many times. Only the child without callgrind calls this.
pub fn often(jobs: &mut [Box<dyn Work>], out: &Path) {
    let mut criterion = Criterion::default()
        .without_plots()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(50))
        .measurement_time(Duration::from_millis(200))
        .output_directory(out);
    for job in jobs.iter_mut().filter(|job| is_row(job.name())) {
        job.often(&mut criterion);
    }
}

/// Returns `true` if the table has a row for the routine with this name.
pub fn is_row(name: &str) -> bool {
    name != NOTHING && !name.starts_with("growth/")
}

/// Returns `true` for the rows of the codec.
pub fn is_codec(name: &str) -> bool {
    name.starts_with("decode/") || name.starts_with("encode/")
}

/// Returns the median time of every row in ns.
pub fn nanoseconds(names: &[String]) -> Found {
    let out = scratch("criterion");
    let run = Command::new(std::env::current_exe().expect("it runs"))
        .arg("--often")
        .arg(&out)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("it runs");
    assert!(run.success(), "criterion failed");
    let timed = names.iter().filter(|name| is_row(name));
    timed
        .map(|name| (name.clone(), median(&out, name)))
        .collect()
}

fn median(out: &Path, name: &str) -> f64 {
    let kept = fs::read_dir(out).expect("criterion has written its results");
    let title = format!("\"{}\"", name.replace('/', "-"));
    for entry in kept.flatten() {
        let new = entry.path().join("new");
        let about = fs::read_to_string(new.join("benchmark.json")).unwrap_or_default();
        if about.contains(&title) {
            let text = fs::read_to_string(new.join("estimates.json")).expect("it was measured");
            let estimates: serde_json::Value = serde_json::from_str(&text).expect("it is JSON");
            return estimates["median"]["point_estimate"]
                .as_f64()
                .expect("a number");
        }
    }
    panic!("{name} was not measured");
}

/// Creates an empty directory beside the program.
fn scratch(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("it runs");
    let path = exe.with_file_name(format!("benches-{name}"));
    let _ = fs::remove_dir_all(&path);
    fs::create_dir_all(&path).expect("it can be made");
    path
}
