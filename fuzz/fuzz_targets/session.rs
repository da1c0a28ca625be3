#![no_main]
use umqtt_fuzz::session::{Call, run};
libfuzzer_sys::fuzz_target!(|calls: Vec<Call<'_>>| run(&calls));
