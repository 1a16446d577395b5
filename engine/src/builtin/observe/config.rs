//! Settings of the built-in `observe`: the keys of the iii module `iii-observability`.

use serde::Deserialize;

/// Settings of `observe`. The defaults are those of an engine whose file has no block for it; a
/// file that has a block without `enabled` or `exporter` means `false` and `otlp` by them, which
/// is for whoever reads the file to fill in.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the keys of the file"
)]
pub struct Config {
    pub enabled: bool,
    pub service_name: String,
    pub service_version: Option<String>,
    pub service_namespace: Option<String>,
    /// Where spans go.
    pub exporter: Exporter,
    /// An OTLP/HTTP endpoint, `http://host:4318`. OTLP over gRPC (port 4317) is not spoken.
    pub endpoint: String,
    /// Share of the traces begun by the engine that are recorded.
    pub sampling_ratio: f64,
    pub sampling: Option<Sampling>,
    /// Traces kept in memory, each with all its spans; spans in all are at most 16 times as many.
    pub memory_max_spans: usize,
    pub metrics_enabled: bool,
    pub metrics_exporter: Exporter,
    pub metrics_retention_seconds: u64,
    pub metrics_max_count: usize,
    /// The HTTP route under which Prometheus finds its page. None unless set: a route of
    /// that path may be somebody else's.
    pub prometheus_path: Option<String>,
    pub logs_enabled: bool,
    pub logs_exporter: Exporter,
    pub logs_max_count: usize,
    pub logs_retention_seconds: Option<u64>,
    /// Records sent to the endpoint at once, at most 10 000. Spans and metrics too.
    pub logs_batch_size: usize,
    /// How long something may wait to be sent to the endpoint, 100 to 3 600 000.
    pub logs_flush_interval_ms: u64,
    /// Share of the logs that are kept.
    pub logs_sampling_ratio: f64,
    /// Logs of workers are also written to the engine's own log.
    pub logs_console_output: bool,
    pub alerts: Vec<Alert>,
    /// Of the engine's own log; read where that is set up.
    pub level: Option<String>,
    pub format: Option<String>,
    pub trace_storage: TraceStorage,
    /// Taken and without effect: a span is shown once it has ended.
    pub live_spans: bool,
    /// Taken and without effect.
    pub collapse_spans: Vec<String>,
    /// Bytes of logs, and of metrics, kept in memory.
    pub memory_bytes_max: usize,
    /// Telemetry bodies that wait to be read, in bytes; more are dropped and counted.
    pub inbox_bytes_max: usize,
}

/// Where telemetry goes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Exporter {
    Memory,
    Otlp,
    Both,
}

impl Exporter {
    pub(super) fn keeps(self) -> bool {
        self != Exporter::Otlp
    }

    pub(super) fn sends(self) -> bool {
        self != Exporter::Memory
    }
}

/// Which traces the engine begins are recorded; overrides `sampling_ratio`.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    pub default: Option<f64>,
    /// The first that fits decides.
    pub rules: Vec<Rule>,
    /// A caller's decision stands. Default true.
    pub parent_based: Option<bool>,
    pub rate_limit: Option<RateLimit>,
}

#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// A function's id; `*` stands for any text. None fits all.
    pub operation: Option<String>,
    /// The engine's `service_name`, likewise.
    pub service: Option<String>,
    pub rate: f64,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    pub max_traces_per_second: u32,
}

#[derive(Clone, PartialEq, Debug, Deserialize)]
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

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
pub enum Operator {
    #[default]
    #[serde(rename = ">", alias = "gt", alias = "greater_than")]
    Above,
    #[serde(rename = ">=", alias = "gte", alias = "greater_than_or_equal")]
    AtLeast,
    #[serde(rename = "<", alias = "lt", alias = "less_than")]
    Below,
    #[serde(rename = "<=", alias = "lte", alias = "less_than_or_equal")]
    AtMost,
    #[serde(rename = "==", alias = "=", alias = "eq", alias = "equal")]
    Equal,
    #[serde(rename = "!=", alias = "ne", alias = "not_equal")]
    NotEqual,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
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

/// Spans are kept in memory only: `directory`, `max_disk_bytes` and the watermark are taken and
/// without effect.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TraceStorage {
    pub enabled: bool,
    pub directory: Option<String>,
    pub max_disk_bytes: Option<u64>,
    pub retention_seconds: Option<u64>,
    pub memory_max_bytes: usize,
    pub memory_low_watermark_ratio: f64,
    /// How long a trace may wait for its root before it counts as never complete.
    pub pending_max_age_seconds: u64,
}

impl Default for TraceStorage {
    fn default() -> Self {
        TraceStorage {
            enabled: true,
            directory: None,
            max_disk_bytes: None,
            retention_seconds: None,
            memory_max_bytes: 64 << 20,
            memory_low_watermark_ratio: 0.75,
            pending_max_age_seconds: 3600,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            enabled: true,
            service_name: "agentos".to_owned(),
            service_version: None,
            service_namespace: None,
            exporter: Exporter::Memory,
            endpoint: "http://localhost:4317".to_owned(),
            sampling_ratio: 1.0,
            sampling: None,
            memory_max_spans: 1000,
            metrics_enabled: true,
            metrics_exporter: Exporter::Memory,
            metrics_retention_seconds: 3600,
            metrics_max_count: 10_000,
            prometheus_path: None,
            logs_enabled: true,
            logs_exporter: Exporter::Memory,
            logs_max_count: 1000,
            logs_retention_seconds: None,
            logs_batch_size: 100,
            logs_flush_interval_ms: 5000,
            logs_sampling_ratio: 1.0,
            logs_console_output: true,
            alerts: Vec::new(),
            level: None,
            format: None,
            trace_storage: TraceStorage::default(),
            live_spans: false,
            collapse_spans: Vec::new(),
            memory_bytes_max: 32 << 20,
            inbox_bytes_max: 32 << 20,
        }
    }
}

fn minute() -> u64 {
    60
}

fn yes() -> bool {
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_keys_of_the_module_are_read() {
        let config: Config = serde_json::from_str(
            r#"{"enabled":true,"exporter":"both","endpoint":"http://collector:4318","sampling":{"default":0.1,
                "rules":[{"operation":"orders::*","rate":1}],"parent_based":true,"rate_limit":{"max_traces_per_second":5}},
                "alerts":[{"name":"a","metric":"iii.invocations.error","threshold":1,"operator":">=","action":{"type":"function","path":"ops::page"}},
                          {"name":"b","metric":"m","threshold":1,"action":{"type":"webhook","url":"http://x"}},
                          {"name":"c","metric":"m","threshold":1}]}"#,
        )
        .unwrap();
        assert_eq!(config.exporter, Exporter::Both);
        assert_eq!(config.alerts[0].operator, Operator::AtLeast);
        assert_eq!(config.alerts[0].window_seconds, 60);
        assert_eq!(config.alerts[2].action, Action::Log);
        assert!(serde_json::from_str::<Config>(r#"{"exportr":"both"}"#).is_err());
    }
}
