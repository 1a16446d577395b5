//! Figures of the built binary, measured from outside. Printed, never asserted.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::count::Count;
use crate::stage::{root, step};

const ROUNDS: usize = 15;
const PATIENCE: Duration = Duration::from_secs(10);
/// After which an engine counts as idle.
const SETTLED: Duration = Duration::from_secs(2);

/// Warm start to ready, and memory when idle, with all in-process workers.
pub(crate) fn boot() -> Result<()> {
    step(".", "cargo build --release").run(&mut Count::default())?;
    let folder = std::env::temp_dir().join(format!("agentos-bench-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    let outcome = measure(&folder);
    fs::remove_dir_all(&folder)?;
    let (mut starts, memory_kib) = outcome?;
    starts.sort();
    let ms = |duration: Duration| duration.as_secs_f64() * 1_000.0;
    println!(
        "\nwarm start to ready  median {:.0} ms, worst {:.0} ms of {ROUNDS}",
        ms(starts[ROUNDS / 2]),
        ms(starts[ROUNDS - 1])
    );
    println!(
        "idle memory          {:.1} MiB resident",
        memory_kib as f64 / 1_024.0
    );
    Ok(())
}

/// The engine against what it is compared with: `bench/README.md`.
pub(crate) fn against_others(given: &[&str]) -> Result<()> {
    step(".", "cargo build --release --package agentos").run(&mut Count::default())?;
    let status = Command::new("cargo")
        .args(["run", "--release", "--quiet", "--package", "agentos-bench"])
        .args(["--", "run"])
        .args(given)
        .current_dir(root())
        .status()?;
    if !status.success() {
        bail!("the benchmark ended with {status}");
    }
    Ok(())
}

fn measure(folder: &Path) -> Result<(Vec<Duration>, u64)> {
    // The first start makes token and store; it is not counted.
    let (mut engine, _) = start(folder)?;
    stop(&mut engine)?;
    let mut starts = Vec::new();
    let mut memory_kib = 0;
    for round in 0..ROUNDS {
        let (mut engine, took) = start(folder)?;
        starts.push(took);
        if round + 1 == ROUNDS {
            std::thread::sleep(SETTLED);
            memory_kib = resident_kib(engine.id())?;
        }
        stop(&mut engine)?;
    }
    Ok((starts, memory_kib))
}

/// Starts an engine and waits until it says over HTTP that it is ready.
fn start(folder: &Path) -> Result<(Child, Duration)> {
    let note = folder.join("data/engine.json");
    let began = Instant::now();
    let engine = Command::new(root().join("target/release/agentos"))
        .args(["start", "--bus-port", "0", "--http-port", "0", "--data-dir"])
        .arg(folder.join("data"))
        .current_dir(folder)
        .env("AGENTOS_HOME", folder.join("home"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()?;
    while began.elapsed() < PATIENCE {
        if let Some(address) = fs::read_to_string(&note)
            .ok()
            .as_deref()
            .and_then(http_address)
            && is_ready(&address)
        {
            return Ok((engine, began.elapsed()));
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    bail!("the engine was not ready in {PATIENCE:?}")
}

/// The address in `"http":"http://ADDRESS"`.
fn http_address(note: &str) -> Option<String> {
    let (_, after) = note.split_once("\"http\":\"http://")?;
    Some(after.split_once('"')?.0.to_owned())
}

fn is_ready(address: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.write_all(
            b"GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    ask().is_ok_and(|answer| answer.starts_with("HTTP/1.1 200"))
}

fn resident_kib(pid: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS:"))
        .context("no figure for memory")?;
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .context("no number for memory")
}

fn stop(engine: &mut Child) -> Result<()> {
    let pid = engine.id().to_string();
    Command::new("kill").args(["-TERM", &pid]).status()?;
    engine.wait()?;
    Ok(())
}
