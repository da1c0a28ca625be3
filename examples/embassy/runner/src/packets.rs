//! The MQTT packets in the captured frames, decoded by tshark.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use crate::{Result, chip::Chip};

/// Address of the chip in the network of QEMU.
const CHIP: &str = "10.0.2.15";

const NAMES: [(u8, &str); 14] = [
    (1, "CONNECT"),
    (2, "CONNACK"),
    (3, "PUBLISH"),
    (4, "PUBACK"),
    (5, "PUBREC"),
    (6, "PUBREL"),
    (7, "PUBCOMP"),
    (8, "SUBSCRIBE"),
    (9, "SUBACK"),
    (10, "UNSUBSCRIBE"),
    (11, "UNSUBACK"),
    (12, "PINGREQ"),
    (13, "PINGRESP"),
    (14, "DISCONNECT"),
];

/// Number of messages from the chip: 400 of the two counting tasks, 8 echoes, 3 for lost connections, and the answers
/// to `ticks`, `large`, `upload` and `remember`.
const FROM_CHIP: usize = 415;
/// Number of messages to the chip: 200 ticks, 8 echoes, and 6 orders, without firmware images.
const TO_CHIP: usize = 214;

/// Compares the packets with the output of the program. Returns `false` if tshark did not end in time.
pub(crate) fn check(chip: &Chip) -> Result<bool> {
    let Some(lines) = tshark(&chip.pcap())? else {
        return Ok(false);
    };
    let mut counts = BTreeMap::<(bool, u8), usize>::new();
    for line in lines.lines() {
        let mut fields = line.split('\t');
        let mut field = || fields.next().ok_or("a line with too few fields");
        let (from, types, malformed) = (field()?, field()?, field()?);
        if !malformed.is_empty() {
            return Err("tshark found a malformed packet".into());
        }
        for number in types.split(',') {
            let key = (from == CHIP, number.parse()?);
            let count = counts.entry(key).or_default();
            *count = count.saturating_add(1);
        }
    }
    for (number, name) in NAMES {
        let count = |from_chip| {
            counts
                .get(&(from_chip, number))
                .copied()
                .unwrap_or_default()
        };
        let (sent, received) = (count(true), count(false));
        println!("    {name:<11} sent {sent:4}, received {received:4}");
        let (sent_right, received_right) = match name {
            "CONNECT" => (sent >= chip.count_lines("connected: "), received == 0),
            "CONNACK" => (sent == 0, received == chip.count_lines("connected: ")),
            "SUBSCRIBE" => (sent >= chip.count_lines("subscribed"), received == 0),
            "SUBACK" => (sent == 0, received == chip.count_lines("subscribed")),
            "UNSUBSCRIBE" | "UNSUBACK" => (sent == 0, received == 0),
            "DISCONNECT" => (sent == 1, received == 0),
            "PINGREQ" => (sent > 0, received == 0),
            "PINGRESP" => (sent == 0, received > 0),
            "PUBLISH" => (sent >= FROM_CHIP, received >= TO_CHIP),
            _ => (sent > 50, received > 50),
        };
        if !sent_right || !received_right {
            return Err(format!("wrong number of {name}: {sent} sent, {received} received").into());
        }
    }
    Ok(true)
}

/// Runs tshark with a limit of its processor time, so that a busy machine does not end it. It needs 5 s.
const TSHARK: &str = "ulimit -t 30; exec tshark \"$@\"";

/// Maximum time of tshark, in case that it waits and uses no processor time.
const TSHARK_LIMIT: Duration = Duration::from_secs(120);

/// Returns a line for each frame with MQTT: the sender, the types of its packets, and a mark if it is malformed,
/// separated by tabs. Returns `None` if tshark did not end in time.
fn tshark(pcap: &Path) -> Result<Option<String>> {
    let fields = ["ip.src", "mqtt.msgtype", "_ws.malformed"];
    let (lines, errors) = (pcap.with_extension("lines"), pcap.with_extension("errors"));
    let mut child = Command::new("sh")
        .args(["-c", TSHARK, "tshark"])
        .args(["-n", "-T", "fields", "-Y", "mqtt || _ws.malformed"])
        .args(fields.iter().flat_map(|field| ["-e", field]))
        .arg("-r")
        .arg(pcap)
        .stdin(Stdio::null())
        .stdout(File::create(&lines)?)
        .stderr(File::create(&errors)?)
        .spawn()
        .map_err(|error| format!("tshark does not start: {error}"))?;
    let start = Instant::now();
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if start.elapsed() > TSHARK_LIMIT {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(10));
    };
    if status.signal().is_some() {
        return Ok(None);
    }
    if !status.success() {
        return Err(fs::read_to_string(&errors)?.into());
    }
    Ok(Some(fs::read_to_string(&lines)?))
}
