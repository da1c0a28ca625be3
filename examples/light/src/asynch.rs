//! The program on the async client (feature `async`). No executor is required.

mod report;

use core::future::{Future, pending};

use embassy_futures::select::{Either3, select, select3};
use embedded_io_async::{ErrorType, Read, Write};
use umqtt::{
    Instant, Session,
    asynch::{Client, Sleep},
    codec::Connect,
};

pub use self::report::report;
use crate::{Board, End, Failure, Light, Next, RETRY_MS};

/// The way to the broker.
pub trait Network {
    /// A connection to the broker, cancel-safe as [`Client`] needs it.
    type Transport: Read + Write;
    /// Why there is none.
    type Error;

    /// Connects to the broker, within a time of its own.
    ///
    /// Dropping the future gives the connection up.
    ///
    /// # Errors
    ///
    /// There is no connection; it is for [`Self::failed`] to say whether to try again.
    fn dial(&mut self) -> impl Future<Output = Result<Self::Transport, Self::Error>>;

    /// Closes a connection on which all has been said. Dropping the future may close it less gently.
    fn hang_up(&mut self, transport: Self::Transport) -> impl Future<Output = ()> {
        async { drop(transport) }
    }

    /// Says what went wrong, and returns whether it may go better after [`RETRY_MS`].
    fn failed(&mut self, failure: &FailureOf<Self>) -> bool;
}

/// Why a connection over this network could not be made, or ended.
pub type FailureOf<N> =
    Failure<<N as Network>::Error, <<N as Network>::Transport as ErrorType>::Error>;

/// A board that wakes the program for its end, which on the blocking client has to ask again and again.
pub trait Stop: Board {
    /// Returns when [`Board::is_stopped`] has become true; by default never. Dropping the future loses nothing.
    fn stopped(&self) -> impl Future<Output = ()> {
        pending()
    }
}

/// Runs the light until it ends: connects, works, and after a failure waits and connects again with the same session.
///
/// Dropping the future closes the connection without a goodbye; light and session can be run again.
pub async fn run<N: Network, C: Sleep, B: Stop>(
    light: &mut Light,
    session: &mut Session<'_>,
    options: &Connect<'_>,
    clock: &C,
    network: &mut N,
    board: &mut B,
) -> End {
    loop {
        let served = match network.dial().await {
            Ok(transport) => {
                serve::<N, C, B>(light, session, options, clock, transport, board).await
            }
            Err(error) => Err(Failure::Dial(error)),
        };
        match served {
            Ok((end, transport)) => {
                if let Some(transport) = transport {
                    network.hang_up(transport).await;
                }
                return end;
            }
            Err(failure) => {
                if board.is_stopped() {
                    return End::Stopped;
                }
                if !network.failed(&failure) {
                    return End::GaveUp;
                }
            }
        }
        let retry = clock.now().add_millis(RETRY_MS);
        select(clock.sleep_until(retry), board.stopped()).await;
        if board.is_stopped() {
            return End::Stopped;
        }
    }
}

type Served<N> = (End, Option<<N as Network>::Transport>);

/// Works on one connection, and gives it back if the goodbye could be said.
async fn serve<N: Network, C: Sleep, B: Stop>(
    light: &mut Light,
    session: &mut Session<'_>,
    options: &Connect<'_>,
    clock: &C,
    transport: N::Transport,
    board: &mut B,
) -> Result<Served<N>, FailureOf<N>> {
    let mut client = Client::open(session, transport, clock, options)?;
    loop {
        if board.is_stopped() {
            if !client.session().is_connected() {
                return Ok((End::Stopped, None));
            }
            return Ok((End::Stopped, disconnect(client).await));
        }
        let due = match light.act(client.session(), clock.now(), board)? {
            Next::Done => return Ok((End::Done, disconnect(client).await)),
            Next::Wait(due) => due,
        };
        // What comes first ends the other waits; the client loses nothing by that.
        let first = select3(client.recv(), reach(due, clock), board.stopped()).await;
        if let Either3::First(event) = first {
            light.handle(&event?, board)?;
        }
    }
}

/// Disconnects, and returns the transport if that succeeded.
async fn disconnect<T: Read + Write, C: Sleep>(mut client: Client<'_, '_, T, C>) -> Option<T> {
    client.disconnect().await.ok()?;
    Some(client.into_transport())
}

/// Waits for this moment; for ever if there is none.
async fn reach<C: Sleep>(due: Option<Instant>, clock: &C) {
    match due {
        Some(due) => clock.sleep_until(due).await,
        None => pending().await,
    }
}
