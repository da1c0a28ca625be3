//! All tests that need no broker and no network, as one binary, which builds on any target with `std`. `slow.txt` lists
//! the slow ones.

#[path = "../checker/mod.rs"]
mod checker;
#[path = "../common/mod.rs"]
mod common;
#[cfg_attr(not(feature = "clients"), expect(dead_code, unused_imports))]
#[path = "../common/long.rs"]
mod long;
#[path = "../common/wire.rs"]
mod wire;

#[cfg(feature = "clients")]
mod clients {
    mod asynch;
    mod blocking;
    mod cancel;
    mod client_order;
    mod endings;
    mod errors;
    mod every_split;
    mod long_cancel;
    mod long_in;
    mod long_out;
    mod parts;
    mod patience;
    mod slow_socket;
    mod wire_counts;
}

mod codec {
    mod conversions;
    mod malformed;
    mod roundtrip;
}

mod conformance {
    mod client;
    mod codec;
    mod delivery;
    mod input;
    mod order;
    mod requests;
    mod session;
    mod time;
}

#[cfg(feature = "clients")]
mod defects;

#[cfg(feature = "clients")]
mod device {
    mod asynch;
    mod blocking;
    mod calls;
    mod cloud;
    mod details;
    mod handles;
    mod histories;
    mod orders;
    mod payloads;
    mod tasks;
    mod turns;
}

mod session {
    mod call_order;
    mod chunks;
    mod discard;
    mod event_texts;
    mod hostile;
    mod inbound_capacity;
    mod inside_packet;
    mod obligations;
    mod offline;
    mod poison;
    mod queueing;
    mod resume;
    mod save_restore;
    mod state_table;
    mod subscriptions;
}
