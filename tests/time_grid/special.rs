//! Rule 7 between two calls: the deadline is now while something can be done at once. And a clock that ticks in a call.

use std::cell::Cell;

use umqtt::{
    Clock, Instant, Session, blocking,
    codec::{Connect, QoS},
};

use crate::{
    common::{Network, connack, message, puback, publish},
    driver::Driver,
    subject::{Memory, Start},
    world::{Difference, Report},
};

/// A situation between two calls.
struct Between<'b> {
    driver: Driver<'b>,
    now: u32,
}

impl<'b> Between<'b> {
    /// A connected session that has nothing to do.
    fn new(memory: &'b mut Memory, start: Start, checkpoints: bool) -> Self {
        let mut driver = start.driver(memory, checkpoints);
        start.connect(&mut driver);
        let now = start.now;
        let mut this = Self { driver, now };
        this.send();
        this.driver.receive(&connack(false));
        while this.turn() {}
        this.send();
        this
    }

    fn send(&mut self) {
        while self.driver.has_pending() {
            let n = self.driver.pending(self.now).len();
            self.driver.consume(n, self.now);
        }
    }

    /// Handles an event, if there is one.
    fn turn(&mut self) -> bool {
        self.driver.turn(self.now).unwrap().is_some()
    }

    fn deadline_is_now(&self) -> bool {
        let deadline = self.driver.deadline();
        deadline.is_some_and(|at| at.wrapping_sub(self.now).cast_signed() <= 0)
    }
}

/// The name of a situation, whether data can be moved or an event can be handled in it, and the steps that lead to it.
type Case = (&'static str, bool, fn(&mut Between<'_>));

const CASES: [Case; 8] = [
    ("nothing to do", false, |_| {}),
    ("packet to send", true, |this| {
        this.driver.publish(0, b"x").unwrap();
    }),
    ("PINGREQ to send", true, |this| this.driver.ping().unwrap()),
    ("event not handled", true, |this| {
        this.driver.receive(&publish("t", b"x", QoS::AtMostOnce, 0));
        assert_eq!(this.driver.announce(this.now), Ok(true));
    }),
    ("packet in the receive buffer", true, |this| {
        this.driver
            .receive(&publish("t", b"x", QoS::AtMostOnce, 0).repeat(2));
        assert!(this.turn());
    }),
    ("packet received and not looked at", true, |this| {
        this.driver.receive(&publish("t", b"x", QoS::AtMostOnce, 0));
    }),
    ("acknowledgement to send", true, |this| {
        this.driver
            .receive(&publish("t", b"x", QoS::AtLeastOnce, 9));
        assert!(this.turn());
        assert!(!this.turn());
    }),
    ("acknowledgement queue has room again", true, |this| {
        for id in 1..=9 {
            this.driver
                .receive(&publish("t", b"x", QoS::AtLeastOnce, id));
            this.turn();
        }
        assert!(!this.turn());
        this.send();
    }),
];

/// Compares all cases with the rule.
pub(crate) fn check(keep_alive: u16, timeout: u32, now: u32, report: &mut Report) {
    let mut compare = |name: &'static str, difference, holds: bool| {
        report.walks += 1;
        report.calls += 1;
        if !holds {
            report.note(difference, name, false, || {
                format!("  keep alive {keep_alive} s, timeout {timeout} ms, at {now}")
            });
        }
    };
    let start = Start {
        keep_alive,
        timeout,
        now,
    };
    for (name, busy, reach) in CASES {
        let mut memory = Memory::new();
        let mut between = Between::new(&mut memory, start, false);
        reach(&mut between);
        let difference = if busy {
            Difference::DeadlineNotNow
        } else {
            Difference::EarlyDeadline
        };
        compare(name, difference, between.deadline_is_now() == busy);
    }
    let mut memory = Memory::new();
    let mut between = Between::new(&mut memory, start, true);
    between.driver.publish(1, b"x").unwrap();
    compare(
        "checkpoint due, not announced",
        Difference::DeadlineNotNow,
        between.deadline_is_now(),
    );
    for shift in -20..=1 {
        let found = finds_answer(timeout, now, timeout.wrapping_add_signed(shift));
        compare(
            "client, the clock ticks in a call",
            Difference::EndedEarly,
            found,
        );
    }
}

/// A clock that shows more each time it is read.
struct Ticking {
    now: Cell<u32>,
    /// Time in ms that each reading adds.
    tick: Cell<u32>,
}

impl Clock for Ticking {
    fn now(&self) -> Instant {
        let now = self.now.get();
        self.now.set(now.wrapping_add(self.tick.get()));
        Instant::from_millis(now)
    }
}

/// Returns `true` if a client that is called `late` ms after `now` finds an answer that arrived at once.
fn finds_answer(timeout: u32, now: u32, late: u32) -> bool {
    let (network, mut memory) = (Network::new(), Memory::new());
    let mut session = Session::new(&mut memory);
    session.set_response_timeout(timeout);
    let clock = Ticking {
        now: Cell::new(now),
        tick: Cell::new(0),
    };
    network.feed(&connack(false));
    let connected = blocking::Client::connect(
        &mut session,
        network.transport(),
        &clock,
        &Connect::new("c"),
    );
    let mut client = connected.unwrap();
    client
        .publish(&message("t", b"x", QoS::AtLeastOnce))
        .unwrap();
    network.feed(&puback(1));
    clock.now.set(now.wrapping_add(late));
    clock.tick.set(1);
    matches!(client.poll(), Ok(Some(_)))
}
