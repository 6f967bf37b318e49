#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| keylime_fuzz::ima_list(data));
