//! Runs the example itself: switches it, checks its reports, and measures it.

use std::{path::Path, process::Command, time::Instant};

use umqtt::codec::QoS;

use crate::{Result, broker::Broker, chip::Chip, host::Host, table::Table};

/// Number of boots, whose median is written to the table.
const BOOTS: usize = 5;

pub(crate) fn run(image: &Path, table: &mut Table) -> Result<()> {
    println!("{}", image.display());
    let _broker = Broker::start()?;
    let mut times = Vec::new();
    for _ in 0..BOOTS {
        let mut host = Host::connect("light-7/#")?;
        let start = Instant::now();
        let mut chip = Chip::start(image)?;
        expect_state(&mut host, "off", &mut chip)?;
        times.push(start.elapsed().as_millis());
        for state in ["on", "off"] {
            host.send("light-7/set", state.as_bytes(), QoS::AtLeastOnce)?;
            expect_state(&mut host, state, &mut chip)?;
        }
        table.worst_stack = table.worst_stack.max(stack(image, &mut chip)?);
    }
    times.sort_unstable();
    table.boot_ms = times.get(BOOTS / 2).copied().unwrap_or_default();
    (table.flash, table.ram) = size(image)?;
    Ok(())
}

pub(crate) fn expect_state(host: &mut Host, state: &str, chip: &mut Chip) -> Result<()> {
    let message = host.receive("light-7/state", chip)?;
    if message.payload != state.as_bytes() || message.qos != QoS::AtLeastOnce {
        return Err(format!("the light is not {state}: {:?}", message.payload).into());
    }
    Ok(())
}

/// Returns the maximum stack that was used. The memory of the emulator is zero at the start.
fn stack(image: &Path, chip: &mut Chip) -> Result<u64> {
    let symbols = output("nm", &["-B"], image)?;
    let address = |name: &str| -> Result<u64> {
        let line = symbols.lines().find(|line| line.ends_with(name));
        let digits = line.and_then(|line| line.split(' ').next());
        Ok(u64::from_str_radix(digits.ok_or("no such symbol")?, 16)?)
    };
    let lowest = address(" __sheap")?;
    let size = address(" _stack_start")?.saturating_sub(lowest);
    let memory = chip.memory(lowest, size)?;
    let unused = memory.iter().take_while(|&&byte| byte == 0).count();
    Ok(size.saturating_sub(u64::try_from(unused)?))
}

/// Returns flash and static RAM in bytes.
pub(crate) fn size(image: &Path) -> Result<(u64, u64)> {
    let sections = output("size", &["-A"], image)?;
    let sum = |prefixes: &[&str]| {
        sections
            .lines()
            .filter(|line| prefixes.iter().any(|prefix| line.starts_with(prefix)))
            .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
            .sum()
    };
    Ok((
        sum(&[".text", ".init", ".rodata", ".eh_frame", ".data"]),
        sum(&[".data", ".bss", ".uninit"]),
    ))
}

/// Runs a tool of the GNU binutils.
fn output(tool: &str, options: &[&str], image: &Path) -> Result<String> {
    let output = Command::new(tool).args(options).arg(image).output()?;
    if !output.status.success() {
        return Err(format!("{tool}: {}", output.status).into());
    }
    Ok(String::from_utf8(output.stdout)?)
}
