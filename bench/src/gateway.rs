//! A gateway between a client and a model: what it costs, and what it delays.

mod client;
mod pass;
mod upstream;

pub(crate) use client::run as ask;
pub(crate) use pass::run as pass;
pub(crate) use upstream::run as upstream;

/// Before the time at which a token was made, in nanoseconds of the monotonic clock, in its text.
const MARK: &[u8] = b"tok-";
/// Digits of that time.
const DIGITS: usize = 20;

/// The clock that all processes of a machine share.
fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned()
}
