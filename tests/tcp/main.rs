//! The clients over TCP, without a broker.

mod disconnect;
mod tokio_budget;
