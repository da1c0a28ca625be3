//! Passes the memory layout to the linker, with addresses for the functions outside of the programs.

use std::{env, path::Path};

fn main() {
    let root = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_default();
    let script = Path::new(&root).join("link.x");
    println!("cargo:rustc-link-arg-bins=-T{}", script.display());
    println!("cargo:rerun-if-changed=link.x");
    println!("cargo:rerun-if-changed=build.rs");
}
