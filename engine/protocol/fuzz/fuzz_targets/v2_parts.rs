//! Messages in parts: whatever comes is put together or refused, in bounded memory.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| agentos_protocol::codec::oracle::v2_parts(data));
