//! The role that calls and measures: each connection keeps so many calls in flight.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;

use crate::{
    args::{Fire, Load, Peer},
    dialect::{Dialect, End, Heard, Template},
    link::Link,
    measured::Measured,
    process,
    role::{announce, end_with_parent},
};

/// The low bits of a call's number say which of the calls in flight it is.
const SLOT_BITS: u32 = 12;
/// Numbers have 36 bits.
const TURN_MASK: u64 = (1 << 24) - 1;

/// How long calls in flight may take to come back once the measuring is over.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    Warming,
    Measuring,
    Draining,
}

/// What all connections of this process count together.
struct Tally {
    phase: Cell<Phase>,
    calls: Cell<u64>,
    failed: Cell<u64>,
    in_flight: Cell<u64>,
    latencies_ns: RefCell<Histogram<u64>>,
}

fn add(cell: &Cell<u64>, more: u64) {
    cell.set(cell.get() + more);
}

pub(crate) async fn run<D: Dialect>(
    peer: Peer,
    load: Load,
    dialect: impl Fn(usize) -> D,
) -> Result<()> {
    end_with_parent();
    if load.in_flight >= 1 << SLOT_BITS {
        bail!("at most {} calls in flight", (1 << SLOT_BITS) - 1);
    }
    let tally = Rc::new(Tally {
        phase: Cell::new(Phase::Warming),
        calls: Cell::new(0),
        failed: Cell::new(0),
        in_flight: Cell::new(0),
        latencies_ns: RefCell::new(Histogram::new_with_bounds(1, 60_000_000_000, 3)?),
    });
    let payload = payload(load.payload_bytes);
    let mut calling = tokio::task::JoinSet::new();
    for index in 0..peer.connections {
        let dialect = dialect(index);
        let end = End {
            role: "caller",
            index,
            offers: peer
                .fire
                .map(|_| format!("bench::ack{index}"))
                .into_iter()
                .collect(),
        };
        let mut link = dialect.open(&peer.place(), &end).await?;
        if peer.write_each_frame {
            link.write_each_frame();
        }
        let target = if load.one_callee { 0 } else { index };
        let void = peer.fire.is_some();
        let template = dialect.call(&format!("bench::echo{target}"), &payload, void)?;
        let (fire, tally, in_flight) = (peer.fire, Rc::clone(&tally), load.in_flight);
        calling.spawn_local(async move {
            let mut caller = Caller {
                dialect,
                template,
                tally,
                turn: 0,
                began: vec![Instant::now(); in_flight],
            };
            match fire {
                None => caller.call(link).await,
                Some(fire) => caller.fire(link, fire).await,
            }
        });
    }

    tokio::select! {
        broken = calling.join_next() => bail!("a connection ended while warming up: {broken:?}"),
        () = tokio::time::sleep(Duration::from_millis(load.warmup_ms)) => {}
    }
    tally.phase.set(Phase::Measuring);
    tally.calls.set(0);
    let server_before = process::usage(load.watch)?;
    let began = Instant::now();
    tokio::select! {
        broken = calling.join_next() => bail!("a connection ended while measuring: {broken:?}"),
        () = tokio::time::sleep(Duration::from_secs_f64(load.seconds)) => {}
    }
    let seconds = began.elapsed().as_secs_f64();
    let server_after = process::usage(load.watch)?;
    let calls = tally.calls.get();
    tally.phase.set(Phase::Draining);
    // The tasks end when they have heard all; those that have not are counted as lost.
    let _ = tokio::time::timeout(DRAIN, async {
        while let Some(ended) = calling.join_next().await {
            ended??;
        }
        anyhow::Ok(())
    })
    .await;

    let latencies = tally.latencies_ns.borrow();
    let us = |quantile: f64| latencies.value_at_quantile(quantile) as f64 / 1_000.0;
    let measured = Measured {
        per_second: calls as f64 / seconds,
        p50_us: (!latencies.is_empty()).then(|| us(0.50)),
        p99_us: (!latencies.is_empty()).then(|| us(0.99)),
        cpu_us: Some((server_after.cpu - server_before.cpu).as_secs_f64() * 1e6 / calls as f64),
        resident_mib: Some(server_after.resident_bytes as f64 / f64::from(1 << 20)),
        lost: tally.in_flight.get() + tally.failed.get(),
    };
    announce(&serde_json::to_string(&measured)?);
    Ok(())
}

/// A JSON object of so many bytes.
fn payload(bytes: usize) -> Vec<u8> {
    let (start, end) = (r#"{"n":1,"text":""#, r#""}"#);
    let text = "x".repeat(bytes.saturating_sub(start.len() + end.len()));
    format!("{start}{text}{end}").into_bytes()
}

struct Caller<D> {
    dialect: D,
    template: Template,
    tally: Rc<Tally>,
    turn: u64,
    /// When the call of each slot was sent.
    began: Vec<Instant>,
}

impl<D: Dialect> Caller<D> {
    fn send(&mut self, slot: usize, now: Instant, outgoing: &mut crate::link::Outgoing) {
        self.turn = (self.turn + 1) & TURN_MASK;
        let number = self.turn << SLOT_BITS | (slot as u64 + 1);
        self.began[slot] = now;
        self.dialect
            .write_call(&self.template, number, &mut outgoing.bytes);
        outgoing.end_of_frame();
    }

    async fn call(&mut self, mut link: Link) -> Result<()> {
        let now = Instant::now();
        for slot in 0..self.began.len() {
            self.send(slot, now, &mut link.outgoing);
        }
        let mut in_flight = self.began.len() as u64;
        add(&self.tally.in_flight, in_flight);
        while in_flight > 0 {
            link.step().await?;
            let Link {
                input, outgoing, ..
            } = &mut link;
            let now = Instant::now();
            let phase = self.tally.phase.get();
            let (mut taken, mut calls) = (0, 0);
            while let Some((length, heard)) = self.dialect.parse(&input[taken..])? {
                taken += length;
                match heard {
                    Heard::Reply { number, good } => {
                        calls += 1;
                        let slot = (number & ((1 << SLOT_BITS) - 1)) as usize;
                        let Some(began) = slot.checked_sub(1).and_then(|slot| self.began.get(slot))
                        else {
                            bail!("a reply to a call that was not made");
                        };
                        if !good || length < self.template.bytes.len() / 2 {
                            add(&self.tally.failed, 1);
                        }
                        if phase == Phase::Measuring {
                            let took = now.duration_since(*began).as_nanos() as u64;
                            self.tally.latencies_ns.borrow_mut().saturating_record(took);
                        }
                        if phase == Phase::Draining {
                            in_flight -= 1;
                            self.tally.in_flight.set(self.tally.in_flight.get() - 1);
                        } else {
                            self.send(slot - 1, now, outgoing);
                        }
                    }
                    Heard::Ping(ping) => self.dialect.pong(ping, &mut outgoing.bytes),
                    Heard::Call { .. } | Heard::Other(_) => {}
                }
            }
            let _ = input.split_to(taken);
            add(&self.tally.calls, calls);
        }
        Ok(())
    }

    /// Void calls, so many ahead of what the callee has acknowledged.
    async fn fire(&mut self, mut link: Link, fire: Fire) -> Result<()> {
        let every = fire.acknowledge_every;
        let now = Instant::now();
        for _ in 0..fire.window {
            self.send(0, now, &mut link.outgoing);
        }
        let mut ahead = fire.window;
        add(&self.tally.in_flight, ahead);
        while ahead > 0 {
            link.step().await?;
            let Link {
                input, outgoing, ..
            } = &mut link;
            let now = Instant::now();
            let mut taken = 0;
            while let Some((length, heard)) = self.dialect.parse(&input[taken..])? {
                taken += length;
                match heard {
                    Heard::Call { reply_to, .. } => {
                        if !reply_to.is_empty() {
                            self.dialect.answer(reply_to, None, &mut outgoing.bytes);
                            outgoing.end_of_frame();
                        }
                        add(&self.tally.calls, every);
                        if self.tally.phase.get() == Phase::Draining {
                            ahead = ahead.saturating_sub(every);
                            self.tally.in_flight.set(self.tally.in_flight.get() - every);
                        } else {
                            for _ in 0..every {
                                self.send(0, now, outgoing);
                            }
                        }
                    }
                    Heard::Ping(ping) => self.dialect.pong(ping, &mut outgoing.bytes),
                    Heard::Reply { .. } => add(&self.tally.failed, 1),
                    Heard::Other(_) => {}
                }
            }
            let _ = input.split_to(taken);
        }
        Ok(())
    }
}
