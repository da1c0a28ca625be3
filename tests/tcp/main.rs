//! The clients over TCP, without a broker.

mod connect;
mod disconnect;
mod tokio_budget;
