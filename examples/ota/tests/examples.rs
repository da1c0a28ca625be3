//! Runs both programs from the command line, with their own broker.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    io::Read as _,
    net::{Shutdown, TcpListener},
    process::{Command, Output, Stdio},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use sha2::{Digest, Sha256};

/// Runs a program for at most a minute.
fn ended(program: &str, arguments: &[&str]) -> Output {
    let mut child = Command::new(program)
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(60) {
            child.kill().unwrap();
        }
        sleep(Duration::from_millis(20));
    }
    child.wait_with_output().unwrap()
}

/// Returns the output of a program that succeeds.
fn output(program: &str, arguments: &[&str]) -> String {
    let output = ended(program, arguments);
    let text = String::from_utf8(output.stdout).unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{text}{errors}");
    text
}

#[test]
fn image_is_received() {
    let stdout = output(env!("CARGO_BIN_EXE_ota"), &["--kib", "3000"]);
    assert!(stdout.contains("The image of 3072000 bytes"), "{stdout}");
    assert!(!stdout.contains("sends it again"), "{stdout}");
}

#[test]
fn image_cut_is_received_again() {
    let arguments = ["--kib", "3000", "--cut-after", "1000000"];
    let stdout = output(env!("CARGO_BIN_EXE_ota"), &arguments);
    let mut lines = stdout.lines().skip(1);
    assert!(lines.next().unwrap().contains("sends it again"), "{stdout}");
    assert!(lines.next().unwrap().starts_with("After 1"), "{stdout}");
    assert!(lines.next().unwrap().contains("3072000 bytes"), "{stdout}");
}

#[test]
fn log_of_any_size_is_uploaded_whole() {
    let stdout = output(env!("CARGO_BIN_EXE_log_upload"), &[]);
    assert!(stdout.contains("2200000 bytes have arrived"), "{stdout}");

    // A given file, which fits into one packet or does not.
    for len in [0, 50, 12_345] {
        let path = std::env::temp_dir().join(format!("umqtt-test-{}-{len}", std::process::id()));
        fs::write(&path, vec![b'x'; len]).unwrap();
        let stdout = output(env!("CARGO_BIN_EXE_log_upload"), &[path.to_str().unwrap()]);
        fs::remove_file(&path).unwrap();
        let sum: String = Sha256::digest(vec![b'x'; len])
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect();
        assert!(
            stdout.contains(&format!("{len} bytes have arrived, with SHA-256 {sum}")),
            "{stdout}"
        );
    }
}

/// Neither program waits for a missing file or broker.
#[test]
fn missing_file_or_broker_ends_program() {
    let log_upload = env!("CARGO_BIN_EXE_log_upload");
    for (program, arguments, text) in [
        (log_upload, &["no/such.log"][..], "no/such.log: "),
        (log_upload, &["--broker", "127.0.0.1:1"], "127.0.0.1:1: "),
        (
            env!("CARGO_BIN_EXE_ota"),
            &["--broker", "127.0.0.1:1"],
            "127.0.0.1:1: ",
        ),
    ] {
        let output = ended(program, arguments);
        let errors = String::from_utf8(output.stderr).unwrap();
        assert!(
            !output.status.success() && errors.starts_with(text),
            "{errors}"
        );
    }
}

/// An image that fits into the receive buffer is not received in chunks.
#[test]
fn small_message_is_installed_or_rejected_with_reason() {
    let broker = embedded_broker::start().unwrap();
    let image = [7; 20];
    let sum = Sha256::digest(image);
    for (topic, payload, is_installed, text) in [
        (
            "right",
            &[&sum[..], &image][..],
            true,
            "The image of 20 bytes",
        ),
        ("wrong", &[&sum[..], &[8; 20]], false, "image damaged"),
        ("short", &[b"short"], false, "message too short: 5 bytes"),
    ] {
        ota::publish_image(broker, topic, payload).unwrap();
        let arguments = ["--broker", &broker.to_string(), "--topic", topic];
        let output = ended(env!("CARGO_BIN_EXE_ota"), &arguments);
        let stdout = [output.stdout, output.stderr].concat();
        let stdout = String::from_utf8(stdout).unwrap();
        assert_eq!(output.status.success(), is_installed, "{stdout}");
        assert!(stdout.contains(text), "{stdout}");
    }
}

/// Neither program waits for a broker that accepts no connection.
#[test]
fn broker_without_connack_ends_programs_with_reason() {
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
    let programs = [env!("CARGO_BIN_EXE_log_upload"), env!("CARGO_BIN_EXE_ota")];
    thread::scope(|scope| {
        for program in programs {
            for (address, reason) in addresses.iter().zip(["connection closed", "no CONNACK"]) {
                scope.spawn(move || {
                    let output = ended(program, &["--broker", address]);
                    let errors = String::from_utf8(output.stderr).unwrap();
                    assert!(!output.status.success(), "{program}");
                    assert!(errors.contains(reason), "{program}: {errors}");
                });
            }
        }
    });
}
