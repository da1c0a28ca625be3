//! The rules of time, compared with a session and with the blocking client on a grid of situations and instants.
//!
//! - `rules.rs`: the rules, one function each.
//! - `situations.rs`: the starts of a walk, and continuous traffic.
//! - `world.rs`: the device and its clock, what an observer knows, and the comparison after each call.
//! - `special.rs`: the deadline between two calls.
//! - `findings.rs`: the known differences. A difference that is not listed fails the test, and so does a listed
//!   one that no longer occurs: take it off the list.
//!
//! The grid: five keep alives, three response timeouts, clocks that start at 0, before half of their range and before
//! they wrap, clocks that jump, and each instant of a rule, 1 ms before it and 1 ms after it. The device is called
//! often, or not at all until then, or finds more data than its buffer holds, or sleeps until each deadline.
//!
//! `cargo test --test time_grid -- --nocapture` prints how often each finding occurs.
#![allow(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::indexing_slicing,
    clippy::expect_used,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of a test"
)]

#[path = "../common/mod.rs"]
mod common;
#[path = "../common/driver.rs"]
mod driver;
mod findings;
mod rules;
mod situations;
mod special;
mod subject;
mod world;

use std::{collections::BTreeSet, thread};

use common::{Network, pubrel};
use findings::{FINDINGS, Finding};
use rules::{Facts, Time};
use situations::{Kind, Situation, Traffic, situations, traffic};
use subject::{Blocking, Direct, Memory, Start, Subject};
use umqtt::Session;
use world::{Difference, Happening, Over, Report, World};

const HOUR: Time = 3_600_000;
const DAY: Time = 24 * HOUR;

/// Keep alive in seconds.
const KEEP_ALIVE: [u16; 5] = [0, 1, 5, 60, u16::MAX];

/// Response timeout in ms.
const TIMEOUT: [u32; 3] = [2_000, 10_000, 600_000];

/// One point of the grid, without the instant.
#[derive(Clone, Copy)]
struct Setting {
    keep_alive: u16,
    timeout: u32,
    /// Start time of the clock.
    origin: u32,
    /// The clock jumps by this many ms after the situation was reached.
    jump: Time,
    subject: Tested,
}

/// The subject of the test.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Tested {
    Session,
    Client,
    /// Each read returns one byte.
    ClientByteByByte,
}

/// How the device reaches an instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Approach {
    /// It is not called meanwhile.
    Absent,
    /// It is called at least eight times in each response timeout.
    Polled,
    /// It is not called meanwhile, and then finds more packets than the receive buffer holds.
    DataWaits,
}

/// Each approach, and by how many ms the first call at an instant misses it. Calls 1, 2 and 3 ms later follow.
const APPROACHES: [(Approach, Time); 5] = [
    (Approach::Absent, -1),
    (Approach::Absent, 0),
    (Approach::Absent, 1),
    (Approach::Polled, -1),
    (Approach::DataWaits, 0),
];

impl Setting {
    fn all() -> Vec<Self> {
        let mut all = Vec::new();
        for keep_alive in KEEP_ALIVE {
            for timeout in TIMEOUT {
                let base = Self {
                    keep_alive,
                    timeout,
                    origin: 0,
                    jump: 0,
                    subject: Tested::Session,
                };
                let half = u32::MAX / 2 - timeout / 2;
                for origin in [
                    0,
                    half,
                    u32::MAX - timeout,
                    u32::MAX - u32::from(keep_alive) * 1_000,
                ] {
                    all.push(Self { origin, ..base });
                }
                for subject in [Tested::Client, Tested::ClientByteByByte] {
                    all.push(Self {
                        subject,
                        origin: u32::MAX - timeout,
                        ..base
                    });
                }
                for jump in [HOUR, -HOUR, 20 * DAY, 30 * DAY] {
                    if timeout < 600_000 {
                        all.push(Self { jump, ..base });
                    }
                }
            }
        }
        all
    }

    /// Returns `true` if the clock seems to go back: a jump of 30 days is more than half of its range.
    fn goes_back(&self) -> bool {
        self.jump < 0 || self.jump > 25 * DAY
    }

    fn text(&self) -> String {
        let Self {
            keep_alive,
            timeout,
            origin,
            jump,
            subject,
        } = self;
        format!(
            "  {subject:?}: keep alive {keep_alive} s, timeout {timeout} ms, clock from {origin}, jump {jump} ms"
        )
    }

    fn keep_alive(&self) -> Time {
        Time::from(self.keep_alive) * 1_000
    }

    fn timeout(&self) -> Time {
        Time::from(self.timeout)
    }

    /// Runs a walk on a new session.
    fn run(
        &self,
        kind: Kind,
        room: usize,
        name: &'static str,
        report: &mut Report,
        walk: impl FnOnce(&mut World<'_>) -> Result<(), Over>,
    ) {
        let (mut memory, network) = (Memory::new(), Network::new());
        let mut session;
        let mut direct;
        let mut blocking;
        let start = Start {
            keep_alive: self.keep_alive,
            timeout: self.timeout,
            now: self.origin,
        };
        let subject: &mut dyn Subject = if self.subject != Tested::Session {
            let byte_by_byte = self.subject == Tested::ClientByteByByte;
            session = Session::new(&mut memory);
            blocking = Blocking::new(&mut session, &network, start, byte_by_byte);
            &mut blocking
        } else {
            direct = match kind {
                Kind::Resumed => Direct::resumed(&mut memory, start),
                _ => Direct::new(&mut memory, start, kind == Kind::Checkpoints),
            };
            &mut direct
        };
        subject.set_room(room);
        let facts = Facts {
            keep_alive: self.keep_alive(),
            timeout: self.timeout(),
            ..Facts::default()
        };
        let texts = (name, self.text(), self.goes_back());
        let _ = walk(&mut World::new(
            subject,
            report,
            texts,
            facts,
            Time::from(start.now),
        ));
    }

    /// Reaches the situation.
    fn prepare(
        &self,
        steps: &[(Time, Happening)],
        idle: &Happening,
        world: &mut World<'_>,
    ) -> Result<(), Over> {
        for (gap, happening) in steps {
            world.step(*gap, happening)?;
        }
        if self.jump != 0 {
            world.step(self.timeout() / 8, idle)?;
            world.step(self.jump, idle)?;
        }
        Ok(())
    }

    fn walk_situation(&self, situation: &Situation, report: &mut Report) {
        let calls_events = situation.kind != Kind::Checkpoints;
        let idle = if calls_events {
            Happening::Nothing
        } else {
            Happening::NoEvents
        };
        let mut instants = Vec::new();
        self.run(
            situation.kind,
            situation.room,
            situation.name,
            report,
            |world| {
                self.prepare(&situation.steps, &idle, world)?;
                instants = world.instants();
                if calls_events {
                    world.sleep(24)
                } else {
                    Ok(())
                }
            },
        );
        for instant in instants {
            for (approach, shift) in APPROACHES {
                let Situation {
                    kind,
                    room,
                    name,
                    steps,
                } = situation;
                self.run(*kind, *room, name, report, |world| {
                    self.prepare(steps, &idle, world)?;
                    self.approach(approach, instant + shift, &idle, world)?;
                    for _ in 0..3 {
                        world.step(1, &idle)?;
                    }
                    if calls_events { world.sleep(4) } else { Ok(()) }
                });
            }
        }
    }

    fn approach(
        &self,
        approach: Approach,
        target: Time,
        idle: &Happening,
        world: &mut World<'_>,
    ) -> Result<(), Over> {
        if approach == Approach::Polled {
            let begin = target - self.timeout();
            if begin > world.now {
                world.step(begin - world.now, idle)?;
            }
            while target - world.now > self.timeout() / 8 {
                world.step(self.timeout() / 8, idle)?;
            }
        }
        let data = Happening::Receive(pubrel(77).repeat(40));
        let waits =
            approach == Approach::DataWaits && *idle == Happening::Nothing && world.may_receive();
        world.step(target - world.now, if waits { &data } else { idle })
    }

    fn walk_traffic(&self, traffic: &Traffic, report: &mut Report) {
        let timeout = self.timeout();
        let is_flood = traffic.name.starts_with("a flood");
        if is_flood && (self.keep_alive > 0 || self.timeout > 2_000 || self.origin > 0) {
            return; // Many bytes; one setting is enough.
        }
        for gap in [
            timeout / 8,
            timeout / 4,
            timeout / 4 + 1,
            timeout / 2,
            timeout - 1,
            timeout + 1,
        ] {
            self.run(Kind::Direct, usize::MAX, traffic.name, report, |world| {
                self.prepare(&traffic.steps, &Happening::Nothing, world)?;
                for number in 0..(24 * timeout / gap) as usize {
                    world.step(gap, &(traffic.each)(number, gap, timeout))?;
                }
                Ok(())
            });
        }
    }

    fn walk(&self) -> Report {
        let mut report = Report::default();
        for situation in situations(self.keep_alive(), self.timeout()) {
            let is_tested = match self.subject {
                Tested::Session => situation.kind != Kind::Client,
                _ => matches!(situation.kind, Kind::Both | Kind::Client),
            };
            if is_tested {
                self.walk_situation(&situation, &mut report);
            }
        }
        if self.subject == Tested::Session && self.jump == 0 {
            special::check(self.keep_alive, self.timeout, self.origin, &mut report);
            for traffic in traffic(self.timeout()) {
                self.walk_traffic(&traffic, &mut report);
            }
        }
        report
    }
}

#[test]
fn time_rules_on_grid_hold_except_for_findings() {
    let settings = Setting::all();
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let parts: Vec<Report> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads)
            .map(|first| {
                let mine = settings.iter().skip(first).step_by(threads);
                scope.spawn(move || mine.map(Setting::walk).collect::<Vec<_>>())
            })
            .collect();
        workers
            .into_iter()
            .flat_map(|worker| worker.join().unwrap())
            .collect()
    });
    let mut report = Report::default();
    parts.into_iter().for_each(|part| report.merge(part));
    println!("{} walks, {} calls compared", report.walks, report.calls);
    let found: BTreeSet<Key> = report
        .found
        .iter()
        .map(|((difference, situation), found)| (*difference, *situation, !found.forwards))
        .collect();
    let listed: BTreeSet<Key> = FINDINGS.iter().flat_map(Finding::keys).collect();
    for finding in FINDINGS {
        let keys: Vec<Key> = finding.keys().collect();
        let count = |(difference, situation, _): &Key| {
            report
                .found
                .get(&(*difference, *situation))
                .map_or(0, |found| found.count)
        };
        let count: usize = keys.iter().map(count).sum();
        println!("{}: {} situations, {count} calls", finding.name, keys.len());
    }
    let mut faults = Vec::new();
    for key in found.difference(&listed) {
        let found = &report.found[&(key.0, key.1)];
        faults.push(format!(
            "not listed: {key:?}, {} calls\n{}",
            found.count, found.example
        ));
    }
    for key in listed.difference(&found) {
        faults.push(format!("listed in findings.rs, but gone: {key:?}"));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// A difference, its situation, and `true` if it occurs only when the clock goes back.
type Key = (Difference, &'static str, bool);

impl Finding {
    fn keys(&self) -> impl Iterator<Item = Key> {
        self.cases.iter().flat_map(|(difference, situations)| {
            situations
                .iter()
                .map(|situation| (*difference, *situation, self.only_backwards))
        })
    }
}
