//! Whatever the bytes are, they are judged by the rules and without a panic.
#![no_main]

#[path = "../../tests/checker/mod.rs"]
mod checker;

use checker::{Verdict, judge};
use libfuzzer_sys::fuzz_target;
use umqtt::codec::Packet;

fuzz_target!(|bytes: &[u8]| {
    match Packet::decode(bytes) {
        Ok(None) => assert_eq!(judge(bytes), Verdict::Incomplete),
        Ok(Some((_, used))) => assert_eq!(judge(bytes), Verdict::Accepted(used)),
        Err(_) => assert_eq!(judge(bytes), Verdict::Refused),
    }
});
