//! Runs all scenarios with both clients, and compares the results.

use std::{
    any::Any,
    env,
    panic::{AssertUnwindSafe, catch_unwind},
    thread,
    time::Instant,
};

use crate::{
    clients::{Async, Blocking, Kind},
    scenarios::{self, Scenario},
    stage::{Result, Stage},
    start::{Broker, Deviation, Verdict},
    table,
};

/// The result of a scenario, as in the table.
pub(crate) struct Row {
    pub(crate) scenario: &'static str,
    pub(crate) client: &'static str,
    pub(crate) cell: String,
}

/// Runs every scenario with both clients at the same time. Both clients finish a scenario before the next one
/// begins, because the last scenario may end the broker.
pub(crate) fn run(broker: &Broker) {
    let both = |blocking: &_, asynch: &_| {
        thread::scope(|scope| {
            let asynch = scope.spawn(|| play(&Async::new(), broker, asynch));
            [play(&Blocking, broker, blocking), asynch.join().unwrap()]
        })
    };
    judge_all(&broker.title(), broker.name, both);
}

/// Runs every scenario with a new broker, for a broker that confuses its clients.
pub(crate) fn run_apart(start: impl Fn() -> Broker) {
    let (title, name) = {
        let broker = start();
        (broker.title(), broker.name)
    };
    let both = |blocking: &_, asynch: &_| {
        let blocking = play(&Blocking, &start(), blocking);
        [blocking, play(&Async::new(), &start(), asynch)]
    };
    judge_all(&title, name, both);
}

/// Compares all results with the known failures. Panics at an unknown failure, and at a known one that does not occur.
fn judge_all(
    title: &str,
    name: &str,
    both: impl Fn(&Scenario<Blocking>, &Scenario<Async>) -> [Result<Row>; 2],
) {
    let only = only();
    let (mut rows, mut surprises) = (Vec::new(), Vec::new());
    for (blocking, asynch) in scenarios::all().iter().zip(&scenarios::all()) {
        if only.as_ref().is_some_and(|name| name != blocking.name) {
            continue;
        }
        for result in both(blocking, asynch) {
            match result {
                Ok(row) => rows.push(row),
                Err(surprise) => surprises.push(surprise),
            }
        }
    }
    assert!(
        surprises.is_empty(),
        "{title} differs from the list in tests/brokers/start:\n{}",
        surprises.join("\n")
    );
    if only.is_none() {
        table::compare_or_write(name, title, &rows);
    }
}

/// Returns the only scenario to run, to examine a broker.
fn only() -> Option<String> {
    env::var("UMQTT_SCENARIO").ok()
}

/// Runs a scenario that the broker can be configured for, and compares its result with the known failure.
fn play<K: Kind>(kind: &K, broker: &Broker, scenario: &Scenario<K>) -> Result<Row> {
    let known = broker.known(scenario.name);
    let cell = match known {
        Some(known) if known.shows.is_empty() => Ok(cell(known)),
        _ => judge(known, attempt(kind, broker, scenario)),
    };
    match cell {
        Ok(cell) => Ok(Row {
            scenario: scenario.name,
            client: K::NAME,
            cell,
        }),
        Err(why) => Err(format!(
            "{} {} {}: {why}",
            broker.name,
            scenario.name,
            K::NAME
        )),
    }
}

/// Runs a scenario. The error is the violated condition.
fn attempt<K: Kind>(kind: &K, broker: &Broker, scenario: &Scenario<K>) -> Result<()> {
    let stage = Stage {
        kind,
        broker,
        name: scenario.name,
    };
    let start = Instant::now();
    let result = catch_unwind(AssertUnwindSafe(|| (scenario.play)(&stage)));
    let result = result.unwrap_or_else(|panic| Err(text(&*panic)));
    println!(
        "{} {} {}: {} after {:.1?}",
        broker.name,
        scenario.name,
        K::NAME,
        if result.is_ok() { "passes" } else { "fails" },
        start.elapsed()
    );
    result
}

fn text(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string))
        .unwrap_or_default()
}

/// Returns the cell for this result. The error is an unknown failure, or a known one that did not occur.
fn judge(known: Option<&Deviation>, result: Result<()>) -> Result<String> {
    match (known, result) {
        (None, Ok(())) => Ok("passes".to_owned()),
        (None, Err(why)) => Err(format!("fails: {why}")),
        (Some(_), Ok(())) => Err("passes, but is listed as a failure".to_owned()),
        (Some(known), Err(why)) if why.contains(known.shows) => Ok(cell(known)),
        (Some(known), Err(why)) => Err(format!("fails without \"{}\": {why}", known.shows)),
    }
}

fn cell(known: &Deviation) -> String {
    match known.verdict {
        Verdict::Breaks(statement) => format!("breaks {statement}"),
        Verdict::May(section) => format!("no, as {section} allows"),
        Verdict::NotOffered => "not offered".to_owned(),
    }
}
