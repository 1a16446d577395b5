//! `agentos status`, `workers` and `functions`: what runs, as tables or as JSON.

use agentos_sdk::Client;
use anstyle::Style;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::{
    args::{Common, Functions},
    client,
    failure::{FAILED, Failure},
    screen::{BOLD, Cell, DIM, GREEN, RED, Screen, YELLOW, plain, styled},
};

pub(crate) async fn status(common: &Common, screen: &Screen) -> Result<(), Failure> {
    let client = client::connect(common).await?;
    let status: Value = client.trigger("engine::status", &json!({})).await?;
    if screen.json {
        screen.value(&status);
        return Ok(());
    }
    for (name, value) in status.as_object().into_iter().flatten() {
        let text = match value {
            Value::Array(list) if name.starts_with("relaxed_") => {
                let names = list.iter().filter_map(Value::as_str);
                names.collect::<Vec<_>>().join(", ")
            }
            Value::Array(list) => list.len().to_string(),
            Value::Number(ms) if name == "uptime_ms" => age(ms.as_u64().unwrap_or_default()),
            other => plain(other),
        };
        screen.line(format!(
            "{}  {text}",
            styled(
                DIM,
                format!("{:<15}", name.trim_end_matches("_ms").replace('_', " "))
            )
        ));
    }
    show_processes(&status["processes"], screen);
    Ok(())
}

/// `3 d 4 h`, `2 h 5 min`, `7 min 3 s` or `12 s`.
pub(super) fn age(ms: u64) -> String {
    let (seconds, minutes, hours, days) =
        (ms / 1_000, ms / 60_000, ms / 3_600_000, ms / 86_400_000);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min {} s", seconds % 60),
        (0, _, _) => format!("{hours} h {} min", minutes % 60),
        _ => format!("{days} d {} h", hours % 24),
    }
}

fn show_processes(processes: &Value, screen: &Screen) {
    let processes: Vec<Process> = serde_json::from_value(processes.clone()).unwrap_or_default();
    for process in processes
        .iter()
        .filter(|process| process.state != "running")
    {
        let error = process.last_error.as_deref().unwrap_or_default();
        let state = styled(colour(&process.state), &process.state);
        screen.line(format!("{}: {state}: {error}", styled(BOLD, &process.name)));
    }
}

/// The supervisor's list.
async fn processes(client: &Client) -> Result<Value, Failure> {
    let mut list: Value = client
        .trigger("engine::supervisor::list", &json!({}))
        .await?;
    Ok(list["workers"].take())
}

/// A connected worker, as the engine lists it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Session {
    name: Option<String>,
    runtime: Option<String>,
    status: Option<String>,
    function_count: u64,
    active_invocations: u64,
    pid: Option<u64>,
    internal: bool,
}

/// A worker process, as the supervisor lists it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Process {
    name: String,
    language: String,
    state: String,
    pid: Option<u64>,
    restarts: u64,
    last_error: Option<String>,
}

pub(crate) async fn workers(common: &Common, screen: &Screen) -> Result<(), Failure> {
    let client = client::connect(common).await?;
    let sessions: Value = client.trigger("engine::workers::list", &json!({})).await?;
    let processes = processes(&client).await?;
    if screen.json {
        screen.value(&json!({ "workers": sessions["workers"], "processes": processes }));
        return Ok(());
    }
    let sessions: Vec<Session> =
        serde_json::from_value(sessions["workers"].clone()).unwrap_or_default();
    let processes: Vec<Process> = serde_json::from_value(processes).unwrap_or_default();
    screen.table(
        &[
            "NAME",
            "LANGUAGE",
            "STATE",
            "FUNCTIONS",
            "CALLS",
            "PID",
            "RESTARTS",
        ],
        &rows(&sessions, &processes),
    );
    for process in &processes {
        if let (Some(error), true) = (&process.last_error, process.state != "running") {
            screen.line(format!("\n{}: {error}", styled(BOLD, &process.name)));
        }
    }
    Ok(())
}

/// Processes first and with their sessions, then who else is connected.
fn rows(sessions: &[Session], processes: &[Process]) -> Vec<Vec<Cell>> {
    let named = |session: &&Session, name: &str| session.name.as_deref() == Some(name);
    let number =
        |number: Option<u64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
    let row =
        |name: &str, language: &str, state: &str, session: Option<&Session>, pid, restarts| {
            vec![
                Cell::new(name).style(BOLD),
                Cell::new(language),
                Cell::new(state).style(colour(state)),
                Cell::new(number(session.map(|session| session.function_count))),
                Cell::new(number(session.map(|session| session.active_invocations))),
                Cell::new(number(pid)),
                Cell::new(number(restarts)),
            ]
        };
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for process in processes {
        let session = sessions
            .iter()
            .find(|session| named(session, &process.name));
        rows.push(row(
            &process.name,
            &process.language,
            &process.state,
            session,
            process.pid,
            Some(process.restarts),
        ));
    }
    for session in sessions {
        let name = session.name.as_deref().unwrap_or("(no name)");
        if session.internal && name == "engine"
            || processes.iter().any(|process| process.name == name)
        {
            continue;
        }
        let language = session.runtime.as_deref().unwrap_or("-");
        rows.push(row(
            name,
            language,
            session.status.as_deref().unwrap_or("connected"),
            Some(session),
            session.pid,
            None,
        ));
    }
    rows
}

fn colour(state: &str) -> Style {
    match state {
        "running" | "connected" | "available" | "busy" => GREEN,
        "failed" => RED,
        "backoff" | "skipped" | "preparing" | "starting" => YELLOW,
        _ => DIM,
    }
}

/// A function, as the engine lists it.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Function {
    function_id: String,
    worker_name: Option<String>,
    description: Option<String>,
    request_format: Value,
    response_format: Value,
}

pub(crate) async fn functions(
    options: Functions,
    common: &Common,
    screen: &Screen,
) -> Result<(), Failure> {
    let client = client::connect(common).await?;
    let internal = options.all
        || options
            .id
            .as_deref()
            .is_some_and(|id| id.starts_with("engine::"));
    let list: Value = client
        .trigger(
            "engine::functions::list",
            &json!({ "include_internal": internal }),
        )
        .await?;
    match options.id {
        Some(id) => show_function(&list["functions"], &id, screen),
        None if screen.json => {
            screen.value(&list["functions"]);
            Ok(())
        }
        None => {
            show_functions(&list["functions"], screen);
            Ok(())
        }
    }
}

fn show_functions(list: &Value, screen: &Screen) {
    let mut functions: Vec<Function> = serde_json::from_value(list.clone()).unwrap_or_default();
    functions.sort_by(|one, other| one.function_id.cmp(&other.function_id));
    let row = |function: &Function| {
        let description = function.description.as_deref().unwrap_or_default();
        vec![
            Cell::new(&function.function_id).style(BOLD),
            Cell::new(function.worker_name.as_deref().unwrap_or("-")),
            Cell::new(description.lines().next().unwrap_or_default()),
        ]
    };
    let rows: Vec<Vec<Cell>> = functions.iter().map(row).collect();
    screen.table(&["FUNCTION", "WORKER", "DESCRIPTION"], &rows);
}

fn show_function(list: &Value, id: &str, screen: &Screen) -> Result<(), Failure> {
    let found = list
        .as_array()
        .into_iter()
        .flatten()
        .find(|function| function["function_id"] == id);
    let Some(found) = found else {
        return Err(Failure::new(FAILED, format!("no worker offers `{id}`"))
            .remedy("see what there is with `agentos functions`"));
    };
    if screen.json {
        screen.value(found);
        return Ok(());
    }
    let function: Function = serde_json::from_value(found.clone()).unwrap_or_default();
    screen.line(format!(
        "{}  {}",
        styled(BOLD, id),
        styled(DIM, function.worker_name.unwrap_or_default())
    ));
    if let Some(description) = &function.description {
        screen.line(description);
    }
    for (title, schema) in [
        ("takes", function.request_format),
        ("gives", function.response_format),
    ] {
        if !schema.is_null() {
            screen.line(format!("\n{}", styled(DIM, title)));
            screen.value(&schema);
        }
    }
    Ok(())
}
