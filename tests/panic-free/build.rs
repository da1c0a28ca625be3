//! Passes the words of `LINK_ARGS` to the linker.

fn main() {
    println!("cargo::rerun-if-env-changed=LINK_ARGS");
    let args = std::env::var("LINK_ARGS").unwrap_or_default();
    for arg in args.split_whitespace() {
        println!("cargo::rustc-link-arg={arg}");
    }
}
