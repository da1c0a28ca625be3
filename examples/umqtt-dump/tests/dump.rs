//! The program between a client and a broker: the embedded one, or a peer that follows a script.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use umqtt::{
    Event, Message, Session, Storage,
    blocking::Client,
    codec::{
        Connack, Connect, Credentials, Delivery, Packet, PacketId, Puback, Pubcomp, Publish,
        Pubrec, Pubrel, QoS, Suback, SubackReturnCode, Subscribe, TopicFilter, TopicName, Unsuback,
        Unsubscribe, Will,
    },
    std_io::{self, StdClock},
};

/// Longer than any step takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);

/// The running program. It is killed at the end of the test.
struct Dump {
    process: Child,
    address: SocketAddr,
    lines: Receiver<String>,
    seen: Vec<String>,
    /// Accepts the connections of the program, if the broker is scripted.
    broker: Option<TcpListener>,
}

impl Dump {
    fn start(broker: SocketAddr) -> Self {
        let mut process = command(&broker.to_string())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(process.stdout.take().unwrap());
        thread::spawn(move || {
            output
                .lines()
                .try_for_each(|line| sender.send(line.unwrap()))
        });
        let first = lines.recv_timeout(LONG).unwrap();
        let address = first.strip_prefix("Listening on ").unwrap();
        let (address, _) = address.split_once(',').unwrap();
        Self {
            process,
            address: address.parse().unwrap(),
            lines,
            seen: Vec::new(),
            broker: None,
        }
    }

    /// Waits for a line with this text after the time, and returns it.
    fn expect(&mut self, text: &str) -> String {
        loop {
            let Ok(line) = self.lines.recv_timeout(LONG) else {
                panic!("no line with {text:?} in\n{}", self.seen.join("\n"));
            };
            let (time, line) = line.split_at("hh:mm:ss.mmm ".len());
            let pattern: String = time
                .chars()
                .map(|c| if c.is_ascii_digit() { '0' } else { c })
                .collect();
            assert_eq!(pattern, "00:00:00.000 ", "{line}");
            self.seen.push(line.to_owned());
            if line.contains(text) {
                return line.to_owned();
            }
        }
    }
}

impl Drop for Dump {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn command(broker: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_umqtt-dump"));
    command
        .args(["--listen", "127.0.0.1:0", "--broker", broker])
        .stdin(Stdio::null());
    command
}

/// A client and a broker that are connected through the program.
fn scripted() -> (Dump, TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut dump = Dump::start(listener.local_addr().unwrap());
    // The connection by which the program checks the address.
    drop(listener.accept().unwrap());
    let client = connect(dump.address);
    let (broker, _) = listener.accept().unwrap();
    broker.set_read_timeout(Some(LONG)).unwrap();
    dump.broker = Some(listener);
    (dump, client, broker)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

/// Sends bytes and checks that the other end receives the same.
fn pass(mut from: &TcpStream, mut to: &TcpStream, bytes: &[u8]) {
    from.write_all(bytes).unwrap();
    let mut received = vec![0; bytes.len()];
    to.read_exact(&mut received).unwrap();
    assert_eq!(received, bytes);
}

fn encode(packet: &Packet<'_>) -> Vec<u8> {
    let mut buffer = [0; 1024];
    packet.encode(&mut buffer).unwrap().to_vec()
}

fn id(id: u16) -> PacketId {
    PacketId::new(id).unwrap()
}

fn publish<'a>(topic: &'a str, payload: &'a [u8], delivery: Delivery) -> Packet<'a> {
    Packet::Publish(Publish {
        delivery,
        ..Publish::new(TopicName::new(topic).unwrap(), payload)
    })
}

const fn qos1(packet_id: PacketId) -> Delivery {
    Delivery::AtLeastOnce {
        packet_id,
        dup: false,
    }
}

const fn qos2(packet_id: PacketId) -> Delivery {
    Delivery::ExactlyOnce {
        packet_id,
        dup: true,
    }
}

#[test]
fn every_packet_both_ways_is_printed_and_passed_on() {
    let (mut dump, client, broker) = scripted();
    let connect = Connect {
        keep_alive: 30,
        will: Some(Will {
            qos: QoS::AtLeastOnce,
            ..Will::new("gone", b"bye")
        }),
        credentials: Some(Credentials {
            user_name: "token-4711",
            password: Some(b"secret"),
        }),
        ..Connect::new("sensor\n7")
    };
    let filter = TopicFilter::new("a/+").unwrap();
    let (names, filters) = ([filter], [(filter, QoS::ExactlyOnce)]);
    let codes = [
        SubackReturnCode::Granted(QoS::AtLeastOnce),
        SubackReturnCode::Failure,
    ];
    let long = [b'x'; 100];
    let connack = Connack::Accepted {
        session_present: true,
    };
    let steps = [
        (
            true,
            Packet::Connect(connect),
            "Client CONNECT \"sensor\\n7\", clean session: true, keep alive: 30 s, user name: true, password: true, \
             will: Some(Will { topic: \"gone\", message: 3 bytes, qos: AtLeastOnce, retain: false }) \
            | unanswered: 1, Client CONNECT (",
        ),
        (
            false,
            Packet::Connack(connack),
            "Broker CONNACK Accepted { session_present: true } | unanswered: 0",
        ),
        (
            true,
            Packet::Subscribe(Subscribe::new(id(1), &filters).unwrap()),
            "Client SUBSCRIBE 1 [(TopicFilter(\"a/+\"), ExactlyOnce)] | unanswered: 1, Client SUBSCRIBE 1 (",
        ),
        (
            false,
            Packet::Suback(Suback::new(id(1), &codes).unwrap()),
            "Broker SUBACK 1 [Granted(AtLeastOnce), Failure] | unanswered: 0",
        ),
        (
            true,
            publish("a/\u{202e}b", b"21.5\n\xff\"", Delivery::AtMostOnce),
            "Client PUBLISH AtMostOnce, dup: false, retain: false, \"a/\\u{202e}b\", 7 bytes: \"21.5\\n\\xff\\\"\" \
            | unanswered: 0",
        ),
        (
            true,
            publish("a/b", &long, qos1(id(2))),
            "xxx\"... | unanswered: 1, Client PUBLISH 2 (",
        ),
        (
            false,
            publish("a/c", b"", qos1(id(2))),
            "Broker PUBLISH 2 AtLeastOnce, dup: false, retain: false, \"a/c\", 0 bytes: \"\" \
            | unanswered: 2, Client PUBLISH 2 (",
        ),
        (
            true,
            Packet::Puback(Puback::new(id(2))),
            "Client PUBACK 2 | unanswered: 1, Client PUBLISH 2 (",
        ),
        (
            false,
            Packet::Puback(Puback::new(id(2))),
            "Broker PUBACK 2 | unanswered: 0",
        ),
        (
            true,
            publish("a/b", b"!", qos2(id(3))),
            "Client PUBLISH 3 ExactlyOnce, dup: true, retain: false, \"a/b\", 1 bytes: \"!\" \
            | unanswered: 1, Client PUBLISH 3 (",
        ),
        (
            false,
            Packet::Pubrec(Pubrec::new(id(3))),
            "Broker PUBREC 3 | unanswered: 1, Broker PUBREC 3 (",
        ),
        (
            true,
            Packet::Pubrel(Pubrel::new(id(3))),
            "Client PUBREL 3 | unanswered: 1, Client PUBREL 3 (",
        ),
        (
            false,
            Packet::Pubcomp(Pubcomp::new(id(3))),
            "Broker PUBCOMP 3 | unanswered: 0",
        ),
        (
            false,
            publish("a/b", b"!", qos2(id(3))),
            "| unanswered: 1, Broker PUBLISH 3 (",
        ),
        (
            true,
            Packet::Pubrec(Pubrec::new(id(3))),
            "| unanswered: 1, Client PUBREC 3 (",
        ),
        (
            false,
            Packet::Pubrel(Pubrel::new(id(3))),
            "| unanswered: 1, Broker PUBREL 3 (",
        ),
        (
            true,
            Packet::Pubcomp(Pubcomp::new(id(3))),
            "Client PUBCOMP 3 | unanswered: 0",
        ),
        (
            true,
            Packet::Unsubscribe(Unsubscribe::new(id(4), &names).unwrap()),
            "Client UNSUBSCRIBE 4 [TopicFilter(\"a/+\")] | unanswered: 1, Client UNSUBSCRIBE 4 (",
        ),
        (
            false,
            Packet::Unsuback(Unsuback::new(id(4))),
            "Broker UNSUBACK 4 | unanswered: 0",
        ),
        (
            true,
            Packet::Pingreq,
            "Client PINGREQ | unanswered: 1, Client PINGREQ (",
        ),
        (false, Packet::Pingresp, "Broker PINGRESP | unanswered: 0"),
        (
            true,
            Packet::Disconnect,
            "Client DISCONNECT | unanswered: 0",
        ),
    ];
    for (from_client, packet, text) in &steps {
        let (from, to) = if *from_client {
            (&client, &broker)
        } else {
            (&broker, &client)
        };
        pass(from, to, &encode(packet));
        dump.expect(text);
    }
    drop(client);
    dump.expect("#1 Client closed the connection");
    dump.expect("last packet: Client DISCONNECT");
    dump.expect("  unanswered: 0");
    let output = dump.seen.join("\n");
    for secret in ["secret", "token-4711"] {
        assert!(!output.contains(secret), "{secret} in\n{output}");
    }
}

#[test]
fn library_client_and_broker_packets_are_printed() {
    let mut dump = Dump::start(embedded_broker::start().unwrap());
    let mut storage = Storage::<256, 256, 4>::new();
    let mut session = Session::new(&mut storage);
    let options = Connect {
        keep_alive: 30,
        ..Connect::new("dump")
    };
    let transport = std_io::connect(dump.address).unwrap();
    let mut client = Client::connect(&mut session, transport, StdClock::new(), &options).unwrap();
    let codes = client
        .subscribe_and_wait(&[("t", QoS::ExactlyOnce)], |_, _| {})
        .unwrap();
    assert!(codes.all_granted());
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let mut received = false;
        let mut note = |event: Event<'_>| received |= matches!(event, Event::Message(_));
        client
            .publish_and_wait(
                &Message {
                    qos,
                    ..Message::new("t", b"hello")
                },
                |event, _| note(event),
            )
            .unwrap();
        while !received {
            received = matches!(client.recv().unwrap(), Event::Message(_));
        }
    }
    client.unsubscribe_and_wait(&["t"], |_, _| {}).unwrap();
    client.ping().unwrap();
    assert_eq!(client.poll().unwrap(), None);
    dump.expect("Client PINGREQ");
    dump.expect("Broker PINGRESP");
    client.disconnect().unwrap();
    // Either side may close first after a DISCONNECT.
    dump.expect(" closed the connection");
    for packet in [
        "Client SUBSCRIBE 1",
        "Client PUBLISH AtMostOnce",
        "Broker PUBLISH 1 ",
        "Broker PUBACK",
        "Broker PUBCOMP",
        "Client PUBCOMP",
        "Broker UNSUBACK",
    ] {
        let is_printed = dump.seen.iter().any(|line| line.contains(packet));
        assert!(is_printed, "no {packet} in\n{}", dump.seen.join("\n"));
    }
    dump.expect("last packet: Client DISCONNECT");
    dump.expect("  unanswered: 0");
}

#[test]
fn broker_closing_at_qos2_publish_is_printed_unanswered() {
    let (mut dump, client, broker) = scripted();
    let connack = Connack::Accepted {
        session_present: false,
    };
    pass(
        &client,
        &broker,
        &encode(&Packet::Connect(Connect::new("a"))),
    );
    pass(&broker, &client, &encode(&Packet::Connack(connack)));
    pass(
        &client,
        &broker,
        &encode(&publish("a/b", b"hello", qos2(id(7)))),
    );
    drop(broker);
    assert_eq!((&client).read(&mut [0]).unwrap(), 0);
    dump.expect("Client PUBLISH 7 ExactlyOnce");
    assert_eq!(dump.expect("closed"), "#1 Broker closed the connection");
    dump.expect(
        "#1   last packet: Client PUBLISH 7 ExactlyOnce, dup: true, retain: false, \"a/b\", 5 bytes: \"hello\"",
    );
    dump.expect("#1   unanswered: 1, Client PUBLISH 7 (");
}

#[test]
fn reset_inside_a_packet_is_printed_with_the_bytes_sent() {
    let (mut dump, client, broker) = scripted();
    pass(
        &client,
        &broker,
        &encode(&Packet::Connect(Connect::new("a"))),
    );
    let packet = encode(&publish("a/b", &[b'x'; 500], qos1(id(1))));
    pass(&client, &broker, &packet[..100]);
    (&client).write_all(b"unread").unwrap();
    broker.peek(&mut [0]).unwrap();
    drop(broker); // with bytes unread, so that the connection is reset
    drop((&client).read(&mut [0]));
    let line = dump.expect("Broker closed the connection");
    assert!(line.contains("reset"), "{line}");
    dump.expect("last packet: Client CONNECT");
    dump.expect("unanswered: 1, Client CONNECT (");
    dump.expect("Client sent 106 bytes of a PUBLISH of 510 bytes");
}

#[test]
fn malformed_packets_are_printed_with_the_error_and_passed_on() {
    let (mut dump, client, broker) = scripted();
    pass(
        &client,
        &broker,
        &encode(&Packet::Connect(Connect::new("a"))),
    );
    dump.expect("Client CONNECT");
    // A topic that is not UTF-8: the next packet can be found.
    pass(&client, &broker, b"\x30\x04\0\x01\xff!");
    dump.expect("Client malformed PUBLISH of 6 bytes: string is not UTF-8 at byte 0 (section 1.5.3): 30 04 00 01 ff 21 |");
    pass(&client, &broker, &encode(&Packet::Pingreq));
    dump.expect("Client PINGREQ");
    // A reserved type: no packet is decoded after it.
    pass(&broker, &client, b"\xf0\x01\x02\x03\x04\x05\x06");
    dump.expect(
        "Broker malformed packet: packet type 15 is reserved (section 2.2.1): f0 01 02 03 04; \
         the next packets cannot be decoded | unanswered: 2, ",
    );
    pass(&broker, &client, &encode(&Packet::Pingresp));
    pass(&client, &broker, &encode(&Packet::Disconnect));
    dump.expect("Client DISCONNECT");
    assert!(!dump.seen.join("\n").contains("PINGRESP"));
}

#[test]
fn malformed_connect_hides_the_password() {
    let (mut dump, client, broker) = scripted();
    // MQTT 5, a user name and a password.
    let malformed = b"\x10\x15\0\x04MQTT\x05\xc2\0\x3c\0\0\x01a\0\x01u\0\x02pw";
    pass(&client, &broker, malformed);
    pass(&client, &broker, &encode(&Packet::Pingreq));
    let line = dump.expect("malformed");
    assert_eq!(
        line,
        "#1 Client malformed CONNECT of 23 bytes: protocol level is 5 and not 4 (section 3.1.2.2): 10 15 00 04 4d; \
         the next packets cannot be decoded | unanswered: 0"
    );
    drop(client);
    dump.expect("last packet: Client malformed CONNECT");

    // A stream without a CONNECT may have a password anywhere.
    let mut client = connect(dump.address);
    client.write_all(b"\x30\x06\0\x01\xff\0pw").unwrap();
    let line = dump.expect("malformed");
    assert!(line.contains(": 30 06 00 01 ff |"), "{line}");
}

#[test]
fn connections_are_numbered() {
    let (mut dump, client, broker) = scripted();
    let second = connect(dump.address);
    dump.expect("#2 Client connected from");
    pass(
        &client,
        &broker,
        &encode(&Packet::Connect(Connect::new("a"))),
    );
    dump.expect("#1 Client CONNECT \"a\"");
    (&second)
        .write_all(&encode(&Packet::Connect(Connect::new("b"))))
        .unwrap();
    dump.expect("#2 Client CONNECT \"b\"");
    drop(second);
    dump.expect("#2 Client closed the connection");
    drop(client);
    dump.expect("#1 Client closed the connection");
}

#[test]
fn half_closed_client_still_receives() {
    let (mut dump, client, broker) = scripted();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!((&broker).read(&mut [0]).unwrap(), 0);
    dump.expect("#1 Client closed the connection");
    dump.expect("last packet: none");
    pass(&broker, &client, &encode(&Packet::Pingresp));
    dump.expect("Broker PINGRESP");
}

#[cfg(unix)]
#[test]
fn ctrl_c_ends_the_program_at_once() {
    let (mut dump, client, broker) = scripted();
    let id = dump.process.id().to_string();
    let kill = Command::new("kill").args(["-INT", &id]).status();
    assert!(kill.unwrap().success());
    let begun = Instant::now();
    while dump.process.try_wait().unwrap().is_none() {
        let waits = begun.elapsed() < Duration::from_secs(10);
        assert!(
            waits,
            "no end 10 s after SIGINT, which a background job of a shell ignores"
        );
        thread::sleep(Duration::from_millis(1));
    }
    for mut side in [&client, &broker] {
        assert_eq!(side.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn wrong_broker_address_ends_the_program_with_a_message() {
    let closed = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .to_string();
    for (broker, reason) in [
        (closed.as_str(), "refused"),
        ("localhost", "invalid socket address"),
        ("localhost:x", "invalid port value"),
    ] {
        let output = command(broker).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        let start = format!("umqtt-dump: cannot reach the broker {broker}: ");
        assert!(stderr.starts_with(&start), "{stderr}");
        assert!(stderr.contains(reason), "{stderr}");
        assert_eq!(output.status.code(), Some(1));
    }
}

#[test]
fn unreachable_broker_is_reported_and_client_closed() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut dump = Dump::start(listener.local_addr().unwrap());
    drop(listener);
    let mut client = connect(dump.address);
    dump.expect("#1 Broker cannot be reached: ");
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}
