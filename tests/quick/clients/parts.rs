//! The small parts around the clients: delays, storage, closures as sources, and the adapters for the standard library.

use std::{cell::Cell, io::Cursor};

use embassy_futures::block_on;
use embedded_io::{Error as _, ErrorKind};
use umqtt::{
    Backoff, Clock, Instant, Message, ProtocolError, ReadFn, RequestError, Session, Storage,
    blocking, client,
    codec::Connect,
    std_io::{self, NonBlocking, StdClock},
};

use crate::common::{Network, Step};

#[test]
fn backoff_reset_restarts_at_first_delay() {
    let mut backoff = Backoff::new(100, 10_000);
    let first = backoff.next(0);
    assert!(backoff.next(0) > first);
    backoff.reset();
    assert_eq!(backoff.next(0), first);
}

#[test]
fn storage_default_is_empty() {
    let mut storage = Storage::<64, 64, 1>::default();
    let session = Session::new(&mut storage);
    assert_eq!((session.in_flight(), session.last_packet_id()), (0, None));
}

#[test]
fn non_blocking_returns_wrapped_stream() {
    let mut transport = NonBlocking::new(Cursor::new(vec![1, 2, 3]));
    assert_eq!(transport.get_ref().position(), 0);
    transport.get_mut().set_position(2);
    assert_eq!(transport.into_inner().position(), 2);
}

#[test]
fn read_fn_is_source_for_both_clients() {
    let mut left = [7_u8; 5].into_iter();
    let mut source = ReadFn(|buf: &mut [u8]| {
        let read = buf
            .iter_mut()
            .zip(left.by_ref())
            .map(|(to, from)| *to = from);
        Ok::<_, ErrorKind>(read.count())
    });
    let mut buf = [0; 2];
    assert_eq!(embedded_io::Read::read(&mut source, &mut buf), Ok(2));
    assert_eq!(buf, [7, 7]);
    let read = block_on(embedded_io_async::Read::read(&mut source, &mut buf));
    assert_eq!(read, Ok(2));
}

/// A reference to a clock shows the time of this clock, and waits as it does.
#[test]
fn clock_by_reference_is_the_same_clock() {
    struct Counted(Cell<u32>);
    impl Clock for Counted {
        fn now(&self) -> Instant {
            Instant::from_millis(self.0.get())
        }
        fn idle(&self) {
            self.0.set(self.0.get() + 1);
        }
    }
    let clock = Counted(Cell::new(5));
    Clock::idle(&&clock);
    assert_eq!(clock.0.get(), 6);
    assert_eq!(Clock::now(&&clock), Instant::from_millis(6));
}

/// The default of `idle` does not wait: a client reads the clock again at once.
#[test]
fn clock_without_idle_method_is_read_again() {
    struct Counted(Cell<u32>);
    impl Clock for Counted {
        fn now(&self) -> Instant {
            self.0.set(self.0.get() + 1);
            Instant::from_millis(self.0.get())
        }
    }
    let network = Network::with_server();
    let mut storage = Storage::<64, 64, 1>::new();
    let mut session = Session::new(&mut storage);
    let clock = Counted(Cell::new(0));
    let options = Connect::new("me");
    let mut client =
        blocking::Client::connect(&mut session, network.transport(), &clock, &options).unwrap();
    network.writes(&[], Step::NotReady);
    client.publish(&Message::new("t", b"x")).unwrap();
    let timeout = Err(client::Error::Protocol(ProtocolError::WriteTimeout));
    assert_eq!(client.flush(), timeout);
    assert!(clock.0.get() >= umqtt::RESPONSE_TIMEOUT);
}

#[test]
fn std_clock_default_starts_at_zero() {
    assert!(StdClock::default().now().as_millis() < 1_000);
}

#[test]
fn client_error_has_kind_of_wrapped_error() {
    use client::Error as E;
    let refused = std_io::Error(std::io::ErrorKind::ConnectionRefused.into());
    for (error, kind) in [
        (E::Transport(refused), ErrorKind::ConnectionRefused),
        (E::Closed, ErrorKind::ConnectionAborted),
        (E::Protocol(ProtocolError::WriteTimeout), ErrorKind::Other),
        (E::SourceEnded { missing: 1 }, ErrorKind::Other),
        (E::Source(ErrorKind::NotFound), ErrorKind::NotFound),
        (
            E::Request(RequestError::CheckpointDue),
            ErrorKind::InvalidInput,
        ),
    ] {
        assert_eq!(error.kind(), kind);
    }
}
