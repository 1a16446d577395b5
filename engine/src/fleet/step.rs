//! What happens to a worker while it is swapped, scaled, paused: for whoever watches.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

use super::traffic::Counts;
use crate::supervisor::InstanceId;

/// One step of one worker.
#[derive(Clone, Debug, Serialize)]
pub struct Step {
    pub worker: String,
    #[serde(flatten)]
    pub what: What,
}

#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum What {
    /// A new build is to take the place of the old one.
    SwapStarted {
        /// `swap`, `rollback`, `restart` or `scale`.
        why: &'static str,
        from: Option<String>,
        to: String,
    },
    /// An instance runs and has registered its functions.
    InstanceReady {
        instance: Option<InstanceId>,
        build: Option<String>,
        functions: usize,
    },
    /// The new build does not offer what the old one did.
    FunctionsMissing {
        functions: Vec<String>,
    },
    HealthPassed {
        function: String,
        took_ms: u64,
    },
    /// The new build gets its first calls.
    TrialStarted {
        percent: u8,
        hold_ms: u64,
    },
    /// How the new build does beside the old one.
    TrialGoesOn {
        new: Tally,
        old: Tally,
        left_ms: u64,
    },
    /// All new calls go to the new build.
    TrafficShifted {
        build: Option<String>,
    },
    DrainStarted {
        calls: u32,
    },
    Drained {
        took_ms: u64,
        cut: u32,
    },
    SwapDone {
        build: Option<String>,
        previous: Option<String>,
        took_ms: u64,
    },
    /// The old build serves, as before.
    SwapFailed {
        reason: &'static str,
        message: String,
        output: Vec<String>,
    },
    WorkerScaled {
        replicas: usize,
    },
    /// It is started without a worker that it depends on, and that does not serve yet.
    DependencyMissing {
        dependency: String,
        waited_ms: u64,
    },
    WorkerPaused,
    WorkerResumed,
    WorkerStarted,
    WorkerStopped,
    /// It answers its health function again, or not any more.
    WorkerUnhealthy {
        instance: InstanceId,
        error: String,
    },
    WorkerHealthy {
        instance: InstanceId,
    },
}

/// Calls and failures, for people.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Tally {
    pub calls: u64,
    pub errors: u64,
    pub error_rate: f64,
}

impl From<Counts> for Tally {
    fn from(counts: Counts) -> Self {
        Tally {
            calls: counts.calls,
            errors: counts.errors,
            error_rate: counts.error_rate(),
        }
    }
}

impl Step {
    pub(crate) fn to_json(&self) -> Value {
        // A step has nothing in it that could not be said.
        serde_json::to_value(self).unwrap_or_else(|_| json!({ "worker": self.worker }))
    }
}

pub(super) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
