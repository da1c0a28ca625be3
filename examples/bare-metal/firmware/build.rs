//! Passes the memory layout of the machine to the linker.

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    let arch = env::var("CARGO_CFG_TARGET_ARCH")?;
    let (memory, arguments): (_, &[&str]) = match arch.as_str() {
        "riscv32" => ("memory/riscv32.x", &["-Tmemory.x", "-Tlink.x"]),
        // cortex-m-rt's link.x includes memory.x.
        "arm" => ("memory/arm.x", &["-Tlink.x", "--nmagic"]),
        _ => {
            return Err("name a target: --target thumbv7m-none-eabi or --target riscv32imc-unknown-none-elf".into());
        }
    };
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::copy(memory, out.join("memory.x"))?;
    println!("cargo:rustc-link-search={}", out.display());
    for argument in arguments {
        println!("cargo:rustc-link-arg-bins={argument}");
    }
    println!("cargo:rerun-if-changed={memory}");
    println!("cargo:rerun-if-changed=build.rs");
    Ok(())
}
