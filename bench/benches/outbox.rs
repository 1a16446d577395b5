//! Frames in and out of a session's outbox: alone, and from two threads at once.

use agentos_protocol::{Call, CallRef, Frame, Payload};
use agentos_wire::{Limits, Outbox};
use divan::{Bencher, black_box};

fn main() {
    divan::main();
}

fn call() -> Frame {
    let number = Some(CallRef::Number(7));
    Frame::Call(Box::new(Call::new(number, "bench::echo", Payload::NULL)))
}

#[divan::bench]
fn push_and_pop(bencher: Bencher<'_, '_>) {
    let outbox = Outbox::new(Limits::default());
    bencher.with_inputs(call).bench_local_values(|frame| {
        outbox.push(frame).expect("there is room");
        black_box(outbox.pop())
    });
}

#[divan::bench(threads = [1, 2])]
fn push_and_pop_shared(bencher: Bencher<'_, '_>) {
    let outbox = Outbox::new(Limits::default());
    bencher.with_inputs(call).bench_values(|frame| {
        outbox.push(frame).expect("there is room");
        black_box(outbox.pop())
    });
}

#[divan::bench]
fn a_batch_of_64(bencher: Bencher<'_, '_>) {
    let outbox = Outbox::new(Limits::default());
    bencher
        .with_inputs(|| std::iter::repeat_with(call).take(64).collect::<Vec<_>>())
        .bench_local_values(|frames| {
            for frame in frames {
                outbox.push(frame).expect("there is room");
            }
            while let Some(frame) = outbox.pop() {
                black_box(frame);
            }
        });
}
