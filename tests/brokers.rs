//! Both clients play the same scenarios against real brokers: the one inside this process, and mosquitto.
//!
//! mosquitto has to be installed (`apt-get install mosquitto`); where it is not, its tests say so and pass, except in CI.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "helpers of a test"
)]

mod common;

use std::{
    env,
    fmt::Debug,
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    rc::Rc,
    thread,
    time::{Duration, Instant},
};

use common::scenarios::{self, Broker, Calls, Kind, Result};
use embedded_io_adapters::tokio_1::FromTokio;
use tokio::{net::TcpStream as TokioStream, runtime::Runtime, time::timeout};
use umqtt::{
    EmbassyClock, Event, Message, Outgoing, Session, asynch, blocking,
    codec::{Connect, PacketId, QoS, SubackReturnCode},
    std_io::{NonBlocking, StdClock},
};

fn plain(error: impl Debug) -> String {
    format!("{error:?}")
}

/// The blocking client on a stream of the standard library.
struct Blocking;

type BlockingClient<'s, 'b> = blocking::Client<'s, 'b, NonBlocking<TcpStream>, StdClock>;

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
        on_event: impl FnMut(Event<'_>),
    ) -> Result<()> {
        self.publish_and_wait(message, on_event).map_err(plain)
    }

    fn publish_slices(&mut self, message: Outgoing<'_>, payload: &[&[u8]]) -> Result<()> {
        self.publish_slices(message, payload, |_| {})
            .map(|_| ())
            .map_err(plain)
    }

    fn subscribe_and_wait(
        &mut self,
        filters: &[(&str, QoS)],
        on_event: impl FnMut(Event<'_>),
    ) -> Result<Vec<SubackReturnCode>> {
        let codes = self.subscribe_and_wait(filters, on_event).map_err(plain)?;
        Ok(codes.iter().collect())
    }

    fn unsubscribe_and_wait(
        &mut self,
        filters: &[&str],
        on_event: impl FnMut(Event<'_>),
    ) -> Result<()> {
        self.unsubscribe_and_wait(filters, on_event).map_err(plain)
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

    fn disconnect(self) -> Result<()> {
        self.disconnect().map(drop).map_err(plain)
    }
}

/// The async client on a stream of tokio's.
struct Async(Rc<Runtime>);

impl Async {
    fn new() -> Self {
        let mut runtime = tokio::runtime::Builder::new_current_thread();
        Self(Rc::new(runtime.enable_all().build().unwrap()))
    }
}

struct AsyncClient<'s, 'b> {
    runtime: Rc<Runtime>,
    client: asynch::Client<'s, 'b, FromTokio<TokioStream>, EmbassyClock>,
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
            let stream = TokioStream::connect(address).await.map_err(plain)?;
            stream.set_nodelay(true).map_err(plain)?;
            asynch::Client::connect(session, FromTokio::new(stream), EmbassyClock, options)
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
        on_event: impl FnMut(Event<'_>),
    ) -> Result<()> {
        let call = self.client.publish_and_wait(message, on_event);
        self.runtime.block_on(call).map_err(plain)
    }

    fn publish_slices(&mut self, message: Outgoing<'_>, payload: &[&[u8]]) -> Result<()> {
        let call = self.client.publish_slices(message, payload, |_| {});
        self.runtime.block_on(call).map(|_| ()).map_err(plain)
    }

    fn subscribe_and_wait(
        &mut self,
        filters: &[(&str, QoS)],
        on_event: impl FnMut(Event<'_>),
    ) -> Result<Vec<SubackReturnCode>> {
        let call = self.client.subscribe_and_wait(filters, on_event);
        let codes = self.runtime.block_on(call).map_err(plain)?;
        Ok(codes.iter().collect())
    }

    fn unsubscribe_and_wait(
        &mut self,
        filters: &[&str],
        on_event: impl FnMut(Event<'_>),
    ) -> Result<()> {
        let call = self.client.unsubscribe_and_wait(filters, on_event);
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

    fn disconnect(self) -> Result<()> {
        let call = self.client.disconnect();
        self.runtime.block_on(call).map(drop).map_err(plain)
    }
}

fn rumqttd() -> Broker {
    Broker {
        address: embedded_broker::start().unwrap(),
        login: None,
        raises_qos: true,
        rest: Duration::from_millis(100),
        cannot: &[("refused_login", "it closes the connection without a word")],
    }
}

#[test]
fn blocking_on_rumqttd() {
    scenarios::run(&Blocking, &rumqttd());
}

#[test]
fn async_on_rumqttd() {
    scenarios::run(&Async::new(), &rumqttd());
}

#[test]
fn blocking_on_mosquitto() {
    if let Some(mosquitto) = Mosquitto::start("blocking") {
        scenarios::run(&Blocking, &mosquitto.broker());
    }
}

#[test]
fn async_on_mosquitto() {
    if let Some(mosquitto) = Mosquitto::start("async") {
        scenarios::run(&Async::new(), &mosquitto.broker());
    }
}

/// A mosquitto with a folder of its own; both go when this is dropped.
struct Mosquitto {
    process: Child,
    folder: PathBuf,
    open: SocketAddr,
    login: SocketAddr,
}

impl Mosquitto {
    /// Starts one; `None` where it is not installed, which CI does not accept.
    fn start(name: &str) -> Option<Self> {
        let Some(program) = find("mosquitto") else {
            assert!(
                env::var_os("CI").is_none(),
                "mosquitto has to be installed in CI"
            );
            println!("left out: mosquitto is not installed (apt-get install mosquitto)");
            return None;
        };
        let folder = env::temp_dir().join(format!("umqtt-{name}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let passwords = folder.join("passwords");
        let made = Command::new(find("mosquitto_passwd").unwrap())
            .args(["-b", "-c"])
            .arg(&passwords)
            .args(["user", "password"])
            .status();
        assert!(made.unwrap().success());
        let (open, login) = free_ports();
        let config = format!(
            "per_listener_settings true\nuser {user}\n\
             listener {} 127.0.0.1\nallow_anonymous true\n\
             listener {} 127.0.0.1\nallow_anonymous false\npassword_file {}\n",
            open.port(),
            login.port(),
            passwords.display(),
            user = env::var("USER").unwrap_or_else(|_| "root".to_owned()),
        );
        let file = folder.join("mosquitto.conf");
        fs::write(&file, config).unwrap();
        let process = Command::new(program)
            .arg("-c")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mosquitto = Self {
            process,
            folder,
            open,
            login,
        };
        await_accept(open);
        await_accept(login);
        Some(mosquitto)
    }

    fn broker(&self) -> Broker {
        Broker {
            address: self.open,
            login: Some(self.login),
            raises_qos: false,
            rest: Duration::ZERO,
            cannot: &[],
        }
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Debian puts servers where not everybody's PATH leads.
fn find(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin".into(), "/usr/local/sbin".into()])
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

fn free_ports() -> (SocketAddr, SocketAddr) {
    let bind = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let (one, two) = (bind(), bind());
    (one.local_addr().unwrap(), two.local_addr().unwrap())
}

fn await_accept(address: SocketAddr) {
    let start = Instant::now();
    while TcpStream::connect(address).is_err() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "mosquitto does not start"
        );
        thread::sleep(Duration::from_millis(5));
    }
}
