//! The code of each fuzz target. The tests run it with the inputs in `corpus` (`tests/corpora.rs`), so this crate does
//! not need the nightly toolchain.

#[path = "../../tests/checker/mod.rs"]
mod checker;

pub mod client;
pub mod decode;
pub mod device;
pub mod roundtrip;
pub mod save_restore;
pub mod session;
pub mod stream;
pub mod topic;
mod wire;
