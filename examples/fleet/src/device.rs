//! One session and its socket. The caller calls `turn` when the socket is ready or the alarm has passed.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::SocketAddr,
    time::Instant as StdInstant,
};

use mio::net::TcpStream;
use umqtt::{
    Backoff, Event, Instant, Message, RequestError, Session, Storage,
    codec::{Connect, Credentials},
};

use crate::{Error, Result, figures::Figures, options::Options};

/// Capacities: bytes to receive, bytes to send, sent messages in flight, received messages in flight.
pub(crate) type Memory = Storage<512, 1_024, 4, 20>;

/// Maximum time in ms until the broker accepts a connection, or answers.
const ANSWER: u32 = 30_000;

pub(crate) struct Device<'b> {
    session: Session<'b>,
    link: Link,
    backoff: Backoff,
    name: String,
    topic: String,
    /// The broker has granted the subscription on this connection.
    is_ready: bool,
}

enum Link {
    /// Disconnected. Connect again at this time.
    Down(Instant),
    /// The operating system is connecting.
    Dialling(TcpStream, Instant),
    Open(TcpStream),
    /// DISCONNECT was sent.
    Over,
}

/// A clock that starts at 0 with the program.
#[derive(Clone, Copy)]
pub(crate) struct Watch(pub(crate) StdInstant);

impl Watch {
    /// Returns the time as an instant of a session.
    pub(crate) fn now(self) -> Instant {
        // Instants may wrap.
        let millis = self.0.elapsed().as_millis() & u128::from(u32::MAX);
        Instant::from_millis(u32::try_from(millis).unwrap_or_default())
    }

    pub(crate) fn micros(self) -> u64 {
        u64::try_from(self.0.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

impl<'b> Device<'b> {
    pub(crate) fn new(memory: &'b mut Memory, run: u32, number: usize, options: &Options) -> Self {
        let mut session = Session::new(memory);
        session.set_response_timeout(ANSWER);
        Self {
            session,
            link: Link::Down(Instant::default()),
            backoff: Backoff::new(500, 10_000),
            name: format!("fleet{run:08x}n{number}"),
            topic: format!("{}/{run:08x}/{number}", options.topic_prefix),
            is_ready: false,
        }
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.is_ready
    }

    pub(crate) fn is_down(&self) -> bool {
        matches!(self.link, Link::Down(_))
    }

    pub(crate) fn is_over(&self) -> bool {
        matches!(self.link, Link::Over)
    }

    /// Returns `true` if it is time to connect.
    pub(crate) fn wants_to_dial(&self, watch: Watch) -> bool {
        matches!(self.link, Link::Down(again) if again.has_passed(watch.now()))
    }

    /// Begins a connection. Returns the socket, which must be polled.
    pub(crate) fn dial(&mut self, address: SocketAddr, watch: Watch) -> io::Result<&mut TcpStream> {
        let stream = TcpStream::connect(address)?;
        let give_up = watch.now().add_millis(ANSWER);
        self.link = Link::Dialling(stream, give_up);
        match &mut self.link {
            Link::Dialling(stream, _) => Ok(stream),
            _ => Err(ErrorKind::NotConnected.into()),
        }
    }

    /// Returns the time at which `turn` must be called even if the socket is not ready.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.link {
            Link::Dialling(_, give_up) => Some(give_up),
            Link::Open(_) => self.session.deadline(),
            // The caller chooses the time to connect.
            Link::Down(_) | Link::Over => None,
        }
    }

    /// Sends and receives bytes, and handles packets, until nothing can be done at once.
    ///
    /// # Errors
    ///
    /// The connection is closed. The device will connect again.
    pub(crate) fn turn(
        &mut self,
        watch: Watch,
        options: &Options,
        figures: &mut Figures,
    ) -> Result<()> {
        let turned = self
            .open(watch, options)
            .and_then(|()| self.exchange(watch, options, figures));
        if turned.is_err() {
            self.session.connection_lost();
            self.is_ready = false;
            let pause = self.backoff.next(fastrand::u32(..));
            self.link = Link::Down(watch.now().add_millis(pause));
        }
        turned
    }

    /// Queues CONNECT when the operating system has connected.
    fn open(&mut self, watch: Watch, options: &Options) -> Result<()> {
        let Link::Dialling(stream, give_up) = &self.link else {
            return Ok(());
        };
        if let Some(error) = stream.take_error()? {
            return Err(error.into());
        }
        match stream.peer_addr() {
            Ok(_) => {}
            Err(_) if give_up.has_passed(watch.now()) => {
                return Err(io::Error::from(ErrorKind::TimedOut).into());
            }
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        stream.set_nodelay(true)?;
        let credentials = options.user.as_deref().map(|user_name| Credentials {
            user_name,
            password: options.password.as_deref().map(str::as_bytes),
        });
        let connect = Connect {
            keep_alive: options.keep_alive,
            credentials,
            ..Connect::new(&self.name)
        };
        self.session.connect(&connect, watch.now())?;
        if let Link::Dialling(stream, _) = core::mem::replace(&mut self.link, Link::Over) {
            self.link = Link::Open(stream);
        }
        Ok(())
    }

    fn exchange(&mut self, watch: Watch, options: &Options, figures: &mut Figures) -> Result<()> {
        let Link::Open(_) = self.link else {
            return Ok(());
        };
        loop {
            let blocked = self.write(watch)?;
            if let Some(ready) = self.session.poll(watch.now())? {
                let step = match self.session.event(ready)? {
                    Some(event) => step(&event, watch, figures),
                    None => Step::Nothing,
                };
                self.take(step, options)?;
            } else if (blocked || !self.session.has_pending()) && !self.read()? {
                return Ok(());
            }
        }
    }

    fn take(&mut self, step: Step, options: &Options) -> Result<()> {
        match step {
            Step::Nothing => {}
            Step::Subscribe => {
                self.backoff.reset();
                self.session.subscribe(&[(&self.topic, options.qos)])?;
            }
            Step::Ready => self.is_ready = true,
            Step::Refused => {
                return Err(format!("the broker refused to subscribe to {}", self.topic).into());
            }
        }
        Ok(())
    }

    /// Writes pending bytes. Returns `true` if the socket accepts no more.
    fn write(&mut self, watch: Watch) -> io::Result<bool> {
        let Link::Open(stream) = &mut self.link else {
            return Ok(true);
        };
        while self.session.has_pending() {
            match stream.write(self.session.pending(watch.now())) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(n) => self.session.consume(n, watch.now()),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Reads once. Returns `false` if nothing was received.
    fn read(&mut self) -> Result<bool> {
        let Link::Open(stream) = &mut self.link else {
            return Ok(false);
        };
        let space = self.session.space();
        match stream.read(space) {
            Ok(0) => Err(Error::from("the broker closed the connection")),
            Ok(n) => {
                self.session.commit(n);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Publishes the time. Returns `false` if there is no room now.
    pub(crate) fn publish(&mut self, watch: Watch, options: &Options) -> Result<bool> {
        let mut payload = vec![0; usize::from(options.size)];
        if let Some(place) = payload.first_chunk_mut() {
            *place = watch.micros().to_be_bytes();
        }
        let message = Message {
            qos: options.qos,
            ..Message::new(&self.topic, &payload)
        };
        match self.session.publish(&message) {
            Ok(_) => Ok(true),
            Err(RequestError::InflightFull { .. } | RequestError::SendBufferFull { .. }) => {
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Queues DISCONNECT, or closes a socket that is not connected.
    pub(crate) fn leave(&mut self) {
        self.is_ready = false;
        if self.session.disconnect().is_err() {
            self.link = Link::Over;
        }
    }

    /// Closes the socket when DISCONNECT was sent. Received bytes are discarded.
    pub(crate) fn close_if_left(&mut self, watch: Watch) {
        if matches!(self.write(watch), Ok(false) | Err(_)) {
            self.link = Link::Over;
        }
    }
}

/// The next action of a session after an event.
enum Step {
    Nothing,
    Subscribe,
    Ready,
    Refused,
}

/// Handles an event, and returns the next action.
fn step(event: &Event<'_>, watch: Watch, figures: &mut Figures) -> Step {
    match event {
        Event::Connected { .. } => return Step::Subscribe,
        Event::Suback(_, codes) => {
            let granted = codes.all_granted();
            return if granted { Step::Ready } else { Step::Refused };
        }
        Event::Message(message) => {
            if let Some(sent) = message.payload.first_chunk() {
                figures.record_received(watch.micros().saturating_sub(u64::from_be_bytes(*sent)));
            }
        }
        Event::Puback(_) | Event::Pubcomp(_) => {
            figures.acknowledged = figures.acknowledged.saturating_add(1);
        }
        _ => {}
    }
    Step::Nothing
}
