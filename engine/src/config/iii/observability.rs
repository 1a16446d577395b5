//! `iii-observability`: traces, metrics, logs and alerts.
//!
//! What the file does not say, the variables of OpenTelemetry may.

mod keys;

use serde::{Deserialize, Serialize};

use crate::config::{Env, Error, Format, Level, place::Place};
use keys::Keys;

/// What `iii-observability` is asked for. Always there.
#[expect(clippy::struct_excessive_bools, reason = "so many switches it has")]
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Observability {
    pub enabled: bool,
    pub service_name: String,
    pub service_version: Option<String>,
    pub service_namespace: Option<String>,
    pub exporter: Exporter,
    /// OTLP over gRPC.
    pub endpoint: String,
    /// The share of traces that is kept.
    pub sampling_ratio: f64,
    pub sampling: Option<Sampling>,
    pub memory_max_spans: u64,
    pub metrics_enabled: bool,
    pub metrics_exporter: MetricsExporter,
    pub metrics_retention_seconds: u64,
    pub metrics_max_count: u64,
    pub logs_enabled: bool,
    pub logs_exporter: LogsExporter,
    pub logs_max_count: u64,
    pub logs_retention_seconds: Option<u64>,
    pub logs_batch_size: u64,
    pub logs_flush_interval_ms: u64,
    pub logs_sampling_ratio: f64,
    pub logs_console_output: bool,
    pub alerts: Vec<Alert>,
    pub level: Level,
    pub format: Format,
    pub trace_storage: Option<TraceStorage>,
    pub live_spans: bool,
    pub collapse_spans: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Exporter {
    Memory,
    Otlp,
    Both,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MetricsExporter {
    Memory,
    Otlp,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum LogsExporter {
    Memory,
    Otlp,
    Both,
}

/// Which traces are kept, in more words than a share.
#[derive(Clone, PartialEq, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// The share where no rule says otherwise.
    pub default: Option<f64>,
    pub rules: Vec<SamplingRule>,
    /// Follow what the caller decided.
    pub parent_based: Option<bool>,
    pub rate_limit: Option<RateLimit>,
}

#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SamplingRule {
    /// A glob on the name of the operation.
    #[serde(default)]
    pub operation: Option<String>,
    #[serde(default)]
    pub service: Option<String>,
    pub rate: f64,
}

#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    pub max_traces_per_second: u64,
}

/// Something that is done when a metric passes a threshold.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Alert {
    pub name: String,
    pub metric: String,
    pub threshold: f64,
    #[serde(default)]
    pub operator: Operator,
    #[serde(default = "minute")]
    pub window_seconds: u64,
    #[serde(default = "minute")]
    pub cooldown_seconds: u64,
    #[serde(default = "yes")]
    pub enabled: bool,
    #[serde(default)]
    pub action: Action,
}

fn minute() -> u64 {
    60
}

fn yes() -> bool {
    true
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
pub enum Operator {
    #[default]
    #[serde(rename = ">", alias = "gt", alias = "greater_than")]
    Greater,
    #[serde(rename = ">=", alias = "gte", alias = "greater_than_or_equal")]
    GreaterOrEqual,
    #[serde(rename = "<", alias = "lt", alias = "less_than")]
    Less,
    #[serde(rename = "<=", alias = "lte", alias = "less_than_or_equal")]
    LessOrEqual,
    #[serde(rename = "==", alias = "eq", alias = "equal")]
    Equal,
    #[serde(rename = "!=", alias = "ne", alias = "not_equal")]
    NotEqual,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "lowercase", deny_unknown_fields)]
pub enum Action {
    #[default]
    Log,
    Webhook {
        url: String,
    },
    Function {
        path: String,
    },
}

/// Traces on disk.
#[derive(Clone, PartialEq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct TraceStorage {
    pub enabled: bool,
    pub directory: Option<String>,
    pub max_disk_bytes: Option<u64>,
    pub retention_seconds: Option<u64>,
    pub memory_max_bytes: Option<u64>,
    pub memory_low_watermark_ratio: f64,
    pub pending_max_age_seconds: u64,
}

impl Default for TraceStorage {
    fn default() -> Self {
        TraceStorage {
            enabled: true,
            directory: None,
            max_disk_bytes: None,
            retention_seconds: None,
            memory_max_bytes: None,
            memory_low_watermark_ratio: 0.75,
            pending_max_age_seconds: 3600,
        }
    }
}

/// Reads the block at `config`; `None` when the module is not listed.
pub(super) fn read(config: Option<&Place<'_>>, env: &dyn Env) -> Result<Observability, Error> {
    let block = config.filter(|config| config.says_something());
    let keys: Keys = match block {
        Some(config) => config.read()?,
        None => Keys::default(),
    };
    if let Some(config) = block {
        keys.check(config)?;
    }
    Ok(keys.with_env(env).resolved(block.is_some()))
}
