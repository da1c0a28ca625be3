//! Rows of minimq, which uses MQTT 5: the same packets, with the bytes for properties that MQTT 5 needs.
//!
//! Its codec is not public. The rows use the functions for its fuzzers, which drop the decoded packet.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use embassy_time_driver::Driver;
use embedded_io_async::{ErrorType, Read, Write};
use minimq::{Buffers, ConfigBuilder, Connection, Publication, QoS, fuzzing};

use crate::measure::Jobs;
use crate::packets::TOPIC;

const PAYLOAD: [u8; 64] = [b'x'; 64];
/// Session Present 0, success, no properties.
const CONNACK: [u8; 5] = [0x20, 3, 0, 0, 0];
/// Offset of the packet id in a short PUBLISH to the common topic.
const ID: usize = 2 + 2 + TOPIC.len();

/// Tags of the packets that `fuzzing::encode_packet` writes.
const PUBLISH: u8 = 1;
const PUBACK: u8 = 6;

/// Adds every packet that a client decodes or encodes, if the functions for fuzzers support it.
pub fn codec(jobs: &mut Jobs) {
    let decoded: [(&str, Vec<u8>); 7] = [
        ("PUBLISH QoS 0, 64 B", publish(0, &PAYLOAD)),
        ("PUBLISH QoS 1, 1 KiB", publish(1, &[b'x'; 1 << 10])),
        ("PUBLISH QoS 0, 64 KiB", publish(0, &[b'x'; 1 << 16])),
        ("CONNACK", CONNACK.into()),
        ("PUBACK", vec![0x40, 2, 0, 77]),
        ("SUBACK x 4", vec![0x90, 7, 0, 77, 0, 1, 1, 1, 1]),
        ("PINGRESP", vec![0xD0, 0]),
    ];
    for (kind, bytes) in decoded {
        jobs.add(
            format!("decode/{kind}/minimq"),
            || (),
            move |()| fuzzing::parse_received_packet(std::hint::black_box(&bytes)),
        );
    }
    let encoded = [
        ("PUBLISH QoS 0, 64 B", PUBLISH, 0, 64),
        ("PUBLISH QoS 1, 1 KiB", PUBLISH, 1, 1 << 10),
        ("PUBLISH QoS 0, 64 KiB", PUBLISH, 0, 1 << 16),
        ("PUBACK", PUBACK, 0, 0),
    ];
    for (kind, tag, qos, len) in encoded {
        let payload = vec![b'x'; len];
        let mut out = vec![0; 1 << 17];
        jobs.add(
            format!("encode/{kind}/minimq"),
            || (),
            move |()| {
                fuzzing::encode_packet(&mut out, tag, TOPIC, &payload, qos, false, 0);
                std::hint::black_box(&out);
            },
        );
    }
}

/// Returns an encoded PUBLISH of MQTT 5.
fn publish(qos: u8, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend((TOPIC.len() as u16).to_be_bytes());
    body.extend(TOPIC.as_bytes());
    if qos > 0 {
        body.extend([0, 9]);
    }
    body.push(0);
    body.extend(payload);
    let (mut bytes, mut left) = (vec![0x30 | qos << 1], body.len());
    while left > 0x7F {
        bytes.push(left as u8 | 0x80);
        left >>= 7;
    }
    bytes.push(left as u8);
    bytes.extend(body);
    bytes
}

/// A clock that always shows the same time, as for the other crates.
struct Still;

impl Driver for Still {
    fn now(&self) -> u64 {
        0
    }

    fn schedule_wake(&self, _at: u64, _waker: &Waker) {}
}

embassy_time_driver::time_driver_impl!(static STILL: Still = Still);

/// A transport in memory: the bytes of the server, and the bytes that it received.
#[derive(Clone, Default)]
struct Line(Rc<RefCell<Ends>>);

#[derive(Default)]
struct Ends {
    to_client: VecDeque<u8>,
    from_client: Vec<u8>,
}

impl ErrorType for Line {
    type Error = Infallible;
}

impl Read for Line {
    async fn read(&mut self, out: &mut [u8]) -> Result<usize, Infallible> {
        let mut take = || std::io::Read::read(&mut self.0.borrow_mut().to_client, out);
        std::future::poll_fn(|_| match take().expect("memory accepts all bytes") {
            0 => Poll::Pending,
            read => Poll::Ready(Ok(read)),
        })
        .await
    }
}

impl Write for Line {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        self.0.borrow_mut().from_client.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A client of minimq on a connection. Its session exists until the program ends.
pub struct Minimq {
    connection: Connection<'static, 'static, Line>,
    line: Line,
    messages: [Vec<u8>; 3],
}

impl Minimq {
    /// Connects with a receive buffer of this size.
    pub fn connected(rx: usize) -> Self {
        let buffers = Buffers::new(vec![0; rx].leak(), vec![0; 4096].leak());
        let config = ConfigBuilder::new(buffers).keepalive_interval(0);
        let config = config.client_id("bench").expect("it is short");
        let session = Box::leak(Box::new(minimq::Session::new(config)));
        let line = Line::default();
        line.0.borrow_mut().to_client.extend(CONNACK);
        let connection = once(session.connect(line.clone())).expect("all bytes are in memory");
        let messages = [0, 1, 2].map(|qos| publish(qos, &PAYLOAD));
        Self {
            connection: connection.expect("it is accepted"),
            line,
            messages,
        }
    }

    /// Receives a message, with all acknowledgements.
    pub fn receive(&mut self, qos: usize) -> usize {
        let message = std::mem::take(&mut self.messages[qos]);
        let mut sent = self.put(&message);
        self.messages[qos] = message;
        if qos == 2 {
            sent += self.put(&[0x62, 2, 0, 9]);
        }
        sent
    }

    /// Sends a message, with all acknowledgements.
    pub fn send(&mut self, qos: usize) -> usize {
        let level = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][qos];
        let publication = Publication::bytes(TOPIC, &PAYLOAD).qos(level);
        let published =
            once(self.connection.publish(publication)).expect("the transport accepts all bytes");
        published.expect("there is room");
        let id = [ID, ID + 1].map(|at| self.line.0.borrow().from_client[at]);
        let answer = |first| [first, 2, id[0], id[1]];
        let sent = self.take_sent_len();
        match qos {
            0 => sent,
            1 => sent + self.put(&answer(0x40)),
            _ => sent + self.put(&answer(0x50)) + self.put(&answer(0x70)),
        }
    }

    /// Receives bytes at once and handles them. Returns the sent bytes.
    fn put(&mut self, bytes: &[u8]) -> usize {
        self.line.0.borrow_mut().to_client.extend(bytes);
        while let Some(progress) = once(self.connection.poll()) {
            std::hint::black_box(progress.expect("nothing is wrong"));
        }
        self.take_sent_len()
    }

    /// Returns the number of bytes that the client has sent since the last call.
    fn take_sent_len(&mut self) -> usize {
        let mut ends = self.line.0.borrow_mut();
        let len = ends.from_client.len();
        ends.from_client.clear();
        len
    }
}

/// Returns the result of a future that is ready when it is first polled.
fn once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
