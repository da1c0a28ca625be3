//! The test of `check`: a client that sends messages to it, and checks its answers.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use umqtt::codec::QoS;

use crate::{Result, broker::Broker, chip::Chip, host::Host, packets, table::Table};

/// Keep alive and response timeout of `check`.
const NOTICED: Duration = Duration::from_secs(3 + 4);
/// Tolerance for QEMU on a busy machine.
const SLACK: Duration = Duration::from_secs(1);

/// Number of messages of each counting task of `check`.
const COUNT: u32 = 200;

const QOS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

pub(crate) fn run(image: &Path, table: &mut Table) -> Result<()> {
    // tshark 4.0 did not end for a few of about fifty recordings, for an unknown reason. Then the run is repeated.
    for _ in 0..3 {
        println!("{}", image.display());
        if run_once(image, table)? {
            return Ok(());
        }
        println!("  tshark did not end, so all is repeated");
    }
    Err("tshark did not end, three times".into())
}

/// Returns `false` if tshark did not count the packets.
fn run_once(image: &Path, table: &mut Table) -> Result<bool> {
    let mut broker = Broker::start()?;
    let mut chip = Chip::start(image)?;
    let chip = &mut chip;
    let mut host = Host::connect("check/from/#")?;
    chip.wait_for_line("subscribed")?;

    step("QoS 0, 1 and 2 in both directions");
    for qos in QOS {
        echo(&mut host, qos, chip)?;
    }
    step("two tasks publish while messages are received");
    count(&mut host, chip)?;
    step("receive 1 MiB through 512 bytes");
    let start = Instant::now();
    host.send_large("check/to/large")?;
    if host.receive("check/from/large", chip)?.payload != b"right" {
        return Err("the received 1 MiB was damaged".into());
    }
    table.in_ms = start.elapsed().as_millis();
    step("send 1 MiB");
    let start = Instant::now();
    host.send("check/to/upload", b"", QoS::AtLeastOnce)?;
    host.receive("check/from/upload", chip)?;
    table.out_ms = start.elapsed().as_millis();

    step("the broker is killed and started again");
    broker.kill()?;
    chip.wait_for_line("connection ended")?;
    broker.start_again()?;
    let mut host = Host::connect("check/from/#")?;
    chip.wait_for_line("new session")?;
    chip.wait_for_line("subscribed")?;
    // Queued without a connection.
    host.receive("check/from/lost", chip)?;
    echo(&mut host, QoS::ExactlyOnce, chip)?;

    step("the link becomes silent");
    let start = Instant::now();
    chip.order("set_link net off")?;
    let noticed = chip
        .wait_for_line("connection ended")?
        .duration_since(start);
    table.noticed_ms = noticed.as_millis();
    println!("noticed after {:.1} s", noticed.as_secs_f32());
    if noticed > NOTICED.saturating_add(SLACK) {
        return Err("a silent link was noticed too late".into());
    }
    chip.order("set_link net on")?;
    chip.wait_for_line("has kept the session")?;
    host.receive("check/from/lost", chip)?;
    echo(&mut host, QoS::ExactlyOnce, chip)?;

    step("a firmware image, with a reset after half of it");
    host.send_firmware("check/to/firmware")?;
    chip.wait_for_line("half of the image is written")?;
    chip.order("system_reset")?;
    // The old image runs. The broker sends the message again.
    chip.wait_for_line("the slot holds no image")?;
    chip.wait_for_line("restored")?;
    chip.wait_for_line("has kept the session")?;
    chip.wait_for_line("the image is installed")?;
    echo(&mut host, QoS::ExactlyOnce, chip)?;

    step("reset with an unsent message");
    host.send("check/to/remember", b"", QoS::AtLeastOnce)?;
    echo(&mut host, QoS::AtLeastOnce, chip)?;
    broker.kill()?;
    chip.wait_for_line("remembered")?;
    chip.order("stop")?;
    chip.order("system_reset")?;
    broker.start_again()?;
    let mut host = Host::connect("check/from/#")?;
    chip.order("cont")?;
    chip.wait_for_line("the slot holds an image")?;
    chip.wait_for_line("subscribed")?;
    let remembered = "check/from/remembered";
    if host.receive(remembered, chip)?.qos != QoS::ExactlyOnce {
        return Err("the QoS of the message was lost in the reset".into());
    }
    echo(&mut host, QoS::ExactlyOnce, chip)?;
    if host.count(remembered) > 0 {
        return Err("a message at QoS 2 was received twice".into());
    }

    step("the end");
    host.send("check/to/end", b"", QoS::AtLeastOnce)?;
    let status = chip.end()?;
    if !status.success() {
        return Err(format!("the program ended: {status}").into());
    }
    step("tshark counts the packets");
    packets::check(chip)
}

fn step(what: &str) {
    println!("  {what}");
}

/// Sends a message, and waits until it is received unchanged.
fn echo(host: &mut Host, qos: QoS, chip: &mut Chip) -> Result<()> {
    let payload = format!("at QoS {}", qos as u8);
    host.send("check/to/echo", payload.as_bytes(), qos)?;
    let answer = host.receive("check/from/echo", chip)?;
    if answer.payload != payload.as_bytes() || answer.qos != qos {
        return Err(format!("wrong answer at QoS {}", answer.qos as u8).into());
    }
    Ok(())
}

/// Checks that all numbers are received once and in order, while the same number of messages is sent.
fn count(host: &mut Host, chip: &mut Chip) -> Result<()> {
    host.send("check/to/count", b"", QoS::AtLeastOnce)?;
    for qos in QOS.into_iter().cycle().take(usize::try_from(COUNT)?) {
        host.send("check/to/tick", b"", qos)?;
    }
    for topic in ["check/from/count-a", "check/from/count-b"] {
        for number in 0..COUNT {
            let message = host.receive(topic, chip)?;
            if message.payload != number.to_be_bytes() {
                let payload = message.payload;
                return Err(format!("{payload:?} on {topic}, not {number}").into());
            }
        }
    }
    host.send("check/to/ticks", b"", QoS::ExactlyOnce)?;
    let ticks = host.receive("check/from/ticks", chip)?.payload;
    if ticks != COUNT.to_be_bytes() {
        return Err(format!("not {COUNT} messages arrived: {ticks:?}").into());
    }
    Ok(())
}
