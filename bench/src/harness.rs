//! Starts what is measured, lets the contenders take turns, and tells what was found.

mod child;
mod contender;
mod html;
mod idle;
mod outcome;
mod scenario;
mod sdk;
mod server;
mod table;

use std::{fs, time::Duration};

use anyhow::{Context, Result, bail};
use tokio::signal::unix::{SignalKind, signal};

use crate::{args::Run, measured::Measured};
use child::{Child, Pinned};
use clap::ValueEnum;
use contender::Contender;
use outcome::{Outcome, Report};
use scenario::{Asking, Kind, PAYLOAD_BYTES, Scenario, Shape};
use server::Running;

/// Before each measurement: connections are made, caches filled, allocators grown.
const WARMUP: Duration = Duration::from_millis(500);

/// How long a role may take beyond its own time.
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
    child::allow_many_files()?;
    let mut report = Report::new(options);
    for scenario in scenarios {
        let contenders: Vec<&Contender> = contenders
            .iter()
            .filter(|contender| contender.suits(&scenario))
            .collect();
        let mut outcome = Outcome::new(&scenario, &contenders);
        if let Kind::Idle = scenario.kind {
            for contender in contenders {
                let facts = idle::measure(options, contender).await;
                outcome.add_facts(&contender.name, facts);
            }
        } else {
            take_turns(options, &scenario, &contenders, &mut outcome).await;
        }
        outcome.finish();
        println!("{outcome}");
        report.scenarios.push(outcome);
        // After each scenario, so that an interrupted run leaves what it has found.
        save(options, &report)?;
    }
    Ok(())
}

fn save(options: &Run, report: &Report) -> Result<()> {
    if let Some(file) = &options.json {
        fs::write(file, serde_json::to_vec_pretty(report)?)
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = &options.html {
        fs::write(file, html::page(report).as_bytes())
            .with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(())
}

async fn take_turns(
    options: &Run,
    scenario: &Scenario,
    contenders: &[&Contender],
    outcome: &mut Outcome,
) {
    for round in 1..=options.rounds {
        for contender in contenders {
            let measured = measure(options, scenario, contender).await;
            let said = match &measured {
                Ok(measured) => outcome.brief(measured),
                Err(error) => format!("{error:#}"),
            };
            eprintln!(
                "{} {round}/{} {}: {said}",
                scenario.name, options.rounds, contender.name
            );
            outcome.add(&contender.name, measured.ok());
        }
    }
}

/// One measurement: a fresh server, a fresh callee, a fresh caller.
async fn measure(options: &Run, scenario: &Scenario, contender: &Contender) -> Result<Measured> {
    // Children inherit where they may run from this thread.
    let _pinned = scenario.one_core.then(Pinned::here).transpose()?;
    let server = start(options, contender).await?;
    let measured = match scenario.kind {
        Kind::Calls(shape) => calls(options, contender, &server, shape).await,
        Kind::Fanout { subscribers, ahead } => {
            let mut words = peer("fanout", options, contender, &server);
            words.extend([
                format!("--connections={subscribers}"),
                format!("--ahead={ahead}"),
                format!("--payload-bytes={PAYLOAD_BYTES}"),
            ]);
            listen(options, &server, words).await
        }
        Kind::Queue { producers, consume } => {
            let mut words = peer("queue", options, contender, &server);
            words.push(format!("--connections={producers}"));
            words.extend(consume.then(|| "--consume".to_owned()));
            listen(options, &server, words).await
        }
        Kind::Http { connections } => http(options, contender, &server, connections).await,
        Kind::Sdk { in_flight } => sdk(options, contender, &server, in_flight).await,
        Kind::Gateway(asking) => gateway(options, &server, asking).await,
        Kind::Idle => bail!("memory has no rounds"),
    };
    server.end().await;
    measured
}

async fn start(options: &Run, contender: &Contender) -> Result<Running> {
    let server = contender.server.start().await?;
    if options.profile {
        eprintln!("{} is process {}", contender.name, server.pid());
    }
    Ok(server)
}

async fn calls(
    options: &Run,
    contender: &Contender,
    server: &Running,
    shape: Shape,
) -> Result<Measured> {
    let fire = shape.fire.map(|fire| format!("--fire={fire}"));
    let mut callee = peer("callee", options, contender, server);
    callee.push(format!("--connections={}", shape.callees));
    callee.extend(fire.clone());
    let mut callee = Child::role(&callee)?;
    callee.line(PATIENCE).await?;

    let mut caller = peer("caller", options, contender, server);
    caller.extend([
        format!("--connections={}", shape.callers),
        format!("--in-flight={}", shape.in_flight),
        format!("--payload-bytes={}", shape.payload_bytes),
    ]);
    caller.extend(fire);
    caller.extend((!shape.is_pairs()).then(|| "--one-callee".to_owned()));
    let measured = listen(options, server, caller).await;
    callee.end().await;
    measured
}

async fn http(
    options: &Run,
    contender: &Contender,
    server: &Running,
    connections: usize,
) -> Result<Measured> {
    let callee = if let server::Server::Web { worker: false } = contender.server {
        None
    } else {
        let mut words = peer("callee", options, contender, server);
        // A relay passes the body alone.
        words.extend((!contender.is_bare()).then(|| "--http".to_owned()));
        let mut callee = Child::role(&words)?;
        callee.line(PATIENCE).await?;
        Some(callee)
    };
    let caller = [
        "caller",
        "--tongue=http",
        &format!("--at={}", server.http),
        &format!("--connections={connections}"),
        "--in-flight=1",
        &format!("--payload-bytes={PAYLOAD_BYTES}"),
    ];
    let measured = listen(options, server, caller.map(str::to_owned).to_vec()).await;
    if let Some(callee) = callee {
        callee.end().await;
    }
    measured
}

async fn gateway(options: &Run, server: &Running, asking: Asking) -> Result<Measured> {
    let mut words = vec![
        "ask".to_owned(),
        format!("--at={}", server.http),
        format!("--key={}", server.key),
        format!("--connections={}", asking.connections),
        format!("--prompt-bytes={}", asking.prompt_bytes),
        format!("--tokens={}", asking.tokens),
        format!("--pace-us={}", asking.pace_us),
    ];
    words.extend(asking.first.then(|| "--first".to_owned()));
    listen(options, server, words).await
}

async fn sdk(
    options: &Run,
    contender: &Contender,
    server: &Running,
    in_flight: usize,
) -> Result<Measured> {
    let program = contender.program.as_ref().context("no program")?;
    let url = format!("ws://{}", server.address);
    let mut callee = program.start(&url, &["callee".to_owned()])?;
    callee.line_with("ready", PATIENCE).await?;
    let words = [
        "caller".to_owned(),
        in_flight.to_string(),
        WARMUP.as_millis().to_string(),
        options.seconds.to_string(),
    ];
    let mut caller = program.start(&url, &words)?;
    let patience = PATIENCE + WARMUP + Duration::from_secs_f64(options.seconds);
    let line = caller.line_with("{", patience).await?;
    caller.end().await;
    callee.end().await;
    Ok(serde_json::from_str(&line)?)
}

/// What each role that speaks to the server is told.
fn peer(role: &str, options: &Run, contender: &Contender, server: &Running) -> Vec<String> {
    let tongue = contender.tongue.to_possible_value();
    let tongue = tongue.as_ref().map_or("", |value| value.get_name());
    let mut words = vec![
        role.to_owned(),
        format!("--at={}", server.address),
        format!("--tongue={tongue}"),
    ];
    words.extend(contender.is_bare().then(|| "--bare".to_owned()));
    words.extend(
        options
            .write_each_frame
            .then(|| "--write-each-frame".to_owned()),
    );
    words
}

/// Starts the role that measures, and waits for what it found.
async fn listen(options: &Run, server: &Running, mut words: Vec<String>) -> Result<Measured> {
    words.extend([
        format!("--warmup-ms={}", WARMUP.as_millis()),
        format!("--seconds={}", options.seconds),
        format!("--watch={}", server.pid()),
    ]);
    let mut child = Child::role(&words)?;
    let patience = PATIENCE + WARMUP + Duration::from_secs_f64(options.seconds);
    let line = child.line(patience).await?;
    child.end().await;
    Ok(serde_json::from_str(&line)?)
}
