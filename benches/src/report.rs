//! The report: tables and targets.

use crate::checks;
use crate::floor::VERIFIED;
use crate::growth::{CLAIMS, unit};
use crate::run::{Found, is_row};

const PEERS: [&str; 11] = [
    "umqtt",
    "floor",
    "mqttrs",
    "rumqttc-v4-next",
    "mqttbytes",
    "mqtt-tiny",
    "rmqtt-codec",
    "mqtt-protocol-core",
    "mqttrust",
    "minimq",
    "rust-mqtt",
];

/// Returns the differences between the crates that the table of costs does not show.
fn notes() -> String {
    let (checks, repeated) = (checks::table(), checks::repeated());
    format!(
        "\
- floor: the least work that makes the checks of umqtt, written by hand for one packet without `unsafe` (src/floor.rs). Above 1, it
  needs more instructions than umqtt. Each run checks that both accept the same packets if one of the first {VERIFIED} bytes takes any value. The floor does not
  report a refused packet: the result is the same for an invalid and for an incomplete one. umqtt returns the reason and its position.
- Decoding: umqtt makes all checks of MQTT 3.1.1. The checks of the others are in the table below. rumqttc-v4-next checks the topic of a
  PUBLISH as umqtt does, but not the wildcards in a filter. mqttbytes, rumqttc-v4-next, rmqtt-codec, mqtt-tiny and mqtt-protocol-core return
  owned fields. Their allocations are counted, the release of that memory is not.
- mqttbytes is an old crate. rumqttc has a copy of it. rumqttc-v4-next is a continuation of rumqttc, and its codec is measured here.
- mqtt-protocol-core decodes the body of a packet whose type is known. The rows read the fixed header before it and choose the type, as the
  other crates do. The buffer that a decoded PUBLISH shares was allocated before.
- Encoding: umqtt checks a topic once, when a `TopicName` is made, which is not measured. rumqttc-v4-next checks it whenever it encodes a
  PUBLISH. mqtt-protocol-core allocates a buffer for each packet. All others write to an existing buffer.
- mqtt-tiny reads and writes through iterators of bytes. Its fields are vectors of `std`, because its default holds 256 bytes. It supports one
  return code in a SUBACK.
- minimq and rust-mqtt support only MQTT 5, which is another protocol version. They are given the same packets with the bytes for properties
  that MQTT 5 needs. The codec of minimq is not public: the rows use its functions for fuzzers, which build a packet from parts and drop a
  decoded packet, so nothing reports whether it was refused. The bytes of each encoded packet are checked once.
- The codecs of mqttrust and rust-mqtt are not public, so they have rows of the session alone. mqttrust uses MQTT 3.1.1 (feature `mqttv3`).
  The sessions of mqttrust, minimq and rust-mqtt run on a transport in memory. Their rows contain the copies of it.
- Sessions: a first run checks the delivered message and each packet in both directions, the measured run their number. The rows contain the
  counting. rust-mqtt allocates the fields of each received packet (`AllocBuffer`), and the row contains their release. umqtt, minimq and
  mqttrust use buffers of a fixed size. umqtt reports each acknowledgement as an event, minimq does not. mqttrust writes an invalid packet to
  the log, without an error, and continues. Its PUBREL has the first byte 0x60, which MQTT 3.1.1 forbids. {repeated} delivers a
  message at QoS 2 again if the server repeats it.
- callgrind counts a copy of 64 KiB byte by byte if the C library uses `rep movsb`. mqttrs copies with its own loop.

Faults in a PUBLISH or SUBSCRIBE that each decoder refuses:

{checks}"
    )
}

/// Remarks on missed targets: attempts, and further possibilities.
const MISSED: &str = "\
- Decoding a PUBLISH: a shortcut (src/codec/fast.rs) splits a PUBLISH with a plain topic. The rest is the check of the topic, and the copy of
  the result, an enum of all packet types. A Remaining Length of one or two bytes is read without a loop, and each length is written in one.
- Encoding: short fields are copied in two blocks, without a call of memcpy. Each field is checked once more against the end of the buffer,
  because the code must not panic. Copying without this check needs `unsafe`. The length of each field of a CONNECT is computed before it is
  written. Copying the shortest fields without a call saved nothing.
- PINGRESP: one function encodes all packets, and saves the registers that a CONNECT needs. No client encodes a PINGRESP.
- SUBSCRIBE: a filter with a wildcard is checked byte by byte, first as UTF-8. No client decodes a SUBSCRIBE, so it has no shortcut.
- A stream has a cost for each read in addition to its bytes: each call of the session checks its queue, its reports and its deadlines. A
  header is decoded again only when the packet is complete. If a read only continues a packet, no answer is awaited and there is nothing to
  report, the call counts the bytes and returns. mqtt-protocol-core leaves the time rules to its caller.
- CONNECT: umqtt looks for NUL in each string, and checks the will topic. mqttrs makes neither check, and mqttbytes none while it encodes.
- Sending at QoS 0: umqtt reads the header of a packet in the send buffer again when the transport has accepted its bytes, and looks for more
  bytes after each step. minimq has no queue for such packets.
";

/// Maximum instructions of each row that has a target.
const TARGETS: [(&str, f64); 7] = [
    ("decode/PUBLISH QoS 0, 64 B/umqtt", 120.0),
    ("decode/PUBLISH QoS 1, 1 KiB/umqtt", 135.0),
    ("encode/PUBLISH QoS 0, 64 B/umqtt", 120.0),
    ("encode/PUBLISH QoS 0, 64 B, header alone/umqtt", 90.0),
    ("encode/PUBLISH QoS 1, 1 KiB/umqtt", 250.0),
    ("decode/PUBACK, body alone/umqtt", 20.0),
    ("encode/PUBACK/umqtt", 16.0),
];

/// Maximum instructions of each row that has a goal in a plain release.
const PLAIN_GOALS: [(&str, f64); 7] = [
    ("decode/PUBLISH QoS 0, 64 B", 110.0),
    ("encode/PUBLISH QoS 0, 64 B", 115.0),
    ("decode/PUBLISH QoS 1, 1 KiB", 140.0),
    ("encode/PUBLISH QoS 1, 1 KiB", 250.0),
    ("encode/CONNECT, will+user+password", 300.0),
    ("decode/PUBACK", 60.0),
    ("encode/SUBSCRIBE x 4", 600.0),
];

/// Returns the rows in their order, as `table/row`.
pub fn rows(names: &[String]) -> Vec<String> {
    let mut rows: Vec<String> = Vec::new();
    for name in names.iter().filter(|name| is_row(name)) {
        let (row, _) = name.rsplit_once('/').expect("names have three parts");
        if !rows.iter().any(|known| known == row) {
            rows.push(row.into());
        }
    }
    rows
}

/// Returns the label of a row.
pub fn label(row: &str) -> String {
    row.replacen('/', " ", 1).replace("session ", "")
}

/// Returns `true` for the rows in the README of the library.
fn is_common(row: &str) -> bool {
    let common = [
        "PUBLISH QoS 0, 64 B",
        "PUBLISH QoS 1, 1 KiB",
        "encode/SUBSCRIBE x 4",
        "receive QoS 1, 64 B",
        "send QoS 1, 64 B",
        "session/stream of 1,000 packets, reads of 1460 B",
    ];
    common.iter().any(|common| row.ends_with(common))
}

/// Returns the table of all rows: instructions, nanoseconds if measured, and the ratio to umqtt.
pub fn table(names: &[String], instructions: &Found, nanoseconds: &Found) -> String {
    let rows = rows(names);
    // Crates that have a row.
    let peers = PEERS.into_iter().filter(|peer| {
        let mut names = rows.iter().map(|row| format!("{row}/{peer}"));
        names.any(|name| instructions.contains_key(&name))
    });
    let peers: Vec<_> = peers.collect();
    let mut table = head(&peers);
    for row in rows {
        table += &format!("| {}", label(&row));
        for peer in &peers {
            table += " | ";
            table += &cell(&row, peer, instructions, "");
            let time = cell(&row, peer, nanoseconds, " ns");
            if !time.is_empty() {
                table += &format!("<br>{time}");
            }
        }
        table += " |\n";
    }
    table
}

/// Returns the table of the common rows: instructions of umqtt, and the costs of the others as multiples of it.
pub fn summary(names: &[String], instructions: &Found) -> String {
    let mut table = "| | umqtt | floor | next | others |\n|---|---:|---:|---|---|\n".to_owned();
    for row in rows(names).into_iter().filter(|row| is_common(row)) {
        let cost = |peer: &str| instructions.get(&format!("{row}/{peer}")).copied();
        let ours = cost("umqtt").expect("each row has umqtt");
        let mut others: Vec<(&str, f64)> = PEERS[2..]
            .iter()
            .filter_map(|peer| Some((*peer, cost(peer)? / ours)))
            .collect();
        others.sort_by(|a, b| a.1.total_cmp(&b.1));
        let mut texts = others
            .iter()
            .map(|(peer, ratio)| format!("{peer} {}", multiple(*ratio)));
        let next = texts.next().unwrap_or_default();
        let floor = cost("floor").map_or_else(String::new, |floor| multiple(floor / ours));
        table += &format!(
            "| {} | **{}** | {floor} | {next} | {} |\n",
            label(&row),
            grouped(ours),
            texts.collect::<Vec<_>>().join(", ")
        );
    }
    table
}

/// Formats a multiple with one decimal place, and a large one without.
fn multiple(ratio: f64) -> String {
    match ratio {
        ..10.0 => format!("{ratio:.1}"),
        _ => format!("{ratio:.0}"),
    }
}

/// Returns the table of the codec in a plain release: a goal for some rows, and instructions.
pub fn plain_table(names: &[String], instructions: &Found) -> String {
    let mut peers = vec!["umqtt", "goal"];
    peers.extend(PEERS.into_iter().filter(|peer| {
        let mut found = names
            .iter()
            .filter(|name| name.ends_with(&format!("/{peer}")));
        *peer != "umqtt" && found.next().is_some()
    }));
    let mut table = head(&peers);
    for row in rows(names) {
        table += &format!("| {}", label(&row));
        for peer in &peers {
            table += " | ";
            table += &match (*peer, PLAIN_GOALS.iter().find(|goal| goal.0 == row)) {
                ("goal", Some((_, goal))) => format!("{goal}"),
                _ => cell(&row, peer, instructions, ""),
            };
        }
        table += " |\n";
    }
    table
}

/// Returns the first two lines of a table.
fn head(columns: &[&str]) -> String {
    let names = columns.join(" | ");
    format!("| | {names} |\n|---{}|\n", "|---:".repeat(columns.len()))
}

/// Returns the whole report.
pub fn text(table: &str, plain_table: &str, verdicts: &str, has_times: bool) -> String {
    let notes = notes();
    let times = match has_times {
        true => ", and the median time in ns",
        false => "",
    };
    format!(
        "# Speed\n\n\
        Instructions for each packet or step{times}, on x86-64. In brackets: the ratio to umqtt.\n\
        Written by `cargo run --release --manifest-path benches/Cargo.toml -- --write`.\n\n\
        {table}\n{notes}\n![instructions of each row](plot.svg)\n\n\
        ## Plain release\n\n\
        Instructions of the codec in a release with the default settings of cargo, without LTO and with 16 codegen units, as most users build.\n\
        The table above is measured with LTO.\n\n\
        {plain_table}\n\
        ## Targets and growth\n\n```text\n{verdicts}```\n\n{MISSED}\n![growth of cost](growth.svg)\n"
    )
}

/// Returns a cost, and its ratio to umqtt in brackets. Empty if this crate has no such row.
fn cell(row: &str, peer: &str, found: &Found, unit: &str) -> String {
    let Some(cost) = found.get(&format!("{row}/{peer}")) else {
        return String::new();
    };
    let ours = found.get(&format!("{row}/umqtt")).copied().unwrap_or(*cost);
    match peer {
        "umqtt" => format!("**{}{unit}**", grouped(*cost)),
        _ => format!("{}{unit} ({:.1})", grouped(*cost), cost / ours),
    }
}

/// Formats a number as 12,345.
fn grouped(number: f64) -> String {
    let digits = format!("{number:.0}");
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Returns one line for each target and claim, and `true` if all hold.
pub fn verdicts(instructions: &Found, plain: &Found) -> (String, bool) {
    let (mut lines, mut all) = (String::new(), true);
    let mut line = |holds: bool, text: String| {
        all &= holds;
        lines += &format!("{} {text}\n", if holds { "ok    " } else { "MISSED" });
    };
    for (name, target) in TARGETS {
        let cost = instructions[name];
        line(
            cost <= target,
            format!("{name}: {cost:.0}, at most {target:.0}"),
        );
    }
    for (row, goal) in PLAIN_GOALS {
        let cost = plain[&format!("{row}/umqtt")];
        line(
            cost <= goal,
            format!("{row}/umqtt, plain release: {cost:.0}, at most {goal:.0}"),
        );
    }
    for claim in CLAIMS {
        let costs = series(claim.series, instructions);
        let costs_text: Vec<_> = costs.iter().map(|(x, y)| format!("{x}: {y:.1}")).collect();
        let (what, says, of) = (claim.series, claim.says, claim.of);
        line(
            (claim.holds)(&costs),
            format!("{what}: {says} ({of}: {})", costs_text.join(", ")),
        );
    }
    (lines, all)
}

/// Returns the costs of a series of growth, in order.
pub fn series(name: &str, instructions: &Found) -> Vec<(f64, f64)> {
    let prefix = format!("growth/{name}/");
    let point = |(key, cost): (&String, &f64)| {
        let at = key.strip_prefix(&prefix)?.parse().ok()?;
        Some((at, cost / unit(name)))
    };
    let mut points: Vec<(f64, f64)> = instructions.iter().filter_map(point).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    points
}

/// Returns the crates in the order of the table.
pub const fn peers() -> [&'static str; 11] {
    PEERS
}
