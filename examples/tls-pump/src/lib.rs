//! TLS for a client whose futures may be dropped.
//!
//! A read or write of embedded-tls that is dropped half-way leaves half a record behind, and the connection is lost. So
//! a task of its own runs [`Pump::run`], which does all of them and drops none before the connection ends. The
//! client's end is a [`Stream`]: it reads and writes two pipes, which is cancel-safe.
//!
//! ```text
//! client <--> Stream <== two pipes ==> Pump::run <--> embedded-tls <--> socket
//! ```
//!
//! What embedded-tls 0.19 does not do, without an allocator (`examples/host/tests/run/over_embedded_tls.rs` shows each):
//!
//! - RSA keys, of the authority, the broker or the client: an error says so. P-256 is what it knows.
//! - Certificates between the authority and the broker. It would accept them of anybody, so [`Verifier`] refuses them.
//! - The age of a certificate, unless it is given a clock.
//! - The broker's reason for refusing a client's certificate: the error is the same for all.
//!
//! There is one connection at a time, since its buffers are lent once. [`Pump::line`] waits until the one before has
//! been given up, socket and all.
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

/// The longest record that a peer may send, and so the buffer that it needs, in bytes.
pub const LONGEST_RECORD: usize = 16_640;

/// Room of a pipe, in bytes. More than it holds takes several turns of the two tasks.
const PIPE: usize = 512;

/// What the two tasks share. Both have to belong to one thread.
pub struct Pump<S> {
    outgoing: Pipe<NoopRawMutex, PIPE>,
    incoming: Pipe<NoopRawMutex, PIPE>,
    /// The right to use the pump; empty while somebody has it.
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
    /// A pump that [`Self::run`] has to drive.
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

    /// Does the records of one connection after another, and never returns.
    ///
    /// - `incoming` holds a record of the peer: [`LONGEST_RECORD`] bytes are enough for any.
    /// - `outgoing` holds one of ours, and each message of the handshake: 1 KiB is enough.
    /// - `server_name` is what the certificate has to be for.
    /// - `provider` makes, for each connection, randomness and the check of the certificate.
    ///
    /// Dropping the future ends the connection.
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
            // One that was handed over while the line was given up.
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

    /// Waits until the connection before has been given up. Dropping the future loses nothing.
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

/// The use of the pump for one connection, which ends, and drops its socket, when this is dropped.
pub struct Line<'p, S>(&'p Pump<S>);

impl<S> Drop for Line<'_, S> {
    fn drop(&mut self) {
        self.0.given_up.signal(());
    }
}

impl<'p, S: Read + Write> Line<'p, S> {
    /// Shakes hands over a socket that is connected. Dropping the future ends the connection.
    ///
    /// # Errors
    ///
    /// The peer is not the one it should be, or the connection ended.
    pub async fn secure(self, socket: S) -> Result<Stream<'p, S>, Error> {
        self.0.sockets.send(socket).await;
        match select(self.0.opened.wait(), self.0.ended.wait()).await {
            Either::First(()) => Ok(Stream::new(self)),
            Either::Second(error) => Err(Error(error)),
        }
    }
}
