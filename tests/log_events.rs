//! The events of feature `log`, which are also those of `defmt`.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "helpers of a test"
)]

use std::cell::RefCell;

use log::{LevelFilter, Log, Metadata, Record};
use umqtt::{
    Instant, Message, Session, Storage, StreamedPublish,
    codec::{Connect, Credentials, QoS},
};

thread_local! {
    static LINES: RefCell<Vec<String>> = const { RefCell::new(Vec::new()) };
}

/// A logger that stores the lines of each thread. Each test has its own thread.
struct Lines;

impl Log for Lines {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        assert!(
            record.target().starts_with("umqtt"),
            "RUST_LOG=umqtt=debug must show this event"
        );
        let line = format!("{} {}", record.level(), record.args());
        LINES.with_borrow_mut(|lines| lines.push(line));
    }

    fn flush(&self) {}
}

fn start() {
    // This fails if another test has set the logger before.
    let _ = log::set_logger(&Lines);
    log::set_max_level(LevelFilter::Trace);
}

fn take_lines() -> Vec<String> {
    LINES.take()
}

const NOW: Instant = Instant::from_millis(1_000);

/// Sends all pending bytes.
fn send(session: &mut Session<'_>) {
    while session.has_pending() {
        let len = session.pending(NOW).len();
        session.consume(len, NOW);
    }
}

/// Receives these bytes, and takes all events.
fn receive(session: &mut Session<'_>, bytes: &[u8]) {
    session.space()[..bytes.len()].copy_from_slice(bytes);
    session.commit(bytes.len());
    poll(session);
}

fn poll(session: &mut Session<'_>) {
    while let Ok(Some(token)) = session.poll(NOW) {
        session.event(token).unwrap();
    }
}

/// No line contains a payload, a topic or the credentials.
#[test]
fn log_reports_each_step_in_order() {
    start();
    let mut storage = Storage::<64, 256, 4>::new();
    let mut session = Session::new(&mut storage);
    let connect = Connect {
        keep_alive: 30,
        credentials: Some(Credentials {
            user_name: "me",
            password: Some(b"secret"),
        }),
        ..Connect::new("sensor-7")
    };
    session.connect(&connect, NOW).unwrap();
    send(&mut session);
    receive(&mut session, &[0x20, 2, 0, 0]);
    let greeting = Message::new("greeting", b"hello");
    session.publish(&greeting).unwrap();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        session.publish(&Message { qos, ..greeting }).unwrap();
    }
    send(&mut session);
    receive(&mut session, &[0x40, 2, 0, 1, 0x50, 2, 0, 2]);
    send(&mut session);
    receive(&mut session, &[0x70, 2, 0, 2]);
    session.subscribe(&[("led/#", QoS::ExactlyOnce)]).unwrap();
    send(&mut session);
    receive(&mut session, &[0x90, 3, 0, 3, 2]);
    receive(&mut session, b"\x34\x0c\0\x07led/red\0\x09!");
    send(&mut session);
    receive(&mut session, &[0x62, 2, 0, 9]);
    send(&mut session);
    session.ping().unwrap();
    send(&mut session);
    receive(&mut session, &[0xD0, 0]);
    receive(&mut session, b"\x30\x04\0\x01tx");
    session.disconnect().unwrap();
    send(&mut session);
    session.connection_lost();
    poll(&mut session);
    assert_eq!(
        take_lines(),
        [
            "DEBUG connecting: client id sensor-7, Clean Session true, keep alive 30 s",
            "DEBUG sent Connect",
            "DEBUG received Connack",
            "DEBUG connected, session present: false",
            "DEBUG sent Publish: QoS 0, 17 bytes",
            "DEBUG sent Publish 1: QoS 1, DUP false, 19 bytes",
            "DEBUG sent Publish 2: QoS 2, DUP false, 19 bytes",
            "DEBUG received Puback 1",
            "DEBUG received Pubrec 2",
            "DEBUG sent Pubrel 2",
            "DEBUG received Pubcomp 2",
            "DEBUG sent Subscribe 3",
            "DEBUG received Suback 3",
            "DEBUG received Publish 9: QoS 2, DUP false, 14 bytes",
            "DEBUG sent Pubrec 9",
            "DEBUG received Pubrel 9",
            "DEBUG sent Pubcomp 9",
            "DEBUG sent Pingreq",
            "DEBUG received Pingresp",
            "DEBUG received Publish: QoS 0, 6 bytes",
            "DEBUG sent Disconnect",
            "DEBUG connection closed after Disconnect",
        ]
    );
}

/// The log reports the reason of the end of a connection, a resent message, a message that is received in parts, one
/// whose topic is too long, and the SUBSCRIBE of the standing subscriptions.
#[test]
fn log_connection_closed_reports_reason_and_next_steps() {
    start();
    let mut storage = Storage::<32, 256, 4>::new();
    let mut session = Session::new(&mut storage);
    session
        .set_subscriptions(&[("led/#", QoS::AtMostOnce)])
        .unwrap();
    let connect = Connect {
        clean_session: false,
        ..Connect::new("sensor-7")
    };
    session.connect(&connect, NOW).unwrap();
    send(&mut session);
    receive(&mut session, &[0x20, 2, 0, 0]);
    let part = Message {
        qos: QoS::AtLeastOnce,
        ..Message::new("a", b"b")
    };
    session.publish(&part).unwrap();
    send(&mut session);
    receive(&mut session, &[0x90, 3, 0, 1, 0]);
    session.connection_lost();
    poll(&mut session);

    session.connect(&connect, NOW).unwrap();
    send(&mut session);
    receive(&mut session, &[0x20, 2, 1, 0]);
    send(&mut session);
    // A payload of 40 bytes, then a topic of 40.
    receive(&mut session, b"\x30\x2b\0\x01a0123456789012345678");
    receive(&mut session, b"012345678901234567890");
    receive(&mut session, b"\x30\x2b\0\x28a01234567890123456");
    receive(&mut session, b"0123456789012345678901");
    receive(&mut session, b"!");
    let streamed = StreamedPublish::new("log");
    session.begin_payload(streamed, 3).unwrap();
    send(&mut session);
    session.payload_sent(3, NOW);
    // A server sends no PINGREQ.
    receive(&mut session, &[0xC0, 0]);
    assert_eq!(
        take_lines(),
        [
            "DEBUG connecting: client id sensor-7, Clean Session false, keep alive 60 s",
            "DEBUG sent Connect",
            "DEBUG received Connack",
            "DEBUG connected, session present: false",
            "DEBUG sent Subscribe 1",
            "DEBUG sent Publish 2: QoS 1, DUP false, 8 bytes",
            "DEBUG received Suback 1",
            "DEBUG connection closed without Disconnect",
            "DEBUG connecting: client id sensor-7, Clean Session false, keep alive 60 s",
            "DEBUG sent Connect",
            "DEBUG received Connack",
            "DEBUG connected, session present: true",
            "DEBUG sent Publish 2: QoS 1, DUP true, 8 bytes",
            "DEBUG receiving Publish of 45 bytes in parts",
            "DEBUG receiving Publish of 45 bytes in parts",
            "WARN skipped a message whose topic has 40 bytes",
            "DEBUG sent Publish: QoS 0, 10 bytes",
            "DEBUG connection closed: unexpected packet: the server must not send this Pingreq",
        ]
    );
}
