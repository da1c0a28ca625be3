//! Faulty brokers and silent networks. For each, the client returns an error that names the fault, before a deadline.

use std::{
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    ops::Range,
    thread,
    time::{Duration, Instant},
};

use fastrand::Rng;
use faults::{Client, Cut, Failure, How, Kind, Mosquitto, Plan, Proxy, Result, Scale, Way, seed};
use umqtt::{
    Message, ProtocolError, RequestError, Session, Storage,
    client::Error,
    codec::{Connect, QoS},
};

type Memory = Storage<128, 65_536, 4>;

/// Response timeout in ms.
const ANSWER: u32 = 1_500;
const SECOND: u32 = 1_000;
/// Maximum time of each test.
const PATIENCE: Duration = Duration::from_secs(30);
/// Tolerance for a busy computer in ms.
const LATE: u32 = 900;
const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
/// Start of a QoS 0 message of 1,000 bytes.
const LONG_PUBLISH: [u8; 6] = [0x30, 0xE8, 7, 0, 1, b't'];

/// Starts a server that calls this function for each connection.
fn server(serve: impl Fn(TcpStream) + Copy + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            thread::spawn(move || serve(client));
        }
    });
    address
}

/// Reads and discards bytes until the client closes the connection.
fn discard_input(mut client: TcpStream) {
    while let Ok(1..) = client.read(&mut [0; 512]) {}
}

/// Waits for the CONNECT, and sends these bytes.
fn answer(mut client: &TcpStream, bytes: &[u8]) {
    drop(client.read(&mut [0; 512]));
    drop(client.write_all(bytes));
}

/// Returns the error of a client that does `work` with this server, and the time in ms until it.
fn end_of(
    kind: Kind,
    address: SocketAddr,
    keep_alive: u16,
    work: impl Fn(&mut (dyn Client<'_> + '_)) -> Result<()>,
) -> (Failure, u32) {
    let mut memory = Box::new(Memory::new());
    let mut session = Session::new(&mut memory);
    session.set_response_timeout(ANSWER);
    let options = Connect {
        keep_alive,
        ..Connect::new("device")
    };
    let start = Instant::now();
    let ended = kind
        .connect(&mut session, address, &options)
        .and_then(|mut client| work(&mut *client));
    let error = ended.expect_err("the client must return an error");
    let took = u32::try_from(start.elapsed().as_millis()).unwrap();
    println!("{kind:?}: {error}, after {took} ms");
    (error, took)
}

/// Receives events until the connection ends.
fn listen(client: &mut (dyn Client<'_> + '_)) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        client.recv_for(PATIENCE / 10, &mut |_| {})?;
    }
    Ok(())
}

/// Checks that both clients end with this error, within this time in ms. Keep alive and answer are timed in whole ms,
/// so each may end 1 ms early.
fn both_end_with(
    address: SocketAddr,
    keep_alive: u16,
    reason: ProtocolError,
    within: Range<u32>,
    work: impl Fn(&mut (dyn Client<'_> + '_)) -> Result<()> + Copy,
) {
    for kind in Kind::BOTH {
        let (error, took) = end_of(kind, address, keep_alive, work);
        assert_eq!(error, Error::Protocol(reason), "{kind:?}");
        assert!(
            within.contains(&(took + 2)),
            "{kind:?}: {took} ms, not {within:?}"
        );
    }
}

#[test]
fn broker_never_answering_is_connack_timeout() {
    let address = server(discard_input);
    let within = ANSWER..ANSWER + LATE;
    both_end_with(address, 0, ProtocolError::ConnackTimeout, within, listen);
}

#[test]
fn broker_answering_garbage_is_protocol_error() {
    let seed = seed("garbage");
    for first in 0..64 {
        let address = server(move |client| {
            let mut rng = Rng::with_seed(seed.wrapping_add(first));
            let garbage: Vec<u8> = (0..1_000).map(|_| rng.u8(..)).collect();
            // Half of the answers begin with a valid CONNACK.
            if first % 2 == 0 {
                answer(&client, &CONNACK);
                drop((&client).write_all(&garbage));
            } else {
                answer(&client, &garbage);
            }
            discard_input(client);
        });
        for kind in Kind::BOTH {
            let (error, took) = end_of(kind, address, 1, listen);
            assert!(
                matches!(
                    error,
                    // The bytes may contain a PUBLISH of maximum length.
                    Error::Protocol(
                        ProtocolError::Decode(_)
                            | ProtocolError::UnexpectedPacket(_)
                            | ProtocolError::UnexpectedAck { .. }
                            | ProtocolError::BeforeConnack(_)
                            | ProtocolError::Refused(_)
                            | ProtocolError::ReceiveBufferTooSmall { .. }
                            | ProtocolError::SessionPresentAfterCleanSession
                            | ProtocolError::PingrespTimeout
                            | ProtocolError::ConnackTimeout
                    )
                ),
                "{kind:?}: {error:?}"
            );
            assert!(took < 2 * ANSWER + SECOND + LATE, "{kind:?}: {took} ms");
        }
    }
}

#[test]
fn broker_speaking_http_is_decode_error() {
    let address = server(|client| {
        answer(&client, b"HTTP/1.1 400 Bad Request\r\n\r\n");
        discard_input(client);
    });
    for kind in Kind::BOTH {
        let (error, took) = end_of(kind, address, 0, listen);
        assert!(
            matches!(error, Error::Protocol(ProtocolError::Decode(_))),
            "{error:?}"
        );
        assert!(took < LATE, "{kind:?}: {took} ms");
    }
}

#[test]
fn broker_sending_one_byte_a_second_is_pingresp_timeout() {
    let address = server(|client| {
        answer(&client, &CONNACK);
        drop((&client).write_all(&LONG_PUBLISH));
        while (&client).write_all(b"x").is_ok() {
            thread::sleep(Duration::from_secs(1));
        }
    });
    // The first PINGREQ is due after three quarters of the keep alive interval. While bytes are received, the session
    // waits for PINGRESP for longer, but at fewer than 64 bytes per response timeout only for ten of these.
    let ping = 3 * SECOND / 4;
    let within = ping + 10 * ANSWER..ping + 10 * ANSWER + LATE;
    both_end_with(address, 1, ProtocolError::PingrespTimeout, within, listen);
}

#[test]
fn broker_never_reading_is_write_timeout() {
    let address = server(|client| {
        answer(&client, &CONNACK);
        thread::sleep(Duration::from_secs(20));
    });
    for kind in Kind::BOTH {
        // Without keep alive. A PINGREQ would also detect this broker.
        let (error, took) = end_of(kind, address, 0, |client| {
            let payload = [0; 16_384];
            let start = Instant::now();
            while start.elapsed() < PATIENCE {
                match client.publish(&Message::new("t", &payload)) {
                    Ok(_) => {}
                    Err(Error::Request(RequestError::SendBufferFull { .. })) => {
                        client.recv_for(Duration::from_millis(10), &mut |_| {})?;
                    }
                    Err(error) => return Err(error),
                }
            }
            Ok(())
        });
        assert_eq!(error, Error::Protocol(ProtocolError::WriteTimeout));
        // The operating system first buffers some megabytes.
        assert!(took >= ANSWER, "{kind:?}: {took} ms");
        assert!(took < ANSWER + 4 * LATE, "{kind:?}: {took} ms");
    }
}

#[test]
fn broker_never_acknowledging_is_request_timeout() {
    let address = server(|client| {
        answer(&client, &CONNACK);
        discard_input(client);
    });
    for kind in Kind::BOTH {
        let (error, took) = end_of(kind, address, 0, |client| {
            client.publish(&Message {
                qos: QoS::AtLeastOnce,
                ..Message::new("t", b"")
            })?;
            listen(client)
        });
        assert!(
            matches!(error, Error::Protocol(ProtocolError::RequestTimeout { .. })),
            "{error:?}"
        );
        assert!((ANSWER..ANSWER + LATE).contains(&took), "{took} ms");
    }
}

/// The network becomes silent after CONNACK.
#[test]
fn half_open_connection_is_pingresp_timeout() {
    let Some(broker) = Mosquitto::start() else {
        return;
    };
    let plan = || Plan {
        cut: Some(Cut {
            way: Way::Down,
            after: CONNACK.len(),
            how: How::Stall,
        }),
        ..Plan::default()
    };
    let (proxy, _cuts) = Proxy::with(broker.address, plan);
    let keep_alives: &[u16] = Scale::pick(&[2], &[2, 4], &[2, 4, 20]);
    for &keep_alive in keep_alives {
        let latest = u32::from(keep_alive) * SECOND + ANSWER;
        // A PINGREQ is sent two seconds before it is due, or a quarter of the keep alive if that is less.
        let early = (2 * SECOND).min(u32::from(keep_alive) * SECOND / 4);
        let within = latest - early..latest - early + LATE;
        let reason = ProtocolError::PingrespTimeout;
        both_end_with(proxy.address, keep_alive, reason, within, listen);
    }
}

/// A slow but steady connection is not closed: one byte in each segment, and pauses.
#[test]
fn slow_network_keeps_connection_open() {
    let Some(broker) = Mosquitto::start() else {
        return;
    };
    for (delay, dribble) in [
        (Duration::from_millis(100), None),
        (Duration::ZERO, Some(Duration::from_millis(1))),
    ] {
        let plan = move || Plan {
            delay,
            dribble,
            ..Plan::default()
        };
        let (proxy, _cuts) = Proxy::with(broker.address, plan);
        for kind in Kind::BOTH {
            echo(kind, proxy.address);
        }
    }
}

/// Publishes a message at each QoS, and receives it.
fn echo(kind: Kind, address: SocketAddr) {
    let mut memory = Box::new(Memory::new());
    let mut session = Session::new(&mut memory);
    let options = Connect::new("slow");
    let mut client = kind.connect(&mut session, address, &options).unwrap();
    client.subscribe(&[("slow", QoS::ExactlyOnce)]).unwrap();
    let mut count = 0;
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let message = Message {
            qos,
            ..Message::new("slow", b"but steady")
        };
        client.publish(&message).unwrap();
    }
    while count < 3 {
        let received = client.recv_for(Duration::from_secs(5), &mut |event| {
            count += u32::from(matches!(event, umqtt::Event::Message(_)));
        });
        assert!(received.unwrap(), "{kind:?}: the message was not received");
    }
    client.disconnect().unwrap();
}
