//! Tests that need no other program.

use std::{
    fs,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    process::{count, host, host_command, start, with_both_clients},
    relay::{Relay, answering, nobody, refusing_subscriptions},
};

#[test]
fn host_without_broker_option_starts_one_and_counts() {
    with_both_clients(|client| {
        for qos in 0..3 {
            let lines = host(&format!("{client} --count 3 --interval 0.05 --qos {qos}")).succeeds();
            assert!(
                lines[0].contains("one was started inside this program"),
                "{lines:#?}"
            );
            let name = if client.is_empty() {
                "blocking"
            } else {
                "async"
            };
            assert_eq!(
                count(&lines, &format!("with the {name} device")),
                1,
                "{lines:#?}"
            );
            assert_eq!(count(&lines, &format!("at QoS {qos}")), 1, "{lines:#?}");
            assert_eq!(count(&lines, "Came back: on"), 2, "{lines:#?}");
            assert_eq!(count(&lines, "Came back: off"), 1, "{lines:#?}");
            assert_eq!(count(&lines, "Done"), 1, "{lines:#?}");
            assert_eq!(count(&lines, "rumqttd"), 0, "{lines:#?}");
        }
    });
}

#[test]
fn help_explains_every_option() {
    let help = host("--help").succeeds().join("\n");
    for option in [
        "--broker <HOST[:PORT]>",
        "--tls",
        "--ca <FILE>",
        "--client-cert <FILE>",
        "--client-key <FILE>",
        "--user <NAME>",
        "--password <PASSWORD>",
        "--client-id <ID>",
        "--topic-prefix <PREFIX>",
        "--qos <0|1|2>",
        "--interval <SECONDS>",
        "--count <N>",
        "--keep-alive <SECONDS>",
        "--will <[TOPIC=]MESSAGE>",
        "--clean",
        "--async",
    ] {
        let mut lines = help.lines();
        lines.find(|line| line.trim() == option).expect(option);
        let explanation = lines.next().unwrap();
        assert!(explanation.trim().len() > 20, "{option}: {explanation:?}");
    }
}

#[test]
fn invalid_options_are_explained() {
    for (arguments, words) in [
        ("--qos 3", "invalid QoS: 3"),
        ("--broker a --ca x", "--tls"),
        ("--broker a --tls --client-cert x", "--client-key"),
        ("--password x", "--user"),
        ("--topic-prefix a/#", "wildcard"),
        ("--broker mqtt://a:1", "write a:1"),
        ("--interval 0", "0.001 to 86400"),
        ("--keep-alive 0", "--broker <HOST"),
        ("--client-id=", "--clean"),
    ] {
        let (code, lines) = host(arguments).end();
        assert_eq!(code, Some(2), "{arguments}: {lines:#?}");
        assert!(lines.join(" ").contains(words), "{arguments}: {lines:#?}");
    }
}

#[test]
fn ca_file_without_certificate_is_named() {
    let dir = TempDir::new().unwrap();
    let empty = dir.path().join("empty.pem");
    fs::write(&empty, "").unwrap();
    let missing = dir.path().join("missing.pem");
    for (file, why) in [(&empty, "no certificate"), (&missing, "No such file")] {
        let file = file.to_str().unwrap();
        host(&format!("--broker localhost --tls --ca {file}")).gives_up(&[file, why]);
    }
}

#[test]
fn unknown_host_is_retried_until_ctrl_c() {
    with_both_clients(|client| {
        let mut host = host(&format!("{client} --broker no-such-host.invalid"));
        let line = host.line("No connection");
        assert!(
            line.contains("no-such-host.invalid") && line.contains("again in 1 s"),
            "{line}"
        );
        let start = Instant::now();
        host.interrupt();
        let lines = host.succeeds();
        assert_eq!(count(&lines, "Stopped."), 1, "{lines:#?}");
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "Ctrl-C had to wait"
        );
    });
}

#[test]
fn broker_started_later_is_found() {
    with_both_clients(|client| {
        let address = nobody();
        let mut host = host(&format!("{client} --broker {address} --count 1"));
        let line = host.line("refused");
        assert!(
            line.contains(&address.to_string()) && line.contains("again in 1 s"),
            "{line}"
        );
        let _relay = Relay::at(address, embedded_broker::start().unwrap());
        let lines = host.succeeds();
        assert_eq!(count(&lines, "Came back"), 1, "{lines:#?}");
    });
}

#[test]
fn ctrl_c_disconnects_and_leaves_no_session() {
    with_both_clients(|client| {
        let relay = Relay::new(embedded_broker::start().unwrap());
        let mut host = host(&format!(
            "{client} --broker {} --interval 3600 --will gone",
            relay.address
        ));
        host.line("Came back");
        let start = Instant::now();
        host.interrupt();
        let lines = host.succeeds();
        assert!(
            start.elapsed() < Duration::from_secs(5),
            "Ctrl-C had to wait"
        );
        assert_eq!(lines.last().unwrap(), "Stopped. Disconnected.");
        let sent = relay.sent();
        assert_eq!(sent[0].last().unwrap(), "Disconnect");
        assert_eq!(sent[1..], [["Connect, clean", "Disconnect"]]);
    });
}

#[test]
fn session_with_client_id_is_kept() {
    let relay = Relay::new(embedded_broker::start().unwrap());
    let arguments = format!(
        "--broker {} --client-id lamp --topic-prefix p --qos 1 --count 1",
        relay.address
    );
    host(&arguments).succeeds();
    let lines = host(&arguments).succeeds();
    assert_eq!(
        count(&lines, "the session of an earlier run"),
        1,
        "{lines:#?}"
    );
    assert_eq!(
        count(&lines, "subscribed \"p/living_room/light\""),
        1,
        "{lines:#?}"
    );
    let lines = host(&format!("{arguments} --clean")).succeeds();
    assert!(
        count(&lines, "connected: the server has begun a new session") == 1,
        "{lines:#?}"
    );
    let sent = relay.sent();
    let connects: Vec<_> = sent.iter().map(|packets| packets[0].as_str()).collect();
    assert_eq!(connects, ["Connect", "Connect", "Connect, clean"]);
}

#[test]
fn broken_connection_is_resumed() {
    with_both_clients(|client| {
        let relay = Relay::new(embedded_broker::start().unwrap());
        let mut host = host(&format!(
            "{client} --broker {} --qos 1 --count 3 --client-id lamp",
            relay.address
        ));
        host.line("Came back");
        relay.cut();
        host.line("again in 1 s");
        host.line("the server has kept the session");
        let lines = host.succeeds();
        assert_eq!(count(&lines, "Came back"), 3, "{lines:#?}");
        let sent = relay.sent();
        assert!(sent[0].contains(&"Subscribe".to_owned()), "{sent:?}");
        assert!(!sent[1].contains(&"Subscribe".to_owned()), "{sent:?}");
    });
}

#[test]
fn refused_connection_is_explained() {
    with_both_clients(|client| {
        for (connack, words) in [
            (
                b"\x20\x02\0\x01",
                ["does not support MQTT 3.1.1", "Use a broker"],
            ),
            (b"\x20\x02\0\x02", ["client id", "--client-id"]),
            (b"\x20\x02\0\x04", ["password", "--user"]),
            (b"\x20\x02\0\x05", ["not authorized", "--user"]),
        ] {
            let broker = answering(connack);
            host(&format!("{client} --broker {broker}")).gives_up(&words);
        }
        let mut host = host(&format!(
            "{client} --broker {}",
            answering(b"\x20\x02\0\x03")
        ));
        let line = host.line("not available");
        assert!(line.contains("again in 1 s"), "{line}");
    });
}

#[test]
fn refused_subscription_is_explained() {
    with_both_clients(|client| {
        let broker = refusing_subscriptions();
        host(&format!("{client} --broker {broker} --topic-prefix secret"))
            .gives_up(&["secret/living_room/light", "REFUSED"]);
    });
}

#[test]
fn http_server_is_recognised() {
    with_both_clients(|client| {
        let mut host = host(&format!(
            "{client} --broker {}",
            answering(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        ));
        let line = host.line("malformed");
        assert!(line.contains("that a broker for MQTT 3.1.1"), "{line}");
    });
}

/// Presses Ctrl-C while the program waits for a broker that does not answer.
fn ctrl_c_ends_program_at_silent_broker(options: &str) {
    with_both_clients(|client| {
        let mut host = host(&format!("{client} --broker {} {options}", answering(b"")));
        host.line("To watch");
        std::thread::sleep(Duration::from_millis(300));
        let start = Instant::now();
        host.interrupt();
        let lines = host.succeeds();
        assert_eq!(count(&lines, "Stopped."), 1, "{lines:#?}");
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "Ctrl-C had to wait"
        );
    });
}

#[test]
fn ctrl_c_broker_silent_ends_program() {
    ctrl_c_ends_program_at_silent_broker("");
}

#[test]
fn ctrl_c_tls_handshake_hanging_ends_program() {
    ctrl_c_ends_program_at_silent_broker("--tls");
}

#[test]
fn watch_command_is_quoted_for_shell() {
    let (prefix, user) = ("it's \"home\" $HOME `id`", "ann & bob");
    let mut command = host_command("--count 1");
    command.args(["--topic-prefix", prefix, "--user", user]);
    let lines = start(&mut command).succeeds();
    let line = lines
        .iter()
        .find_map(|line| line.strip_prefix("To watch: "));
    let line = line.unwrap().strip_prefix("mosquitto_sub").unwrap();
    let shown = Command::new("sh")
        .args(["-c", &format!("printf '%s\\n' {line}")])
        .output()
        .unwrap();
    let words = String::from_utf8(shown.stdout).unwrap();
    let words: Vec<_> = words.lines().collect();
    let topic = format!("{prefix}/living_room/light");
    for pair in [["-t", &topic], ["-u", user]] {
        assert!(words.windows(2).any(|words| words == pair), "{words:#?}");
    }
}

#[test]
fn output_pipe_closed_ends_program() {
    with_both_clients(|client| {
        let mut child = host_command(&format!("{client} --interval 0.05"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        drop(child.stdout.take());
        let end = Instant::now() + Duration::from_secs(20);
        while child.try_wait().unwrap().is_none() {
            if Instant::now() > end {
                child.kill().unwrap();
                panic!("the program still runs");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    });
}

#[test]
fn password_is_not_printed() {
    let mut command: Command = host_command("--user ann --count 1");
    let output = command.env("MQTT_PASSWORD", "s3cret").output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(!text.contains("s3cret"), "{text}");
}
