//! What can be seen of a worker process: its state now, and the events as they happen.

use std::{path::PathBuf, time::Duration};

use serde::Serialize;

/// Where a worker stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// Its preparation runs, or waits for another engine that prepares the same folder.
    Preparing,
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
        matches!(self, State::Preparing | State::Starting)
    }
}

/// A worker process at one moment.
#[derive(Clone, Debug, Serialize)]
pub struct Status {
    pub name: String,
    pub language: &'static str,
    pub description: String,
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
    pub what: What,
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
