//! Traffic at a steady rate: calls that carry numbers, each of which may run once only, and streams.
//! It goes on whatever becomes of the worker, and tells how long calls took.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use agentos_sdk::Client;
use anyhow::{Context, Result, ensure};
use serde_json::Value;
use tokio::{
    task::{JoinHandle, JoinSet},
    time::MissedTickBehavior,
};

/// Calls are made so often, a few at a time.
const TICK: Duration = Duration::from_millis(5);

/// A function and its input.
pub(super) type Asked = (&'static str, Value);

/// A worker under traffic, whatever it offers.
pub(super) trait Served: Send + Sync + 'static {
    /// The call of this number.
    fn call(&self, number: u64) -> Asked;
    /// A stream, for workers that can.
    fn stream(&self) -> Option<Asked>;
    /// What the stream says, all together, when nothing is lost.
    fn said(&self) -> String;
    /// What one chunk of it says.
    fn says(&self, chunk: &Value) -> String;
    /// The numbers of the calls that have run, in any order, as often as each has.
    ///
    /// # Errors
    /// When the record cannot be read.
    fn recorded(&self) -> Result<Vec<u64>>;
}

/// How much of it.
#[derive(Clone, Copy)]
pub(super) struct Rate {
    pub(super) calls_per_second: u32,
    pub(super) streams: usize,
}

/// Traffic that goes on.
pub(super) struct Load {
    served: Arc<dyn Served>,
    shared: Arc<Shared>,
    calls: JoinHandle<Result<Tally>>,
    streams: Vec<JoinHandle<Result<u64>>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Something is being done to the worker.
    changing: AtomicBool,
    answered: AtomicU64,
}

/// What has come of it.
#[derive(Default)]
pub(super) struct Tally {
    pub(super) calls: u64,
    pub(super) streams: u64,
    took: Duration,
    /// How long calls took in microseconds, while nothing was done to the worker and while something was.
    before: Vec<u32>,
    during: Vec<u32>,
}

impl Load {
    pub(super) fn start(caller: &Client, served: Arc<dyn Served>, rate: Rate) -> Self {
        let shared = Arc::<Shared>::default();
        let streams = (0..rate.streams).map(|_| {
            let streaming = stream(caller.clone(), Arc::clone(&served), Arc::clone(&shared));
            tokio::spawn(streaming)
        });
        let streams = streams.collect();
        let calling = call(
            caller.clone(),
            Arc::clone(&served),
            Arc::clone(&shared),
            rate,
        );
        Load {
            calls: tokio::spawn(calling),
            served,
            shared,
            streams,
        }
    }

    pub(super) fn answered(&self) -> u64 {
        self.shared.answered.load(Ordering::Relaxed)
    }

    /// Runs `change`; calls that overlap it are told apart.
    pub(super) async fn while_changing<T>(&self, change: impl AsyncFnOnce() -> T) -> T {
        self.shared.changing.store(true, Ordering::Relaxed);
        let done = change().await;
        self.shared.changing.store(false, Ordering::Relaxed);
        done
    }

    /// Stops it; fails when a call or a stream has failed, was lost, or has run twice.
    pub(super) async fn end(self) -> Result<Tally> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let mut tally = self.calls.await??;
        for streaming in self.streams {
            tally.streams += streaming.await??;
        }
        let mut times = BTreeMap::<u64, u32>::new();
        for number in self.served.recorded()? {
            *times.entry(number).or_default() += 1;
        }
        let lost = (0..tally.calls).find(|number| !times.contains_key(number));
        ensure!(lost.is_none(), "call {lost:?} was answered and has not run");
        let twice = times.iter().find(|(_, times)| **times > 1);
        ensure!(twice.is_none(), "a call has run more than once: {twice:?}");
        Ok(tally)
    }
}

async fn call(
    caller: Client,
    served: Arc<dyn Served>,
    shared: Arc<Shared>,
    rate: Rate,
) -> Result<Tally> {
    let began = Instant::now();
    let mut tick = tokio::time::interval(TICK);
    // What was missed is made up for: the rate is kept, however busy the machine is.
    tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let mut tally = Tally::default();
    let (mut made, mut ticks) = (0, 0_u32);
    let mut running = JoinSet::new();
    while !shared.stop.load(Ordering::Relaxed) {
        tick.tick().await;
        ticks += 1;
        let due = u64::from(rate.calls_per_second) * u64::from(ticks) * TICK.as_millis() as u64;
        while made < due / 1_000 {
            let (function, input) = served.call(made);
            let (caller, shared) = (caller.clone(), Arc::clone(&shared));
            let number = made;
            running.spawn(async move {
                let changed = shared.changing.load(Ordering::Relaxed);
                let began = Instant::now();
                let outcome = caller.trigger::<Value>(function, &input).await;
                outcome.with_context(|| format!("call {number}"))?;
                let took = u32::try_from(began.elapsed().as_micros()).unwrap_or(u32::MAX);
                shared.answered.fetch_add(1, Ordering::Relaxed);
                anyhow::Ok((changed || shared.changing.load(Ordering::Relaxed), took))
            });
            made += 1;
        }
        while let Some(ended) = running.try_join_next() {
            tally.add(ended??);
        }
    }
    while let Some(ended) = running.join_next().await {
        tally.add(ended??);
    }
    tally.took = began.elapsed();
    Ok(tally)
}

/// One stream after the other; how many.
async fn stream(caller: Client, served: Arc<dyn Served>, shared: Arc<Shared>) -> Result<u64> {
    let mut whole = 0;
    while !shared.stop.load(Ordering::Relaxed) {
        let Some((function, input)) = served.stream() else {
            break;
        };
        let mut stream = caller.bus().call(function).stream(&input)?;
        let mut said = String::new();
        while let Some(chunk) = stream.next_as::<Value>().await? {
            said.push_str(&served.says(&chunk));
        }
        let outcome = stream.finish().await;
        outcome.with_context(|| format!("a stream broke after `{said}`"))?;
        ensure!(said == served.said(), "a stream said `{said}`");
        whole += 1;
    }
    Ok(whole)
}

impl Tally {
    fn add(&mut self, (changing, took): (bool, u32)) {
        self.calls += 1;
        let list = match changing {
            true => &mut self.during,
            false => &mut self.before,
        };
        list.push(took);
    }

    /// In one line: calls per second, and the slowest percent of calls.
    pub(super) fn describe(&mut self) -> String {
        let per_second = self.calls as f64 / self.took.as_secs_f64();
        format!(
            "{} calls, {per_second:.0}/s, {} streams, none failed, broken or doubled; p50 {} and p99 {} ms, during changes p50 {} and p99 {} ms",
            self.calls,
            self.streams,
            percentile(&mut self.before, 50),
            percentile(&mut self.before, 99),
            percentile(&mut self.during, 50),
            percentile(&mut self.during, 99),
        )
    }
}

/// Milliseconds.
fn percentile(micros: &mut [u32], percent: usize) -> String {
    micros.sort_unstable();
    let at = (micros.len() * percent / 100).min(micros.len().saturating_sub(1));
    match micros.get(at) {
        Some(micros) => format!("{:.2}", f64::from(*micros) / 1_000.0),
        None => "-".to_owned(),
    }
}
