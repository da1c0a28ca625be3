//! A relay between a serial line and a broker, which behaves like a modem.
//!
//! When the connection to the broker ends, the line stays open. Its bytes are then lost, as in a modem that has lost
//! its network, until a CONNECT opens the next connection.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use umqtt::codec::{Packet, PacketType};

/// First byte of every CONNECT.
const CONNECT: u8 = 0x10;

/// A relay from one serial line to a broker. While `swallowed` has a buffer, bytes from the line are stored there and
/// not passed on.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    swallowed: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Relay {
    /// Starts a relay. A thread waits for the connection of the line.
    pub(crate) fn start(broker: SocketAddr) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let relay = Self {
            address,
            swallowed: Arc::default(),
        };
        let swallowed = Arc::clone(&relay.swallowed);
        thread::spawn(move || serve(&listener, broker, &swallowed));
        Ok(relay)
    }

    /// Starts or stops to discard the bytes from the line.
    pub(crate) fn swallow(&self, starts: bool) {
        *lock(&self.swallowed) = starts.then(Vec::new);
    }

    /// Returns `true` if a whole packet of this type was swallowed.
    pub(crate) fn has_swallowed(&self, packet_type: PacketType) -> bool {
        let swallowed = lock(&self.swallowed);
        let mut bytes = swallowed.as_deref().unwrap_or_default();
        while let Ok(Some((packet, used))) = Packet::decode(bytes) {
            if packet.packet_type() == packet_type {
                return true;
            }
            bytes = bytes.get(used..).unwrap_or_default();
        }
        false
    }
}

fn lock(swallowed: &Mutex<Option<Vec<u8>>>) -> MutexGuard<'_, Option<Vec<u8>>> {
    swallowed.lock().unwrap_or_else(PoisonError::into_inner)
}

fn serve(
    listener: &TcpListener,
    broker: SocketAddr,
    swallowed: &Mutex<Option<Vec<u8>>>,
) -> io::Result<()> {
    let (mut line, _) = listener.accept()?;
    line.set_nodelay(true)?;
    let mut link: Option<(TcpStream, JoinHandle<_>)> = None;
    let mut buffer = [0; 4096];
    loop {
        let n = line.read(&mut buffer)?;
        let bytes = buffer.get(..n).unwrap_or_default();
        if let Some(swallowed) = &mut *lock(swallowed) {
            swallowed.extend(bytes);
            continue;
        }
        if link
            .as_ref()
            .is_none_or(|(_, answers)| answers.is_finished())
        {
            link = None;
            if bytes.first() == Some(&CONNECT) {
                let server = TcpStream::connect(broker)?;
                server.set_nodelay(true)?;
                let (mut from, mut to) = (server.try_clone()?, line.try_clone()?);
                let answers = thread::spawn(move || io::copy(&mut from, &mut to));
                link = Some((server, answers));
            }
        }
        if let Some((server, _)) = &mut link {
            drop(server.write_all(bytes)); // if the connection has ended, the next round detects it
        }
    }
}
