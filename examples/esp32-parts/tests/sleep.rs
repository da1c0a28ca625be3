//! A device that publishes, sleeps, and continues its session.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of a test"
)]

use std::{
    cell::{Cell, RefCell},
    collections::VecDeque,
    future::{Future, pending, poll_fn},
    task::Poll,
};

use embassy_futures::block_on;
use embedded_io_async::{ErrorKind, ErrorType, Read, Write};
use esp32_parts::{deliver, kept};
use umqtt::{
    Clock, Config, Ended, ImageError, Instant, Message, Storage,
    asynch::{Device, Sleep},
    codec::{Connack, Connect, Delivery, Packet, Puback, QoS},
};

type Memory = Storage<128, 256, 4>;
const LEN: usize = kept::HEADER + Memory::IMAGE_LEN;

/// A broker, with the packets received on all connections and the answers that are not sent yet.
#[derive(Default)]
struct Broker {
    received: Vec<String>,
    answers: VecDeque<u8>,
    session_present: bool,
    acknowledges: bool,
}

impl Broker {
    /// Returns `true` if the broker waits for more packets.
    fn is_silent(&self) -> bool {
        let has_ended = self
            .received
            .last()
            .is_some_and(|name| name == "Disconnect");
        self.answers.is_empty() && self.acknowledges && !has_ended
    }

    fn handle(&mut self, mut bytes: &[u8]) {
        while let Some((packet, used)) = Packet::decode(bytes).unwrap() {
            let mut answer = [0; 8];
            let answer = match packet {
                Packet::Connect(_) => {
                    self.received.push("connect".to_owned());
                    let session_present = self.session_present;
                    let accepted = Connack::Accepted { session_present };
                    self.session_present = true;
                    accepted.encode(&mut answer).unwrap()
                }
                Packet::Publish(publish) => {
                    let text = std::str::from_utf8(publish.payload).unwrap();
                    let Delivery::AtLeastOnce { packet_id, dup } = publish.delivery else {
                        panic!("{publish:?} is not at QoS 1");
                    };
                    let again = if dup { " again" } else { "" };
                    self.received.push(format!("{text}{again}"));
                    if !self.acknowledges {
                        return;
                    }
                    Puback { packet_id }.encode(&mut answer).unwrap()
                }
                _ => {
                    self.received.push(format!("{:?}", packet.packet_type()));
                    &[]
                }
            };
            self.answers.extend(answer);
            bytes = bytes.get(used..).unwrap();
        }
    }
}

/// A connection. It ends after DISCONNECT, or without an acknowledgement.
struct Link<'b>(&'b RefCell<Broker>);

impl ErrorType for Link<'_> {
    type Error = ErrorKind;
}

impl Read for Link<'_> {
    async fn read(&mut self, buf: &mut [u8]) -> Result<usize, ErrorKind> {
        poll_fn(|_| match self.0.borrow().is_silent() {
            true => Poll::Pending,
            false => Poll::Ready(()),
        })
        .await;
        let mut broker = self.0.borrow_mut();
        let answers = buf
            .iter_mut()
            .zip(std::iter::from_fn(|| broker.answers.pop_front()));
        Ok(answers.map(|(byte, answer)| *byte = answer).count())
    }
}

impl Write for Link<'_> {
    async fn write(&mut self, buf: &[u8]) -> Result<usize, ErrorKind> {
        self.0.borrow_mut().handle(buf);
        Ok(buf.len())
    }

    async fn flush(&mut self) -> Result<(), ErrorKind> {
        Ok(())
    }
}

/// A clock that always shows the same time, and never wakes its caller.
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

/// Wakes the device for one report. `memory` survives its sleep. Returns `true` if all messages were delivered.
fn wake(memory: &mut [u8], broker: Option<&RefCell<Broker>>) -> bool {
    let mut storage = Memory::new();
    let connect = Connect {
        clean_session: false,
        ..Connect::new("device")
    };
    let config = Config::new(connect);
    let mut device = Device::new(&mut storage, Still, &config).unwrap();
    let on = !kept::restore(device.session(), memory)
        .unwrap()
        .unwrap_or(false);
    let waiting = Cell::new(device.session().in_flight() + 1);
    let (mqtt, mut runner) = device.split();
    let mut reading = Message::new("light", if on { b"on" } else { b"off" });
    reading.qos = QoS::AtLeastOnce;
    mqtt.try_publish(&reading).unwrap();
    let delivered = broker.is_some_and(|broker| {
        broker.borrow_mut().answers.clear();
        let ended = block_on(deliver(mqtt, &mut runner, &waiting, Link(broker)));
        matches!(ended, Ended::Shutdown)
    });
    kept::save(mqtt, on, memory).unwrap();
    delivered
}

#[test]
fn reading_unacknowledged_is_resent_after_sleep() {
    let broker = RefCell::new(Broker::default());
    let mut memory = [0; LEN];

    assert!(!wake(&mut memory, Some(&broker)), "no acknowledgement");
    broker.borrow_mut().acknowledges = true;
    assert!(wake(&mut memory, Some(&broker)));
    assert!(wake(&mut memory, Some(&broker)));

    let first = "connect, on";
    let second = "connect, on again, off, Disconnect";
    let third = "connect, on, Disconnect";
    assert_eq!(
        broker.borrow().received.join(", "),
        [first, second, third].join(", ")
    );
}

#[test]
fn two_wakes_without_broker_keep_both_readings() {
    let mut memory = [0; LEN];
    assert!(!wake(&mut memory, None));
    assert!(!wake(&mut memory, None));

    let broker = RefCell::new(Broker {
        acknowledges: true,
        ..Broker::default()
    });
    assert!(wake(&mut memory, Some(&broker)));
    let received = broker.borrow().received.join(", ");
    // A restored session does not know whether its messages were sent, so it sends them with DUP.
    let expected = "connect, on again, off again, on, Disconnect";
    assert_eq!(received, expected);
}

#[test]
fn memory_corrupt_is_an_error_and_empty_is_not() {
    let mut storage = Memory::new();
    let config = Config::new(Connect::new("device"));
    let mut device = Device::<_>::new(&mut storage, Still, &config).unwrap();
    assert_eq!(kept::restore(device.session(), &[0; LEN]), Ok(None));
    assert_eq!(
        kept::restore(device.session(), &[0xFF; LEN]),
        Err(ImageError::NotAnImage)
    );
    let mut memory = [0; LEN];
    wake(&mut memory, None);
    let used = (0..LEN).filter(|at| memory[*at] != 0).max().unwrap() + 1;
    for at in 1..used {
        for bit in 0..8 {
            let mut garbled = memory;
            garbled[at] ^= 1 << bit;
            let restored = kept::restore(device.session(), &garbled);
            assert!(restored.is_err(), "byte {at}, bit {bit}");
        }
    }
}

#[test]
fn memory_too_small_stores_nothing() {
    let mut storage = Memory::new();
    let config = Config::new(Connect::new("device"));
    let mut device = Device::<_>::new(&mut storage, Still, &config).unwrap();
    let (mqtt, _runner) = device.split();
    let mut memory = [2; 8];
    assert!(kept::save(mqtt, true, &mut memory).is_err());
    assert_eq!(memory[0], 0);
}
