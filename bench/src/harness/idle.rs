//! What workers cost that do nothing: memory, and the time of calls beside them.

use std::time::Duration;

use anyhow::{Context, Result};

use super::{
    PATIENCE, calls,
    child::Child,
    contender::Contender,
    outcome::Fact,
    scenario::{PAYLOAD_BYTES, Shape},
    server::Running,
    start,
};
use crate::{args::Run, process};

const WORKERS: usize = 1_000;
const FUNCTIONS: usize = 10;
const CONNECTIONS: usize = 10_000;

/// Until memory is what it stays.
const SETTLE: Duration = Duration::from_secs(2);

/// Longer than the silence after which an engine gives a worker up.
const HOLD: Duration = Duration::from_secs(30);

/// How long ten thousand workers may take to connect.
const GATHER: Duration = Duration::from_secs(120);

pub(crate) async fn measure(options: &Run, contender: &Contender) -> Result<Vec<Fact>> {
    let mut facts = Vec::new();
    let mut note = |what: &str, value: f64, unit: &'static str| {
        facts.push(Fact {
            contender: contender.name.clone(),
            what: what.to_owned(),
            value,
            unit,
        });
    };

    let server = start(options, contender).await?;
    let alone = settled(&server).await?;
    note("resident, idle", alone, "MiB");
    // The first calls grow what calls need, whoever else is there.
    let before = one_at_a_time(options, contender, &server).await?;
    let called = settled(&server).await?;
    note("resident, after calls", called, "MiB");
    let mut crowd = gather(&server, WORKERS, FUNCTIONS, Duration::ZERO)?;
    crowd.line(GATHER).await?;
    let crowded = settled(&server).await?;
    note("resident, 1,000 workers of 10 functions", crowded, "MiB");
    note("above idle", crowded - alone, "MiB");
    let each = (crowded - called) * 1024.0 / WORKERS as f64;
    note("per worker of 10 functions", each, "KiB");
    let after = one_at_a_time(options, contender, &server).await?;
    note("a call's p50, alone", before, "µs");
    note("a call's p50, among 10,000 functions", after, "µs");
    crowd.end().await;
    server.end().await;

    let server = start(options, contender).await?;
    let alone = settled(&server).await?;
    let mut crowd = gather(&server, CONNECTIONS, 0, HOLD)?;
    crowd.line(GATHER).await?;
    let crowded = settled(&server).await?;
    note("resident, 10,000 connections", crowded, "MiB");
    let each = (crowded - alone) * 1024.0 / CONNECTIONS as f64;
    note("per connection", each, "KiB");
    let before = process::usage(server.pid())?.cpu;
    let held: f64 = crowd
        .line(HOLD + PATIENCE)
        .await?
        .parse()
        .context("no count of connections")?;
    let busy = process::usage(server.pid())?.cpu.saturating_sub(before);
    note("of them still connected after 30 s", held, "");
    note(
        "CPU to hold them",
        busy.as_secs_f64() * 1e3 / HOLD.as_secs_f64(),
        "ms per s",
    );
    crowd.end().await;
    server.end().await;
    Ok(facts)
}

async fn settled(server: &Running) -> Result<f64> {
    tokio::time::sleep(SETTLE).await;
    Ok(process::usage(server.pid())?.resident_mib())
}

fn gather(server: &Running, connections: usize, functions: usize, hold: Duration) -> Result<Child> {
    Child::role(&[
        "idle".to_owned(),
        format!("--at={}", server.address),
        format!("--connections={connections}"),
        format!("--functions={functions}"),
        format!("--hold-seconds={}", hold.as_secs_f64()),
    ])
}

/// The median of calls one after the other, in µs.
async fn one_at_a_time(options: &Run, contender: &Contender, server: &Running) -> Result<f64> {
    let shape = Shape {
        callers: 1,
        callees: 1,
        in_flight: 1,
        payload_bytes: PAYLOAD_BYTES,
        fire: None,
    };
    let measured = calls(options, contender, server, shape).await?;
    measured.p50_us.context("no call was answered")
}
