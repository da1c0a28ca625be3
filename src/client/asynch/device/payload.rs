//! Payloads that a task provides piece by piece.

use core::{
    future::poll_fn,
    task::{Context, Poll},
};

use embedded_io_async::{Error as _, Read};

use super::{
    shared::Ticket,
    waiters::{Outcome, Wait},
};
use crate::{
    bytes,
    client::{
        calls::{slice_at, total_len},
        device::DeviceError,
    },
    codec::PacketId,
    session::{RequestError, StreamedPublish},
};

/// Bytes of a payload that are given to the session at once. The rest of the send buffer stays free for others.
const PIECE: usize = 64;

/// The payload that is being sent. Dropping it gives up the payload.
struct Open<'t, 'd, const N: usize> {
    ticket: &'t Ticket<'d, N>,
    id: Option<PacketId>,
    /// The whole payload was given to the session, or will be provided again.
    is_done: bool,
}

/// What has become of a payload that was given to the session.
enum Sent {
    /// All of it was given, or was sent.
    Whole,
    /// The connection ended before.
    Interrupted,
    /// The message was acknowledged or discarded before.
    Ended(Result<(), DeviceError>),
}

pub(super) async fn publish_slices<const N: usize>(
    ticket: Ticket<'_, N>,
    message: StreamedPublish<'_>,
    payload: &[&[u8]],
) -> Result<(), DeviceError> {
    let len = total_len(payload);
    let mut open = begin(&ticket, message, len).await?;
    loop {
        let sent = open.put_slices(payload, len).await?;
        let id = match (sent, open.close()) {
            (Sent::Ended(result), _) => return result,
            (Sent::Whole, None) => return Ok(()),
            (Sent::Interrupted, None) => return Err(DeviceError::NotWritten),
            (Sent::Whole | Sent::Interrupted, Some(id)) => id,
        };
        open = loop {
            if let Answer::Ended(result) = answer_or_payload(&ticket, id).await? {
                return result;
            }
            match begin(&ticket, StreamedPublish::Resend(id), len).await {
                Ok(open) => break open,
                // The connection ended again meanwhile.
                Err(DeviceError::Request(
                    RequestError::NotConnected | RequestError::PayloadNotNeeded,
                )) => {}
                Err(error) => return Err(error),
            }
        };
    }
}

pub(super) async fn publish_from<const N: usize>(
    ticket: Ticket<'_, N>,
    message: StreamedPublish<'_>,
    len: usize,
    mut reader: impl Read,
) -> Result<(), DeviceError> {
    let open = begin(&ticket, message, len).await?;
    let mut left = len;
    let mut buffer = [0; PIECE];
    while left > 0 {
        let max = left.min(PIECE);
        let space = buffer.get_mut(..max).unwrap_or_default();
        let read = match reader.read(space).await {
            Ok(0) => return Err(DeviceError::SourceEnded { missing: left }),
            Ok(n) => n.min(max),
            Err(error) => return Err(DeviceError::Source(error.kind())),
        };
        left = left.saturating_sub(read);
        match open.put(buffer.get(..read).unwrap_or_default()).await? {
            Sent::Whole => {}
            Sent::Interrupted => return Err(DeviceError::PayloadInterrupted),
            Sent::Ended(result) => return result,
        }
    }
    match open.finish().await? {
        Sent::Whole => {}
        Sent::Interrupted => return Err(DeviceError::PayloadInterrupted),
        Sent::Ended(result) => return result,
    }
    let Some(id) = open.close() else {
        return Ok(());
    };
    match answer_or_payload(&ticket, id).await? {
        Answer::Ended(result) => result,
        Answer::PayloadNeeded => {
            discard(&ticket, id);
            Err(DeviceError::PayloadInterrupted)
        }
    }
}

/// Waits for the turn of this message.
async fn begin<'t, 'd, const N: usize>(
    ticket: &'t Ticket<'d, N>,
    message: StreamedPublish<'_>,
    len: usize,
) -> Result<Open<'t, 'd, N>, DeviceError> {
    let id = poll_fn(|cx| ticket.poll_request(cx, |s| s.begin_payload(message, len))).await?;
    ticket.expect(Wait::Piece(id));
    Ok(Open {
        ticket,
        id,
        is_done: false,
    })
}

impl<const N: usize> Open<'_, '_, N> {
    /// Ends the guard: the payload is not given up any more. Returns the id of its message.
    fn close(mut self) -> Option<PacketId> {
        self.is_done = true;
        self.id
    }

    /// Gives the payload in these slices to the session.
    async fn put_slices(&self, payload: &[&[u8]], len: usize) -> Result<Sent, DeviceError> {
        let mut sent = 0;
        while sent < len {
            let bytes = slice_at(payload, sent);
            match self.put(bytes).await? {
                Sent::Whole => sent = bytes.len().saturating_add(sent),
                other => return Ok(other),
            }
        }
        self.finish().await
    }

    /// Gives these bytes to the session, in pieces.
    async fn put(&self, payload: &[u8]) -> Result<Sent, DeviceError> {
        let mut rest = payload;
        poll_fn(|cx| {
            loop {
                if rest.is_empty() {
                    return Poll::Ready(Ok(Sent::Whole));
                }
                let given = self.ticket.shared.try_with_session(|session| {
                    let space = session.payload_space_up_to(PIECE);
                    let n = space.len().min(rest.len());
                    bytes::copy(space, rest);
                    session.payload_commit(n);
                    n
                });
                match given {
                    None | Some(0) => return self.poll_sent(cx),
                    Some(n) => rest = rest.get(n..).unwrap_or_default(),
                }
                self.ticket.shared.wake_runner();
            }
        })
        .await
    }

    /// Waits until the whole payload was sent.
    async fn finish(&self) -> Result<Sent, DeviceError> {
        poll_fn(|cx| {
            let sent = self.poll_sent(cx);
            let shared = self.ticket.shared;
            let is_open = shared.try_with_session(|session| session.is_payload_open());
            if sent.is_pending() && is_open == Some(false) {
                return Poll::Ready(Ok(Sent::Whole));
            }
            sent
        })
        .await
    }

    /// Returns how the payload has ended, or registers the task.
    fn poll_sent(&self, cx: &Context<'_>) -> Poll<Result<Sent, DeviceError>> {
        let outcome = self.ticket.poll_outcome(Wait::Piece(self.id), cx);
        outcome.map_ok(|outcome| match outcome {
            Outcome::Answered(result) => Sent::Ended(result.map(drop)),
            Outcome::Interrupted | Outcome::PayloadNeeded => Sent::Interrupted,
        })
    }
}

impl<const N: usize> Drop for Open<'_, '_, N> {
    fn drop(&mut self) {
        if self.is_done {
            return;
        }
        let shared = self.ticket.shared;
        let abandoned = shared.try_with_session(|session| session.abandon_payload());
        if abandoned.is_none() {
            shared.abandons.set(true);
        }
        if let Some(id) = self.id {
            discard(self.ticket, id);
        }
        shared.wake_runner();
    }
}

/// Discards a message, now or when it is not sent any more.
fn discard<const N: usize>(ticket: &Ticket<'_, N>, id: PacketId) {
    let shared = ticket.shared;
    let discarded = shared.try_with_session(|session| session.discard_publish(id));
    if !matches!(discarded, Some(Ok(()) | Err(RequestError::NotKept))) {
        shared.discards.set(Some(id));
    }
    shared.wake_runner();
}

enum Answer {
    Ended(Result<(), DeviceError>),
    PayloadNeeded,
}

/// Waits until the message was acknowledged or discarded, or its payload is needed again.
async fn answer_or_payload<const N: usize>(
    ticket: &Ticket<'_, N>,
    id: PacketId,
) -> Result<Answer, DeviceError> {
    let wait = Wait::Answer(id);
    ticket.continue_with(wait);
    loop {
        match poll_fn(|cx| ticket.poll_outcome(wait, cx)).await? {
            Outcome::Answered(result) => return Ok(Answer::Ended(result.map(drop))),
            Outcome::PayloadNeeded => return Ok(Answer::PayloadNeeded),
            Outcome::Interrupted => {}
        }
    }
}
