//! What a PC has to provide for the examples: a broker, and something that polls.
//!
//! On a chip these are an address and embassy-executor. The socket is one of embassy-net, not of `tokio_io`.
#![allow(
    dead_code,
    reason = "every example compiles this module, and none needs all of it"
)]

use std::{cell::Cell, env, error, net::SocketAddr, process::ExitCode};

use embedded_io_async::{ErrorType, Read, Write};
use tokio::{net::lookup_host, runtime::Builder};

pub(crate) type Result<T> = core::result::Result<T, Box<dyn error::Error>>;

/// Polls an example to its end, and prints its error.
pub(crate) fn run(example: impl Future<Output = Result<()>>) -> ExitCode {
    let runtime = Builder::new_current_thread().enable_all().build();
    match runtime
        .map_err(Into::into)
        .and_then(|it| it.block_on(example))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The broker named by `--broker HOST:PORT`, or else one inside this process.
pub(crate) async fn broker() -> Result<SocketAddr> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            println!("No --broker HOST:PORT was given, so a broker starts in this process.");
            Ok(embedded_broker::start()?)
        }
        ["--broker", address] => {
            let found = lookup_host(address).await?.next();
            found.ok_or_else(|| format!("{address} has no address").into())
        }
        _ => Err("usage: [--broker HOST:PORT]".into()),
    }
}

/// A transport that counts how often it is written to: each write is a segment, and a segment costs air time.
pub(crate) struct Counting<'c, T> {
    transport: T,
    writes: &'c Cell<u32>,
}

impl<'c, T> Counting<'c, T> {
    pub(crate) fn new(transport: T, writes: &'c Cell<u32>) -> Self {
        writes.set(0);
        Self { transport, writes }
    }
}

impl<T: ErrorType> ErrorType for Counting<'_, T> {
    type Error = T::Error;
}

impl<T: Read> Read for Counting<'_, T> {
    async fn read(&mut self, buf: &mut [u8]) -> core::result::Result<usize, T::Error> {
        self.transport.read(buf).await
    }
}

impl<T: Write> Write for Counting<'_, T> {
    async fn write(&mut self, buf: &[u8]) -> core::result::Result<usize, T::Error> {
        let n = self.transport.write(buf).await?;
        self.writes.set(self.writes.get().saturating_add(1));
        Ok(n)
    }

    async fn flush(&mut self) -> core::result::Result<(), T::Error> {
        self.transport.flush().await
    }
}
