//! Passes linker scripts to the linker. The package `firmware` provides `memory.x` for the machine.

fn main() {
    for script in ["memory.x", "link.x"] {
        println!("cargo:rustc-link-arg-bins=-T{script}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
