//! Payloads that a task provides piece by piece.

use core::{
    future::{Future, poll_fn},
    pin::pin,
    task::{Context, Poll},
};

use embedded_io_async::{Error as _, Read};

use super::{
    shared::{DeviceState, Ticket},
    waiters::{Outcome, Wait},
};
use crate::{
    bytes,
    client::{
        calls::{slice_at, total_len},
        device::DeviceError,
    },
    codec::PacketId,
    session::{RequestError, Session, StreamedPublish, SubscriptionState},
};

/// Bytes of a payload that are copied to the session at once. The rest of the send buffer stays free for other packets.
const PIECE: usize = 64;

/// A message whose task provides its payload. The message is discarded if this is dropped before the payload was sent
/// whole, or if the payload is needed again after that.
struct Sending<'t, 'd, const N: usize> {
    ticket: &'t Ticket<'d, N>,
    id: Option<PacketId>,
    stage: Stage,
}

/// Progress of a payload that is copied to the session.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The payload is being provided.
    Open,
    /// The connection was closed after a part of it, or the payload is needed again.
    Incomplete,
    /// All of it was sent.
    Sent,
    /// The message has ended.
    Over,
}

pub(super) async fn publish_slices<const N: usize>(
    ticket: Ticket<'_, N>,
    message: StreamedPublish<'_>,
    payload: &[&[u8]],
) -> Result<(), DeviceError> {
    let len = total_len(payload);
    let mut sending = Sending::begin(&ticket, message, len).await?;
    loop {
        let mut outcome = sending.put_slices(payload, len).await?;
        loop {
            match sending.settle(outcome) {
                Settled::Ended(result) => return result,
                Settled::Later => outcome = sending.outcome(Wait::Answer).await?,
                Settled::Needed(id) => match sending.resend(id, len).await {
                    Ok(()) => break,
                    // The connection was closed again meanwhile.
                    Err(DeviceError::Request(
                        RequestError::NotConnected | RequestError::PayloadNotNeeded,
                    )) => outcome = sending.outcome(Wait::Answer).await?,
                    Err(error) => return Err(error),
                },
            }
        }
    }
}

pub(super) async fn publish_from<const N: usize>(
    ticket: Ticket<'_, N>,
    message: StreamedPublish<'_>,
    len: usize,
    mut reader: impl Read,
) -> Result<(), DeviceError> {
    let mut sending = Sending::begin(&ticket, message, len).await?;
    let mut outcome = sending.put_from(&mut reader, len).await?;
    loop {
        match sending.settle(outcome) {
            Settled::Ended(result) => return result,
            Settled::Needed(_) => return Err(DeviceError::PayloadInterrupted),
            Settled::Later if sending.stage == Stage::Incomplete => {
                return Err(DeviceError::PayloadInterrupted);
            }
            Settled::Later => outcome = sending.outcome(Wait::Answer).await?,
        }
    }
}

/// The next step after an outcome.
enum Settled {
    Ended(Result<(), DeviceError>),
    /// The payload of this message must be provided again.
    Needed(PacketId),
    /// Another outcome follows.
    Later,
}

impl<'t, 'd, const N: usize> Sending<'t, 'd, N> {
    /// Waits for the turn of this message.
    async fn begin(
        ticket: &'t Ticket<'d, N>,
        message: StreamedPublish<'_>,
        len: usize,
    ) -> Result<Self, DeviceError> {
        let id = poll_fn(|cx| {
            ticket.poll_request(cx, true, |session, is_turn| {
                session.begin_payload_in_turn(message, len, is_turn)
            })
        })
        .await?;
        ticket.expect(Wait::Piece, id);
        Ok(Self {
            ticket,
            id,
            stage: Stage::Open,
        })
    }

    /// Provides the payload again. Nothing else can be sent before it, so this does not wait for its turn.
    async fn resend(&mut self, id: PacketId, len: usize) -> Result<(), DeviceError> {
        let shared = self.ticket.shared;
        poll_fn(|cx| {
            shared.check_alive()?;
            let begin =
                |session: &mut Session<'d>| session.begin_payload(StreamedPublish::Resend(id), len);
            match shared.try_with_session(begin) {
                Some(result) => Poll::Ready(result.map_err(DeviceError::from)),
                None => self.ticket.wait(Wait::Piece, cx),
            }
        })
        .await?;
        self.ticket.expect(Wait::Piece, Some(id));
        self.stage = Stage::Open;
        shared.wake_runner();
        Ok(())
    }

    /// Records the outcome of the payload, and returns the next step.
    fn settle(&mut self, outcome: Outcome) -> Settled {
        match (outcome, self.id) {
            (Outcome::Answered(result), _) => {
                self.stage = Stage::Over;
                Settled::Ended(result.map(drop))
            }
            (Outcome::Sent, None) => {
                self.stage = Stage::Over;
                Settled::Ended(Ok(()))
            }
            (Outcome::Interrupted | Outcome::PayloadNeeded, None) => {
                self.stage = Stage::Over;
                Settled::Ended(Err(DeviceError::NotWritten))
            }
            (Outcome::Sent, Some(_)) => {
                self.stage = Stage::Sent;
                Settled::Later
            }
            (Outcome::Interrupted, Some(_)) => {
                self.stage = Stage::Incomplete;
                Settled::Later
            }
            (Outcome::PayloadNeeded, Some(id)) => {
                self.stage = Stage::Incomplete;
                Settled::Needed(id)
            }
        }
    }

    /// Copies the payload in these slices to the session, and waits until it was sent.
    async fn put_slices(&self, payload: &[&[u8]], len: usize) -> Result<Outcome, DeviceError> {
        let mut sent: usize = 0;
        while sent < len {
            let bytes = slice_at(payload, sent);
            if let Some(outcome) = self.put(bytes).await? {
                return Ok(outcome);
            }
            sent = bytes.len().saturating_add(sent);
        }
        self.outcome(Wait::Piece).await
    }

    /// Copies `len` bytes of this reader to the session, and waits until they were sent.
    async fn put_from(&self, reader: &mut impl Read, len: usize) -> Result<Outcome, DeviceError> {
        let mut left = len;
        let mut buffer = [0; PIECE];
        while left > 0 {
            let max = left.min(PIECE);
            let space = buffer.get_mut(..max).unwrap_or_default();
            let n = {
                let mut read = pin!(reader.read(space));
                let read = poll_fn(|cx| {
                    // The connection may be closed while the source provides nothing.
                    if let Poll::Ready(outcome) = self.poll_outcome(Wait::Source, cx) {
                        return Poll::Ready(Err(outcome));
                    }
                    read.as_mut().poll(cx).map(Ok)
                });
                match read.await {
                    Err(outcome) => return outcome,
                    Ok(Ok(0)) => return Err(DeviceError::SourceEnded { missing: left }),
                    Ok(Ok(n)) => n.min(max),
                    Ok(Err(error)) => return Err(DeviceError::Source(error.kind())),
                }
            };
            left = left.saturating_sub(n);
            if let Some(outcome) = self.put(buffer.get(..n).unwrap_or_default()).await? {
                return Ok(outcome);
            }
        }
        self.outcome(Wait::Piece).await
    }

    /// Copies these bytes to the session, in pieces. Returns an outcome that occurred before the last piece.
    async fn put(&self, payload: &[u8]) -> Result<Option<Outcome>, DeviceError> {
        let shared = self.ticket.shared;
        let mut rest = payload;
        poll_fn(|cx| {
            while !rest.is_empty() {
                // After the end of this payload, that of another task may be open.
                if let Poll::Ready(outcome) = self.poll_outcome(Wait::Piece, cx) {
                    return Poll::Ready(outcome.map(Some));
                }
                let given = shared.try_with_session(|session| {
                    let space = session.payload_space_up_to(PIECE);
                    let n = space.len().min(rest.len());
                    bytes::copy(space, rest);
                    session.payload_commit(n);
                    n
                });
                match given {
                    None | Some(0) => return Poll::Pending,
                    Some(n) => rest = rest.get(n..).unwrap_or_default(),
                }
                shared.wake_runner();
            }
            Poll::Ready(Ok(None))
        })
        .await
    }

    async fn outcome(&self, wait: Wait) -> Result<Outcome, DeviceError> {
        poll_fn(|cx| self.poll_outcome(wait, cx)).await
    }

    fn poll_outcome(&self, wait: Wait, cx: &Context<'_>) -> Poll<Result<Outcome, DeviceError>> {
        self.ticket.poll_outcome(wait, cx)
    }
}

impl<const N: usize> Drop for Sending<'_, '_, N> {
    fn drop(&mut self) {
        let shared = self.ticket.shared;
        let stage = match self.ticket.take_outcome() {
            None => self.stage,
            Some(Outcome::Answered(_)) => Stage::Over,
            Some(Outcome::Sent) => Stage::Sent,
            Some(Outcome::Interrupted | Outcome::PayloadNeeded) => Stage::Incomplete,
        };
        if stage == Stage::Open {
            let is_online = shared.try_with_session(|session| {
                session.abandon_payload();
                session.is_online()
            });
            shared.abandons.set(is_online.is_none());
            if is_online == Some(false) {
                shared.set_state(DeviceState::Offline, SubscriptionState::Pending);
            }
            shared.wake_runner();
        }
        let Some(id) = self.id else { return };
        match stage {
            Stage::Open | Stage::Incomplete => shared.discard(id),
            // The server may still acknowledge the message.
            Stage::Sent => shared.lose_source(id),
            Stage::Over => {}
        }
    }
}
