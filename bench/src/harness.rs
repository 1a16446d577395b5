//! Starts what is measured, lets the contenders take turns, and tells what was found.

mod child;
mod contender;
mod scenario;
mod summary;

use std::time::Duration;

use anyhow::{Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::{args::Run, measured::Measured};
use child::Child;
use contender::Contender;
use scenario::Scenario;
use summary::{Row, Table};

/// Before each measurement: connections are made, caches filled, allocators grown.
const WARMUP: Duration = Duration::from_millis(500);

/// How long the measuring role may take beyond its own time.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn list() {
    for scenario in scenario::all() {
        println!("{:<20} {}", scenario.name, scenario.about);
    }
}

/// Runs until done or until it is asked to end. Either way the processes it has started end.
pub(crate) async fn run(options: Run) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        done = measure_all(&options) => done,
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        _ = terminate.recv() => bail!("terminated"),
    }
}

async fn measure_all(options: &Run) -> Result<()> {
    let scenarios = scenario::chosen(&options.scenarios)?;
    let contenders = contender::all(options)?;
    for scenario in scenarios {
        let contenders: Vec<&Contender> = contenders
            .iter()
            .filter(|contender| scenario.suits(contender))
            .collect();
        let mut rows: Vec<Row> = contenders.iter().map(|one| Row::new(one)).collect();
        for round in 1..=options.rounds {
            for (contender, row) in contenders.iter().zip(&mut rows) {
                match measure(options, &scenario, contender).await {
                    Ok(measured) => {
                        eprintln!(
                            "{} {round}/{} {}: {}",
                            scenario.name,
                            options.rounds,
                            contender.name,
                            summary::brief(&scenario, &measured)
                        );
                        row.measured.push(measured);
                    }
                    Err(error) => {
                        eprintln!("{} {}: {error:#}", scenario.name, contender.name);
                        row.failures += 1;
                    }
                }
            }
        }
        println!("{}", Table::new(&scenario, &rows));
    }
    Ok(())
}

/// One measurement: a fresh server, a fresh callee, a fresh caller.
async fn measure(options: &Run, scenario: &Scenario, contender: &Contender) -> Result<Measured> {
    // Children inherit where they may run from this thread.
    let pinned = scenario.one_core.then(child::Pinned::here).transpose()?;
    let server = contender.start().await?;
    if options.profile {
        eprintln!("{} is process {}", contender.name, server.pid());
    }
    let shape = &scenario.shape;
    let mut peer = vec![
        format!("--at={}", server.address),
        format!("--tongue={}", contender.tongue_name()),
    ];
    if contender.is_bare() {
        peer.push("--bare".to_owned());
    }
    if options.write_each_frame {
        peer.push("--write-each-frame".to_owned());
    }
    if let Some(fire) = shape.fire {
        peer.push(format!("--fire={fire}"));
    }
    let with = |role: &str, connections: usize| {
        let mut words = vec![role.to_owned()];
        words.extend(peer.iter().cloned());
        words.push(format!("--connections={connections}"));
        words
    };
    let mut callee = Child::role(&with("callee", shape.callees))?;
    callee.line(PATIENCE).await?;
    let mut caller = with("caller", shape.callers);
    caller.extend([
        format!("--in-flight={}", shape.in_flight),
        format!("--payload-bytes={}", shape.payload_bytes),
        format!("--warmup-ms={}", WARMUP.as_millis()),
        format!("--seconds={}", options.seconds),
        format!("--watch={}", server.pid()),
    ]);
    if shape.callees < shape.callers {
        caller.push("--one-callee".to_owned());
    }
    let mut caller = Child::role(&caller)?;
    let patience = PATIENCE + WARMUP + Duration::from_secs_f64(options.seconds);
    let measured = serde_json::from_str(&caller.line(patience).await?)?;
    for child in [caller, callee] {
        child.end().await;
    }
    server.end().await;
    drop(pinned);
    Ok(measured)
}
