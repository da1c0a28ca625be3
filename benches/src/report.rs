//! What was found: tables, and what it should have been.

use crate::growth::{CLAIMS, unit};
use crate::run::{Found, is_row};

const PEERS: [&str; 6] = [
    "umqtt",
    "mqttrs",
    "mqttbytes",
    "rmqtt-codec",
    "mqtt-protocol-core",
    "minimq",
];

/// What each peer does less of, or otherwise.
pub const NOTES: &str = "\
- Decoding, umqtt checks all that MQTT 3.1.1 asks for; the others accept NUL and wildcards in the topic of a PUBLISH. mqttbytes (rumqttc's
  codec), rmqtt-codec and mqtt-protocol-core own what they decode: their allocations count, giving them back does not.
- mqtt-protocol-core is given the body of a packet whose type is known: reading the fixed header is not counted, except in its session rows.
- Encoding, all but mqtt-protocol-core write into a buffer that is there; it allocates one for each packet.
- minimq speaks MQTT 5 only: it is given the same packets with the bytes for properties that MQTT 5 asks for. Its codec is reached by what
  the crate offers its fuzzers, which builds a packet from parts and drops what was decoded; its session by its client, on a line in memory.
- callgrind counts a copy of 64 KiB byte by byte where the C library uses `rep movsb`; mqttrs copies with a loop of its own.
";

/// What was tried where a target is missed, and what more it would take.
pub const MISSED: &str = "\
- Decoding a PUBLISH: one with a plain topic is split by a shortcut (src/codec/fast.rs), without which it takes 90 instructions more. What
  remains is the check of the topic and the copy of the result, an enum of fourteen. Reading and writing the Remaining Length in a loop costs 2
  to 6 instructions a packet; one function serves all targets.
- Encoding: fields of 8 to 32 bytes are copied in two blocks without a call of memcpy; each field is checked against the end of the buffer once
  more, since nothing here may panic. Copying without that check needs `unsafe`. A CONNECT has five fields, each measured and then written;
  copying those of 4 to 7 bytes without a call saved it nothing.
- SUBSCRIBE: a filter with a wildcard is checked byte by byte, first as UTF-8. No client decodes a SUBSCRIBE, so a shortcut that took 484
  instructions was dropped.
- A stream costs something for each read on top of its bytes: the session looks at its queue and its reports each time it is asked. Deadlines
  are looked at only when one can have passed, and a header is read again only when its packet is whole.
";

/// The most instructions, from the plan.
const TARGETS: [(&str, f64); 9] = [
    ("decode/PUBLISH QoS 0, 64 B/umqtt", 120.0),
    ("decode/PUBLISH QoS 1, 1 KiB/umqtt", 135.0),
    ("encode/PUBLISH QoS 0, 64 B/umqtt", 120.0),
    ("encode/PUBLISH QoS 0, 64 B, header alone/umqtt", 90.0),
    ("encode/PUBLISH QoS 1, 1 KiB/umqtt", 250.0),
    ("encode/CONNECT, will+user+password/umqtt", 220.0),
    ("decode/SUBSCRIBE x 4/umqtt", 400.0),
    ("decode/PUBACK, body alone/umqtt", 20.0),
    ("encode/PUBACK/umqtt", 16.0),
];

/// Rows in their order, as `codec/row`.
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

/// A row as it is shown.
pub fn label(row: &str) -> String {
    row.replacen('/', " ", 1).replace("session ", "")
}

/// The rows that stand in the README.
pub fn is_common(row: &str) -> bool {
    let common = [
        "PUBLISH QoS 0, 64 B",
        "PUBLISH QoS 1, 1 KiB",
        "will+user+password",
        "SUBSCRIBE x 4",
        "receive QoS 1, 64 B",
        "send QoS 1, 64 B",
        "session/stream of 1,000 packets, reads of 1460 B",
    ];
    common.iter().any(|common| row.ends_with(common))
}

/// Instructions, nanoseconds where they were measured, and how many times ours, of the rows that are to be shown.
pub fn table(
    names: &[String],
    instructions: &Found,
    nanoseconds: &Found,
    shown: impl Fn(&str) -> bool,
) -> String {
    let mut table = format!(
        "| | {} |\n|---{}|\n",
        PEERS.join(" | "),
        "|---:".repeat(PEERS.len())
    );
    for row in rows(names).into_iter().filter(|row| shown(row)) {
        table += &format!("| {}", label(&row));
        for peer in PEERS {
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

/// 12,345.
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

/// One line for each target and claim; true at the end if all hold.
pub fn verdicts(instructions: &Found) -> (String, bool) {
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
    for claim in CLAIMS {
        let costs = series(claim.series, instructions);
        let costs_text: Vec<_> = costs.iter().map(|(x, y)| format!("{x}: {y:.1}")).collect();
        let (what, says, of) = (claim.series, claim.says, claim.of);
        line(
            (claim.holds)(&costs),
            format!("to {what} {says} ({of}: {})", costs_text.join(", ")),
        );
    }
    (lines, all)
}

/// The costs of a series of growth, in order.
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

/// Where the others stand in the plot.
pub const fn peers() -> [&'static str; 6] {
    PEERS
}
