//! The two subjects of the tests: a session that is called directly, and the blocking client.

use std::collections::VecDeque;

use umqtt::{
    Session, Storage, blocking,
    client::Error,
    codec::{Connect, QoS},
};

use crate::{
    common::{Network, Step, Transport, connack, message},
    driver::{Driver, Options, Reason, reason},
};

pub(crate) type Memory = Storage<128, 512, 4, 1>;

/// A request of the caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Request {
    Publish(u8),
    Subscribe,
    Unsubscribe,
    Ping,
    Disconnect,
    /// A QoS 0 message of this many payload bytes, which the caller streams.
    Stream(usize),
}

/// The report of one call of the device.
#[derive(Debug)]
pub(crate) struct Called {
    /// Bytes that the transport accepted since the previous call.
    pub(crate) sent: Vec<u8>,
    /// Bytes that were read.
    pub(crate) read: usize,
    /// The last read of the call found nothing.
    pub(crate) found_nothing: bool,
    /// The transport has not accepted or not flushed all bytes.
    pub(crate) refused: bool,
    pub(crate) result: Result<(), Reason>,
}

/// A session on a connection, called by a device.
pub(crate) trait Subject {
    /// Receives these bytes of the peer.
    fn feed(&mut self, bytes: &[u8]);
    /// Lets the transport accept this many more bytes.
    fn set_room(&mut self, bytes: usize);
    /// Sets whether the transport flushes the accepted bytes.
    fn set_flush(&mut self, works: bool);
    /// Sends a request, which is accepted.
    fn request(&mut self, request: Request, now: u32);
    /// Provides payload bytes of [`Request::Stream`].
    fn stream(&mut self, bytes: usize, now: u32);
    /// Moves all data that can be moved, and handles all events. If `busy`, the call ends before a read finds nothing.
    fn call(&mut self, now: u32, busy: bool) -> Called;
    /// As [`Self::call`], but no event is handled.
    fn call_without_events(&mut self, now: u32) -> Called;
    fn deadline(&self) -> Option<u32>;
    /// Returns `true` if a streamed payload was not sent whole.
    fn is_streaming(&self) -> bool;
}

/// The settings of a session, and the time at which it begins.
#[derive(Clone, Copy)]
pub(crate) struct Start {
    /// In seconds.
    pub(crate) keep_alive: u16,
    /// Response timeout in ms.
    pub(crate) timeout: u32,
    pub(crate) now: u32,
}

impl Start {
    /// Returns a session with this response timeout, without a connection.
    pub(crate) fn driver(self, memory: &mut Memory, checkpoints: bool) -> Driver<'_> {
        let mut driver = Driver::new(memory, checkpoints);
        driver.set_response_timeout(self.timeout);
        driver
    }

    /// Begins a connection.
    pub(crate) fn connect(self, driver: &mut Driver<'_>) {
        let options = Options {
            clean_session: false,
            keep_alive: self.keep_alive,
        };
        driver.connect(options, self.now).unwrap();
    }
}

/// A session without a client, and its transport.
pub(crate) struct Direct<'b> {
    driver: Driver<'b>,
    arrived: VecDeque<u8>,
    room: usize,
    sent: Vec<u8>,
}

impl<'b> Direct<'b> {
    pub(crate) fn new(memory: &'b mut Memory, start: Start, checkpoints: bool) -> Self {
        let driver = start.driver(memory, checkpoints);
        let mut direct = Self {
            driver,
            arrived: VecDeque::new(),
            room: usize::MAX,
            sent: Vec::new(),
        };
        direct.connect(start);
        direct
    }

    /// Returns a session with an unacknowledged message of an earlier connection.
    pub(crate) fn resumed(memory: &'b mut Memory, start: Start) -> Self {
        let mut direct = Self::new(memory, start, false);
        direct.feed(&connack(false));
        direct.call(start.now, false).result.unwrap();
        direct.driver.publish(1, b"x").unwrap();
        direct.connect(start);
        direct.sent.clear();
        direct
    }

    fn connect(&mut self, start: Start) {
        start.connect(&mut self.driver);
    }

    /// Offers all pending data to the transport.
    pub(crate) fn write(&mut self, now: u32) {
        while self.driver.has_pending() {
            let pending = self.driver.pending(now);
            let n = pending.len().min(self.room);
            self.sent.extend(&pending[..n]);
            if n == 0 {
                return;
            }
            self.room -= if self.room == usize::MAX { 0 } else { n };
            self.driver.consume(n, now);
        }
    }

    /// Fills the receive buffer and returns how many bytes it accepted.
    pub(crate) fn read(&mut self) -> usize {
        let n = self.driver.receive(self.arrived.make_contiguous());
        self.arrived.drain(..n);
        n
    }

    /// Reads, handles events and writes until a read finds nothing and nothing else happens.
    fn run_until_idle(&mut self, now: u32, busy: bool) -> Result<(), Reason> {
        self.write(now);
        loop {
            let before = self.sent.len();
            let read = self.read();
            while self.driver.turn(now)?.is_some() {
                self.write(now);
            }
            self.write(now);
            let is_idle = read == 0 && self.sent.len() == before;
            if is_idle || (busy && self.arrived.is_empty()) {
                return Ok(());
            }
        }
    }

    fn take_report(&mut self, result: Result<(), Reason>, before: usize, busy: bool) -> Called {
        Called {
            sent: std::mem::take(&mut self.sent),
            read: before - self.arrived.len(),
            found_nothing: self.arrived.is_empty() && !busy,
            refused: self.driver.has_pending(),
            result,
        }
    }
}

impl Subject for Direct<'_> {
    fn feed(&mut self, bytes: &[u8]) {
        self.arrived.extend(bytes);
    }

    fn set_room(&mut self, bytes: usize) {
        self.room = bytes;
    }

    fn set_flush(&mut self, _: bool) {
        unreachable!("only a client flushes");
    }

    fn request(&mut self, request: Request, _: u32) {
        let driver = &mut self.driver;
        match request {
            Request::Publish(qos) => drop(driver.publish(qos, b"x").unwrap()),
            Request::Subscribe => drop(driver.subscribe().unwrap()),
            Request::Unsubscribe => drop(driver.unsubscribe().unwrap()),
            Request::Ping => driver.ping().unwrap(),
            Request::Disconnect => driver.disconnect().unwrap(),
            Request::Stream(len) => drop(driver.begin_payload(0, len).unwrap()),
        }
    }

    fn stream(&mut self, bytes: usize, now: u32) {
        self.write(now);
        let n = bytes.min(self.driver.payload_left());
        self.sent.extend(vec![b'x'; n]);
        self.driver.payload_sent(n, now);
    }

    fn call(&mut self, now: u32, busy: bool) -> Called {
        let before = self.arrived.len();
        let result = self.run_until_idle(now, busy);
        self.take_report(result, before, busy)
    }

    fn call_without_events(&mut self, now: u32) -> Called {
        self.write(now);
        let result = self.driver.announce(now).map(drop);
        self.write(now);
        let before = self.arrived.len();
        let mut called = self.take_report(result, before, false);
        called.found_nothing = false;
        called
    }

    fn deadline(&self) -> Option<u32> {
        self.driver.deadline()
    }

    fn is_streaming(&self) -> bool {
        self.driver.is_payload_open()
    }
}

/// The blocking client on the network of its tests.
pub(crate) struct Blocking<'s, 'b, 'n> {
    client: blocking::Client<'s, 'b, Transport, &'n Network>,
    network: &'n Network,
    flush_works: bool,
    unflushed: bool,
    /// The transport does not accept everything.
    is_blocked: bool,
}

impl<'s, 'b, 'n> Blocking<'s, 'b, 'n> {
    pub(crate) fn new(
        session: &'s mut Session<'b>,
        network: &'n Network,
        start: Start,
        byte_by_byte: bool,
    ) -> Self {
        if byte_by_byte {
            network.reads(&[], Step::Bytes(1));
        }
        network.pass(start.now.wrapping_sub(network.millis()));
        session.set_response_timeout(start.timeout);
        let options = Connect {
            keep_alive: start.keep_alive,
            clean_session: false,
            ..Connect::new("c")
        };
        let client = blocking::Client::open(session, network.transport(), network, &options);
        Self {
            client: client.unwrap(),
            network,
            flush_works: true,
            unflushed: false,
            is_blocked: false,
        }
    }

    /// Returns `true` if the next call is due now.
    fn is_due(&self, now: u32) -> bool {
        let deadline = self.deadline();
        deadline.is_some_and(|at| at.wrapping_sub(now).cast_signed() <= 0)
    }

    fn advance_to(&self, now: u32) {
        self.network.pass(now.wrapping_sub(self.network.millis()));
    }
}

impl Subject for Blocking<'_, '_, '_> {
    fn feed(&mut self, bytes: &[u8]) {
        self.network.feed(bytes);
    }

    fn set_room(&mut self, bytes: usize) {
        self.is_blocked = bytes < usize::MAX;
        match bytes {
            0 => self.network.writes(&[], Step::NotReady),
            usize::MAX => self.network.writes(&[], Step::Bytes(usize::MAX)),
            n => self.network.writes(&[Step::Bytes(n)], Step::NotReady),
        }
    }

    fn set_flush(&mut self, works: bool) {
        let steps = if works { 0 } else { 10_000 };
        self.network.flushes(&vec![Step::TimedOut; steps]);
        self.flush_works = works;
    }

    fn request(&mut self, request: Request, now: u32) {
        self.advance_to(now);
        let client = &mut self.client;
        match request {
            Request::Publish(qos) => {
                let qos = QoS::try_from(qos).unwrap();
                client.publish(&message("t", b"x", qos)).map(drop)
            }
            Request::Subscribe => client.subscribe(&[("t", QoS::AtMostOnce)]).map(drop),
            Request::Unsubscribe => client.unsubscribe(&["t"]).map(drop),
            Request::Ping => client.ping(),
            Request::Disconnect => client.session().disconnect().map_err(Into::into),
            Request::Stream(_) => unreachable!("the client streams in one call"),
        }
        .unwrap();
    }

    fn stream(&mut self, _: usize, _: u32) {
        unreachable!("the client streams in one call");
    }

    fn call(&mut self, now: u32, _: bool) -> Called {
        self.advance_to(now);
        let unread = self.network.unread();
        let mut polls = 0;
        let result = loop {
            let before = self.network.unread();
            polls += 1;
            match self.client.poll().map(|event| event.is_some()) {
                Ok(true) => {}
                Ok(false) if self.network.unread() < before => {}
                Ok(false) if polls < 1_000 && !self.is_blocked && self.is_due(now) => {}
                Ok(false) => break Ok(()),
                Err(Error::Protocol(error)) => break Err(reason(error)),
                Err(_) => break Err(Reason::Closed),
            }
        };
        let sent = self.network.take_sent();
        self.unflushed = !self.flush_works && (self.unflushed || !sent.is_empty());
        Called {
            sent,
            read: unread - self.network.unread(),
            found_nothing: self.network.unread() == 0,
            refused: self.unflushed || self.client.session().has_pending(),
            result,
        }
    }

    fn call_without_events(&mut self, _: u32) -> Called {
        unreachable!("a poll returns the event");
    }

    fn deadline(&self) -> Option<u32> {
        self.client.deadline().map(umqtt::Instant::as_millis)
    }

    fn is_streaming(&self) -> bool {
        false
    }
}
