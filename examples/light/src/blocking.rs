//! The program on the blocking client.

use embedded_io::{ErrorType, Read, ReadReady, Write, WriteReady};
use umqtt::{Clock, Instant, Session, blocking::Client, codec::Connect};

use crate::{Board, End, Failure, Light, Next, RETRY_MS};

/// The way to the broker.
pub trait Network {
    /// A connection to the broker.
    type Transport: Read + Write + ReadReady + WriteReady;
    /// Why there is none.
    type Error;

    /// Connects to the broker, within a time of its own.
    ///
    /// # Errors
    ///
    /// There is no connection; it is for [`Self::failed`] to say whether to try again.
    fn dial(&mut self) -> Result<Self::Transport, Self::Error>;

    /// Closes a connection on which all has been said.
    fn hang_up(&mut self, transport: Self::Transport) {
        drop(transport);
    }

    /// Says what went wrong, and returns whether it may go better after [`RETRY_MS`].
    fn failed(&mut self, failure: &FailureOf<Self>) -> bool;
}

/// Why a connection over this network could not be made, or ended.
pub type FailureOf<N> =
    Failure<<N as Network>::Error, <<N as Network>::Transport as ErrorType>::Error>;

/// Runs the light until it ends: connects, works, and after a failure waits and connects again with the same session.
pub fn run<N: Network, C: Clock, B: Board>(
    light: &mut Light,
    session: &mut Session<'_>,
    options: &Connect<'_>,
    clock: &C,
    network: &mut N,
    board: &mut B,
) -> End {
    loop {
        let dialled = network.dial().map_err(Failure::Dial);
        let served = dialled.and_then(|transport| {
            serve::<N, C, B>(light, session, options, clock, transport, board)
        });
        match served {
            Ok((end, transport)) => {
                if let Some(transport) = transport {
                    network.hang_up(transport);
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
        if !pause(clock.now().add_millis(RETRY_MS), clock, board) {
            return End::Stopped;
        }
    }
}

type Served<N> = (End, Option<<N as Network>::Transport>);

/// Works on one connection, and gives it back if the goodbye could be said.
fn serve<N: Network, C: Clock, B: Board>(
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
            return Ok((End::Stopped, disconnect(client)));
        }
        if light.act(client.session(), clock.now(), board)? == Next::Done {
            return Ok((End::Done, disconnect(client)));
        }
        match client.poll()? {
            Some(event) => light.handle(&event, board)?,
            None => clock.idle(),
        }
    }
}

/// Disconnects, and returns the transport if that succeeded.
fn disconnect<T, C: Clock>(mut client: Client<'_, '_, T, C>) -> Option<T>
where
    T: Read + Write + ReadReady + WriteReady,
{
    client.disconnect().ok()?;
    Some(client.into_transport())
}

/// Waits; false if the board asked for the end meanwhile.
fn pause<C: Clock, B: Board>(until: Instant, clock: &C, board: &mut B) -> bool {
    while !until.has_passed(clock.now()) {
        if board.is_stopped() {
            return false;
        }
        clock.idle();
    }
    true
}
