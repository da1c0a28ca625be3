//! Between a serial line and a broker: what a modem does.
//!
//! The line stays up for ever, and does not tell when the connection behind it breaks: bytes then vanish, as they do in
//! a modem that has lost its network, until a CONNECT opens the next one.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use umqtt::codec::{Packet, PacketType};

/// First byte of every CONNECT.
const CONNECT: u8 = 0x10;

/// A relay from one serial line to a broker.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// What the line sends is swallowed.
    deaf: AtomicBool,
    /// What has been swallowed since then.
    unheard: Mutex<Vec<u8>>,
}

impl Relay {
    /// Waits for the line in the background.
    pub(crate) fn start(broker: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state = Arc::<State>::default();
        let relay = Self {
            address,
            state: Arc::clone(&state),
        };
        thread::spawn(move || {
            let served = listener
                .accept()
                .and_then(|(line, _)| serve(line, broker, &state));
            if let Err(error) = served {
                eprintln!("the relay lost the serial line: {error}");
            }
        });
        Ok(relay)
    }

    /// Swallows what the line sends, until [`Self::listen`].
    pub(crate) fn stop_listening(&self) {
        self.state.unheard().clear();
        self.state.deaf.store(true, Ordering::SeqCst);
    }

    pub(crate) fn listen(&self) {
        self.state.deaf.store(false, Ordering::SeqCst);
    }

    /// Whether a whole packet of this type has been swallowed.
    pub(crate) fn has_swallowed(&self, packet_type: PacketType) -> bool {
        let unheard = self.state.unheard();
        let mut bytes = unheard.as_slice();
        while let Ok(Some((packet, used))) = Packet::decode(bytes) {
            if packet.packet_type() == packet_type {
                return true;
            }
            bytes = bytes.get(used..).unwrap_or_default();
        }
        false
    }
}

impl State {
    fn unheard(&self) -> MutexGuard<'_, Vec<u8>> {
        self.unheard.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Passes on what the line sends, over one connection after the other.
fn serve(mut line: TcpStream, broker: SocketAddr, state: &State) -> io::Result<()> {
    line.set_nodelay(true)?;
    let mut link: Option<Link> = None;
    let mut buffer = [0; 4096];
    loop {
        let n = line.read(&mut buffer)?;
        let bytes = buffer.get(..n).unwrap_or_default();
        if bytes.is_empty() {
            return Ok(());
        }
        if state.deaf.load(Ordering::SeqCst) {
            state.unheard().extend(bytes);
            continue;
        }
        if link.as_ref().is_none_or(Link::is_broken) {
            link = None;
            if bytes.first() == Some(&CONNECT) {
                link = Link::new(&line, broker).ok();
            }
        }
        if let Some(link) = &mut link {
            drop(link.server.write_all(bytes)); // if it is broken, the next round sees it
        }
    }
}

/// One connection to the broker.
struct Link {
    server: TcpStream,
    broken: Arc<AtomicBool>,
}

impl Link {
    fn new(line: &TcpStream, broker: SocketAddr) -> io::Result<Self> {
        let server = TcpStream::connect(broker)?;
        server.set_nodelay(true)?;
        let broken = Arc::<AtomicBool>::default();
        let (mut from, mut to) = (server.try_clone()?, line.try_clone()?);
        let flag = Arc::clone(&broken);
        thread::spawn(move || {
            drop(io::copy(&mut from, &mut to));
            flag.store(true, Ordering::SeqCst);
        });
        Ok(Self { server, broken })
    }

    fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        drop(self.server.shutdown(Shutdown::Both));
    }
}
