//! A small MQTT 3.1.1 broker on the codec of umqtt, for programs that show something to a person without a broker.
//!
//! It has QoS 0, 1 and 2, sessions, retained messages, wills and keep alive. It stores them in memory until the process
//! ends, accepts every client, and has no TLS.
//!
//! It exists because the first command of a new user should not compile for minutes: rumqttd needs 180 s of CPU time, of
//! 260 s for the whole host example, and its features remove none of it. The tests use rumqttd and other brokers.

mod session;
mod state;

use std::{
    error::Error,
    io::{self, Read, Write},
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

use umqtt::codec::{Connack, ConnectReturnCode as Refusal, DecodeError, Packet};

use crate::state::{State, Stored, encode};

/// Maximum time until the CONNECT is received, and until a client accepts bytes.
const PATIENCE: Duration = Duration::from_secs(10);
/// Maximum length of a packet, in bytes.
const MAX_PACKET: usize = 16 << 20;
/// Number of packets that wait for a slow client. Then its connection is closed.
const MAX_WAITING: usize = 1_000;

type Ended = Result<(), Box<dyn Error>>;

/// Starts a broker on a free port of the loopback interface. Returns its address.
///
/// # Errors
///
/// There is no free port, or no thread can be started.
pub fn start() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let state = Arc::new(Mutex::new(State::default()));
    thread::Builder::new().spawn(move || {
        for stream in listener.incoming().flatten() {
            let state = Arc::clone(&state);
            // The end of a connection has its reason; nobody wants to read it.
            thread::spawn(move || drop(serve(stream, &state)));
        }
    })?;
    Ok(address)
}

/// The packets that a client sends.
struct Packets {
    stream: TcpStream,
    received: Vec<u8>,
}

impl Packets {
    /// Passes the next packet to a function, and returns its result; `None` at the end of the stream.
    fn next<R>(
        &mut self,
        handle: impl FnOnce(Packet<'_>) -> R,
    ) -> Result<Option<R>, Box<dyn Error>> {
        let mut piece = [0; 4096];
        loop {
            if let Some((packet, len)) = Packet::decode(&self.received)? {
                let result = handle(packet);
                self.received.drain(..len);
                return Ok(Some(result));
            }
            let n = self.stream.read(&mut piece)?;
            if n == 0 || self.received.len() > MAX_PACKET {
                return Ok(None);
            }
            self.received
                .extend_from_slice(piece.get(..n).unwrap_or_default());
        }
    }
}

/// Serves a connection until its end.
fn serve(stream: TcpStream, state: &Mutex<State>) -> Ended {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut writer = stream.try_clone()?;
    let mut packets = Packets {
        stream,
        received: Vec::new(),
    };

    let (sender, receiver) = mpsc::sync_channel(MAX_WAITING);
    let connected = packets.next(|packet| match packet {
        Packet::Connect(connect) => {
            let number = lock(state).connect(&connect, sender);
            Some((number, Stored::will(&connect), connect.keep_alive))
        }
        _ => None, // [MQTT-3.1.0-1]
    });
    let refusal = match &connected {
        Ok(_) => None,
        Err(error) => match error.downcast_ref() {
            Some(DecodeError::UnsupportedProtocolLevel { .. }) => {
                Some(Refusal::UnacceptableProtocolVersion)
            }
            Some(DecodeError::EmptyClientId) => Some(Refusal::IdentifierRejected),
            _ => None,
        },
    };
    if let Some(code) = refusal {
        writer.write_all(&encode(&Packet::Connack(Connack::Refused(code))))?;
    }
    let Some((number, will, keep_alive)) = connected?.flatten() else {
        return Ok(());
    };

    thread::spawn(move || {
        // The session drops the sender at the end of the connection.
        for bytes in receiver {
            if writer.write_all(&bytes).is_err() {
                break;
            }
        }
        writer.shutdown(Shutdown::Both)
    });
    // [MQTT-3.1.2-24] One and a half times the keep alive.
    let silence = Duration::from_millis(u64::from(keep_alive).saturating_mul(1_500));
    let silence = (keep_alive > 0).then_some(silence);
    packets.stream.set_read_timeout(silence)?;
    let mut is_goodbye = false;
    while !is_goodbye
        && let Ok(Some(handled)) = packets.next(|packet| {
            is_goodbye = packet == Packet::Disconnect;
            lock(state).handle(number, &packet)
        })
        && handled
    {}
    let mut state = lock(state);
    state.disconnect(number);
    if let Some(will) = will.filter(|_| !is_goodbye) {
        state.publish(will);
    }
    Ok(())
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}
