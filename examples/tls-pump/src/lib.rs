//! TLS for a client whose futures may be dropped.
//!
//! If a read or write of embedded-tls is dropped before it is ready, half a record is lost, and the connection with it.
//! So a separate task runs [`Pump::run`], which makes all reads and writes, and drops none before the connection is
//! closed. The client uses a [`Stream`], which reads and writes two pipes. That is cancel-safe.
//!
//! ```text
//! client <--> Stream <== two pipes ==> Pump::run <--> embedded-tls <--> socket
//! ```
//!
//! Without an allocator, embedded-tls 0.19 does not support these features
//! (`examples/host/tests/run/over_embedded_tls.rs` tests each):
//!
//! - RSA keys, of the authority, the broker or the client. It returns an error. It supports P-256.
//! - Intermediate certificates between the authority and the broker. It would accept them from any issuer, so
//!   [`Verifier`] refuses them.
//! - The dates of a certificate, unless it is given a clock.
//! - The reason of the broker for refusing the certificate of a client: the error is always the same.
//!
//! There is one connection at a time, because the buffers are borrowed. [`Pump::line`] waits until the connection
//! before was dropped, with its socket.
#![no_std]

mod carry;
mod error;
mod shared;
mod stream;
mod verifier;

use core::cell::Cell;

use embassy_futures::select::{Either, select};
use embassy_sync::{
    blocking_mutex::raw::NoopRawMutex, channel::Channel, pipe::Pipe, signal::Signal,
};
use embedded_io_async::{Read, Write};
use embedded_tls::{Aes128GcmSha256, CryptoProvider, TlsError};

pub use self::{error::Error, stream::Stream, verifier::Verifier};

/// Length of the longest record that a peer may send, and of the buffer for it, in bytes.
pub const LONGEST_RECORD: usize = 16_640;

/// Capacity of a pipe, in bytes. More bytes need several turns of the two tasks.
const PIPE: usize = 512;

/// The shared state of the two tasks, which must belong to one thread.
pub struct Pump<S> {
    outgoing: Pipe<NoopRawMutex, PIPE>,
    incoming: Pipe<NoopRawMutex, PIPE>,
    /// The right to use the pump. It is empty while a connection has it.
    free: Channel<NoopRawMutex, Right, 1>,
    sockets: Channel<NoopRawMutex, S, 1>,
    opened: Signal<NoopRawMutex, ()>,
    ended: Signal<NoopRawMutex, TlsError>,
    given_up: Signal<NoopRawMutex, ()>,
    /// Bytes of the client are in the pipe, or in a record that is not complete.
    unsent: Cell<bool>,
    sent: Signal<NoopRawMutex, ()>,
}

struct Right;

impl<S: Read + Write> Pump<S> {
    /// Creates a pump, which [`Self::run`] must drive.
    pub const fn new() -> Self {
        Self {
            outgoing: Pipe::new(),
            incoming: Pipe::new(),
            free: Channel::new(),
            sockets: Channel::new(),
            opened: Signal::new(),
            ended: Signal::new(),
            given_up: Signal::new(),
            unsent: Cell::new(false),
            sent: Signal::new(),
        }
    }

    /// Sends and receives the records of one connection after the other. It never returns.
    ///
    /// - `incoming` is the buffer for a record of the peer: [`LONGEST_RECORD`] bytes are always enough.
    /// - `outgoing` is the buffer for a record of the client, and for each message of the handshake: 1 KiB is enough.
    /// - `server_name` is the name that the certificate must contain.
    /// - `provider` provides random numbers and the check of the certificate for each connection.
    ///
    /// Dropping the future closes the connection.
    pub async fn run<P: CryptoProvider<CipherSuite = Aes128GcmSha256>>(
        &self,
        incoming: &mut [u8],
        outgoing: &mut [u8],
        server_name: &str,
        mut provider: impl FnMut() -> Result<P, TlsError>,
    ) -> ! {
        loop {
            self.reset();
            self.free.send(Right).await;
            let connection = async {
                let socket = self.sockets.receive().await;
                let end = match provider() {
                    Ok(provider) => {
                        let checks = (server_name, provider);
                        carry::carry(self, socket, incoming, outgoing, checks).await
                    }
                    Err(error) => error,
                };
                self.ended.signal(end);
            };
            if let Either::First(()) = select(connection, self.given_up.wait()).await {
                self.given_up.wait().await;
            }
            // A socket that was passed on while the line was dropped.
            self.sockets.clear();
        }
    }

    fn reset(&self) {
        self.outgoing.clear();
        self.incoming.clear();
        self.opened.reset();
        self.ended.reset();
        self.sent.reset();
        self.unsent.set(false);
    }

    /// Waits until the connection before was dropped. Dropping the future loses nothing.
    pub async fn line(&self) -> Line<'_, S> {
        let Right = self.free.receive().await;
        Line(self)
    }
}

impl<S: Read + Write> Default for Pump<S> {
    fn default() -> Self {
        Self::new()
    }
}

/// The right to use the pump for one connection. When this is dropped, the connection is closed and its socket dropped.
pub struct Line<'p, S>(&'p Pump<S>);

impl<S> Drop for Line<'_, S> {
    fn drop(&mut self) {
        self.0.given_up.signal(());
    }
}

impl<'p, S: Read + Write> Line<'p, S> {
    /// Makes the TLS handshake over a connected socket. Dropping the future closes the connection.
    ///
    /// # Errors
    ///
    /// The certificate of the peer was refused, or the connection was closed.
    pub async fn secure(self, socket: S) -> Result<Stream<'p, S>, Error> {
        self.0.sockets.send(socket).await;
        match select(self.0.opened.wait(), self.0.ended.wait()).await {
            Either::First(()) => Ok(Stream::new(self)),
            Either::Second(error) => Err(Error(error)),
        }
    }
}
