#![no_main]
use umqtt_fuzz::device::{Input, run};
libfuzzer_sys::fuzz_target!(|input: Input<'_>| run(&input));
