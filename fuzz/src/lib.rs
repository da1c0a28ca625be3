//! What each fuzz target does with its input. The tests do the same with the inputs that are kept in `corpus`
//! (`tests/corpora.rs`), which is why nothing here needs the nightly toolchain.

#[path = "../../tests/checker/mod.rs"]
mod checker;

pub mod client;
pub mod decode;
pub mod roundtrip;
pub mod save_restore;
pub mod session;
pub mod stream;
pub mod topic;
mod wire;
