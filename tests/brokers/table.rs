//! `tests/BROKERS.md`: the results of a run. The next run is compared with them.

use std::{collections::BTreeMap, env, fmt::Write as _, fs, sync::Mutex};

use crate::{
    clients::{Async, Blocking, Kind},
    run::Row,
    scenarios,
    start::{Deviation, Verdict, aedes, amqtt, mosquitto, rmqtt, rumqttd},
};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/BROKERS.md");
/// Environment variable; if it is set, the table is written.
const WRITE: &str = "UMQTT_WRITE_BROKERS";

/// Every broker, in the order of the table.
const BROKERS: [(&str, &[Deviation]); 5] = [
    (mosquitto::NAME, mosquitto::DEVIATIONS),
    (rumqttd::NAME, rumqttd::DEVIATIONS),
    (rmqtt::NAME, rmqtt::DEVIATIONS),
    (aedes::NAME, aedes::DEVIATIONS),
    (amqtt::NAME, amqtt::DEVIATIONS),
];

/// Only one test at a time reads and writes the table: several brokers run at once.
static TURN: Mutex<()> = Mutex::new(());

/// A column of the table.
#[derive(Clone, Default)]
struct Column {
    /// Name and version.
    head: String,
    /// By scenario and client.
    cells: BTreeMap<(String, String), String>,
}

impl Column {
    fn name(&self) -> &str {
        self.head.split(' ').next().unwrap_or_default()
    }
}

/// Compares the column of the broker with the results of its run, or writes it.
pub(crate) fn compare_or_write(name: &str, title: &str, rows: &[Row]) {
    let _turn = TURN.lock();
    let old = fs::read_to_string(FILE).unwrap_or_default();
    let mut columns = read(&old);
    let column = columns.entry(name.to_owned()).or_default();
    let write = env::var_os(WRITE).is_some();
    if write {
        title.clone_into(&mut column.head);
    } else if column.head != title {
        println!("the table is about {}, this is {title}", column.head);
    }
    column.cells = rows
        .iter()
        .map(|row| {
            (
                (row.scenario.to_owned(), row.client.to_owned()),
                row.cell.clone(),
            )
        })
        .collect();
    let new = render(&columns);
    if write {
        fs::write(FILE, new).unwrap();
    } else {
        assert!(
            new == old,
            "tests/BROKERS.md has other results for {title}: if this is intended, run .ci/brokers --write"
        );
    }
}

/// Reads the columns of a table, by the names of their brokers.
fn read(text: &str) -> BTreeMap<String, Column> {
    let mut lines = text
        .lines()
        .filter(|line| line.starts_with('|'))
        .map(cells_of);
    let heads = lines.next().unwrap_or_default();
    let mut columns: Vec<_> = heads
        .iter()
        .skip(2)
        .map(|head| Column {
            head: (*head).to_owned(),
            ..Column::default()
        })
        .collect();
    let mut scenario = "";
    for line in lines.skip(1) {
        let [name, client, cells @ ..] = &line[..] else {
            continue;
        };
        if !name.is_empty() {
            scenario = name.trim_matches('`');
        }
        for (column, cell) in columns.iter_mut().zip(cells) {
            let place = (scenario.to_owned(), (*client).to_owned());
            column.cells.insert(place, (*cell).to_owned());
        }
    }
    columns
        .into_iter()
        .map(|column| (column.name().to_owned(), column))
        .collect()
}

fn cells_of(line: &str) -> Vec<&str> {
    line.trim_matches('|').split('|').map(str::trim).collect()
}

const INTRODUCTION: &str = "\
# Behaviour of brokers

Written by `.ci/brokers --all --write` from a run of the scenarios in `tests/brokers/scenarios`, with the blocking and
the async client against each broker. `.ci/brokers` checks the columns of mosquitto and rumqttd, `.ci/brokers --all`
every one. If a failure is not listed in `tests/brokers/start`, or a listed one does not occur, the run fails.

- \"breaks\": the broker violates this statement of the specification. Its behaviour is described below.
- \"no, as ... allows\": the broker does not do this, as this section of the specification allows.
- \"not offered\": the broker cannot be configured for it.

";

fn render(columns: &BTreeMap<String, Column>) -> String {
    let columns: Vec<_> = BROKERS
        .iter()
        .filter_map(|(name, _)| columns.get(*name))
        .collect();
    let mut text = INTRODUCTION.to_owned();
    let heads: Vec<_> = columns.iter().map(|column| &*column.head).collect();
    writeln!(text, "| scenario | client | {} |", heads.join(" | ")).unwrap();
    writeln!(text, "| --- | --- |{}", " --- |".repeat(columns.len())).unwrap();
    let scenarios = scenarios::all::<Blocking>();
    for scenario in &scenarios {
        for client in [Blocking::NAME, Async::NAME] {
            let first = client == Blocking::NAME;
            let name = if first {
                format!("`{}`", scenario.name)
            } else {
                String::new()
            };
            let place = (scenario.name.to_owned(), client.to_owned());
            let cells: Vec<_> = columns
                .iter()
                .map(|column| column.cells.get(&place).map_or("", |cell| &**cell))
                .collect();
            writeln!(text, "| {name} | {client} | {} |", cells.join(" | ")).unwrap();
        }
    }
    text.push_str("\n## Meaning of each scenario\n\n");
    for scenario in &scenarios {
        writeln!(text, "- `{}`: {}", scenario.name, scenario.holds).unwrap();
    }
    text.push_str("\n## Deviations of the brokers\n");
    for (name, deviations) in BROKERS {
        if !columns.iter().any(|column| column.name() == name) {
            continue;
        }
        writeln!(text, "\n{name}:\n").unwrap();
        for known in deviations {
            let statement = match known.verdict {
                Verdict::Breaks(statement) => format!(" (breaks {statement})"),
                Verdict::May(section) => format!(" (section {section} allows it)"),
                Verdict::NotOffered => String::new(),
            };
            writeln!(text, "- `{}`: {}{statement}.", known.scenario, known.does).unwrap();
        }
    }
    text
}
