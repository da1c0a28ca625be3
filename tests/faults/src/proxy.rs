//! Between a client and its broker: a network that misbehaves, to the byte.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
        mpsc::{Receiver, Sender, channel},
    },
    thread,
    time::Duration,
};

use socket2::SockRef;
use umqtt::codec::Packet;

/// A direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    /// From the client to the broker.
    Up,
    /// From the broker to the client.
    Down,
}

/// How a connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Both sides see the end of the stream.
    Close,
    /// The client sees a reset.
    Reset,
    /// Nothing passes any more, and nobody is told.
    Stall,
    /// As `Stall`, and whoever hears of it kills the client.
    KillClient,
    /// As `Stall`, and whoever hears of it kills the broker.
    KillBroker,
}

/// The end of a connection when so many bytes have passed one way.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The bytes of which way count.
    pub way: Way,
    /// How many of them pass.
    pub after: usize,
    /// What happens then.
    pub how: How,
}

/// What becomes of one connection. By default all passes.
#[derive(Clone, Copy, Default, Debug)]
pub struct Plan {
    /// How it ends, if the network ends it.
    pub cut: Option<Cut>,
    /// How much later than the client the broker hears of the end.
    pub grace: Duration,
    /// How long each piece waits before it goes on.
    pub delay: Duration,
    /// Every byte goes in a segment of its own, so long after the one before.
    pub dribble: Option<Duration>,
    /// What passes is written down, for [`Proxy::records`].
    pub record: bool,
}

/// What passed over one connection.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Record {
    /// From the client to the broker.
    pub up: Vec<u8>,
    /// From the broker to the client.
    pub down: Vec<u8>,
}

/// How many connections were ended, and how.
#[derive(Default, Debug)]
pub struct Cuts {
    closed: AtomicU64,
    reset: AtomicU64,
    stalled: AtomicU64,
    client_killed: AtomicU64,
    broker_killed: AtomicU64,
}

/// A relay to a broker, for as many connections as come; each gets a [`Plan`].
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug)]
struct State {
    broker: SocketAddr,
    ended: AtomicBool,
    links: Mutex<Vec<Weak<Link>>>,
    records: Mutex<Vec<Arc<Mutex<Record>>>>,
    cuts: Cuts,
    tell: Mutex<Sender<How>>,
}

/// A connection.
#[derive(Debug)]
struct Link {
    client: TcpStream,
    broker: TcpStream,
    plan: Plan,
    stalled: AtomicBool,
    reset: AtomicBool,
    record: Option<Arc<Mutex<Record>>>,
    state: Arc<State>,
}

impl Proxy {
    /// Relays to the broker at this address whatever comes.
    pub fn new(broker: SocketAddr) -> Self {
        Self::with(broker, Plan::default).0
    }

    /// Relays to the broker at this address, each connection after the next plan. The receiver hears of each cut at
    /// the moment at which it happens.
    pub fn with(
        broker: SocketAddr,
        plan: impl FnMut() -> Plan + Send + 'static,
    ) -> (Self, Receiver<How>) {
        Self::at("127.0.0.1:0".parse().unwrap(), broker, plan)
    }

    /// As [`Self::with`], at a given address.
    pub fn at(
        address: SocketAddr,
        broker: SocketAddr,
        mut plan: impl FnMut() -> Plan + Send + 'static,
    ) -> (Self, Receiver<How>) {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, hear) = channel();
        let state = Arc::new(State {
            broker,
            ended: AtomicBool::new(false),
            links: Mutex::default(),
            records: Mutex::default(),
            cuts: Cuts::default(),
            tell: Mutex::new(tell),
        });
        let proxy = Self {
            address,
            state: Arc::clone(&state),
        };
        thread::spawn(move || {
            for client in listener.incoming() {
                if state.ended.load(Ordering::SeqCst) {
                    return;
                }
                // While the broker is away, the client's connection is closed at once.
                drop(client.and_then(|client| Link::open(client, plan(), &state)));
            }
        });
        (proxy, hear)
    }

    /// Breaks every connection.
    pub fn cut(&self) {
        for link in self.state.links.lock().unwrap().drain(..) {
            if let Some(link) = link.upgrade() {
                link.close();
            }
        }
    }

    /// What passed over each connection whose plan said so.
    pub fn records(&self) -> Vec<Record> {
        let records = self.state.records.lock().unwrap();
        let copies = records.iter().map(|record| record.lock().unwrap().clone());
        copies.collect()
    }

    /// How many connections this has ended.
    pub fn cuts(&self) -> &Cuts {
        &self.state.cuts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the thread that accepts.
        drop(TcpStream::connect(self.address));
    }
}

impl Cuts {
    fn counter(&self, how: How) -> &AtomicU64 {
        match how {
            How::Close => &self.closed,
            How::Reset => &self.reset,
            How::Stall => &self.stalled,
            How::KillClient => &self.client_killed,
            How::KillBroker => &self.broker_killed,
        }
    }

    /// How many connections ended like this.
    pub fn of(&self, how: How) -> u64 {
        self.counter(how).load(Ordering::SeqCst)
    }

    /// How many connections ended in any way.
    pub fn all(&self) -> u64 {
        [
            How::Close,
            How::Reset,
            How::Stall,
            How::KillClient,
            How::KillBroker,
        ]
        .into_iter()
        .map(|how| self.of(how))
        .sum()
    }
}

impl Link {
    fn open(client: TcpStream, plan: Plan, state: &Arc<State>) -> io::Result<()> {
        let broker = TcpStream::connect(state.broker)?;
        client.set_nodelay(true)?;
        broker.set_nodelay(true)?;
        let record = plan.record.then(Arc::<Mutex<Record>>::default);
        state.records.lock().unwrap().extend(record.clone());
        let link = Arc::new(Self {
            client,
            broker,
            plan,
            stalled: AtomicBool::new(false),
            reset: AtomicBool::new(false),
            record,
            state: Arc::clone(state),
        });
        let mut links = state.links.lock().unwrap();
        links.retain(|link| link.strong_count() > 0);
        links.push(Arc::downgrade(&link));
        for way in [Way::Up, Way::Down] {
            let link = Arc::clone(&link);
            thread::spawn(move || {
                // Whichever side fails, both are told.
                if link.carry(way).is_err() {
                    link.close();
                }
            });
        }
        Ok(())
    }

    fn ends(&self, way: Way) -> (&TcpStream, &TcpStream) {
        match way {
            Way::Up => (&self.client, &self.broker),
            Way::Down => (&self.broker, &self.client),
        }
    }

    /// Carries bytes until the stream ends or is ended.
    fn carry(&self, way: Way) -> io::Result<()> {
        let (mut from, to) = self.ends(way);
        let cut = self.plan.cut.filter(|cut| cut.way == way);
        let mut left = cut.map_or(usize::MAX, |cut| cut.after);
        let mut buffer = [0; 4_096];
        loop {
            if let Some(cut) = cut.filter(|_| left == 0 && !self.is_stalled()) {
                self.end(cut.how);
            }
            let n = match from.read(&mut buffer) {
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if n == 0 && self.is_stalled() {
                // One end has gone; the other would never hear of it.
                thread::sleep(self.plan.grace);
                self.close();
            }
            if n == 0 {
                return to.shutdown(Shutdown::Write);
            }
            if self.is_stalled() {
                continue;
            }
            let passed = &buffer[..n.min(left)];
            left -= passed.len();
            // First: whoever sees what follows from these bytes finds them written down.
            self.write_down(way, passed);
            self.pass(to, passed)?;
        }
    }

    fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::SeqCst)
    }

    fn pass(&self, mut to: &TcpStream, bytes: &[u8]) -> io::Result<()> {
        thread::sleep(self.plan.delay);
        let Some(pause) = self.plan.dribble else {
            return to.write_all(bytes);
        };
        for byte in bytes {
            to.write_all(&[*byte])?;
            thread::sleep(pause);
        }
        Ok(())
    }

    fn write_down(&self, way: Way, bytes: &[u8]) {
        let Some(record) = &self.record else { return };
        let record = &mut *record.lock().unwrap();
        match way {
            Way::Up => record.up.extend_from_slice(bytes),
            Way::Down => record.down.extend_from_slice(bytes),
        }
    }

    fn end(&self, how: How) {
        self.state.cuts.counter(how).fetch_add(1, Ordering::SeqCst);
        self.stalled.store(true, Ordering::SeqCst);
        match how {
            How::Close => drop(self.client.shutdown(Shutdown::Both)),
            How::Reset => {
                // The reset goes out when both threads have let go of the socket.
                self.reset.store(true, Ordering::SeqCst);
                drop(SockRef::from(&self.client).set_linger(Some(Duration::ZERO)));
                drop(self.client.shutdown(Shutdown::Read));
            }
            How::Stall | How::KillClient | How::KillBroker => {}
        }
        // Nobody need listen.
        let _ = self.state.tell.lock().unwrap().send(how);
    }

    fn close(&self) {
        // A stream that is shut down tells its end, and cannot be reset any more.
        if !self.reset.load(Ordering::SeqCst) {
            drop(self.client.shutdown(Shutdown::Both));
        }
        drop(self.broker.shutdown(Shutdown::Both));
    }
}

impl Record {
    /// The packets of each way, in words, up and then down.
    pub fn in_words(&self) -> [Vec<String>; 2] {
        [&self.up, &self.down].map(|bytes| in_words(bytes))
    }
}

fn in_words(mut bytes: &[u8]) -> Vec<String> {
    let mut words = Vec::new();
    while let Some((packet, used)) = Packet::decode(bytes).unwrap() {
        words.push(match packet {
            Packet::Connect(connect) if connect.clean_session => "Connect, clean".to_owned(),
            Packet::Connect(_) => "Connect".to_owned(),
            Packet::Publish(publish) => format!(
                "Publish {:?} {:?}",
                publish.delivery,
                &publish.payload[..publish.payload.len().min(8)]
            ),
            packet => format!("{packet:?}"),
        });
        bytes = &bytes[used..];
    }
    if !bytes.is_empty() {
        words.push(format!("and {} bytes", bytes.len()));
    }
    words
}
