//! A transport in memory for clients that own their transport, and the packets of MQTT 5 for two of them.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use embassy_time_driver::Driver;
use embedded_io_async::{ErrorType, Read, Write};

use crate::packets::TOPIC;

pub const PAYLOAD: [u8; 64] = [b'x'; 64];
/// Session Present 0, success, no properties.
pub const CONNACK_5: [u8; 5] = [0x20, 3, 0, 0, 0];
/// Offset of the packet id in a short PUBLISH to the common topic.
const ID: usize = 2 + 2 + TOPIC.len();

/// A client that sends and receives on a [`Line`].
pub trait Client {
    /// Handles all received bytes.
    fn handle(&mut self);

    /// Sends a message, and handles all acknowledgements. Returns the sent bytes.
    fn send(&mut self, line: &Line, qos: usize) -> usize;
}

/// A client that is connected, and one message at each QoS for it.
pub struct Connected<C> {
    client: C,
    line: Line,
    messages: [Vec<u8>; 3],
}

impl<C: Client> Connected<C> {
    pub fn new(client: C, line: Line, message: fn(u8, &[u8]) -> Vec<u8>) -> Self {
        let messages = [0, 1, 2].map(|qos| message(qos, &PAYLOAD));
        Self {
            client,
            line,
            messages,
        }
    }

    /// Receives a message, with all acknowledgements. Returns the sent bytes.
    pub fn receive(&mut self, qos: usize) -> usize {
        let message = std::mem::take(&mut self.messages[qos]);
        let mut sent = self.put(&message);
        self.messages[qos] = message;
        if qos == 2 {
            sent += self.put(&[0x62, 2, 0, 9]);
        }
        sent
    }

    /// Sends a message, with all acknowledgements. Returns the sent bytes.
    pub fn send(&mut self, qos: usize) -> usize {
        self.client.send(&self.line, qos)
    }

    /// Receives bytes at once and handles them. Returns the sent bytes.
    fn put(&mut self, bytes: &[u8]) -> usize {
        self.line.receive(bytes);
        self.client.handle();
        self.line.take_sent_len()
    }
}

impl Line {
    /// Adds bytes that the client will receive.
    pub fn receive(&self, bytes: &[u8]) {
        self.0.borrow_mut().to_client.extend(bytes);
    }

    /// Returns the number of bytes that the client has sent since the last call.
    pub fn take_sent_len(&self) -> usize {
        let mut ends = self.0.borrow_mut();
        let len = ends.from_client.len();
        ends.from_client.clear();
        len
    }

    /// Acknowledges the PUBLISH that was sent, and lets the client handle it. Returns the sent bytes.
    pub fn acknowledge(&self, qos: usize, mut handle: impl FnMut()) -> usize {
        let id = [ID, ID + 1].map(|at| self.0.borrow().from_client[at]);
        let mut sent = self.take_sent_len();
        let answers: &[u8] = [&[] as &[u8], &[0x40], &[0x50, 0x70]][qos];
        for first in answers {
            self.receive(&[*first, 2, id[0], id[1]]);
            handle();
            sent += self.take_sent_len();
        }
        sent
    }

    /// Returns the packet id of the SUBSCRIBE that was sent.
    pub fn subscribe_id(&self) -> [u8; 2] {
        [2, 3].map(|at| self.0.borrow().from_client[at])
    }
}

/// Returns an encoded PUBLISH of MQTT 5.
pub fn publish_5(qos: u8, payload: &[u8]) -> Vec<u8> {
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

/// A transport in memory: the bytes from the server, and the bytes to it.
#[derive(Clone, Default)]
pub struct Line(Rc<RefCell<Ends>>);

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

/// Returns the result of a future that is ready when it is first polled.
pub fn once<F: Future>(future: F) -> Option<F::Output> {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => Some(output),
        Poll::Pending => None,
    }
}
