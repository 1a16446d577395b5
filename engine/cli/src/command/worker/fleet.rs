//! `agentos worker ls` and `versions`.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    args::Common,
    client,
    failure::Failure,
    screen::{BOLD, Cell, DIM, GREEN, RED, Screen, YELLOW, plain, styled},
};

/// A worker of the engine's fleet.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Worker {
    pub(crate) name: String,
    pub(crate) mode: String,
    pub(crate) language: String,
    pub(crate) source: String,
    pub(crate) build: Option<String>,
    pub(crate) instances: Vec<Instance>,
}

/// One instance of it.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Instance {
    pub(crate) instance: Option<u32>,
    pub(crate) state: String,
    pub(crate) pid: Option<u32>,
    pub(crate) build: Option<String>,
    pub(crate) restarts: u64,
    pub(crate) share: Option<u64>,
    pub(crate) functions: u64,
    pub(crate) calls_in_flight: u64,
    pub(crate) calls: u64,
    pub(crate) errors: u64,
    pub(crate) memory_bytes: Option<u64>,
    pub(crate) cpu_ms: Option<u64>,
    pub(crate) last_error: Option<String>,
}

pub(crate) async fn list(common: &Common, screen: &Screen) -> Result<(), Failure> {
    let client = client::connect(common).await?;
    let mut fleet: Value = client.trigger("engine::workers::fleet", &json!({})).await?;
    let workers = fleet["workers"].take();
    if screen.json {
        screen.value(&workers);
        return Ok(());
    }
    let workers: Vec<Worker> = serde_json::from_value(workers).unwrap_or_default();
    let rows: Vec<Vec<Cell>> = workers.iter().flat_map(rows).collect();
    screen.table(
        &[
            "NAME", "LANGUAGE", "STATE", "BUILD", "SHARE", "CALLS", "ERRORS", "PID", "RESTARTS",
            "SOURCE",
        ],
        &rows,
    );
    for worker in &workers {
        for instance in &worker.instances {
            if let (Some(error), true) = (&instance.last_error, instance.state != "running") {
                screen.line(format!("\n{}: {error}", styled(BOLD, &worker.name)));
            }
        }
    }
    Ok(())
}

fn rows(worker: &Worker) -> Vec<Vec<Cell>> {
    let none = [Instance {
        state: worker.mode.clone(),
        ..Instance::default()
    }];
    let instances = match worker.instances.is_empty() {
        true => &none[..],
        false => &worker.instances,
    };
    instances
        .iter()
        .map(|instance| row(worker, instance))
        .collect()
}

fn row(worker: &Worker, instance: &Instance) -> Vec<Cell> {
    // A worker that is paused runs, but that is not what one wants to know of it.
    let state = match worker.mode.as_str() {
        "running" => instance.state.as_str(),
        mode => mode,
    };
    let build = instance.build.as_ref().or(worker.build.as_ref());
    let share = instance.share.map(|share| share as f64 / 10.0);
    vec![
        Cell::new(&worker.name).style(BOLD),
        Cell::new(&worker.language),
        Cell::new(state).style(match state {
            "running" => GREEN,
            "failed" => RED,
            "stopped" => DIM,
            _ => YELLOW,
        }),
        Cell::new(build.map_or("-", String::as_str)),
        Cell::new(share.map_or_else(|| "-".to_owned(), |share| format!("{share}"))),
        Cell::new(instance.calls),
        Cell::new(instance.errors),
        Cell::new(
            instance
                .pid
                .map_or_else(|| "-".to_owned(), |pid| pid.to_string()),
        ),
        Cell::new(instance.restarts),
        Cell::new(&worker.source),
    ]
}

pub(crate) async fn versions(name: &str, common: &Common, screen: &Screen) -> Result<(), Failure> {
    let client = client::connect(common).await?;
    let mut answer: Value = client
        .trigger("engine::workers::versions", &json!({ "name": name }))
        .await?;
    let versions = answer["versions"].take();
    if screen.json {
        screen.value(&versions);
        return Ok(());
    }
    let row = |version: &Value| {
        let standing = plain(&version["standing"]);
        let style = match standing.as_str() {
            "serving" => GREEN,
            "failed" => RED,
            _ => DIM,
        };
        vec![
            Cell::new(plain(&version["build"])).style(BOLD),
            Cell::new(standing).style(style),
            Cell::new(if version["kept"] == true { "yes" } else { "no" }),
            Cell::new(plain(&version["source"])),
            Cell::new(plain(&version["error"])),
        ]
    };
    let rows: Vec<Vec<Cell>> = versions.as_array().into_iter().flatten().map(row).collect();
    screen.table(&["BUILD", "STANDING", "KEPT", "SOURCE", "ERROR"], &rows);
    Ok(())
}
