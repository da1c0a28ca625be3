#![no_main]
libfuzzer_sys::fuzz_target!(|bytes: &[u8]| umqtt_fuzz::roundtrip::run(bytes));
