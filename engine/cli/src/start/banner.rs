//! What `agentos start` says when it is up: where, who, and a line to try.

use agentos_engine::{
    boot::Running,
    config::{Auth, Settings},
    supervisor::{State, Status},
};
use serde_json::{Value, json};

use super::progress::functions_of;
use crate::screen::{BOLD, Cell, DIM, GREEN, RED, Screen, YELLOW, styled};

/// Everything in the engine's process is up.
pub(super) fn started(running: &Running, settings: &Settings, screen: Screen) {
    if screen.json {
        return screen.value(&summary("started", running, settings));
    }
    let took = running.took().as_millis();
    screen.line(format!(
        "{} {}, up in {took} ms\n",
        styled(BOLD, "AgentOS"),
        env!("AGENTOS_VERSION")
    ));
    let data = settings.data_dir.display().to_string();
    for (name, value) in [
        ("bus", bus_url(running)),
        ("http", http_url(running).unwrap_or_default()),
        ("stream", running.stream_url().unwrap_or_default()),
        ("data", data),
    ] {
        if value.is_empty() {
            continue;
        }
        screen.line(format!("  {}  {value}", styled(DIM, format!("{name:<6}"))));
    }
    if needs_token(running) {
        screen.line(format!("  {}  {}", styled(DIM, "token "), running.token()));
    }
    screen.line("");
}

/// The worker processes are up too, as far as they will be.
pub(super) fn ready(running: &Running, settings: &Settings, screen: Screen) {
    if screen.json {
        return screen.value(&summary("ready", running, settings));
    }
    let rows = rows(running, settings);
    if !running.supervisor().statuses().is_empty() {
        // Between what was said while they came up and what there is now.
        screen.line("");
    }
    if !rows.is_empty() {
        screen.table(&["  WORKER", "LANGUAGE", "FUNCTIONS", "STATE"], &rows);
        screen.line("");
    }
    screen.line(curl(running));
    screen.line(styled(
        DIM,
        "\nstop with Ctrl-C or `agentos stop`; talk with `agentos chat`",
    ));
}

fn needs_token(running: &Running) -> bool {
    running.auth() != (Auth::None, Auth::None)
}

fn bus_url(running: &Running) -> String {
    format!("ws://{}", running.bus_address())
}

fn http_url(running: &Running) -> Option<String> {
    running
        .http_address()
        .map(|address| format!("http://{address}"))
}

/// A worker for the table: in-process ones first, as they call each other first.
struct Line {
    name: String,
    language: String,
    functions: Option<usize>,
    state: String,
    note: Option<String>,
}

fn lines(running: &Running, settings: &Settings) -> Vec<Line> {
    let processes = running.supervisor().statuses();
    let sessions = running.bus().workers();
    let in_process = settings.workers.builtin.iter().map(|builtin| {
        let session = sessions
            .iter()
            .find(|session| session.hello.name == builtin.name);
        Line {
            name: builtin.name.clone(),
            language: "rust".to_owned(),
            functions: session.map(|session| session.functions.len()),
            state: "in process".to_owned(),
            note: None,
        }
    });
    in_process
        .chain(processes.iter().map(|status| line_of(status, running)))
        .collect()
}

fn line_of(status: &Status, running: &Running) -> Line {
    let functions = functions_of(status, running);
    let state = match (status.state, functions) {
        (State::Running, None) => "running, not connected".to_owned(),
        (state, _) => state.as_str().to_owned(),
    };
    let note = if status.state == State::Running {
        None
    } else {
        status.last_error.clone()
    };
    Line {
        name: status.name.clone(),
        language: status.language.to_owned(),
        functions,
        state,
        note,
    }
}

/// Why a worker does not run was said when it happened.
fn rows(running: &Running, settings: &Settings) -> Vec<Vec<Cell>> {
    let row = |line: Line| {
        let colour = match line.state.as_str() {
            "in process" | "running" => GREEN,
            "failed" => RED,
            _ => YELLOW,
        };
        let functions = line
            .functions
            .map_or_else(|| "-".to_owned(), |count| count.to_string());
        vec![
            Cell::new(format!("  {}", line.name)).style(BOLD),
            Cell::new(line.language),
            Cell::new(functions),
            Cell::new(line.state).style(colour),
        ]
    };
    lines(running, settings).into_iter().map(row).collect()
}

/// A line that works as it stands: the chat when there is an agent, else a look at the health.
fn curl(running: &Running) -> String {
    let Some(url) = http_url(running) else {
        return "agentos call engine::status".to_owned();
    };
    let has_chat = running
        .bus()
        .functions()
        .iter()
        .any(|function| function.spec.id.starts_with("api::"));
    if !has_chat {
        return format!("curl {url}/health/ready");
    }
    let token = match running.auth() {
        (_, Auth::None) => String::new(),
        (_, Auth::Token) => format!(" -H 'Authorization: Bearer {}'", running.token()),
    };
    let body =
        r#"{"model": "agent/assistant", "messages": [{"role": "user", "content": "hello"}]}"#;
    format!("curl {url}/v1/chat/completions{token} -H 'Content-Type: application/json' -d '{body}'")
}

fn summary(event: &str, running: &Running, settings: &Settings) -> Value {
    let workers: Vec<Value> = lines(running, settings)
        .into_iter()
        .map(|line| {
            json!({ "name": line.name, "language": line.language, "functions": line.functions, "state": line.state, "error": line.note })
        })
        .collect();
    json!({
        "event": event,
        "url": bus_url(running),
        "http": http_url(running),
        "stream": running.stream_url(),
        "token": needs_token(running).then(|| running.token()),
        "data_dir": settings.data_dir,
        "pid": std::process::id(),
        "took_ms": running.took().as_secs_f64() * 1000.0,
        "workers": workers,
    })
}
