//! What can be seen of a worker process: its state now, and the events as they happen.

use std::{path::PathBuf, time::Duration};

use serde::Serialize;
use serde_json::{Value, json};

/// Where a worker stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its preparation runs, or waits for another engine that prepares the same folder.
    Preparing,
    /// It is prepared, and those it depends on do not serve yet.
    Waiting,
    /// The process is being started.
    Starting,
    Running,
    /// It ended and will be started again.
    Backoff,
    /// It cannot run until somebody does something.
    Failed,
    /// A program it needs is missing.
    Skipped,
    /// Stopped on request.
    Stopped,
}

impl State {
    pub fn as_str(self) -> &'static str {
        match self {
            State::Preparing => "preparing",
            State::Waiting => "waiting",
            State::Starting => "starting",
            State::Running => "running",
            State::Backoff => "backoff",
            State::Failed => "failed",
            State::Skipped => "skipped",
            State::Stopped => "stopped",
        }
    }

    /// True while the first start may still succeed by itself.
    pub fn is_under_way(self) -> bool {
        matches!(self, State::Preparing | State::Waiting | State::Starting)
    }
}

/// One instance of a worker, for as long as the supervisor keeps it, over all its starts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize)]
pub struct InstanceId(pub u32);

/// A worker process at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub name: String,
    pub instance: InstanceId,
    /// Hash of what it runs; known once it was prepared.
    pub build: Option<String>,
    pub language: &'static str,
    pub description: String,
    /// Over which time a new connection of it gets its whole share of the calls.
    #[serde(skip)]
    pub slow_start: Duration,
    pub state: State,
    /// Of the worker itself, while it runs.
    pub pid: Option<u32>,
    pub restarts: u32,
    /// Milliseconds of the Unix epoch at which `state` began.
    pub since_ms: u64,
    pub last_error: Option<String>,
    pub folder: PathBuf,
    /// Its standard output and error.
    pub log: PathBuf,
}

/// Something that happened to a worker process.
#[derive(Clone, Debug)]
pub struct Event {
    pub worker: String,
    pub instance: InstanceId,
    pub what: What,
}

impl Event {
    /// As it is told to programs.
    pub fn to_json(&self) -> Value {
        let (name, more) = match &self.what {
            What::Preparing { step, of, command } => (
                "preparing",
                json!({ "step": step, "of": of, "command": command }),
            ),
            What::Output(line) => ("output", json!({ "line": line })),
            What::Prepared { took } => ("prepared", json!({ "took_ms": took.as_millis() as u64 })),
            What::Started { pid } => ("process_started", json!({ "pid": pid })),
            What::Exited { how, retry_in } => (
                "process_ended",
                json!({ "how": how, "retry_in_ms": retry_in.as_millis() as u64 }),
            ),
            What::CrashLoop { exits, output } => {
                ("crash_loop", json!({ "exits": exits, "output": output }))
            }
            What::Failed { message, output } => {
                ("failed", json!({ "message": message, "output": output }))
            }
            What::Skipped { message } => ("skipped", json!({ "message": message })),
            What::Stopped => ("process_stopped", json!({})),
        };
        let mut told = json!({ "event": name, "worker": self.worker, "instance": self.instance });
        if let (Value::Object(told), Value::Object(more)) = (&mut told, more) {
            told.extend(more);
        }
        told
    }
}

#[derive(Clone, Debug)]
pub enum What {
    /// Step `step` of `of` of its preparation starts.
    Preparing {
        step: usize,
        of: usize,
        command: String,
    },
    /// A line that a step printed.
    Output(String),
    Prepared {
        took: Duration,
    },
    Started {
        pid: u32,
    },
    /// The process ended by itself.
    Exited {
        how: String,
        retry_in: Duration,
    },
    /// It ended again and again; `output` is the last it said.
    CrashLoop {
        exits: u32,
        output: Vec<String>,
    },
    /// `output` is the last that the failing step said.
    Failed {
        message: String,
        output: Vec<String>,
    },
    Skipped {
        message: String,
    },
    Stopped,
}
