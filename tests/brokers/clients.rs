//! Both clients with one interface, so that a scenario is written once.

use std::{
    fmt::Debug,
    net::{SocketAddr, TcpStream},
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use tokio::{runtime::Runtime, time::timeout};
use umqtt::{
    Event, Message, Session, StreamedPublish, asynch, blocking,
    codec::{Connect, PacketId, QoS, SubackReturnCode},
    std_io::{NonBlocking, StdClock},
    tokio_io::{self, TcpTransport, TokioClock},
};

/// The errors of both clients, as text.
pub(crate) type Result<T> = core::result::Result<T, String>;

/// One kind of client.
pub(crate) trait Kind {
    /// Prefix of its client ids and topics.
    const NAME: &'static str;

    /// The connected client.
    type Client<'s, 'b: 's>: Calls<'b>;

    /// Opens a connection and connects.
    fn connect<'s, 'b: 's>(
        &self,
        session: &'s mut Session<'b>,
        address: SocketAddr,
        options: &Connect<'_>,
    ) -> Result<Self::Client<'s, 'b>>;
}

/// The calls of a client, all of them blocking.
pub(crate) trait Calls<'b> {
    fn session(&mut self) -> &mut Session<'b>;
    fn publish(&mut self, message: &Message<'_>) -> Result<Option<PacketId>>;
    fn publish_and_wait(
        &mut self,
        message: &Message<'_>,
        on_event: impl FnMut(Event<'_>),
    ) -> Result<()>;
    fn publish_slices(&mut self, message: StreamedPublish<'_>, payload: &[&[u8]]) -> Result<()>;
    fn subscribe_and_wait(
        &mut self,
        filters: &[(&str, QoS)],
        on_event: impl FnMut(Event<'_>),
    ) -> Result<Vec<SubackReturnCode>>;
    fn unsubscribe_and_wait(
        &mut self,
        filters: &[&str],
        on_event: impl FnMut(Event<'_>),
    ) -> Result<()>;
    /// Waits for an event. Returns `false` if there was none in time.
    fn recv_for(&mut self, time: Duration, on_event: impl FnMut(Event<'_>)) -> Result<bool>;
    fn disconnect(self) -> Result<()>;
}

fn plain(error: impl Debug) -> String {
    format!("{error:?}")
}

/// The blocking client on a stream of the standard library.
pub(crate) struct Blocking;

pub(crate) type BlockingClient<'s, 'b> = blocking::Client<'s, 'b, NonBlocking<TcpStream>, StdClock>;

impl Kind for Blocking {
    const NAME: &'static str = "blocking";
    type Client<'s, 'b: 's> = BlockingClient<'s, 'b>;

    fn connect<'s, 'b: 's>(
        &self,
        session: &'s mut Session<'b>,
        address: SocketAddr,
        options: &Connect<'_>,
    ) -> Result<Self::Client<'s, 'b>> {
        let stream = TcpStream::connect(address).map_err(plain)?;
        stream.set_nodelay(true).map_err(plain)?;
        stream.set_nonblocking(true).map_err(plain)?;
        BlockingClient::connect(session, NonBlocking::new(stream), StdClock::new(), options)
            .map_err(plain)
    }
}

impl<'b> Calls<'b> for BlockingClient<'_, 'b> {
    fn session(&mut self) -> &mut Session<'b> {
        self.session()
    }

    fn publish(&mut self, message: &Message<'_>) -> Result<Option<PacketId>> {
        self.publish(message).map_err(plain)
    }

    fn publish_and_wait(
        &mut self,
        message: &Message<'_>,
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<()> {
        self.publish_and_wait(message, |event, _| on_event(event))
            .map_err(plain)
    }

    fn publish_slices(&mut self, message: StreamedPublish<'_>, payload: &[&[u8]]) -> Result<()> {
        self.publish_slices(message, payload, |_, _| {})
            .map(|_| ())
            .map_err(plain)
    }

    fn subscribe_and_wait(
        &mut self,
        filters: &[(&str, QoS)],
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<Vec<SubackReturnCode>> {
        let codes = self
            .subscribe_and_wait(filters, |event, _| on_event(event))
            .map_err(plain)?;
        Ok(codes.iter().collect())
    }

    fn unsubscribe_and_wait(
        &mut self,
        filters: &[&str],
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<()> {
        self.unsubscribe_and_wait(filters, |event, _| on_event(event))
            .map_err(plain)
    }

    fn recv_for(&mut self, time: Duration, mut on_event: impl FnMut(Event<'_>)) -> Result<bool> {
        let start = Instant::now();
        loop {
            if let Some(event) = self.poll().map_err(plain)? {
                on_event(event);
                return Ok(true);
            }
            if start.elapsed() > time {
                return Ok(false);
            }
            thread::sleep(Duration::from_micros(200));
        }
    }

    fn disconnect(mut self) -> Result<()> {
        Self::disconnect(&mut self).map(drop).map_err(plain)
    }
}

/// The async client on a TCP stream of tokio.
pub(crate) struct Async(Rc<Runtime>);

impl Async {
    pub(crate) fn new() -> Self {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        Self(Rc::new(runtime.enable_all().build().unwrap()))
    }
}

pub(crate) struct AsyncClient<'s, 'b> {
    runtime: Rc<Runtime>,
    client: asynch::Client<'s, 'b, TcpTransport, TokioClock>,
}

impl Kind for Async {
    const NAME: &'static str = "async";
    type Client<'s, 'b: 's> = AsyncClient<'s, 'b>;

    fn connect<'s, 'b: 's>(
        &self,
        session: &'s mut Session<'b>,
        address: SocketAddr,
        options: &Connect<'_>,
    ) -> Result<Self::Client<'s, 'b>> {
        let runtime = Rc::clone(&self.0);
        let client = runtime.block_on(async {
            let transport = tokio_io::connect(address).await.map_err(plain)?;
            asynch::Client::connect(session, transport, TokioClock::new(), options)
                .await
                .map_err(plain)
        })?;
        Ok(AsyncClient { runtime, client })
    }
}

impl<'b> Calls<'b> for AsyncClient<'_, 'b> {
    fn session(&mut self) -> &mut Session<'b> {
        self.client.session()
    }

    fn publish(&mut self, message: &Message<'_>) -> Result<Option<PacketId>> {
        let call = self.client.publish(message);
        self.runtime.block_on(call).map_err(plain)
    }

    fn publish_and_wait(
        &mut self,
        message: &Message<'_>,
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<()> {
        let call = self
            .client
            .publish_and_wait(message, |event, _| on_event(event));
        self.runtime.block_on(call).map_err(plain)
    }

    fn publish_slices(&mut self, message: StreamedPublish<'_>, payload: &[&[u8]]) -> Result<()> {
        let call = self.client.publish_slices(message, payload, |_, _| {});
        self.runtime.block_on(call).map(|_| ()).map_err(plain)
    }

    fn subscribe_and_wait(
        &mut self,
        filters: &[(&str, QoS)],
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<Vec<SubackReturnCode>> {
        let call = self
            .client
            .subscribe_and_wait(filters, |event, _| on_event(event));
        let codes = self.runtime.block_on(call).map_err(plain)?;
        Ok(codes.iter().collect())
    }

    fn unsubscribe_and_wait(
        &mut self,
        filters: &[&str],
        mut on_event: impl FnMut(Event<'_>),
    ) -> Result<()> {
        let call = self
            .client
            .unsubscribe_and_wait(filters, |event, _| on_event(event));
        self.runtime.block_on(call).map_err(plain)
    }

    fn recv_for(&mut self, time: Duration, mut on_event: impl FnMut(Event<'_>)) -> Result<bool> {
        let call = async { timeout(time, self.client.recv()).await };
        match self.runtime.block_on(call) {
            Ok(event) => {
                on_event(event.map_err(plain)?);
                Ok(true)
            }
            Err(_) => Ok(false),
        }
    }

    fn disconnect(mut self) -> Result<()> {
        let call = self.client.disconnect();
        self.runtime.block_on(call).map(drop).map_err(plain)
    }
}
