//! Between a serial line and a broker: what a modem does.
//!
//! The line stays up, and does not tell when the connection behind it ends: bytes then vanish, as they do in a modem that
//! has lost its network, until a CONNECT opens the next one.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
};

use umqtt::codec::{Packet, PacketType};

/// First byte of every CONNECT.
const CONNECT: u8 = 0x10;

/// A relay from one serial line to a broker. What the line sends is collected instead while there is a place for it.
pub(crate) struct Relay {
    pub(crate) address: SocketAddr,
    swallowed: Arc<Mutex<Option<Vec<u8>>>>,
}

impl Relay {
    /// Waits for the line in the background.
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

    /// Swallows what the line sends from now on, or no more.
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
            drop(server.write_all(bytes)); // if its connection has ended, the next round sees it
        }
    }
}
