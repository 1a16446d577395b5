//! One frame to and from its bytes, in both dialects.

use agentos_protocol::{
    Call, CallRef, Frame, Payload,
    codec::{iii, v2},
};
use bytes::Bytes;
use divan::{Bencher, black_box};

/// Bytes of JSON in a frame.
const SIZES: [usize; 2] = [64, 65_536];

fn main() {
    divan::main();
}

fn call(bytes: usize) -> Frame {
    let payload = Payload::json(format!(r#"{{"text":"{}"}}"#, "x".repeat(bytes - 11)));
    let number = Some(CallRef::Number(7));
    Frame::Call(Box::new(Call::new(number, "bench::echo", payload)))
}

fn codec() -> iii::Codec {
    iii::Codec::new(7)
}

#[divan::bench(args = SIZES)]
fn v2_encode(bencher: Bencher<'_, '_>, bytes: usize) {
    let frame = call(bytes);
    bencher.bench_local(|| v2::encode(black_box(&frame)));
}

#[divan::bench(args = SIZES)]
fn v2_decode(bencher: Bencher<'_, '_>, bytes: usize) {
    let message = v2::encode(&call(bytes)).expect("it fits");
    bencher.bench_local(|| v2::decode(black_box(&message)));
}

#[divan::bench(args = SIZES)]
fn iii_encode(bencher: Bencher<'_, '_>, bytes: usize) {
    let frame = call(bytes);
    bencher.bench_local(|| codec().encode(black_box(&frame)));
}

#[divan::bench(args = SIZES)]
fn iii_decode(bencher: Bencher<'_, '_>, bytes: usize) {
    let text = codec()
        .encode(&call(bytes))
        .expect("it is JSON")
        .expect("this dialect knows calls");
    let message = Bytes::copy_from_slice(&text);
    bencher.bench_local(|| codec().decode(black_box(&message)));
}
