#![no_main]
libfuzzer_sys::fuzz_target!(|input: (&[u8], &[u8])| umqtt_fuzz::topic::run(&input));
