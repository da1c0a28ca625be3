//! Runs the program from the command line.
#![allow(
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of a test"
)]

use std::{
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use faults::{Mosquitto, Proxy};

fn command(arguments: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fleet"));
    command.args(arguments.split_whitespace());
    command
}

fn fleet(arguments: &str) -> Output {
    command(arguments).output().unwrap()
}

/// Returns the output of a successful run.
fn figures(arguments: &str) -> String {
    let output = fleet(arguments);
    let (stdout, stderr) = texts(&output);
    assert!(output.status.success(), "{arguments}: {stdout}\n{stderr}");
    stdout
}

fn texts(output: &Output) -> (String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (text(&output.stdout), text(&output.stderr))
}

/// Returns the number before these words.
fn number(stdout: &str, words: &str) -> u64 {
    let (before, _) = stdout.split_once(words).expect(words);
    let number = before.split_whitespace().next_back().unwrap();
    number.parse().expect(number)
}

#[test]
fn fleet_without_broker_option_starts_one() {
    let stdout = figures("--sessions 50 --seconds 1");
    assert!(
        stdout.contains("one was started inside this program"),
        "{stdout}"
    );
    assert!(stdout.contains("50 connected and subscribed"), "{stdout}");
    assert!(number(&stdout, " sent,") >= 500, "{stdout}");
    assert!(stdout.contains(" 99 %: "), "{stdout}");
    assert!(number(&stdout, " bytes a session:") > 1_000, "{stdout}");
}

#[test]
fn fifty_sessions_at_each_qos_complete() {
    let Some(broker) = Mosquitto::start() else {
        return;
    };
    for qos in 0..3 {
        let stdout = figures(&format!(
            "--broker {} --sessions 50 --seconds 1 --rate 500 --qos {qos} --size 400",
            broker.address
        ));
        let sent = number(&stdout, " sent,");
        assert!(sent >= 250, "{stdout}");
        assert_eq!(number(&stdout, " received again,"), sent, "{stdout}");
        let acknowledged = if qos == 0 { 0 } else { sent };
        assert_eq!(number(&stdout, " acknowledged,"), acknowledged, "{stdout}");
    }
}

#[test]
fn lost_connections_are_reopened_and_reported() {
    let Some(broker) = Mosquitto::start() else {
        return;
    };
    let proxy = Proxy::new(broker.address);
    let arguments = format!("--broker {} --sessions 20 --seconds 3", proxy.address);
    let child = command(&arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_secs(1));
    proxy.cut();
    let output = child.wait_with_output().unwrap();
    let (stdout, stderr) = texts(&output);
    assert!(!output.status.success(), "{stdout}");
    assert_eq!(number(&stdout, " connections lost"), 20, "{stdout}");
    assert!(number(&stdout, " sent,") > 1_500, "{stdout}");
    assert!(
        stderr.contains("not received again") || stderr.contains("20 connections lost"),
        "{stderr}"
    );
}

#[test]
fn ctrl_c_ends_program_without_error() {
    let child = command("--sessions 10 --seconds 3600")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    thread::sleep(Duration::from_secs(2));
    let start = Instant::now();
    let id = child.id().to_string();
    let status = Command::new("kill").args(["-INT", &id]).status();
    assert!(status.unwrap().success());
    let output = child.wait_with_output().unwrap();
    let (stdout, _) = texts(&output);
    assert!(output.status.success(), "{stdout}");
    assert!(stdout.contains("10 connected"), "{stdout}");
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "the program did not end at once"
    );
}

#[test]
fn invalid_options_are_refused_with_reason() {
    for (arguments, words) in [
        ("--sessions 0", "1 to 1000000"),
        ("--sessions x", "1 to 1000000"),
        ("--qos 3", "invalid QoS: 3"),
        ("--size 7", "7 is not in 8..=400"),
        ("--seconds 0", "0.1 to 86400"),
        ("--rate 0", "0 is not in"),
        ("--topic-prefix a/#", "wildcard"),
        ("--password x", "--user"),
    ] {
        let output = fleet(arguments);
        let (_, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(2), "{arguments}: {stderr}");
        assert!(stderr.contains(words), "{arguments}: {stderr}");
    }
}

#[test]
fn broker_unreachable_is_named() {
    for (broker, words) in [
        ("127.0.0.1:1", "Connection refused"),
        ("no-such-host.invalid", "no-such-host.invalid"),
    ] {
        let output = fleet(&format!("--broker {broker}"));
        let (_, stderr) = texts(&output);
        assert_eq!(output.status.code(), Some(1), "{stderr}");
        assert!(
            stderr.contains(broker) && stderr.contains(words),
            "{stderr}"
        );
    }
}

#[test]
fn more_sessions_than_sockets_are_refused() {
    let mut shell = Command::new("sh");
    let program = env!("CARGO_BIN_EXE_fleet");
    let output = shell
        .args([
            "-c",
            &format!("ulimit -n 256; exec {program} --sessions 500"),
        ])
        .output()
        .unwrap();
    let (_, stderr) = texts(&output);
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("1064 open files") && stderr.contains("ulimit"),
        "{stderr}"
    );
}
