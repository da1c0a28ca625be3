//! Tests with mosquitto, if it is installed.

use std::time::{Duration, Instant};

use crate::{
    mosquitto::{Mosquitto, is_installed, skipped},
    process::{count, host, host_command, start, with_both_clients},
};

#[test]
fn messages_with_any_options_are_received_back() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let broker = Mosquitto::open();
        for more in [
            "--qos 0",
            "--qos 1",
            "--qos 2",
            "--keep-alive 0",
            "--clean",
            "--client-id= --clean",
        ] {
            let arguments = format!(
                "{client} --broker {} --count 3 --interval 0.05 {more}",
                broker.address
            );
            let lines = host(&arguments).succeeds();
            assert_eq!(count(&lines, "Came back"), 3, "{lines:#?}");
        }
        let port = broker.address.port();
        host(&format!("{client} --broker localhost:{port} --count 1")).succeeds();
    });
}

#[test]
fn ipv6_address_is_connected() {
    if !is_installed() {
        return;
    }
    let Some(broker) = Mosquitto::on_ipv6() else {
        skipped("there is no IPv6 here");
        return;
    };
    host(&format!("--broker {} --count 1", broker.address)).succeeds();
}

#[test]
fn login_wrong_is_refused_and_valid_accepted() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let broker = Mosquitto::with_user("ann", "s3cret");
        let arguments = format!("{client} --broker {} --count 1", broker.address);
        host(&format!("{arguments} --user ann --password s3cret")).succeeds();
        let mut command = host_command(&format!("{arguments} --user ann"));
        start(command.env("MQTT_PASSWORD", "s3cret")).succeeds();
        for login in [
            "",
            "--user ann",
            "--user ann --password wrong",
            "--user bob --password s3cret",
        ] {
            let refused = host(&format!("{arguments} {login}"));
            refused.gives_up(&["refused", "--user and --password"]);
        }
    });
}

#[test]
fn published_messages_reach_watcher_and_program() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let broker = Mosquitto::open();
        let topic = "living-1/living_room/light";
        let mut watcher = broker.subscribe(topic);
        let mut host = host(&format!(
            "{client} --broker {} --topic-prefix living-1",
            broker.address
        ));
        watcher.line("living-1/living_room/light on");
        watcher.line("living-1/living_room/light off");
        broker.publish(topic, "how do you do?");
        host.line("Received on living-1/living_room/light: how do you do?");
        host.interrupt();
        host.succeeds();
    });
}

#[test]
fn will_is_published_after_kill() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let broker = Mosquitto::open();
        for (will, seen) in [
            ("gone", "w/living_room/light gone"),
            ("wills/w=gone", "wills/w gone"),
        ] {
            let mut watcher = broker.subscribe("#");
            let mut host = host(&format!(
                "{client} --broker {} --topic-prefix w --qos 1 --will {will}",
                broker.address
            ));
            watcher.line("w/living_room/light on");
            host.kill();
            watcher.line(seen);
        }
    });
}

#[test]
fn broker_restarted_without_session_loses_no_message() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let mut broker = Mosquitto::open();
        let mut host = host(&format!(
            "{client} --broker {} --qos 2 --count 3",
            broker.address
        ));
        host.line("Came back");
        broker.restart();
        host.line("again in 1 s");
        let lines = host.succeeds();
        assert_eq!(count(&lines, "subscribed"), 2, "{lines:#?}");
        assert_eq!(count(&lines, "Came back"), 3, "{lines:#?}");
    });
}

#[test]
fn ctrl_c_broker_stopped_ends_program() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let broker = Mosquitto::open();
        let mut host = host(&format!("{client} --broker {}", broker.address));
        host.line("Came back");
        broker.signal("-STOP");
        let start = Instant::now();
        host.interrupt();
        let lines = host.succeeds();
        // A program that waits for the broker's answer would add "Disconnected."
        assert_eq!(lines.last().unwrap(), "Stopped.");
        assert!(
            start.elapsed() < Duration::from_secs(3),
            "the program did not end at once"
        );
    });
}

/// The program detects a stopped broker within the sum of the keep alive and the response timeout of 10 s.
#[test]
fn stopped_broker_is_detected() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let broker = Mosquitto::open();
        let mut host = host(&format!(
            "{client} --broker {} --keep-alive 4",
            broker.address
        ));
        host.line("Came back");
        broker.signal("-STOP");
        let start = Instant::now();
        host.line("no PINGRESP");
        assert!(start.elapsed() < Duration::from_secs(16), "noticed late");
    });
}

/// With `max_qos`, mosquitto grants no higher QoS to a subscription. It closes the connection if a PUBLISH has one.
#[test]
fn broker_without_qos2_is_explained() {
    if !is_installed() {
        return;
    }
    with_both_clients(|client| {
        let broker = Mosquitto::with("allow_anonymous true\nmax_qos 1");
        let mut host = host(&format!("{client} --broker {} --qos 2", broker.address));
        host.line("grants a lower QoS than --qos");
        let first = host.line("Connection lost");
        let second = host.line("--qos");
        for line in [first, second] {
            assert!(line.contains("again in"), "{line}");
            assert!(!line.contains("--password"), "{line}");
            assert!(!line.contains("--tls"), "{line}");
        }
        host.interrupt();
        host.succeeds();
    });
}
