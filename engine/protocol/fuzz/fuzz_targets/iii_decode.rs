//! The JSON dialect: any message is passed on alike, or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    agentos_protocol::codec::oracle::iii_reads(&bytes::Bytes::copy_from_slice(data));
});
