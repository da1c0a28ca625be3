//! Both clients with one interface.

use std::{
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant as StdInstant},
};

use embedded_io::{Error as _, ErrorKind};
use embedded_io_adapters::tokio_1::FromTokio;
use tokio::{
    net::TcpStream as TokioStream,
    runtime::{Builder, Runtime},
    time::timeout,
};
use umqtt::{
    Clock, EmbassyClock, Event, Instant, Message, Session, asynch, blocking,
    client::Error,
    codec::{Connect, PacketId, QoS},
    std_io::{NonBlocking, StdClock},
};

/// The error of a call.
pub type Failure = Error<ErrorKind>;

/// The result of a call.
pub type Result<T> = core::result::Result<T, Failure>;

/// Time that a blocking client sleeps when it has nothing to do.
const NAP: Duration = Duration::from_micros(100);

/// A kind of client.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `umqtt::blocking::Client` on a stream of the standard library.
    Blocking,
    /// `umqtt::asynch::Client` on a stream of tokio.
    Async,
}

/// The calls of a client that the runs use.
pub trait Client<'b> {
    /// Returns the session.
    fn session(&mut self) -> &mut Session<'b>;

    /// As the method of the client.
    ///
    /// # Errors
    ///
    /// As the method of the client.
    fn publish(&mut self, message: &Message<'_>) -> Result<Option<PacketId>>;

    /// As the method of the client.
    ///
    /// # Errors
    ///
    /// As the method of the client.
    fn subscribe(&mut self, filters: &[(&str, QoS)]) -> Result<PacketId>;

    /// Waits up to this time for the next event. Returns `false` if there was none.
    ///
    /// # Errors
    ///
    /// The connection is closed.
    fn recv_for(&mut self, time: Duration, on_event: &mut dyn FnMut(Event<'_>)) -> Result<bool>;

    /// As the method of the client.
    ///
    /// # Errors
    ///
    /// As the method of the client.
    fn disconnect(self: Box<Self>) -> Result<()>;
}

impl Kind {
    /// Returns both clients.
    pub const BOTH: [Self; 2] = [Self::Blocking, Self::Async];

    /// Opens a connection and connects.
    ///
    /// # Errors
    ///
    /// The network failed, or the broker refused.
    pub fn connect<'s, 'b: 's>(
        self,
        session: &'s mut Session<'b>,
        address: SocketAddr,
        options: &Connect<'_>,
    ) -> Result<Box<dyn Client<'b> + 's>> {
        Ok(match self {
            Self::Blocking => Box::new(Blocking::connect(session, address, options)?),
            Self::Async => Box::new(Async::connect(session, address, options)?),
        })
    }
}

fn io(error: std::io::Error) -> Failure {
    Error::Transport(error.kind().into())
}

fn plain<E: embedded_io::Error + 'static>(error: Error<E>) -> Failure {
    match error {
        Error::Transport(error) => Error::Transport(error.kind()),
        Error::Closed => Error::Closed,
        Error::Protocol(reason) => Error::Protocol(reason),
        Error::Source(kind) => Error::Source(kind),
        Error::SourceEnded { missing } => Error::SourceEnded { missing },
        Error::Request(error) => Error::Request(error),
        other => Error::Transport(other.kind()),
    }
}

/// A clock that wakes more often than a device needs.
struct Brisk(StdClock);

impl Clock for Brisk {
    fn now(&self) -> Instant {
        self.0.now()
    }

    fn idle(&self) {
        thread::sleep(NAP);
    }
}

struct Blocking<'s, 'b>(blocking::Client<'s, 'b, NonBlocking<TcpStream>, Brisk>);

impl<'s, 'b> Blocking<'s, 'b> {
    fn connect(
        session: &'s mut Session<'b>,
        address: SocketAddr,
        options: &Connect<'_>,
    ) -> Result<Self> {
        let stream = TcpStream::connect(address).map_err(io)?;
        stream.set_nodelay(true).map_err(io)?;
        stream.set_nonblocking(true).map_err(io)?;
        let clock = Brisk(StdClock::new());
        let client = blocking::Client::connect(session, NonBlocking::new(stream), clock, options);
        client.map(Self).map_err(plain)
    }
}

impl<'b> Client<'b> for Blocking<'_, 'b> {
    fn session(&mut self) -> &mut Session<'b> {
        self.0.session()
    }

    fn publish(&mut self, message: &Message<'_>) -> Result<Option<PacketId>> {
        self.0.publish(message).map_err(plain)
    }

    fn subscribe(&mut self, filters: &[(&str, QoS)]) -> Result<PacketId> {
        self.0.subscribe(filters).map_err(plain)
    }

    fn recv_for(&mut self, time: Duration, on_event: &mut dyn FnMut(Event<'_>)) -> Result<bool> {
        let start = StdInstant::now();
        loop {
            if let Some(event) = self.0.poll().map_err(plain)? {
                on_event(event);
                return Ok(true);
            }
            if start.elapsed() > time {
                return Ok(false);
            }
            thread::sleep(NAP);
        }
    }

    fn disconnect(mut self: Box<Self>) -> Result<()> {
        self.0.disconnect().map(drop).map_err(plain)
    }
}

struct Async<'s, 'b> {
    client: asynch::Client<'s, 'b, FromTokio<TokioStream>, EmbassyClock>,
    runtime: Runtime,
}

impl<'s, 'b> Async<'s, 'b> {
    fn connect(
        session: &'s mut Session<'b>,
        address: SocketAddr,
        options: &Connect<'_>,
    ) -> Result<Self> {
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(io)?;
        let client = runtime.block_on(async {
            let stream = TokioStream::connect(address).await.map_err(io)?;
            stream.set_nodelay(true).map_err(io)?;
            asynch::Client::connect(session, FromTokio::new(stream), EmbassyClock, options)
                .await
                .map_err(plain)
        })?;
        Ok(Self { client, runtime })
    }
}

impl<'b> Client<'b> for Async<'_, 'b> {
    fn session(&mut self) -> &mut Session<'b> {
        self.client.session()
    }

    fn publish(&mut self, message: &Message<'_>) -> Result<Option<PacketId>> {
        let call = self.client.publish(message);
        self.runtime.block_on(call).map_err(plain)
    }

    fn subscribe(&mut self, filters: &[(&str, QoS)]) -> Result<PacketId> {
        let call = self.client.subscribe(filters);
        self.runtime.block_on(call).map_err(plain)
    }

    fn recv_for(&mut self, time: Duration, on_event: &mut dyn FnMut(Event<'_>)) -> Result<bool> {
        let call = async { timeout(time, self.client.recv()).await };
        match self.runtime.block_on(call) {
            Ok(event) => {
                on_event(event.map_err(plain)?);
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    fn disconnect(self: Box<Self>) -> Result<()> {
        let Self {
            mut client,
            runtime,
        } = *self;
        runtime
            .block_on(client.disconnect())
            .map(drop)
            .map_err(plain)
    }
}
