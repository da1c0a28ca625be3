//! Both clients on a network with faults, with a real broker.
//!
//! - [`Proxy`] is between a client and its broker. It cuts, delays, sends single bytes, stalls or resets at any byte.
//! - [`Mosquitto`] is a broker that can be killed and started again.
//! - [`Kind`] is one of the clients, with one interface, so that every run uses both.
//! - [`Party`] publishes numbered messages, receives those of another party, and survives all faults.
//!
//! The runs are the tests of this package: a sample of each in `cargo test`, more in `.ci/faults`, and the whole with
//! `.ci/faults --all`. Random runs print their seed. `FAULTS_SEED` sets it.

mod clients;
mod memory;
mod mosquitto;
mod party;
mod proxy;
mod scale;

pub use self::{
    clients::{Client, Failure, Kind, Result},
    memory::{peak_kib, remembers_nothing},
    mosquitto::Mosquitto,
    party::{End, Party, Progress, Store, Task},
    proxy::{Cut, Cuts, How, Plan, Proxy, Record, Way},
    scale::{Scale, seed},
};
