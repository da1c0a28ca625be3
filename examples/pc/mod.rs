//! Shared code of the examples on a PC: a broker, an executor and TCP connections.
//!
//! On a chip these are an address, embassy-executor and the sockets of embassy-net.
#![allow(
    dead_code,
    reason = "each example compiles this module, and none needs all of it"
)]

use std::{
    cell::Cell,
    env, error,
    net::{SocketAddr, ToSocketAddrs},
    pin::pin,
    process::{self, ExitCode},
};

use embassy_futures::select::{Either, select};
use embassy_time::{Duration, Timer, with_timeout};
use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use tokio::runtime::Builder;
use umqtt::{Backoff, EmbassyClock, Ended, Event, Handled, Publisher, asynch::Runner, tokio_io};

pub(crate) type Result<T> = core::result::Result<T, Box<dyn error::Error>>;

/// Time after which an async example ends with an error.
const LIMIT: Duration = Duration::from_secs(60);

/// Prints the error of an example.
pub(crate) fn report(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs an async example, and prints its error.
pub(crate) fn run(example: impl Future<Output = Result<()>>) -> ExitCode {
    let run = || {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let ended = runtime.block_on(with_timeout(LIMIT, example));
        ended.map_err(|_| "the example did not end within a minute")?
    };
    report(run())
}

/// Returns the address of the broker in `--broker HOST:PORT`, or starts one in this process.
pub(crate) fn broker() -> Result<SocketAddr> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {
            println!("No --broker HOST:PORT was given, so a broker starts in this process.");
            Ok(embedded_broker::start()?)
        }
        ["--broker", address] => {
            let found = address.to_socket_addrs()?.next();
            found.ok_or_else(|| format!("{address} has no address").into())
        }
        _ => Err("usage: [--broker HOST:PORT]".into()),
    }
}

/// Runs a device on one connection after the other, until it is shut down.
///
/// An example ends if the broker cannot be reached, or does not accept the connection. A real device would wait and try
/// again.
pub(crate) async fn network<'d>(
    mut runner: Runner<'d, EmbassyClock>,
    broker: SocketAddr,
    mut handler: impl FnMut(Event<'_>, &mut Publisher<'_, 'd>) -> Handled,
) -> Result<()> {
    let mut backoff = Backoff::new(500, 5_000);
    let mut random = fastrand::Rng::with_seed(process::id().into());
    loop {
        let socket = tokio_io::connect(broker).await?;
        let ended = runner.run(socket, &mut handler).await;
        match &ended {
            Ended::Shutdown => return Ok(()),
            Ended::Lost {
                error,
                connected_for: 0,
            } => return Err(error.to_string().into()),
            Ended::Lost { error, .. } => println!("connection lost: {error}"),
        }
        let delay = backoff.after(&ended, random.u32(..));
        Timer::after_millis(delay.into()).await;
    }
}

/// Runs the network and the tasks of a device, until both have ended or one has failed.
pub(crate) async fn both(
    network: impl Future<Output = Result<()>>,
    tasks: impl Future<Output = Result<()>>,
) -> Result<()> {
    let mut network = pin!(network);
    match select(network.as_mut(), tasks).await {
        Either::First(ended) => ended,
        Either::Second(ended) => {
            ended?;
            network.await
        }
    }
}

/// A transport that counts its writes. Each write is a TCP segment, and each segment costs air time.
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
    fn read(&mut self, buf: &mut [u8]) -> core::result::Result<usize, T::Error> {
        self.transport.read(buf)
    }
}

impl<T: Write> Write for Counting<'_, T> {
    fn write(&mut self, buf: &[u8]) -> core::result::Result<usize, T::Error> {
        let n = self.transport.write(buf)?;
        self.writes.set(self.writes.get().saturating_add(1));
        Ok(n)
    }

    fn flush(&mut self) -> core::result::Result<(), T::Error> {
        self.transport.flush()
    }
}

impl<T: ReadReady> ReadReady for Counting<'_, T> {
    fn read_ready(&mut self) -> core::result::Result<bool, T::Error> {
        self.transport.read_ready()
    }
}

impl<T: WriteReady> WriteReady for Counting<'_, T> {
    fn write_ready(&mut self) -> core::result::Result<bool, T::Error> {
        self.transport.write_ready()
    }
}
