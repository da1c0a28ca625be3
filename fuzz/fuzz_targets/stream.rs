#![no_main]
libfuzzer_sys::fuzz_target!(|input: (&[u8], Vec<u8>)| umqtt_fuzz::stream::run(&input));
