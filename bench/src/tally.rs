//! What the connections of a measuring role count together, and for how long.

use std::{
    cell::{Cell, RefCell},
    rc::Rc,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use hdrhistogram::Histogram;
use tokio::task::JoinSet;

use crate::{args::Window, measured::Measured, process};

/// How long calls in flight may take to come back once the measuring is over.
const DRAIN: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    Warming,
    Measuring,
    Draining,
}

pub(crate) struct Tally {
    phase: Cell<Phase>,
    count: Cell<u64>,
    failed: Cell<u64>,
    in_flight: Cell<u64>,
    latencies_ns: RefCell<Histogram<u64>>,
}

impl Tally {
    pub(crate) fn new() -> Result<Rc<Self>> {
        Ok(Rc::new(Tally {
            phase: Cell::new(Phase::Warming),
            count: Cell::new(0),
            failed: Cell::new(0),
            in_flight: Cell::new(0),
            latencies_ns: RefCell::new(Histogram::new_with_bounds(1, 60_000_000_000, 3)?),
        }))
    }

    /// Nothing new is to be sent; what is in flight is waited for.
    pub(crate) fn is_draining(&self) -> bool {
        self.phase.get() == Phase::Draining
    }

    pub(crate) fn count(&self, more: u64) {
        self.count.set(self.count.get() + more);
    }

    pub(crate) fn failed(&self) {
        self.failed.set(self.failed.get() + 1);
    }

    pub(crate) fn sent(&self, more: u64) {
        self.in_flight.set(self.in_flight.get() + more);
    }

    pub(crate) fn came_back(&self, calls: u64) {
        self.in_flight
            .set(self.in_flight.get().saturating_sub(calls));
    }

    pub(crate) fn took(&self, time: Duration) {
        if self.phase.get() == Phase::Measuring {
            let ns = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
            self.latencies_ns.borrow_mut().saturating_record(ns);
        }
    }

    /// Lets `working` warm up, measures, and waits for what is then still in flight.
    pub(crate) async fn measure(
        &self,
        window: &Window,
        working: &mut JoinSet<Result<()>>,
    ) -> Result<Measured> {
        let mut run_for = async |time: Duration| {
            tokio::select! {
                ended = working.join_next() => match ended {
                    Some(Ok(Err(error))) => Err(error.context("a connection ended early")),
                    other => bail!("a connection ended early: {other:?}"),
                },
                () = tokio::time::sleep(time) => Ok(()),
            }
        };
        run_for(Duration::from_millis(window.warmup_ms)).await?;
        self.count.set(0);
        self.phase.set(Phase::Measuring);
        let before = process::usage(window.watch)?;
        let began = Instant::now();
        run_for(Duration::from_secs_f64(window.seconds)).await?;
        let seconds = began.elapsed().as_secs_f64();
        let after = process::usage(window.watch)?;
        self.phase.set(Phase::Draining);
        let count = self.count.get() as f64;
        // The tasks end when they have heard all; those that have not are counted as lost.
        let _ = tokio::time::timeout(DRAIN, async {
            while let Some(ended) = working.join_next().await {
                ended??;
            }
            anyhow::Ok(())
        })
        .await;
        let latencies = self.latencies_ns.borrow();
        let us = |quantile: f64| {
            (!latencies.is_empty()).then(|| latencies.value_at_quantile(quantile) as f64 / 1_000.0)
        };
        let cpu_us = after.cpu.saturating_sub(before.cpu).as_secs_f64() * 1e6 / count;
        Ok(Measured {
            per_second: count / seconds,
            p50_us: us(0.50),
            p99_us: us(0.99),
            cpu_us: cpu_us.is_finite().then_some(cpu_us),
            resident_mib: Some(after.resident_mib()),
            lost: self.in_flight.get() + self.failed.get(),
        })
    }
}
