//! The counts of all shards together, and what lists and alerts call them.

use std::{collections::BTreeMap, sync::Arc, sync::atomic::Ordering};

use serde_json::{Map, Value, json};

use super::{Calls, Histogram};

#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub(in super::super) struct FunctionCount {
    pub(in super::super) calls: u64,
    pub(in super::super) errors: u64,
    pub(in super::super) took_us: u64,
}

/// Everything counted, at one moment.
#[derive(Clone, Default, Debug)]
pub(in super::super) struct Counts {
    pub(in super::super) success: u64,
    pub(in super::super) error: u64,
    pub(in super::super) deferred: u64,
    pub(in super::super) took: Histogram,
    pub(in super::super) spawns: u64,
    pub(in super::super) deaths: u64,
}

impl Calls {
    pub(in super::super) fn counts(&self) -> Counts {
        let refused = self.refused.load(Ordering::Relaxed);
        let mut counts = Counts {
            error: refused,
            spawns: self.spawns.load(Ordering::Relaxed),
            deaths: self.deaths.load(Ordering::Relaxed),
            ..Counts::default()
        };
        for shard in &self.shards {
            let shard = shard.lock();
            counts.success += shard.success;
            counts.error += shard.error;
            counts.deferred += shard.deferred;
            counts.took.merge(&shard.took);
        }
        counts
    }

    /// Calls by function, for lists and for Prometheus.
    pub(in super::super) fn by_function(&self) -> BTreeMap<Arc<str>, FunctionCount> {
        let mut all: BTreeMap<Arc<str>, FunctionCount> = BTreeMap::new();
        for shard in &self.shards {
            for (function, count) in &shard.lock().by_function {
                let row = all.entry(Arc::clone(function)).or_default();
                row.calls += count.calls;
                row.errors += count.errors;
                row.took_us += count.took_us;
            }
        }
        all
    }

    /// `engine_metrics` of `engine::metrics::list`.
    pub(in super::super) fn to_json(&self) -> Value {
        let counts = self.counts();
        let by_function: Map<String, Value> = self
            .by_function()
            .iter()
            .map(|(function, count)| (function.to_string(), json!(count.calls)))
            .collect();
        json!({
            "invocations": {
                "total": counts.total(),
                "success": counts.success,
                "error": counts.error,
                "deferred": counts.deferred,
                "by_function": by_function,
            },
            "workers": { "spawns": counts.spawns, "deaths": counts.deaths, "active": counts.active() },
            "performance": {
                "avg_duration_ms": counts.took.mean_ms(),
                "p50_duration_ms": counts.took.quantile_ms(0.5),
                "p95_duration_ms": counts.took.quantile_ms(0.95),
                "p99_duration_ms": counts.took.quantile_ms(0.99),
                "min_duration_ms": counts.took.min_ms(),
                "max_duration_ms": counts.took.max_ms(),
            },
        })
    }
}

impl Counts {
    pub(in super::super) fn total(&self) -> u64 {
        self.success + self.error
    }

    pub(in super::super) fn active(&self) -> u64 {
        self.spawns.saturating_sub(self.deaths)
    }

    /// What an alert on `metric` looks at, since `earlier`; `None` when the engine does not count it.
    pub(in super::super) fn metric(&self, metric: &str, earlier: &Counts) -> Option<f64> {
        // `iii_invocations_total`, `iii.invocations.total` and `invocations.total` are one.
        let plain = metric.replace('_', ".");
        let plain = plain.strip_prefix("iii.").unwrap_or(&plain);
        let grown = |pick: fn(&Counts) -> u64| pick(self).saturating_sub(pick(earlier)) as f64;
        let took = || self.took.since(&earlier.took);
        Some(match plain {
            "invocations.total" | "invocations" => grown(Counts::total),
            "invocations.success" => grown(|counts| counts.success),
            "invocations.error" | "invocations.errors" => grown(|counts| counts.error),
            "invocations.deferred" => grown(|counts| counts.deferred),
            "invocations.error.rate" | "error.rate" => {
                let total = grown(Counts::total);
                if total > 0.0 {
                    grown(|counts| counts.error) / total
                } else {
                    0.0
                }
            }
            "workers.spawns" => grown(|counts| counts.spawns),
            "workers.deaths" => grown(|counts| counts.deaths),
            "workers.active" => self.active() as f64,
            "invocation.duration" | "avg.duration.ms" => took().mean_ms(),
            "p50.duration.ms" => took().quantile_ms(0.5),
            "p95.duration.ms" => took().quantile_ms(0.95),
            "p99.duration.ms" => took().quantile_ms(0.99),
            _ => return None,
        })
    }
}
