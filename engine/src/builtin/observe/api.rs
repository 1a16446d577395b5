//! Ids of the functions and the shapes of what they take.
//!
//! What they answer is made where it is known; `docs/observability.md` shows it. Unknown keys are
//! tolerated everywhere: SDKs add some.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The functions `engine::log::*`.
pub(super) const LEVELS: [&str; 5] = ["trace", "debug", "info", "warn", "error"];
pub(super) const LOG_PREFIX: &str = "engine::log::";
pub(super) const BAGGAGE_GET: &str = "engine::baggage::get";
pub(super) const BAGGAGE_SET: &str = "engine::baggage::set";
pub(super) const BAGGAGE_GET_ALL: &str = "engine::baggage::get_all";
pub(super) const TRACES_LIST: &str = "engine::traces::list";
pub(super) const TRACES_TREE: &str = "engine::traces::tree";
pub(super) const TRACES_CLEAR: &str = "engine::traces::clear";
pub(super) const TRACES_GROUP_BY: &str = "engine::traces::group_by";
pub(super) const METRICS_LIST: &str = "engine::metrics::list";
pub(super) const METRICS_PAGE: &str = "engine::metrics::page";
pub(super) const LOGS_LIST: &str = "engine::logs::list";
pub(super) const LOGS_CLEAR: &str = "engine::logs::clear";
pub(super) const SAMPLING_RULES: &str = "engine::sampling::rules";
pub(super) const HEALTH_CHECK: &str = "engine::health::check";
pub(super) const ALERTS_LIST: &str = "engine::alerts::list";
pub(super) const ALERTS_EVALUATE: &str = "engine::alerts::evaluate";
pub(super) const ROLLUPS_LIST: &str = "engine::rollups::list";

pub(super) const LOG_TRIGGER: &str = "log";
pub(super) const TRACE_TRIGGER: &str = "trace";

/// Items in one answer, whatever was asked.
pub(super) const LIMIT_MAX: usize = 10_000;
const LIMIT_DEFAULT: usize = 100;

#[derive(Deserialize, JsonSchema)]
pub(super) struct Log {
    /// Anything but text is kept as JSON.
    pub(super) message: Value,
    /// An object becomes the record's attributes; anything else its attribute `data`.
    pub(super) data: Option<Value>,
    /// Default: the trace of the call.
    pub(super) trace_id: Option<String>,
    pub(super) span_id: Option<String>,
    pub(super) service_name: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct BaggageKey {
    pub(super) key: String,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct BaggageEntry {
    #[serde(rename = "key")]
    pub(super) _key: String,
    #[serde(rename = "value")]
    pub(super) _value: Value,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
pub(super) struct TracesList {
    pub(super) trace_id: Option<String>,
    pub(super) offset: Option<usize>,
    pub(super) limit: Option<usize>,
    /// Exactly, in any case.
    pub(super) service_name: Option<String>,
    /// Somewhere in the name, in any case.
    pub(super) name: Option<String>,
    /// `ok`, `error`, `unset`.
    pub(super) status: Option<String>,
    pub(super) min_duration_ms: Option<f64>,
    pub(super) max_duration_ms: Option<f64>,
    /// The span ended then or later.
    pub(super) start_time: Option<f64>,
    /// The span started then or earlier.
    pub(super) end_time: Option<f64>,
    pub(super) sort_by: Option<SortBy>,
    pub(super) sort_order: Option<SortOrder>,
    /// Pairs that the span has, all of them.
    pub(super) attributes: Option<Vec<(String, Value)>>,
    pub(super) include_internal: Option<bool>,
    /// The filters may fit any span of a trace, not only its root.
    pub(super) search_all_spans: Option<bool>,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum SortBy {
    Duration,
    StartTime,
    Name,
}

#[derive(Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema, Debug)]
#[serde(rename_all = "snake_case")]
pub(super) enum SortOrder {
    Asc,
    Desc,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct TracesTree {
    pub(super) trace_id: String,
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct TracesGroupBy {
    pub(super) attribute: String,
    /// A moment; a small number is an age.
    pub(super) since_ms: Option<f64>,
    pub(super) limit: Option<usize>,
    pub(super) include_internal: Option<bool>,
    pub(super) label_attribute: Option<String>,
}

#[derive(Deserialize, Serialize, JsonSchema, Default)]
#[serde(default)]
pub(super) struct MetricsList {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) start_time: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) end_time: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) metric_name: Option<String>,
    /// Seconds per bucket of `aggregated_metrics`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) aggregate_interval: Option<u64>,
}

#[derive(Deserialize, Serialize, JsonSchema, Default)]
#[serde(default)]
pub(super) struct LogsList {
    pub(super) start_time: Option<f64>,
    pub(super) end_time: Option<f64>,
    pub(super) trace_id: Option<String>,
    pub(super) span_id: Option<String>,
    pub(super) severity_min: Option<u64>,
    pub(super) severity_text: Option<String>,
    pub(super) offset: Option<usize>,
    pub(super) limit: Option<usize>,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
pub(super) struct RollupsList {
    pub(super) start_time: Option<f64>,
    pub(super) end_time: Option<f64>,
    /// 0: a minute, 1: five minutes, 2: an hour.
    pub(super) level: Option<usize>,
    pub(super) metric_name: Option<String>,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
pub(super) struct LogTrigger {
    /// `all`, or exactly this level.
    pub(super) level: Option<String>,
    pub(super) condition_function_id: Option<String>,
}

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
pub(super) struct TraceTrigger {
    pub(super) condition_function_id: Option<String>,
}

/// A page: how many to skip, how many to show.
pub(super) fn page(offset: Option<usize>, limit: Option<usize>) -> (usize, usize) {
    (
        offset.unwrap_or(0),
        limit.unwrap_or(LIMIT_DEFAULT).min(LIMIT_MAX),
    )
}

/// A moment in nanoseconds since 1970. Clients mean milliseconds, but some pass the nanoseconds
/// that they were shown, so the unit is told by the size: no unit's plausible moments (1973 to
/// 5138 in milliseconds) overlap with another's.
pub(super) fn moment_ns(moment: f64) -> u64 {
    let per_unit = match moment {
        m if m >= 1e17 => 1.0,
        m if m >= 1e14 => 1e3,
        m if m >= 1e11 => 1e6,
        _ => 1e9,
    };
    // Saturates; a negative moment is the beginning.
    (moment * per_unit) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_of_a_moment_is_told_by_its_size() {
        let ns = 1_781_000_000_000_000_000;
        for moment in [1.781e18, 1.781e15, 1.781e12, 1.781e9] {
            assert_eq!(moment_ns(moment), ns, "{moment}");
        }
        assert_eq!(moment_ns(-1.0), 0);
        assert_eq!(moment_ns(0.0), 0);
    }
}
