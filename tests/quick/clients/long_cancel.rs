//! Long payloads on the async client, whose futures are dropped at every poll.

use std::{
    cell::RefCell,
    collections::VecDeque,
    future::{Future, pending},
    pin::{Pin, pin},
    rc::Rc,
    task::{Context, Poll, Waker},
};

use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use umqtt::{
    Clock, Event, Instant, Message, ProtocolError, Publisher, Session, Storage, StreamedPublish,
    asynch::{Client, Sleep},
    client::Error,
    codec::{Delivery, QoS},
};

use crate::common::Fault;
use crate::long::{self, KEEP, Source, T, ack, delivery, pattern, publish};

const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A clock that does not advance.
struct Still;

impl Clock for Still {
    fn now(&self) -> Instant {
        T
    }
}

impl Sleep for Still {
    async fn sleep_until(&self, _: Instant) {
        pending().await
    }
}

/// A transport that moves at most `piece` bytes in a call. A write is pending when it is first polled.
#[derive(Clone)]
struct Wire(Rc<RefCell<Ends>>);

struct Ends {
    arrived: VecDeque<u8>,
    written: Vec<u8>,
    piece: usize,
    tired: bool,
}

impl Wire {
    fn new(piece: usize) -> Self {
        Self(Rc::new(RefCell::new(Ends {
            arrived: VecDeque::new(),
            written: Vec::new(),
            piece,
            tired: false,
        })))
    }

    fn feed(&self, bytes: &[u8]) {
        self.0.borrow_mut().arrived.extend(bytes);
    }

    fn take_written(&self) -> Vec<u8> {
        core::mem::take(&mut self.0.borrow_mut().written)
    }
}

/// A future that is ready at every other poll.
struct Turn<'a>(&'a mut bool);

impl Future for Turn<'_> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        *self.0 = !*self.0;
        if *self.0 {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }
}

impl ErrorType for Wire {
    type Error = Fault;
}

impl Read for Wire {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Fault> {
        core::future::poll_fn(|_| {
            let ends = &mut *self.0.borrow_mut();
            let n = ends.piece.min(buf.len()).min(ends.arrived.len());
            if n == 0 {
                return Poll::Pending;
            }
            for (to, byte) in buf.iter_mut().zip(ends.arrived.drain(..n)) {
                *to = byte;
            }
            Poll::Ready(Ok(n))
        })
        .await
    }
}

impl Write for Wire {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, Fault> {
        assert!(!buf.is_empty());
        let mut tired = self.0.borrow().tired;
        let turn = core::future::poll_fn(|cx| {
            let polled = Pin::new(&mut Turn(&mut tired)).poll(cx);
            self.0.borrow_mut().tired = tired;
            polled
        });
        turn.await;
        let ends = &mut *self.0.borrow_mut();
        let n = ends.piece.min(buf.len());
        ends.written.extend(&buf[..n]);
        Ok(n)
    }

    async fn flush(&mut self) -> Result<(), Fault> {
        Ok(())
    }
}

/// A source that gives its bytes at every other poll.
struct Slow<'a> {
    source: Source<'a>,
    tired: bool,
}

impl<'a> Slow<'a> {
    fn new(rest: &'a [u8], piece: usize, end: Result<(), Fault>) -> Self {
        Self {
            source: Source { rest, piece, end },
            tired: false,
        }
    }
}

impl ErrorType for Slow<'_> {
    type Error = Fault;
}

impl Read for Slow<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, Fault> {
        Turn(&mut self.tired).await;
        self.source.next(buf)
    }
}

/// Polls a future at most `most` times, and drops it. Returns its result if it was ready.
fn polled<F: Future>(future: F, most: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    (0..most).find_map(|_| match future.as_mut().poll(&mut cx) {
        Poll::Ready(result) => Some(result),
        Poll::Pending => None,
    })
}

fn run<F: Future>(future: F) -> F::Output {
    polled(future, 100_000).unwrap()
}

fn connected<'s, 'b>(
    session: &'s mut Session<'b>,
    wire: &Wire,
    session_present: bool,
) -> Client<'s, 'b, Wire, Still> {
    let mut client = Client::open(session, wire.clone(), Still, &KEEP).unwrap();
    while client.session().has_pending() {
        assert_eq!(run(client.poll()), Ok(None));
    }
    wire.feed(&[0x20, 2, u8::from(session_present), 0]);
    while !client.session().is_connected() {
        run(client.recv()).unwrap();
    }
    wire.take_written();
    client
}

fn outgoing(qos: QoS) -> StreamedPublish<'static> {
    let (topic, retain) = ("t", false);
    StreamedPublish::New { topic, qos, retain }
}

/// Returns the PUBLISH with packet id 1.
fn first(qos: QoS, payload: &[u8]) -> Vec<u8> {
    let (packet_id, dup) = (long::id(1), false);
    let delivery = match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce { packet_id, dup },
        QoS::ExactlyOnce => Delivery::ExactlyOnce { packet_id, dup },
    };
    publish("t", payload, delivery, false)
}

/// Publishes a payload: from a source if `read` is set, otherwise from slices, some of which are empty.
async fn give(
    client: &mut Client<'_, '_, Wire, Still>,
    message: StreamedPublish<'_>,
    payload: &[u8],
    read: bool,
) -> Result<(), Error<Fault>> {
    if read {
        let source = Slow::new(payload, 6, Ok(()));
        client
            .publish_from(message, payload.len(), source, |_, _| {})
            .await?;
    } else {
        let (one, two) = payload.split_at(payload.len() / 3);
        client
            .publish_slices(message, &[b"", one, b"", two, b""], |_, _| {})
            .await?;
    }
    Ok(())
}

#[test]
fn streamed_publish_bytes_equal_encoder_output() {
    for qos in ALL {
        for len in [0, 1, 30, 200] {
            for piece in [1, 3, 1_000] {
                for read in [false, true] {
                    let payload = pattern(len);
                    let wire = Wire::new(piece);
                    let mut storage = Storage::<32, 40, 4>::new();
                    let mut session = Session::new(&mut storage);
                    let mut client = connected(&mut session, &wire, false);
                    run(give(&mut client, outgoing(qos), &payload, read)).unwrap();
                    assert_eq!(wire.take_written(), first(qos, &payload));
                }
            }
        }
    }
}

/// If the call is dropped before a byte was sent, the request has no effect. If it is dropped later, the connection is
/// closed, and every call returns the reason.
#[test]
fn payload_dropped_at_any_poll_is_undone_or_closes() {
    let payload = pattern(30);
    let aborted = Error::Protocol(ProtocolError::PayloadAborted);
    for qos in ALL {
        for piece in [1, 5, 1_000] {
            for read in [false, true] {
                let (mut taken_back, mut over) = (0, 0);
                for polls in 0.. {
                    let wire = Wire::new(piece);
                    let mut storage = Storage::<32, 40, 4>::new();
                    let mut session = Session::new(&mut storage);
                    let mut client = connected(&mut session, &wire, false);
                    if polled(give(&mut client, outgoing(qos), &payload, read), polls).is_some() {
                        break;
                    }
                    let written = wire.take_written();
                    if written.is_empty() {
                        taken_back += 1;
                        assert_eq!(client.session().in_flight(), 0);
                        run(client.publish(&Message::new("n", b"x"))).unwrap();
                        run(client.flush()).unwrap();
                        let next = publish("n", b"x", Delivery::AtMostOnce, false);
                        assert_eq!(wire.take_written(), next);
                    } else {
                        over += 1;
                        assert_eq!(written, first(qos, &payload)[..written.len()]);
                        assert!(written.len() < first(qos, &payload).len());
                        assert_eq!(run(client.publish(&Message::new("n", b"x"))), Err(aborted));
                        assert_eq!(
                            run(give(&mut client, outgoing(qos), b"x", read)),
                            Err(aborted)
                        );
                        if qos == QoS::AtMostOnce {
                            assert_eq!(run(client.recv()), Ok(Event::Qos0Dropped(1)));
                        }
                        assert_eq!(run(client.recv()), Err(aborted));
                        assert_eq!(run(client.disconnect()).err(), Some(aborted));
                        assert!(wire.take_written().is_empty(), "no DISCONNECT");
                    }
                }
                assert!(
                    taken_back > 0 && (over > 0 || piece > 30),
                    "{taken_back} {over}"
                );
            }
        }
    }
}

/// A requested payload that is dropped before a byte was sent is requested again.
#[test]
fn resend_dropped_at_any_poll_is_requested_again() {
    let payload = pattern(30);
    for read in [false, true] {
        for polls in 1.. {
            let wire = Wire::new(4);
            let mut storage = Storage::<32, 40, 4>::new();
            let mut session = Session::new(&mut storage);
            let mut client = connected(&mut session, &wire, false);
            run(give(
                &mut client,
                outgoing(QoS::AtLeastOnce),
                &payload,
                read,
            ))
            .unwrap();
            drop(client);
            let mut client = connected(&mut session, &wire, true);
            let needed = Event::PayloadNeeded(long::id(1));
            assert_eq!(run(client.recv()), Ok(needed));
            let again = StreamedPublish::Resend(long::id(1));
            if polled(give(&mut client, again, &payload, read), polls).is_some() {
                break;
            }
            assert_eq!(client.session().in_flight(), 1);
            if wire.take_written().is_empty() {
                assert_eq!(run(client.recv()), Ok(needed));
                run(give(&mut client, again, &payload, read)).unwrap();
                let mut whole = first(QoS::AtLeastOnce, &payload);
                whole[0] |= 8;
                assert_eq!(wire.take_written(), whole);
            } else {
                let aborted = Error::Protocol(ProtocolError::PayloadAborted);
                assert_eq!(run(client.recv()), Err(aborted));
            }
        }
    }
}

/// A source that ends or fails at every byte.
#[test]
fn source_ended_or_failed_closes_connection() {
    let payload = pattern(20);
    for given in 0..20 {
        for end in [Ok(()), Err(Fault(ErrorKind::NotFound))] {
            let wire = Wire::new(3);
            let mut storage = Storage::<32, 40, 4>::new();
            let mut session = Session::new(&mut storage);
            let mut client = connected(&mut session, &wire, false);
            let source = Slow::new(&payload[..given], 7, end);
            let result =
                run(client.publish_from(outgoing(QoS::AtLeastOnce), 20, source, |_, _| {}));
            let missing = 20 - given;
            let expected = end.map_or(Error::Source(ErrorKind::NotFound), |()| {
                Error::SourceEnded { missing }
            });
            assert_eq!(result, Err(expected));
            let aborted = Error::Protocol(ProtocolError::PayloadAborted);
            assert_eq!(run(client.recv()), Err(aborted));
            let sent = wire.take_written();
            assert_eq!(sent, first(QoS::AtLeastOnce, &payload)[..7 + given]);
        }
    }
}

/// Packets that are received while a payload is sent are handled at once. The answer is not sent inside the PUBLISH.
#[test]
fn messages_received_inside_payload_are_answered_after_it() {
    for read in [false, true] {
        let wire = Wire::new(2);
        let mut storage = Storage::<32, 40, 4>::new();
        let mut session = Session::new(&mut storage);
        let mut client = connected(&mut session, &wire, false);
        wire.feed(&publish(
            "in",
            b"!",
            delivery(QoS::AtLeastOnce, false),
            false,
        ));
        let payload = pattern(100);
        let whole = first(QoS::AtMostOnce, &payload);
        // The number of bytes that were written before each event.
        let mut recorded = Vec::new();
        let on_event = |event: Event<'_>, _: &mut Publisher<'_, '_>| {
            assert!(matches!(event, Event::Message(_)), "{event:?}");
            recorded.push(wire.0.borrow().written.len());
        };
        if read {
            let source = Slow::new(&payload, 6, Ok(()));
            run(client.publish_from(outgoing(QoS::AtMostOnce), 100, source, on_event)).unwrap();
        } else {
            run(client.publish_slices(outgoing(QoS::AtMostOnce), &[&payload], on_event)).unwrap();
        }
        assert_eq!(recorded.len(), 1);
        assert!((1..whole.len()).contains(&recorded[0]), "{recorded:?}");
        run(client.flush()).unwrap();
        let answer = ack(delivery(QoS::AtLeastOnce, false));
        assert_eq!(wire.take_written(), [whole, answer].concat(), "{read}");
    }
}

/// Every read is dropped if it is not ready at its first poll: no byte is lost, and the answer is sent once.
#[test]
fn read_dropped_at_any_poll_loses_nothing() {
    for qos in ALL {
        for (rx_fits, len) in [(true, 10), (false, 100)] {
            for (piece, size) in [(1, 1), (3, 7), (50, 100), (2, 3)] {
                for most in [0, 1, len / 2, len, usize::MAX] {
                    let payload = pattern(len);
                    let wire = Wire::new(piece);
                    let mut storage = Storage::<24, 40, 4>::new();
                    let mut session = Session::new(&mut storage);
                    let mut client = connected(&mut session, &wire, false);
                    wire.feed(&publish("t", &payload, delivery(qos, false), false));
                    wire.feed(&publish("n", b"next", Delivery::AtMostOnce, false));
                    let event = run(client.recv()).unwrap();
                    assert_eq!(matches!(event, Event::Message(_)), rx_fits);
                    let mut all: Vec<u8> = Vec::new();
                    let mut reader = client.payload();
                    while all.len() < most {
                        let mut buf = vec![0; size.min(most - all.len())];
                        match polled(reader.read(&mut buf), 1) {
                            None => {}
                            Some(Ok(0)) => break,
                            Some(n) => all.extend(&buf[..n.unwrap()]),
                        }
                    }
                    drop(reader);
                    assert_eq!(all, payload[..most.min(len)]);
                    let Ok(Event::Message(message)) = run(client.recv()) else {
                        unreachable!("the next message is whole");
                    };
                    assert_eq!(message.payload, b"next");
                    run(client.flush()).unwrap();
                    assert_eq!(wire.take_written(), ack(delivery(qos, false)));
                }
            }
        }
    }
}
