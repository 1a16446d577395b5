//! Two workers that die all the time, and a queue that keeps its order and loses nothing.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
    time::Duration,
};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use crate::{
    harness::{Engine, Iii, eventually_within},
    queue::{delivery, enqueue, heir, succeed},
};

/// Many attempts, because messages come before the first worker does.
const QUEUES: &str = "queue:
  queue_configs:
    orders: { type: fifo, message_group_field: group, concurrency: 32, backoff_ms: 20, max_retries: 50 }
";
const GROUPS: u64 = 40;

/// A hundred thousand messages take a while.
const PATIENCE: Duration = Duration::from_secs(900);

/// Enqueued before their receipts are read.
const TOGETHER: u64 = 500;

/// What was done, by group, in order.
#[derive(Clone, Default)]
struct Effects(Arc<Mutex<HashMap<u64, Vec<u64>>>>);

impl Effects {
    fn note(&self, order: &Value) -> Result<()> {
        let number = |key: &str| order[key].as_u64();
        let (Some(group), Some(number)) = (number("group"), number("number")) else {
            anyhow::bail!("{order} is no order");
        };
        let mut effects = self.0.lock().expect("no test panics while it holds this");
        effects.entry(group).or_default().push(number);
        Ok(())
    }

    /// Every order of every group took effect, each one directly after the one before; done again
    /// were only those whose worker died.
    fn check(&self, messages: u64) -> Result<u64> {
        let effects = self.0.lock().expect("no test panics while it holds this");
        ensure!(effects.len() as u64 == GROUPS.min(messages));
        let mut repeated = 0;
        for (group, numbers) in effects.iter() {
            let mut next = *group;
            for number in numbers {
                let again = *number + GROUPS == next;
                ensure!(
                    *number == next || again,
                    "group {group}: {number} where {next} was to come"
                );
                repeated += u64::from(again);
                next = number + GROUPS;
            }
            ensure!(next >= messages, "group {group} ended before {next}");
        }
        Ok(repeated)
    }
}

/// One worker after another; each does so many orders and dies with some in its hands. Returns
/// never.
async fn mortals(engine: &Engine, effects: &Effects, lives: &Mutex<u64>, seed: u64) -> Result<()> {
    let mut random = seed;
    loop {
        // Any sequence will do that is another one for each worker.
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let orders = 20 + (random >> 33) % 200;
        let mut mortal: Iii = heir(engine, &["order::ship"]).await?;
        for _ in 0..orders {
            // Nothing comes for a while when the other one has it all.
            let coming = tokio::time::timeout(Duration::from_secs(1), delivery(&mut mortal)).await;
            let Ok(call) = coming else { break };
            let call = call?;
            effects.note(&call["data"])?;
            succeed(&mut mortal, &call).await?;
        }
        *lives.lock().expect("no test panics while it holds this") += 1;
    }
}

async fn fill(engine: &Engine, messages: u64) -> Result<()> {
    let mut client = Iii::connect(engine).await?;
    let mut number = 0;
    while number < messages {
        let end = messages.min(number + TOGETHER);
        for number in number..end {
            let data = json!({ "group": number % GROUPS, "number": number });
            enqueue(
                &mut client,
                &format!("e{number}"),
                "orders",
                "order::ship",
                data,
            )
            .await?;
        }
        for _ in number..end {
            let answer = client.hear_text().await?;
            ensure!(answer.get("error").is_none(), "{answer}");
        }
        number = end;
    }
    Ok(())
}

/// Returns how many workers died, and how many effects were repeated.
async fn survive(messages: u64) -> Result<(u64, u64)> {
    let engine = Engine::start(QUEUES, &["--no-workers"]).await?;
    let (effects, lives) = (Effects::default(), Mutex::new(0));
    let work = async {
        fill(&engine, messages).await?;
        let client = engine.worker("watcher").await?;
        let input = json!({ "queue": "orders" });
        eventually_within(PATIENCE, "the queue is empty", async || {
            let stats: Value = client.trigger("queue::stats", &input).await.ok()?;
            (stats["depth"] == 0).then_some(stats)
        })
        .await
    };
    let stats = tokio::select! {
        done = work => done?,
        died = mortals(&engine, &effects, &lives, 1) => return died.map(|()| (0, 0)),
        died = mortals(&engine, &effects, &lives, 2) => return died.map(|()| (0, 0)),
    };
    ensure!(stats["dead"] == 0, "{stats}");
    ensure!(stats["totals"]["enqueued"] == messages, "{stats}");
    let repeated = effects.check(messages)?;
    let lives = lives
        .into_inner()
        .expect("no test panics while it holds this");
    ensure!(lives > 4, "only {lives} workers died");
    Ok((lives, repeated))
}

#[tokio::test]
async fn workers_die_and_groups_stay_in_order() -> Result<()> {
    survive(4_000).await?;
    Ok(())
}

#[tokio::test]
#[ignore = "minutes, for figures; `cargo test --release -p agentos-tests --test it -- --ignored --nocapture queue_chaos`"]
async fn workers_die_over_100_000_messages() -> Result<()> {
    let (lives, repeated) = survive(100_000).await?;
    println!("{lives} workers died, {repeated} effects were repeated");
    Ok(())
}

/// Resident memory of the engine, in MiB.
fn resident_mib(engine: &Engine) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", engine.pid()))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.unwrap_or_default().trim_end_matches("kB").trim();
    Ok(kib.parse::<u64>()? >> 10)
}

/// What waits may cost in memory, whatever its count: a window of every queue, and the store's own
/// buffers.
const GROWTH_MIB_MAX: u64 = 64;

/// So many messages wait, the engine is killed and opened again, and they come in order.
#[expect(clippy::print_stdout, reason = "the figures are what one runs it for")]
async fn wait_in_line(messages: u64, heard: u64) -> Result<()> {
    let settings = "queue: { queue_configs: { orders: { concurrency: 1 } } }";
    let engine = Engine::start(settings, &["--no-workers"]).await?;
    let orders = json!({ "queue": "orders" });
    let client = engine.worker("watcher").await?;
    let _: Value = client.trigger("queue::pause", &orders).await?;
    let idle = resident_mib(&engine)?;
    fill(&engine, messages).await?;
    let full = resident_mib(&engine)?;
    let stats: Value = client.trigger("queue::stats", &orders).await?;
    ensure!(stats["depth"] == messages, "{stats}");

    let began = std::time::Instant::now();
    let engine = Engine::start_in(engine.kill()?, settings, &["--no-workers"]).await?;
    let opened = began.elapsed();
    let client = engine.worker("watcher").await?;
    let stats: Value = client.trigger("queue::stats", &orders).await?;
    ensure!(stats["depth"] == messages, "{stats}");
    let again = resident_mib(&engine)?;
    let mut worker = heir(&engine, &["order::ship"]).await?;
    // What one connection says is heard in order: with this answer the function is there.
    let ask = json!({ "type": "invokefunction", "invocation_id": "s1", "function_id": "queue::stats", "data": orders });
    worker.say(&ask).await?;
    worker.hear_text().await?;
    let _: Value = client.trigger("queue::resume", &orders).await?;
    for number in 0..heard {
        let call = delivery(&mut worker).await?;
        ensure!(call["data"]["number"] == number, "{call} for {number}");
        succeed(&mut worker, &call).await?;
    }
    let working = resident_mib(&engine)?;
    println!(
        "{idle} MiB idle, {full} with {messages} messages; opened again in {opened:?} with {again} MiB, \
         {working} after {heard} deliveries"
    );
    for resident in [full, again, working] {
        ensure!(
            resident < idle + GROWTH_MIB_MAX,
            "{resident} MiB, {idle} before"
        );
    }
    Ok(())
}

#[tokio::test]
async fn more_messages_than_are_kept_in_memory_wait_in_line() -> Result<()> {
    wait_in_line(6_000, 5_000).await
}

#[tokio::test]
#[ignore = "minutes, for figures; `cargo test --release -p agentos-tests --test it -- --ignored --nocapture queue_chaos`"]
async fn a_million_messages_wait() -> Result<()> {
    wait_in_line(1_000_000, 50_000).await
}
