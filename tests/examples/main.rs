//! The examples run to their end with the expected output.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "helpers of a test"
)]

mod first;
mod home_assistant;

use std::{
    env,
    io::Read as _,
    net::{Shutdown, TcpListener},
    path::PathBuf,
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

/// Runs an example to its end, and returns what it prints.
fn run(example: &str) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = start(example, &[]);
    let stdout = String::from_utf8(stdout).unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{example}: {status}\n{stdout}{stderr}");
    stdout
}

/// Returns the path of an example. `cargo test` has built it beside this test. For `cargo test --test examples`, it is
/// built here.
fn program(example: &str) -> PathBuf {
    let folder = env::current_exe()
        .unwrap()
        .parent()
        .unwrap()
        .join("../examples");
    let program: PathBuf = folder
        .join(example)
        .with_extension(env::consts::EXE_EXTENSION);
    if !program.exists() {
        let built = Command::new(env!("CARGO"))
            .args(["build", "--example", example])
            .status();
        assert!(built.unwrap().success());
    }
    program
}

fn start(example: &str, arguments: &[&str]) -> Output {
    let program = program(example);
    Command::new(program).args(arguments).output().unwrap()
}

fn count(text: &str, line: &str) -> usize {
    text.lines().filter(|it| it.contains(line)).count()
}

#[test]
fn codec_prints_packets_and_answers() {
    let output = run("codec");
    assert_eq!(count(&output, "received "), 5);
    assert_eq!(count(&output, "    answer [40, 02, ff, ff]"), 1);
    assert_eq!(count(&output, "0 bytes are left"), 1);
}

#[test]
fn select_delivers_each_reading() {
    let output = run("select");
    assert_eq!(count(&output, " delivered"), 5);
    assert_eq!(count(&output, "umqtt/select/uptime: "), 5);
}

#[test]
fn shared_broker_receives_from_both_tasks() {
    let output = run("shared");
    assert_eq!(count(&output, "The broker has umqtt/shared/"), 10);
    assert_eq!(count(&output, "umqtt/shared/light = "), 5);
    assert_eq!(count(&output, "umqtt/shared/noise = "), 5);
}

#[test]
fn sensor_qos0_reading_is_one_write() {
    let output = run("sensor_qos0");
    assert_eq!(count(&output, "in 1 write"), 3);
    let received = "message on \"umqtt/sensor0/celsius\": 4 bytes";
    assert_eq!(count(&output, received), 3);
}

#[test]
fn sensor_qos1_reading_unacknowledged_is_sent_again() {
    let output = run("sensor_qos1");
    assert_eq!(count(&output, "were sent in 1 write"), 3);
    // The second reading is sent twice, and acknowledged once.
    assert_eq!(count(&output, " delivered"), 4);
}

/// An example prints an error with `Display`, not with `Debug`.
#[test]
fn example_that_fails_prints_display() {
    for example in ["select", "shared", "sensor_qos0", "sensor_qos1"] {
        for (arguments, text) in [
            (&["--broker", "127.0.0.1:1"][..], "Connection refused"),
            (&["--help"], "usage: [--broker HOST:PORT]"),
        ] {
            let Output { status, stderr, .. } = start(example, arguments);
            let stderr = String::from_utf8(stderr).unwrap();
            let is_debug = stderr.contains(['{', '"']);
            assert!(stderr.contains(text) && !is_debug, "{example}: {stderr}");
            assert!(!status.success(), "{example}: {status}");
        }
    }
}

/// No example waits for a broker that accepts nothing.
#[test]
fn broker_without_connack_ends_examples_with_reason() {
    let closing = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let addresses = [&closing, &silent].map(|it| it.local_addr().unwrap().to_string());
    thread::spawn(move || {
        for client in closing.incoming() {
            let mut client = client.unwrap();
            thread::spawn(move || {
                let _ = client.read(&mut [0; 64]);
                let _ = client.shutdown(Shutdown::Write);
                // If unread bytes were left, the connection would be reset.
                while let Ok(1..) = client.read(&mut [0; 64]) {}
            });
        }
    });
    let reasons = ["connection closed", "no CONNACK"];
    thread::scope(|scope| {
        for example in ["select", "shared", "sensor_qos0", "sensor_qos1"] {
            for (address, reason) in addresses.iter().zip(reasons) {
                scope.spawn(move || {
                    let begun = Instant::now();
                    let Output { status, stderr, .. } = start(example, &["--broker", address]);
                    let stderr = String::from_utf8(stderr).unwrap();
                    assert!(!status.success(), "{example}: {status}");
                    assert!(stderr.contains(reason), "{example}: {stderr}");
                    assert!(begun.elapsed() < Duration::from_secs(15), "{example}");
                });
            }
        }
    });
}
