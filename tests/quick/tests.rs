//! The library's tests, but for those that need a broker, a network or minutes, in one binary: it builds and links once
//! for all of them, on any target that has `std`.
#![allow(clippy::duplicate_mod, reason = "each of them has its own helpers")]

#[path = "../asynch.rs"]
mod asynch;
#[path = "../blocking.rs"]
mod blocking;
#[path = "../call_order.rs"]
mod call_order;
#[path = "../cancel.rs"]
mod cancel;
#[path = "../chunks.rs"]
mod chunks;
#[path = "../client_order.rs"]
mod client_order;
#[path = "../conformance_client.rs"]
mod conformance_client;
#[path = "../conformance_codec.rs"]
mod conformance_codec;
#[path = "../conformance_delivery.rs"]
mod conformance_delivery;
#[path = "../conformance_input.rs"]
mod conformance_input;
#[path = "../conformance_order.rs"]
mod conformance_order;
#[path = "../conformance_requests.rs"]
mod conformance_requests;
#[path = "../conformance_session.rs"]
mod conformance_session;
#[path = "../conformance_time.rs"]
mod conformance_time;
#[path = "../defects.rs"]
mod defects;
#[path = "../endings.rs"]
mod endings;
#[path = "../errors.rs"]
mod errors;
#[path = "../every_split.rs"]
mod every_split;
#[path = "../inbound_capacity.rs"]
mod inbound_capacity;
#[path = "../long_cancel.rs"]
mod long_cancel;
#[path = "../long_in.rs"]
mod long_in;
#[path = "../long_out.rs"]
mod long_out;
#[path = "../malformed.rs"]
mod malformed;
#[path = "../obligations.rs"]
mod obligations;
#[path = "../parts.rs"]
mod parts;
#[path = "../patience.rs"]
mod patience;
#[path = "../resume.rs"]
mod resume;
#[path = "../roundtrip.rs"]
mod roundtrip;
#[path = "../save_restore.rs"]
mod save_restore;
#[path = "../short_inputs.rs"]
mod short_inputs;
#[path = "../state_table.rs"]
mod state_table;
