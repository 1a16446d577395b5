//! Many of everything, in bounds: what thousands of workers, functions and queues cost.

use std::{fs, time::Duration};

use anyhow::{Context, Result, ensure};
use futures_util::{SinkExt, StreamExt, future::try_join_all};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use super::{
    check::Suite,
    setup::Setup,
    worker::{Worker, dial, uuid},
};
use crate::harness::{Engine, eventually_within};

/// Sockets take descriptors; the engine inherits the limit.
fn raise_limit() -> Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(
        Resource::Nofile,
        Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        },
    )?;
    Ok(())
}

/// Time that the engine's threads have run so far.
fn cpu(engine: &Engine) -> Result<Duration> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", engine.pid()))?;
    let (_, fields) = stat.rsplit_once(')').context("a name in brackets")?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    // Fields 14 and 15 of proc(5), counted behind the name; the kernel counts 100 in a second.
    let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
    Ok(Duration::from_millis(ticks * 10))
}

async fn spent_in(engine: &Engine, span: Duration) -> Result<Duration> {
    let before = cpu(engine)?;
    tokio::time::sleep(span).await;
    Ok(cpu(engine)?.saturating_sub(before))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_of_everything() -> Result<()> {
    let mut suite = Suite::default();
    raise_limit()?;
    let setup = Setup::start().await?;
    let url = setup.engine.url.clone();

    suite
        .check("load: 10,000 registrations on one connection", async {
            let mut worker = Worker::connect(&url).await?;
            for place in 0..10_000 {
                let message = json!({ "type": "registerfunction", "id": format!("lo::f{place}") });
                worker
                    .socket
                    .feed(Message::text(message.to_string()))
                    .await?;
            }
            worker.socket.flush().await?;
            worker.settle().await?;
            for place in [0, 4_999, 9_999] {
                let function = format!("lo::f{place}");
                worker.calls(&function, json!(place)).await?;
                worker.serve(&function, json!(place)).await?;
                ensure!(worker.hear().await?["result"] == place);
            }
            Ok(())
        })
        .await;

    suite.check("load: 1,000 connections with 10 functions each", async {
        let connected = |place: usize| {
            let url = url.clone();
            async move {
                let mut worker = Worker::connect(&url).await?;
                for function in 0..10 {
                    worker.say(json!({ "type": "registerfunction", "id": format!("lc::f{place}-{function}") })).await?;
                }
                worker.settle().await?;
                Ok::<_, anyhow::Error>(worker)
            }
        };
        let mut workers = Vec::new();
        for group in 0..10 {
            workers.extend(try_join_all((0..100).map(|place| connected(group * 100 + place))).await?);
        }
        let mut caller = Worker::connect(&url).await?;
        for place in (0..1_000).step_by(97) {
            let function = format!("lc::f{place}-7");
            let id = caller.calls(&function, json!(place)).await?;
            workers[place].serve(&function, json!(place)).await?;
            let result = caller.hear().await?;
            ensure!(result["invocation_id"] == *id && result["result"] == place, "{result}");
        }
        // All leave at once; then all is gone.
        drop(workers);
        eventually_within(Duration::from_secs(20), "the last function's end", || async {
            let mut caller = Worker::connect(&url).await.ok()?;
            let list = caller.call("engine::functions::list", json!({ "include_internal": false })).await.ok()?;
            let all = list["result"]["functions"].as_array()?;
            (!all.iter().any(|one| one["function_id"].as_str().is_some_and(|id| id.starts_with("lc::")))).then_some(())
        })
        .await
    })
    .await;

    suite.check("load: a storm of 1,000 reconnecting workers", async {
        for round in 0..2 {
            let comes = |place: usize| {
                let url = url.clone();
                async move {
                    let mut worker = Worker::connect(&url).await?;
                    worker.say(json!({ "type": "registerfunction", "id": format!("st::f{place}") })).await?;
                    worker.introduces(json!({ "runtime": "node", "version": "0.11.6", "name": format!("storm-{place}"), "pid": place })).await?;
                    worker.settle().await?;
                    Ok::<_, anyhow::Error>(worker)
                }
            };
            let mut workers = Vec::new();
            for group in 0..4 {
                workers.extend(try_join_all((0..250).map(|place| comes(group * 250 + place))).await?);
            }
            let mut caller = Worker::connect(&url).await?;
            caller.calls("st::f999", json!(round)).await?;
            workers[999].serve("st::f999", json!(round)).await?;
            ensure!(caller.hear().await?["result"] == round);
        }
        Ok(())
    })
    .await;

    suite.check("load: a worker that never reads holds up nobody else", async {
        let mut deaf = dial(&url, &[]).await?;
        deaf.next().await;
        for message in [json!({ "type": "registerfunction", "id": "deaf::f" }), json!({ "type": "ping" })] {
            deaf.send(Message::text(message.to_string())).await?;
        }
        deaf.next().await;
        let mut other = Worker::connect(&url).await?;
        other.offers("brisk::f").await?;
        let block = "x".repeat(256 << 10);
        let mut caller = Worker::connect(&url).await?;
        let mut refused = 0;
        // 512 MiB for somebody who takes none: bounded, and answered when the bound is reached.
        for _ in 0..2_000 {
            caller.say(json!({ "type": "invokefunction", "function_id": "deaf::f", "data": block, "action": { "type": "void" } })).await?;
        }
        for _ in 0..20 {
            caller.calls("deaf::f", json!(block)).await?;
        }
        let id = caller.calls("brisk::f", json!(1)).await?;
        other.serve("brisk::f", json!(2)).await?;
        loop {
            let heard = caller.hear().await?;
            if heard["invocation_id"] == *id {
                ensure!(heard["result"] == 2, "{heard}");
                break;
            }
            ensure!(heard["error"].is_object(), "{heard}");
            refused += 1;
        }
        ensure!(refused > 0, "everything was taken for a worker that reads nothing");
        let status = fs::read_to_string(format!("/proc/{}/status", setup.engine.pid()))?;
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or_default();
        ensure!(resident < 1_500_000, "{resident} KiB resident");
        Ok(())
    })
    .await;
    suite.verdict()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_idling_costs() -> Result<()> {
    let mut suite = Suite::default();
    raise_limit()?;
    let setup = Setup::start().await?;
    let url = setup.engine.url.clone();

    suite.check("load: 100 idle workers, 50 queues and 20 jobs take under 1 % of a core", async {
        let mut workers = Vec::new();
        for place in 0..100 {
            let mut worker = Worker::connect(&url).await?;
            worker.introduces(json!({ "runtime": "node", "version": "0.11.6", "name": format!("idle-{place}"), "pid": place })).await?;
            worker.offers(&format!("id::f{place}")).await?;
            workers.push(worker);
        }
        for (place, worker) in workers.iter_mut().enumerate().take(50) {
            worker.say(json!({ "type": "registertrigger", "id": uuid(), "trigger_type": "durable:subscriber", "function_id": format!("id::f{place}"), "config": { "topic": format!("idle-{place}") } })).await?;
        }
        for (place, worker) in workers.iter_mut().enumerate().take(20) {
            // Next year's first of May.
            worker.say(json!({ "type": "registertrigger", "id": uuid(), "trigger_type": "cron", "function_id": format!("id::f{place}"), "config": { "expression": "0 0 0 1 5 *" } })).await?;
        }
        for worker in &mut workers {
            worker.settle().await?;
        }
        let mut caller = Worker::connect(&url).await?;
        let triggers = caller.call("engine::triggers::list", json!({})).await?;
        ensure!(triggers["result"]["triggers"].as_array().map(Vec::len) == Some(70), "{} triggers", triggers["result"]["triggers"].as_array().map_or(0, Vec::len));
        tokio::time::sleep(Duration::from_secs(1)).await;
        let span = Duration::from_secs(10);
        let spent = spent_in(&setup.engine, span).await?;
        // A build without optimisation is no measure.
        let bound = if cfg!(debug_assertions) { span / 20 } else { span / 100 };
        ensure!(spent < bound, "{spent:?} in {span:?}");
        Ok(())
    })
    .await;

    suite.check("load: 20 jobs of every second take under 5 % of a core", async {
        let mut worker = Worker::connect(&url).await?;
        worker.offers("cr::f").await?;
        for _ in 0..20 {
            worker.say(json!({ "type": "registertrigger", "id": uuid(), "trigger_type": "cron", "function_id": "cr::f", "config": { "expression": "* * * * * *" } })).await?;
        }
        let serving = tokio::spawn(async move {
            let mut calls = 0_u32;
            while let Ok(call) = worker.hear_of("invokefunction").await {
                calls += 1;
                if worker.answer(&call, Value::Null).await.is_err() || calls >= 100 {
                    break;
                }
            }
            calls
        });
        let span = Duration::from_secs(6);
        let spent = spent_in(&setup.engine, span).await?;
        let calls = tokio::time::timeout(Duration::from_secs(10), serving).await??;
        ensure!(calls >= 100, "{calls} calls");
        ensure!(spent < span / 20, "{spent:?} in {span:?}");
        Ok(())
    })
    .await;
    suite.verdict()
}
