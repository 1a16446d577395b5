//! Limits of the built-in cron.

use serde::Deserialize;

/// Settings of `cron`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// How long an engine that has died keeps others from running its job. A running job's lock is
    /// renewed.
    pub lock_ttl_ms: u64,
    /// Engines on one store that give the same name run a job once among them.
    pub lock_index: String,
    /// Longest run of a job; then its function is cancelled.
    pub run_ms_max: u64,
    /// Jobs that run at one time; others wait their turn.
    pub runs_max: usize,
    /// A run that would begin later than this has been missed.
    pub late_ms_max: u64,
    /// Runs that `missed: all` makes up for; older ones are dropped, with a warning.
    pub missed_runs_max: usize,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            lock_ttl_ms: 30_000,
            lock_index: "cron_locks".to_owned(),
            run_ms_max: 3_600_000,
            runs_max: 256,
            late_ms_max: 60_000,
            missed_runs_max: 100,
        }
    }
}
