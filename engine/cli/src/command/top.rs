//! `agentos top`: what each worker does and uses, between two looks. Live on a terminal, once elsewhere.

use std::time::{Duration, Instant};

use agentos_sdk::Client;
use serde::Deserialize;
use serde_json::{Value, json};

use super::worker::fleet::{Instance, Worker};
use crate::{
    args::{Common, Top},
    client,
    failure::Failure,
    screen::{BOLD, Cell, RED, Screen},
};

/// Moves to the upper left corner and clears what is below.
const CLEAR: &str = "\x1b[H\x1b[J";

/// One look at the engine.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Look {
    workers: Vec<Worker>,
    engine: Used,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Used {
    pid: Option<u32>,
    memory_bytes: Option<u64>,
    cpu_ms: Option<u64>,
}

pub(crate) async fn run(top: &Top, common: &Common, screen: &Screen) -> Result<(), Failure> {
    let client = client::connect(common).await?;
    let mut before = look(&client).await?;
    let mut looked = Instant::now();
    loop {
        tokio::time::sleep(top.every).await;
        let now = look(&client).await?;
        let between = looked.elapsed();
        looked = Instant::now();
        let lines = lines(&before, &now, between);
        if screen.json {
            screen.value(&lines.iter().map(Line::to_json).collect::<Vec<_>>());
            return Ok(());
        }
        if screen.is_terminal() {
            screen.text(CLEAR);
        }
        show(&lines, screen);
        if !screen.is_terminal() {
            return Ok(());
        }
        before = now;
    }
}

async fn look(client: &Client) -> Result<Look, Failure> {
    let fleet: Value = client.trigger("engine::workers::fleet", &json!({})).await?;
    Ok(serde_json::from_value(fleet).unwrap_or_default())
}

/// One instance between two looks.
#[derive(Debug, PartialEq)]
struct Line {
    name: String,
    pid: Option<u32>,
    state: String,
    build: Option<String>,
    memory_bytes: Option<u64>,
    cpu_percent: Option<f64>,
    calls_in_flight: Option<u64>,
    calls_per_second: Option<f64>,
    errors_per_second: Option<f64>,
}

/// The engine first, then its workers, those that use most memory first.
fn lines(before: &Look, now: &Look, between: Duration) -> Vec<Line> {
    let seconds = between.as_secs_f64().max(0.001);
    let cpu = |before: Option<u64>, now: Option<u64>| {
        let used = now?.saturating_sub(before.unwrap_or_default());
        Some(used as f64 / seconds / 10.0)
    };
    let engine = Line {
        name: "engine".to_owned(),
        pid: now.engine.pid,
        state: "running".to_owned(),
        build: None,
        memory_bytes: now.engine.memory_bytes,
        cpu_percent: cpu(before.engine.cpu_ms, now.engine.cpu_ms),
        calls_in_flight: None,
        calls_per_second: None,
        errors_per_second: None,
    };
    let mut lines = Vec::new();
    for worker in &now.workers {
        for instance in &worker.instances {
            let earlier = earlier(before, worker, instance);
            let rate = |before: u64, now: u64| Some(now.saturating_sub(before) as f64 / seconds);
            lines.push(Line {
                name: worker.name.clone(),
                pid: instance.pid,
                state: instance.state.clone(),
                build: instance.build.clone().or_else(|| worker.build.clone()),
                memory_bytes: instance.memory_bytes,
                cpu_percent: cpu(earlier.cpu_ms, instance.cpu_ms),
                calls_in_flight: Some(instance.calls_in_flight),
                calls_per_second: rate(earlier.calls, instance.calls),
                errors_per_second: rate(earlier.errors, instance.errors),
            });
        }
    }
    lines.sort_by_key(|line| std::cmp::Reverse(line.memory_bytes));
    lines.insert(0, engine);
    lines
}

/// The same process at the look before; one that is new has done nothing then.
fn earlier(before: &Look, worker: &Worker, instance: &Instance) -> Instance {
    let workers = before.workers.iter().filter(|one| one.name == worker.name);
    let mut instances = workers.flat_map(|one| &one.instances);
    let same = instances.find(|one| one.instance == instance.instance && one.pid == instance.pid);
    same.cloned().unwrap_or_default()
}

impl Line {
    fn to_json(&self) -> Value {
        json!({
            "name": self.name,
            "pid": self.pid,
            "state": self.state,
            "build": self.build,
            "memory_bytes": self.memory_bytes,
            "cpu_percent": self.cpu_percent,
            "calls_in_flight": self.calls_in_flight,
            "calls_per_second": self.calls_per_second,
            "errors_per_second": self.errors_per_second,
        })
    }
}

fn show(lines: &[Line], screen: &Screen) {
    let dash = || "-".to_owned();
    let number = |number: Option<u64>| number.map_or_else(dash, |number| number.to_string());
    let tenths = |number: Option<f64>| number.map_or_else(dash, |number| format!("{number:.1}"));
    let row = |line: &Line| {
        let errors = Cell::new(tenths(line.errors_per_second));
        let fails = line.errors_per_second.is_some_and(|errors| errors > 0.0);
        vec![
            Cell::new(&line.name).style(BOLD),
            Cell::new(number(line.pid.map(u64::from))),
            Cell::new(&line.state),
            Cell::new(line.memory_bytes.map_or_else(dash, mebibytes)),
            Cell::new(tenths(line.cpu_percent)),
            Cell::new(number(line.calls_in_flight)),
            Cell::new(tenths(line.calls_per_second)),
            if fails { errors.style(RED) } else { errors },
            Cell::new(line.build.as_deref().unwrap_or("-")),
        ]
    };
    let rows: Vec<Vec<Cell>> = lines.iter().map(row).collect();
    screen.table(
        &[
            "NAME", "PID", "STATE", "MEMORY", "CPU %", "CALLS", "CALLS/S", "ERRORS/S", "BUILD",
        ],
        &rows,
    );
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(pid: u32, calls: u64, cpu_ms: u64) -> Look {
        let instance = json!({
            "instance": 1, "pid": pid, "state": "running", "calls": calls, "errors": calls / 10,
            "cpu_ms": cpu_ms, "memory_bytes": 1 << 20,
        });
        let worker = json!({ "name": "shop", "build": "abc", "instances": [instance] });
        serde_json::from_value(json!({ "workers": [worker], "engine": { "pid": 1 } })).unwrap()
    }

    #[test]
    fn rates_are_of_one_process_between_two_looks() {
        let check = |before: Look, calls, cpu| {
            let lines = lines(&before, &look(7, 200, 1_500), Duration::from_secs(2));
            assert_eq!(lines[0].name, "engine");
            assert_eq!(lines[1].calls_per_second, Some(calls), "{lines:?}");
            assert_eq!(lines[1].cpu_percent, Some(cpu), "{lines:?}");
        };
        check(look(7, 100, 500), 50.0, 50.0);
        // Another process has done it all since it was started.
        check(look(6, 100, 500), 100.0, 75.0);
    }
}
