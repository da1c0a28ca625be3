//! A proxy between a client and its broker: a network with faults at exact bytes.

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

/// The kind of the end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    /// Both sides see the end of the stream.
    Close,
    /// The client sees a reset.
    Reset,
    /// No more bytes are forwarded, without an end of the stream.
    Stall,
    /// As `Stall`, and the receiver of the notification kills the client.
    KillClient,
    /// As `Stall`, and the receiver of the notification kills the broker.
    KillBroker,
}

/// The end of a connection after a number of bytes in one direction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cut {
    /// The direction whose bytes are counted.
    pub way: Way,
    /// The number of bytes that are forwarded.
    pub after: usize,
    /// The end after that.
    pub how: How,
}

/// The plan for one connection. By default, all bytes are forwarded.
#[derive(Clone, Copy, Default, Debug)]
pub struct Plan {
    /// The cut, if the network ends the connection.
    pub cut: Option<Cut>,
    /// Delay of each piece.
    pub delay: Duration,
    /// Every byte is sent in its own segment, after this delay.
    pub dribble: Option<Duration>,
    /// The bytes are recorded, for [`Proxy::records`].
    pub record: bool,
}

/// The bytes of one connection.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Record {
    /// From the client to the broker.
    pub up: Vec<u8>,
    /// From the broker to the client.
    pub down: Vec<u8>,
}

/// Numbers of ended connections, by kind.
#[derive(Default, Debug)]
pub struct Cuts {
    closed: AtomicU64,
    reset: AtomicU64,
    stalled: AtomicU64,
    client_killed: AtomicU64,
    broker_killed: AtomicU64,
}

/// A relay to a broker, for any number of connections. Each has a [`Plan`].
#[derive(Debug)]
pub struct Proxy {
    /// The address of the proxy.
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
    notify: Mutex<Sender<How>>,
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
    /// Relays all connections to the broker at this address.
    pub fn new(broker: SocketAddr) -> Self {
        Self::with(broker, Plan::default).0
    }

    /// Relays to the broker at this address, each connection with the next plan. The receiver is notified of each cut
    /// at once.
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
        let (sender, receiver) = channel();
        let state = Arc::new(State {
            broker,
            ended: AtomicBool::new(false),
            links: Mutex::default(),
            records: Mutex::default(),
            cuts: Cuts::default(),
            notify: Mutex::new(sender),
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
                // While the broker is not running, the connection of the client is closed at once.
                drop(client.and_then(|client| Link::open(client, plan(), &state)));
            }
        });
        (proxy, receiver)
    }

    /// Breaks every connection.
    pub fn cut(&self) {
        for link in self.state.links.lock().unwrap().drain(..) {
            if let Some(link) = link.upgrade() {
                link.close();
            }
        }
    }

    /// Returns the bytes of each connection that was recorded.
    pub fn records(&self) -> Vec<Record> {
        let records = self.state.records.lock().unwrap();
        let copies = records.iter().map(|record| record.lock().unwrap().clone());
        copies.collect()
    }

    /// Returns the numbers of connections that the proxy has ended.
    pub fn cuts(&self) -> &Cuts {
        &self.state.cuts
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.ended.store(true, Ordering::SeqCst);
        self.cut();
        // Wakes the thread that accepts connections.
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

    /// Returns the number of connections that ended like this.
    pub fn of(&self, how: How) -> u64 {
        self.counter(how).load(Ordering::SeqCst)
    }

    /// Returns the number of all ended connections.
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
                // If one side fails, both are closed.
                if link.carry(way).is_err() {
                    link.close();
                }
            });
        }
        Ok(())
    }

    /// Returns the source and the destination of this direction.
    fn ends(&self, way: Way) -> (&TcpStream, &TcpStream) {
        match way {
            Way::Up => (&self.client, &self.broker),
            Way::Down => (&self.broker, &self.client),
        }
    }

    /// Forwards bytes until the stream ends or is cut.
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
                // One side has closed the connection. Because of the stall, the other would not notice it.
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
            // The bytes are recorded first, so that the record is complete when their effects are seen.
            self.record_bytes(way, passed);
            self.pass(to, passed)?;
        }
    }

    fn is_stalled(&self) -> bool {
        self.stalled.load(Ordering::SeqCst)
    }

    /// Forwards bytes with the delays of the plan.
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

    /// Records bytes of this direction.
    fn record_bytes(&self, way: Way, bytes: &[u8]) {
        let Some(record) = &self.record else { return };
        let record = &mut *record.lock().unwrap();
        match way {
            Way::Up => record.up.extend_from_slice(bytes),
            Way::Down => record.down.extend_from_slice(bytes),
        }
    }

    /// Ends the connection as planned.
    fn end(&self, how: How) {
        self.state.cuts.counter(how).fetch_add(1, Ordering::SeqCst);
        self.stalled.store(true, Ordering::SeqCst);
        match how {
            How::Close => drop(self.client.shutdown(Shutdown::Both)),
            How::Reset => {
                // The reset is sent when both threads have dropped the socket.
                self.reset.store(true, Ordering::SeqCst);
                drop(SockRef::from(&self.client).set_linger(Some(Duration::ZERO)));
                drop(self.client.shutdown(Shutdown::Read));
            }
            How::Stall | How::KillClient | How::KillBroker => {}
        }
        // A receiver is not required.
        let _ = self.state.notify.lock().unwrap().send(how);
    }

    fn close(&self) {
        // A stream that was shut down has sent its end, and cannot be reset any more.
        if !self.reset.load(Ordering::SeqCst) {
            drop(self.client.shutdown(Shutdown::Both));
        }
        drop(self.broker.shutdown(Shutdown::Both));
    }
}

impl Record {
    /// Returns the packets of each direction as text, first those to the broker.
    pub fn in_words(&self) -> [Vec<String>; 2] {
        [&self.up, &self.down].map(|bytes| in_words(bytes))
    }

    /// Returns the complete packets from the broker.
    pub fn packets_down(&self) -> impl Iterator<Item = Packet<'_>> {
        packets(&self.down).map(|(packet, _)| packet)
    }
}

/// Returns each complete packet, and the number of bytes up to its end.
fn packets(bytes: &[u8]) -> impl Iterator<Item = (Packet<'_>, usize)> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let (packet, used) = Packet::decode(&bytes[at..]).unwrap()?;
        at += used;
        Some((packet, at))
    })
}

fn in_words(bytes: &[u8]) -> Vec<String> {
    let mut words = Vec::new();
    let mut end = 0;
    for (packet, at) in packets(bytes) {
        end = at;
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
    }
    if end < bytes.len() {
        words.push(format!("and {} bytes", bytes.len() - end));
    }
    words
}
