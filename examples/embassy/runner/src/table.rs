//! The measurements, and the kept table.

use std::fs;

use crate::Result;

const KEPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../measured.md");

/// Tolerated growth of flash and RAM in percent.
const TOLERANCE: u64 = 3;

const FLASH: &str = "flash of `light`, network stack included";
const RAM: &str = "static RAM of `light`";
const TLS_FLASH: &str = "flash of `light-tls`, Mbed TLS included";
const TLS_RAM: &str = "static RAM of `light-tls`, 80 KiB of heap included";

#[derive(Default)]
pub(crate) struct Table {
    pub(crate) boot_ms: u128,
    pub(crate) flash: u64,
    pub(crate) ram: u64,
    pub(crate) worst_stack: u64,
    pub(crate) in_ms: u128,
    pub(crate) out_ms: u128,
    pub(crate) noticed_ms: u128,
    /// Instructions per message of `check`, network stack included.
    pub(crate) instructions: Vec<(String, f64)>,
    pub(crate) tls: Tls,
}

/// The light over TLS.
#[derive(Default)]
pub(crate) struct Tls {
    pub(crate) flash: u64,
    pub(crate) ram: u64,
    pub(crate) heap: u64,
    pub(crate) heap_peak: u64,
    pub(crate) handshake_ms: u64,
}

impl Table {
    /// Prints the table, and writes it or compares the sizes with the kept one.
    pub(crate) fn keep_or_compare(&self, write: bool) -> Result<()> {
        let rows = [
            (
                "from QEMU's start to the first message, median of 5",
                self.boot_ms,
                "ms",
            ),
            (FLASH, self.flash.into(), "bytes"),
            (RAM, self.ram.into(), "bytes"),
            ("worst stack of `light`", self.worst_stack.into(), "bytes"),
            ("1 MiB in at QoS 2, through 512 bytes", self.in_ms, "ms"),
            ("1 MiB out at QoS 2", self.out_ms, "ms"),
            (
                "a silent link noticed, keep alive 3 s, response timeout 4 s",
                self.noticed_ms,
                "ms",
            ),
        ];
        let mut table = String::from("| measured | |\n| --- | ---: |\n");
        for (name, value, unit) in rows {
            table.push_str(&format!("| {name} | {value} {unit} |\n"));
        }
        for (name, instructions) in &self.instructions {
            table.push_str(&format!(
                "| a message {name}, network stack included | {instructions:.0} instructions |\n"
            ));
        }
        for (name, value, unit) in [
            (TLS_FLASH, self.tls.flash, "bytes"),
            (TLS_RAM, self.tls.ram, "bytes"),
            (
                "heap of `light-tls` while connected",
                self.tls.heap,
                "bytes",
            ),
            (
                "heap of `light-tls`, most in the handshake",
                self.tls.heap_peak,
                "bytes",
            ),
            (
                "TLS handshake, chain of three RSA-2048 certificates",
                self.tls.handshake_ms,
                "ms",
            ),
        ] {
            table.push_str(&format!("| {name} | {value} {unit} |\n"));
        }
        print!("{table}");
        if write {
            return Ok(fs::write(KEPT, table)?);
        }
        let kept = fs::read_to_string(KEPT)?;
        for (name, value) in [
            (FLASH, self.flash),
            (RAM, self.ram),
            (TLS_FLASH, self.tls.flash),
            (TLS_RAM, self.tls.ram),
        ] {
            let line = kept.lines().find(|line| line.contains(name));
            let kept: u64 = line
                .and_then(|line| line.split_whitespace().rev().nth(2)?.parse().ok())
                .ok_or_else(|| format!("{KEPT} has no number for: {name}"))?;
            if value.saturating_mul(100) > kept.saturating_mul(TOLERANCE.saturating_add(100)) {
                return Err(format!(
                    "{name} has grown from {kept} to {value} bytes: if this is intended, run .ci/embassy --write"
                )
                .into());
            }
        }
        Ok(())
    }
}
