#![no_main]
use umqtt_fuzz::save_restore::{Input, run};
libfuzzer_sys::fuzz_target!(|input: Input<'_>| run(&input));
