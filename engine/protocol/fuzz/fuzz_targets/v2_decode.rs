//! The binary dialect: any message is read and written alike, or refused.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    agentos_protocol::codec::oracle::v2_reads(&bytes::Bytes::copy_from_slice(data));
});
