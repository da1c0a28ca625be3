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

use umqtt::codec::QoS;

use crate::packets::TOPIC;
use crate::peer::{self, Log, Outcome, Peer};

/// Session Present 0, success, no properties.
pub const CONNACK_5: [u8; 5] = [0x20, 3, 0, 0, 0];
/// Offset of the packet id in a short PUBLISH to the common topic.
const ID_AT: usize = 2 + 2 + TOPIC.len();

/// A client that sends and receives on a [`Line`].
pub trait Client {
    /// First byte of the PUBREL that it sends.
    const PUBREL: u8 = peer::PUBREL[0];

    /// Handles all received bytes.
    fn handle(&mut self, outcome: &mut Outcome);

    /// Sends the common payload, and handles all acknowledgements.
    fn send(&mut self, line: &Line, qos: QoS, log: &mut Log) -> Outcome;
}

/// A client and its line.
pub struct OnLine<C> {
    pub client: C,
    pub line: Line,
}

impl<C: Client> Peer for OnLine<C> {
    const PUBREL: u8 = C::PUBREL;

    #[inline(always)]
    fn put(&mut self, bytes: &[u8], outcome: &mut Outcome, log: &mut Log) {
        self.line.put(bytes, outcome, log, |outcome| {
            self.client.handle(outcome);
        });
    }

    fn send(&mut self, qos: QoS, log: &mut Log) -> Outcome {
        self.client.send(&self.line, qos, log)
    }
}

impl Line {
    /// Adds bytes that the client will receive.
    pub fn receive(&self, bytes: &[u8]) {
        self.0.borrow_mut().to_client.extend(bytes);
    }

    /// Removes the bytes that the client has sent, and returns their number.
    pub fn take_sent(&self, log: &mut Log) -> usize {
        let mut ends = self.0.borrow_mut();
        let len = ends.from_client.len();
        log.sent(&ends.from_client);
        ends.from_client.clear();
        len
    }

    /// Adds bytes that the client receives at once, and lets it handle them.
    #[inline(always)]
    fn put(
        &self,
        bytes: &[u8],
        outcome: &mut Outcome,
        log: &mut Log,
        mut handle: impl FnMut(&mut Outcome),
    ) {
        log.received(bytes);
        self.receive(bytes);
        handle(outcome);
        outcome.sent += self.take_sent(log);
    }

    /// Acknowledges the PUBLISH that was sent, and lets the client handle it.
    pub fn acknowledge(
        &self,
        qos: QoS,
        log: &mut Log,
        mut handle: impl FnMut(&mut Outcome),
    ) -> Outcome {
        let id = [ID_AT, ID_AT + 1].map(|at| self.0.borrow().from_client[at]);
        let mut outcome = Outcome::default();
        outcome.sent += self.take_sent(log);
        let answers: &[u8] = [&[] as &[u8], &[0x40], &[0x50, 0x70]][qos as usize];
        for first in answers {
            let answer = [*first, 2, id[0], id[1]];
            self.put(&answer, &mut outcome, log, &mut handle);
        }
        outcome
    }

    /// Returns the packet id of the SUBSCRIBE that was sent.
    pub fn subscribe_id(&self) -> [u8; 2] {
        [2, 3].map(|at| self.0.borrow().from_client[at])
    }
}

/// Returns an encoded PUBLISH of MQTT 5.
pub fn publish_5(qos: u8, id: u16, payload: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    body.extend((TOPIC.len() as u16).to_be_bytes());
    body.extend(TOPIC.as_bytes());
    if qos > 0 {
        body.extend(id.to_be_bytes());
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
