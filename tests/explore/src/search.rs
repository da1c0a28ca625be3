//! Visits all reachable states, breadth first. From each of them, checks that all deliveries can be completed.

use std::{
    collections::{HashMap, HashSet},
    hash::{BuildHasherDefault, Hasher},
};

use umqtt::Storage;

use crate::{
    client::Defect,
    finding::{Finding, Kind},
    setup::Setup,
    world::{ACTIONS, Action, Step, World},
};

/// Capacities. A long message does not fit into the receive buffer. CONNECT and a few short messages fit into the send
/// buffer.
const RX: usize = 24;
const TX: usize = 64;

/// Maximum number of connections without faults until all deliveries are complete.
const PATIENCE: usize = 10;

/// Maximum number of steps of these connections.
const STEPS: usize = 1_000;

/// Number of storages of a device: one for its start, and one for each power loss.
const LIVES: usize = 3;

/// Maximum number of states of a world. The largest has less than half of them.
const STATES: usize = 2_000_000;

#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) states: usize,
    pub(crate) steps: usize,
    pub(crate) depth: usize,
    /// Reached states whose successors were not visited, because there are too many, or a planted defect was found.
    pub(crate) left_over: usize,
    /// Number of paths that ended because a client cannot know that the server forgot the session.
    pub(crate) nobody_can_know: usize,
    /// Actions that occurred, one bit each.
    pub(crate) actions: u32,
    /// Findings with their counts, and the shortest path to each.
    pub(crate) findings: Vec<(Finding, usize, Vec<Action>)>,
}

/// A state: the path to it, and the possible next actions.
struct Node {
    parent: u32,
    may: u32,
    depth: u16,
    action: u8,
}

type Set = HashSet<u64, BuildHasherDefault<AsIs>>;
type Map = HashMap<u64, bool, BuildHasherDefault<AsIs>>;

/// A hasher that returns the number that it receives. Fingerprints are hashes already.
#[derive(Default)]
struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("fingerprints are numbers of 64 bits");
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = value;
    }
}

/// Visits all states of this world. If a defect is planted, stops at the first finding.
pub(crate) fn explore(setup: &Setup, defect: Option<Defect>) -> Report {
    match (setup.inflight, setup.inbound) {
        (1, 1) => Search::<1, 1>::new(setup, defect).run(),
        (1, 2) => Search::<1, 2>::new(setup, defect).run(),
        (2, 1) => Search::<2, 1>::new(setup, defect).run(),
        (2, 2) => Search::<2, 2>::new(setup, defect).run(),
        other => panic!("no storage of {other:?}"),
    }
}

struct Search<const IF: usize, const IB: usize> {
    setup: Setup,
    defect: Option<Defect>,
    nodes: Vec<Node>,
    seen: Set,
    /// States from which all deliveries can be completed: a map for each order that the broker can choose. The `bool`
    /// is `true` if the broker had a choice.
    rests: [Map; 2],
    report: Report,
}

impl<const IF: usize, const IB: usize> Search<IF, IB> {
    fn new(setup: &Setup, defect: Option<Defect>) -> Self {
        Self {
            setup: *setup,
            defect,
            nodes: vec![],
            seen: Set::default(),
            rests: Default::default(),
            report: Report::default(),
        }
    }

    fn run(mut self) -> Report {
        self.reach(0, &[]);
        let mut next = 0;
        while next < self.nodes.len() && self.nodes.len() < STATES {
            if self.defect.is_some() && !self.report.findings.is_empty() {
                break;
            }
            let mut path = self.path(next);
            for action in ACTIONS {
                if self.nodes[next].may & 1 << action as u8 != 0 {
                    path.push(action);
                    self.reach(next, &path);
                    path.pop();
                }
            }
            next += 1;
        }
        self.report.states = self.nodes.len();
        self.report.left_over = self.nodes.len() - next;
        self.report.depth = self.nodes.last().map_or(0, |node| usize::from(node.depth));
        self.report
    }

    fn path(&self, node: usize) -> Vec<Action> {
        let mut path = vec![];
        let mut at = node;
        while at != 0 {
            let node = &self.nodes[at];
            path.push(ACTIONS[usize::from(node.action)]);
            at = node.parent as usize;
        }
        path.reverse();
        path
    }

    /// Visits the state at the end of this path. Only the last step of the path is new.
    fn reach(&mut self, parent: usize, path: &[Action]) {
        self.report.steps += 1;
        let mut memory = storages::<IF, IB>();
        let mut world = World::new(&self.setup, self.defect, &mut memory);
        match replay(&mut world, path) {
            Err(finding) => return self.find(finding, path),
            Ok(Step::Done) => {
                let last = path.last().map_or(0, |action| 1 << *action as u8);
                self.report.actions |= last;
            }
            Ok(Step::Nothing) => return,
            Ok(Step::NobodyCanKnow) => {
                self.report.nobody_can_know += 1;
                return;
            }
        }
        let fingerprint = world.fingerprint();
        if !self.seen.insert(fingerprint) {
            return;
        }
        let may = |world: &World<'_, RX, TX, IF, IB>| {
            let may = ACTIONS.into_iter().filter(|action| world.may(*action));
            may.fold(0, |all, action| all | 1 << action as u8)
        };
        self.nodes.push(Node {
            parent: parent as u32,
            may: may(&world),
            depth: path.len() as u16,
            action: path.last().map_or(0, |action| *action as u8),
        });
        let had_choice = match come_to_rest(&mut world, false, &mut self.rests[0]) {
            Err(finding) => return self.find(finding, path),
            Ok(had_choice) => had_choice,
        };
        if had_choice && !self.rests[1].contains_key(&fingerprint) {
            let mut memory = storages::<IF, IB>();
            let mut world = World::new(&self.setup, self.defect, &mut memory);
            let rests = replay(&mut world, path)
                .and_then(|_| come_to_rest(&mut world, true, &mut self.rests[1]));
            if let Err(finding) = rests {
                self.find(finding, path);
            }
        }
    }

    /// Records a finding.
    fn find(&mut self, finding: Finding, path: &[Action]) {
        let mut known = self.report.findings.iter_mut();
        if let Some((_, count, _)) = known.find(|(known, ..)| known.kind == finding.kind) {
            *count += 1;
        } else {
            self.report.findings.push((finding, 1, path.to_vec()));
        }
    }
}

fn storages<const IF: usize, const IB: usize>() -> [Storage<RX, TX, IF, IB>; LIVES] {
    [const { Storage::new() }; LIVES]
}

fn replay<const IF: usize, const IB: usize>(
    world: &mut World<'_, RX, TX, IF, IB>,
    path: &[Action],
) -> Result<Step, Finding> {
    let mut step = Step::Done;
    for action in path {
        step = world.apply(*action)?;
    }
    Ok(step)
}

/// Continues without faults until all deliveries are complete. Returns `true` if the broker had a choice of order.
fn come_to_rest<const IF: usize, const IB: usize>(
    world: &mut World<'_, RX, TX, IF, IB>,
    publishes_first: bool,
    rests: &mut Map,
) -> Result<bool, Finding> {
    let begin = world.connections;
    let mut passed = vec![];
    let mut nothing = vec![];
    let mut had_choice = false;
    for _ in 0..STEPS {
        if nothing.is_empty() {
            let fingerprint = world.fingerprint();
            if let Some(choice) = rests.get(&fingerprint) {
                had_choice |= choice;
                rests.extend(passed.iter().map(|state| (*state, had_choice)));
                return Ok(had_choice);
            }
            passed.push(fingerprint);
        }
        had_choice |= world.has_choice();
        let step = match world.fair(publishes_first, &nothing) {
            None => {
                world.check_rest()?;
                rests.extend(passed.iter().map(|state| (*state, had_choice)));
                return Ok(had_choice);
            }
            Some(Action::Timeout) => {
                world.wait_fairly()?;
                Step::Done
            }
            Some(action) => {
                let step = world.apply(action)?;
                if step == Step::Nothing {
                    nothing.push(action);
                    continue;
                }
                step
            }
        };
        if step == Step::NobodyCanKnow {
            return Ok(had_choice);
        }
        nothing.clear();
        if world.connections - begin > PATIENCE {
            break;
        }
    }
    let reason = world.reason.unwrap_or(crate::driver::Reason::Closed);
    let long = world.has_long_waiting();
    let text = format!("after {} connections", world.connections - begin);
    Err(Finding::new(Kind::NoProgress { reason, long }, text))
}
