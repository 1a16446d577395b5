//! Shapes of the trigger type `cron` and of `cron::*`.

use chrono::{DateTime, SecondsFormat, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub const TRIGGER_TYPE: &str = "cron";
pub const LIST: &str = "cron::list";
pub const RUN: &str = "cron::run";

/// `config` of a trigger of type [`TRIGGER_TYPE`]: exactly one of `expression`, `schedule` and
/// `interval`.
#[derive(Clone, Deserialize, JsonSchema, Default)]
#[serde(default)]
pub struct TriggerConfig {
    /// Seven fields: second, minute, hour, day of month, month, day of week, year. The year may be
    /// left out, and with it the second, which is 0 then.
    pub expression: Option<String>,
    /// Another name of `expression`.
    pub schedule: Option<String>,
    /// `6h`, `1h30m`, `10s`: at the multiples of it since 1970, UTC.
    pub interval: Option<String>,
    /// Where the clock hangs that `expression` reads, `Europe/Berlin`; UTC unless given.
    pub timezone: Option<String>,
    /// What becomes of runs whose time passed while nothing could run.
    pub missed: Missed,
    /// What becomes of times that come while the job runs.
    pub overlap: Overlap,
    /// `30s`, `5m`: each job begins a part of it later, always the same one, so that jobs of one
    /// moment do not begin in one moment.
    pub jitter: Option<String>,
    /// The job's durable name: it keeps its last run when the trigger's id changes, and triggers
    /// of one function that share it run once.
    pub name: Option<String>,
    /// Asked first with the same payload; only the answer `false` skips the run.
    pub condition_function_id: Option<String>,
}

/// What becomes of runs whose time has passed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Missed {
    /// Nothing.
    #[default]
    Skip,
    /// One run stands for all.
    Once,
    /// Each is made up for, oldest first, as far as `missed_runs_max` goes.
    All,
}

/// What becomes of times that come while the job runs.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Overlap {
    /// They are missed.
    #[default]
    Skip,
    /// They run afterwards, one after the other.
    Queue,
    /// They run beside it.
    Allow,
}

/// What a bound function gets.
#[derive(Serialize, JsonSchema)]
pub struct Event<'a> {
    pub trigger: &'static str,
    /// The trigger's id.
    pub job_id: &'a str,
    /// When the job was due, RFC 3339 in UTC.
    pub scheduled_time: String,
    /// When it was called.
    pub actual_time: String,
}

/// Input of [`LIST`]: nothing.
#[derive(Deserialize, JsonSchema, Default)]
pub struct ListInput {}

/// Output of [`LIST`].
#[derive(Serialize, JsonSchema)]
pub struct Jobs {
    pub jobs: Vec<Job>,
}

/// A job and where it stands.
#[derive(Serialize, JsonSchema)]
pub struct Job {
    pub job_id: String,
    pub function_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expression: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<String>,
    pub timezone: String,
    pub missed: Missed,
    pub overlap: Overlap,
    /// By how much each run begins later than its time.
    #[serde(skip_serializing_if = "is_zero")]
    pub jitter_ms: u64,
    /// Null when there is none to come.
    pub next_run: Option<String>,
    pub last_run: Option<LastRun>,
    pub running: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_zero(ms: &u64) -> bool {
    *ms == 0
}

/// How the last run went.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct LastRun {
    pub scheduled_time: String,
    pub actual_time: String,
    pub duration_ms: u64,
    pub outcome: Outcome,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    Done,
    /// The condition said no.
    Skipped,
    Failed,
}

/// Input of [`RUN`].
#[derive(Deserialize, JsonSchema)]
pub struct RunInput {
    pub job_id: String,
}

/// Seconds, or milliseconds when there are any, and the offset written out.
pub fn rfc3339(time: DateTime<Utc>) -> String {
    let whole = time.timestamp_subsec_millis() == 0;
    let digits = if whole {
        SecondsFormat::Secs
    } else {
        SecondsFormat::Millis
    };
    time.to_rfc3339_opts(digits, false)
}
