//! A device that reports, sleeps, and goes on with its session.
#![allow(clippy::unwrap_used, clippy::panic, reason = "helpers of a test")]

use std::{
    cell::RefCell,
    collections::VecDeque,
    convert::Infallible,
    future::{Future, pending},
    rc::Rc,
};

use embassy_futures::block_on;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use light::{
    Board, News,
    asynch::{FailureOf, Network, report},
    kept,
};
use umqtt::{
    Clock, Instant, Session, Storage,
    asynch::Sleep,
    codec::{Connack, Connect, Delivery, Packet, Puback},
};

type Memory = Storage<128, 256, 4>;

/// What a broker got on all connections, and what it still answers.
#[derive(Default)]
struct Broker {
    got: Vec<String>,
    answers: VecDeque<u8>,
    session: bool,
    acknowledges: bool,
}

impl Broker {
    fn take(&mut self, mut bytes: &[u8]) {
        while let Some((packet, used)) = Packet::decode(bytes).unwrap() {
            let mut answer = [0; 8];
            let answer = match packet {
                Packet::Connect(_) => {
                    self.got.push("connect".to_owned());
                    let session_present = self.session;
                    let accepted = Connack::Accepted { session_present };
                    self.session = true;
                    accepted.encode(&mut answer).unwrap()
                }
                Packet::Publish(publish) => {
                    let text = std::str::from_utf8(publish.payload).unwrap();
                    let Delivery::AtLeastOnce { packet_id, dup } = publish.delivery else {
                        panic!("{publish:?} is not at QoS 1");
                    };
                    let again = if dup { " again" } else { "" };
                    self.got.push(format!("{text}{again}"));
                    if !self.acknowledges {
                        return;
                    }
                    Puback { packet_id }.encode(&mut answer).unwrap()
                }
                _ => {
                    self.got.push(format!("{:?}", packet.packet_type()));
                    &[]
                }
            };
            self.answers.extend(answer);
            bytes = bytes.get(used..).unwrap();
        }
    }
}

/// A connection, which ends when there is no answer left.
struct Link(Rc<RefCell<Broker>>);

impl ErrorType for Link {
    type Error = ErrorKind;
}

impl Read for Link {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        let mut broker = self.0.borrow_mut();
        let answers = buf
            .iter_mut()
            .zip(std::iter::from_fn(|| broker.answers.pop_front()));
        Ok(answers.map(|(byte, answer)| *byte = answer).count())
    }
}

impl Write for Link {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        self.0.borrow_mut().take(buf);
        Ok(buf.len())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

struct Way(Rc<RefCell<Broker>>);

impl Network for Way {
    type Transport = Link;
    type Error = Infallible;

    async fn dial(&mut self) -> Result<Link, Infallible> {
        self.0.borrow_mut().answers.clear();
        Ok(Link(Rc::clone(&self.0)))
    }

    fn failed(&mut self, _: &FailureOf<Self>) -> bool {
        true
    }
}

struct Still;

impl Clock for Still {
    fn now(&self) -> Instant {
        Instant::from_millis(0)
    }
}

impl Sleep for Still {
    fn sleep_until(&self, _: Instant) -> impl Future<Output = ()> {
        pending()
    }
}

struct Dark;

impl Board for Dark {
    fn tell(&mut self, _: &News<'_>) {}
    fn set_light(&mut self, _: bool) {}
}

/// A device that is on for one report; what it keeps while it is off is in `kept`.
fn wake(kept: &mut [u8], broker: &Rc<RefCell<Broker>>) -> bool {
    let mut storage = Memory::new();
    let mut session = Session::new(&mut storage);
    let was_on = kept::restore(&mut session, kept).unwrap().unwrap_or(false);
    let on = !was_on;
    let options = Connect {
        clean_session: false,
        ..Connect::new("device")
    };
    let mut way = Way(Rc::clone(broker));
    let reported = block_on(report(
        ("light", on),
        &mut session,
        &options,
        &Still,
        &mut way,
        &mut Dark,
    ));
    kept::save(&session, on, kept).unwrap();
    reported.is_ok()
}

#[test]
fn what_was_not_acknowledged_goes_out_again_after_the_sleep() {
    let broker = Rc::new(RefCell::new(Broker::default()));
    let mut kept = [0; kept::HEADER + Memory::IMAGE_LEN];

    assert!(!wake(&mut kept, &broker), "nobody acknowledges");
    broker.borrow_mut().acknowledges = true;
    assert!(wake(&mut kept, &broker));
    assert!(wake(&mut kept, &broker));

    let got = broker.borrow().got.join(", ");
    let first = "connect, on";
    let second = "connect, on again, off, Disconnect";
    let third = "connect, on, Disconnect";
    assert_eq!(got, [first, second, third].join(", "));
}
