//! The statements of MQTT 3.1.1 that a client keeps with its transport, one test each.

use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use umqtt::{
    Clock, Event, Message, Session, Storage,
    blocking::Client,
    codec::{
        Connect, Packet, QoS,
        SubackReturnCode::{self, Granted},
    },
};

use crate::common::{
    DISCONNECT, Network, Seen, Step, connack, connected, message, packets, puback, pubcomp,
    publish, pubrec, pubrel, record, server, suback,
};

const GRANTED: [SubackReturnCode; 1] = [Granted(QoS::ExactlyOnce)];

/// [MQTT-3.14.4-1] After DISCONNECT was flushed, the client returns the transport, which the caller can shut down.
/// Nothing more is written.
#[test]
fn mqtt_3_14_4_1_disconnect_flushed_returns_transport() {
    for slowly in [Step::Bytes(usize::MAX), Step::Bytes(1)] {
        let (mut storage, network) = (Storage::<256, 512, 4>::new(), Network::new());
        let mut session = Session::new(&mut storage);
        let options = Connect {
            keep_alive: 1,
            clean_session: false,
            ..Connect::new("id")
        };
        let mut client = connected(&mut session, &network, &options);
        network.writes(&[], slowly);
        client
            .publish(&message("t", b"kept", QoS::AtLeastOnce))
            .unwrap();
        let flushed = network.flushed();
        client.disconnect().unwrap();
        let transport = client.into_transport();
        let sent = network.take_sent();
        let kept = publish("t", b"kept", QoS::AtLeastOnce, 1);
        assert_eq!(packets(&sent), (vec![&kept[..], &DISCONNECT], &[][..]));
        assert!(
            network.flushed() > flushed,
            "DISCONNECT is no use in a buffer"
        );
        assert!(!network.is_dropped(), "the caller shuts it down");

        // Nothing is written to it, for any received bytes and at any time.
        network.feed(&publish("t", b"late", QoS::AtLeastOnce, 7));
        network.pass(60_000);
        assert!(session.poll(network.now()).is_err());
        assert!(!session.has_pending());
        assert_eq!(network.take_sent(), b"");
        drop(transport);
        assert!(network.is_dropped());
        assert_eq!(network.take_sent(), b"");
    }
}

/// [MQTT-7.1.2-1] Any ordered, lossless byte stream serves as transport. The same exchange runs over a network that
/// moves everything at once, one that moves single bytes with pauses, another stream type, and a TCP connection.
#[test]
fn mqtt_7_1_2_1_any_byte_stream_completes_exchange() {
    let scripts: [&[Step]; 4] = [
        &[],
        &[Step::Bytes(1); 200],
        &[Step::Interrupted, Step::TimedOut, Step::Bytes(3)],
        &[Step::NotReady, Step::Bytes(2), Step::NotReady],
    ];
    for (reads, writes) in scripts
        .iter()
        .flat_map(|a| scripts.iter().map(move |b| (a, b)))
    {
        let network = Network::new();
        network.answer(|packet| match packet {
            // As `Scripted` does.
            Packet::Subscribe(_) => [server(packet), greetings()].concat(),
            Packet::Pubrec(_) => vec![],
            other => server(other),
        });
        network.reads(reads, Step::Bytes(usize::MAX));
        network.writes(writes, Step::Bytes(usize::MAX));
        exchange(network.transport(), &network);
        assert_exchanged(&network.take_sent());
    }

    let network = Network::new();
    let mut wire = Scripted::default();
    exchange(&mut wire, &network);
    assert_exchanged(&wire.written);
}

/// Three messages, one of each QoS.
fn greetings() -> Vec<u8> {
    [
        publish("in", b"0", QoS::AtMostOnce, 0),
        publish("in", b"1", QoS::AtLeastOnce, 7),
        publish("in", b"2", QoS::ExactlyOnce, 8),
    ]
    .concat()
}

/// Subscribes, receives the three messages, publishes one at QoS 1 and one at QoS 2, and disconnects.
fn exchange<T, C>(transport: T, clock: C)
where
    T: Read + Write + ReadReady + WriteReady,
    T::Error: core::fmt::Debug,
    C: Clock,
{
    let mut storage = Storage::<64, 256, 4>::new();
    let mut session = Session::new(&mut storage);
    let mut client = Client::connect(&mut session, transport, clock, &Connect::new("id")).unwrap();
    let mut seen = Vec::new();
    let codes = client
        .subscribe_and_wait(&[("in", QoS::ExactlyOnce)], |event, _| {
            record(&mut seen, event)
        })
        .unwrap();
    assert!(codes.all_granted());
    while seen.len() < 3 {
        record(&mut seen, client.recv().unwrap());
    }
    let payloads: Vec<_> = seen
        .iter()
        .map(|event| match event {
            Seen::Message { payload, .. } => payload.as_slice(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(payloads, [b"0", b"1", b"2"]);
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        client
            .publish_and_wait(&message("out", b"x", qos), |event: Event<'_>, _| {
                panic!("{event:?}")
            })
            .unwrap();
    }
    client.publish(&Message::new("out", b"last")).unwrap();
    client.disconnect().unwrap();
}

/// Checks that these bytes are the packets of [`exchange`].
fn assert_exchanged(sent: &[u8]) {
    let (packets, rest) = packets(sent);
    assert_eq!(rest, b"");
    assert_eq!(packets[0][0], 0x10);
    assert_eq!(packets[1][0], 0x82);
    let expected = [
        puback(7),
        pubrec(8),
        publish("out", b"x", QoS::AtLeastOnce, 2),
        publish("out", b"x", QoS::ExactlyOnce, 3),
        pubrel(3),
        publish("out", b"last", QoS::AtMostOnce, 0),
        DISCONNECT.to_vec(),
    ];
    assert_eq!(packets[2..], expected.each_ref().map(Vec::as_slice));
}

/// Another type of stream, whose peer answers each packet of the exchange. It accepts and returns bytes in small
/// pieces.
#[derive(Default)]
struct Scripted {
    written: Vec<u8>,
    answered: usize,
    unread: Vec<u8>,
}

impl Scripted {
    /// Answers the packets that were written since the last call.
    fn answer(&mut self) {
        let (whole, _) = packets(&self.written);
        for packet in whole.iter().skip(self.answered) {
            self.unread.extend(match packet[0] {
                0x10 => connack(false),
                0x82 => [suback(1, &GRANTED), greetings()].concat(),
                0x32 => puback(2),
                0x34 => pubrec(3),
                0x62 => pubcomp(3),
                _ => vec![],
            });
        }
        self.answered = whole.len();
    }
}

impl ErrorType for Scripted {
    type Error = embedded_io::ErrorKind;
}

impl Read for Scripted {
    fn read(&mut self, buf: &mut [u8]) -> Result<usize, Self::Error> {
        let n = buf.len().min(self.unread.len()).min(5);
        buf[..n].copy_from_slice(&self.unread[..n]);
        self.unread.drain(..n);
        Ok(n)
    }
}

impl ReadReady for Scripted {
    fn read_ready(&mut self) -> Result<bool, Self::Error> {
        Ok(!self.unread.is_empty())
    }
}

impl Write for Scripted {
    fn write(&mut self, buf: &[u8]) -> Result<usize, Self::Error> {
        let n = buf.len().min(7);
        self.written.extend_from_slice(&buf[..n]);
        Ok(n)
    }

    /// A stream may keep everything until it is flushed.
    fn flush(&mut self) -> Result<(), Self::Error> {
        self.answer();
        Ok(())
    }
}

impl WriteReady for Scripted {
    fn write_ready(&mut self) -> Result<bool, Self::Error> {
        Ok(true)
    }
}

/// [MQTT-7.1.2-1] A TCP connection can be used in non-blocking mode or with timeouts. With timeouts, all waiting is
/// done by the operating system.
#[cfg(feature = "std")]
#[test]
fn mqtt_7_1_2_1_tcp_completes_exchange() {
    use std::time::Duration;
    use umqtt::std_io::{NonBlocking, StdClock};

    let (stream, peer) = tcp();
    stream.set_nonblocking(true).unwrap();
    exchange(NonBlocking::new(stream), StdClock::new());
    assert_exchanged(&peer.join().unwrap());

    let (stream, peer) = tcp();
    let timeout = Some(Duration::from_secs(5));
    stream.set_read_timeout(timeout).unwrap();
    stream.set_write_timeout(timeout).unwrap();
    exchange(NonBlocking::new(stream), Sleepless(StdClock::new()));
    assert_exchanged(&peer.join().unwrap());
}

/// A connection to a peer that answers like [`Scripted`], and returns the bytes that it received.
#[cfg(feature = "std")]
fn tcp() -> (std::net::TcpStream, std::thread::JoinHandle<Vec<u8>>) {
    use std::{
        io::{Read as _, Write as _},
        net::{TcpListener, TcpStream},
    };

    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let peer = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut wire = Scripted::default();
        let mut buf = [0; 256];
        loop {
            let n = stream.read(&mut buf).unwrap();
            if n == 0 {
                return wire.written;
            }
            wire.written.extend_from_slice(&buf[..n]);
            wire.answer();
            stream.write_all(&std::mem::take(&mut wire.unread)).unwrap();
        }
    });
    (TcpStream::connect(address).unwrap(), peer)
}

/// A clock for a stream with timeouts: the client must not wait with it.
#[cfg(feature = "std")]
struct Sleepless(umqtt::std_io::StdClock);

#[cfg(feature = "std")]
impl umqtt::Clock for Sleepless {
    fn now(&self) -> umqtt::Instant {
        self.0.now()
    }

    fn idle(&self) {
        panic!("the stream had waited");
    }
}
