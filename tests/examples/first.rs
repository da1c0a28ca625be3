//! The first program of the README prints each change of its connection.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Command, Stdio},
    sync::mpsc::{RecvTimeoutError, channel},
    thread::{self, sleep, spawn},
    time::{Duration, Instant},
};

use super::program;

const ACCEPTED: [u8; 4] = [0x20, 2, 0, 0];
/// Maximum time until the console has the expected lines.
const PATIENCE: Duration = Duration::from_secs(8);

fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The program's end of a connection.
struct Client(TcpStream);

impl Client {
    fn accept(listener: &TcpListener) -> Self {
        Self(listener.accept().unwrap().0)
    }

    /// The next packet, or `None` at the end of the stream.
    fn packet(&mut self) -> Option<Vec<u8>> {
        let mut packet = vec![0; 2];
        self.0.read_exact(&mut packet).ok()?;
        let len = usize::from(packet[1]);
        assert!(len < 0x80, "short packets only");
        packet.resize(2 + len, 0);
        self.0.read_exact(&mut packet[2..]).ok()?;
        Some(packet)
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).unwrap();
    }

    /// Answers CONNECT, and SUBSCRIBE with this return code.
    fn subscribed(&mut self, code: u8) {
        assert_eq!(self.packet().unwrap()[0], 0x10, "CONNECT");
        self.send(&ACCEPTED);
        let subscribe = self.packet().unwrap();
        assert_eq!(subscribe[0], 0x82, "SUBSCRIBE");
        self.send(&[0x90, 3, subscribe[2], subscribe[3], code]);
    }
}

/// Runs the program against a broker until its console has lines that start with these texts, in this order. Without
/// texts, runs it for this time. Returns the lines and the time.
fn console(broker: SocketAddr, texts: &[&str], limit: Duration) -> (Vec<String>, Duration) {
    let mut child = Command::new(program("first"))
        .arg(broker.to_string())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let output = BufReader::new(child.stdout.take().unwrap());
    let (sender, receiver) = channel();
    spawn(move || {
        output
            .lines()
            .map_while(Result::ok)
            .try_for_each(|line| sender.send(line))
    });
    let start = Instant::now();
    let mut lines: Vec<String> = Vec::new();
    let mut missing = texts.iter().peekable();
    while texts.is_empty() || missing.peek().is_some() {
        match receiver.recv_timeout(limit.saturating_sub(start.elapsed())) {
            Ok(line) => {
                while missing.next_if(|text| line.starts_with(**text)).is_some() {}
                lines.push(line);
            }
            Err(RecvTimeoutError::Timeout) => break,
            Err(RecvTimeoutError::Disconnected) => panic!("the program has ended: {lines:#?}"),
        }
    }
    let elapsed = start.elapsed();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(missing.next(), None, "{lines:#?}");
    (lines, elapsed)
}

fn count(lines: &[String], start: &str) -> usize {
    lines.iter().filter(|line| line.starts_with(start)).count()
}

/// The cases mostly wait, so all of them run at the same time.
#[test]
fn first_example_reports_connection_changes() {
    thread::scope(|scope| {
        scope.spawn(refused_names_the_reason_and_waits);
        scope.spawn(accepted_and_closed_reports_each_end_and_waits_longer);
        scope.spawn(on_forgotten_session_subscribes_again_and_answers);
        scope.spawn(while_broker_restarts_reports_it_and_connects_again);
        scope.spawn(with_refused_subscription_reports_it_and_publishes);
        scope.spawn(without_answer_names_the_late_answer);
    });
}

fn refused_names_the_reason_and_waits() {
    let (listener, address) = listener();
    spawn(move || {
        for stream in listener.incoming() {
            let mut client = Client(stream.unwrap());
            client.packet();
            client.send(&[0x20, 2, 0, 4]);
        }
    });
    let (lines, _) = console(address, &[], Duration::from_secs(4));
    assert_eq!(count(&lines, "connection lost: "), 1, "{lines:#?}");
    let reason = "connection lost: connection refused: the user name or password is wrong";
    assert_eq!(count(&lines, reason), 1, "{lines:#?}");
}

/// The delays double, so that 4 connections in the first 6 s become about 8 in 60 s. At most 10 are allowed.
fn accepted_and_closed_reports_each_end_and_waits_longer() {
    let (listener, address) = listener();
    spawn(move || {
        for stream in listener.incoming() {
            let mut client = Client(stream.unwrap());
            client.packet();
            client.send(&ACCEPTED);
        }
    });
    let (lines, _) = console(address, &[], Duration::from_secs(6));
    let connections = count(&lines, "connected: ");
    assert!((2..=4).contains(&connections), "{lines:#?}");
    assert_eq!(
        count(&lines, "connection lost: "),
        connections,
        "{lines:#?}"
    );
}

fn on_forgotten_session_subscribes_again_and_answers() {
    let (listener, address) = listener();
    let broker = spawn(move || {
        Client::accept(&listener).subscribed(0);
        let mut client = Client::accept(&listener);
        client.subscribed(0);
        client.send(b"\x30\x12\0\x0efirst/question42");
        let mut packets = std::iter::from_fn(|| client.packet());
        packets.find(|it| it.ends_with(b"first/answer42"))
    });
    let new = "connected: the server has begun a new session";
    let subscribed = "subscribed \"first/question\" at QoS 0";
    let lost = "connection lost: ";
    let question = "message on \"first/question\": 2 bytes";
    // The broker closes the connection after the answer.
    let texts = [new, subscribed, lost, new, subscribed, question, lost];
    console(address, &texts, PATIENCE);
    assert!(broker.join().unwrap().is_some());
}

fn while_broker_restarts_reports_it_and_connects_again() {
    let (listener, address) = listener();
    spawn(move || {
        Client::accept(&listener).subscribed(0);
        drop(listener);
        sleep(Duration::from_millis(1_200));
        let listener = TcpListener::bind(address).unwrap();
        let mut client = Client::accept(&listener);
        client.subscribed(0);
        while client.packet().is_some() {}
    });
    let connected = "connected: ";
    let unreachable = format!("cannot connect: transport failed: {address}: Connection refused");
    let texts = [
        connected,
        "connection lost: ",
        &unreachable,
        connected,
        "subscribed ",
    ];
    console(address, &texts, PATIENCE);
}

fn with_refused_subscription_reports_it_and_publishes() {
    let (listener, address) = listener();
    let broker = spawn(move || {
        let mut client = Client::accept(&listener);
        client.subscribed(0x80);
        let mut packets = std::iter::from_fn(|| client.packet());
        packets.find(|it| it.ends_with(b"first/aliveyes"))
    });
    let refused = "subscribed \"first/question\" REFUSED by the server";
    // The broker closes the connection after the first message.
    console(address, &[refused, "connection lost: "], PATIENCE);
    assert!(broker.join().unwrap().is_some());
}

fn without_answer_names_the_late_answer() {
    let (listener, address) = listener();
    spawn(move || {
        // The server accepts every connection, and answers none.
        let clients: Vec<_> = listener.incoming().collect();
        drop(clients);
    });
    let (_, elapsed) = console(
        address,
        &["connection lost: no CONNACK: the server did not answer"],
        Duration::from_secs(13),
    );
    assert!(elapsed > Duration::from_secs(9), "{elapsed:?}");
}
