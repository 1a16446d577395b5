//! Metrics by the minute, by five minutes and by the hour, added up as they come in: what is idle
//! costs nothing, and sums outlive the points they were made of.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use serde_json::{Value, json};

use crate::builtin::observe::api;

const SECOND: u64 = 1_000_000_000;
/// Width of a bucket and how many are kept of each metric: an hour, a day, a week.
const LEVELS: [(u64, usize); 3] = [(60 * SECOND, 60), (300 * SECOND, 288), (3600 * SECOND, 168)];
/// Metrics that are added up; names beyond are not, so that no worker fills the memory with names.
const NAMES_MAX: usize = 1000;

#[derive(Default)]
pub(in super::super) struct Rollups {
    rows: HashMap<Arc<str>, [BTreeMap<u64, Sum>; 3]>,
}

/// Some values, added up.
#[derive(Clone, Copy, Default, Debug, PartialEq)]
pub(super) struct Sum {
    pub(super) count: u64,
    pub(super) sum: f64,
    min: f64,
    max: f64,
    last: f64,
}

impl Sum {
    pub(super) fn add(&mut self, value: f64) {
        if self.count == 0 {
            (self.min, self.max) = (value, value);
        }
        self.count += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        self.last = value;
    }

    pub(super) fn to_json(self, name: &str, start_ns: u64, width_ns: u64) -> Value {
        json!({
            "metric_name": name,
            "start_time": start_ns / 1_000_000,
            "end_time": start_ns.saturating_add(width_ns) / 1_000_000,
            "interval_seconds": width_ns / SECOND,
            "count": self.count,
            "sum": self.sum,
            "min": self.min,
            "max": self.max,
            "avg": if self.count == 0 { 0.0 } else { self.sum / self.count as f64 },
            "last": self.last,
        })
    }
}

impl Rollups {
    pub(super) fn add(&mut self, name: &Arc<str>, at_ns: u64, value: f64) {
        if self.rows.len() >= NAMES_MAX && !self.rows.contains_key(name) {
            return;
        }
        let levels = self.rows.entry(Arc::clone(name)).or_default();
        for (buckets, (width_ns, kept)) in levels.iter_mut().zip(LEVELS) {
            buckets
                .entry(at_ns - at_ns % width_ns)
                .or_default()
                .add(value);
            if buckets.len() > kept {
                buckets.pop_first();
            }
        }
    }

    /// The buckets of a level, by name and time; by the minute unless asked otherwise.
    pub(super) fn list(&self, query: &api::RollupsList) -> Vec<Value> {
        let level = query.level.unwrap_or(0).min(LEVELS.len() - 1);
        let (width_ns, _) = LEVELS[level];
        let from = query.start_time.map_or(0, api::moment_ns);
        let to = query.end_time.map_or(u64::MAX, api::moment_ns);
        let mut names: Vec<&Arc<str>> = self.rows.keys().collect();
        names.sort();
        let wanted = |name: &&Arc<str>| {
            query
                .metric_name
                .as_deref()
                .is_none_or(|only| only == &***name)
        };
        let mut shown = Vec::new();
        for name in names.into_iter().filter(wanted) {
            for (start_ns, sum) in &self.rows[name][level] {
                if start_ns + width_ns > from && *start_ns <= to {
                    let mut row = sum.to_json(name, *start_ns, width_ns);
                    row["level"] = json!(level);
                    shown.push(row);
                }
            }
        }
        shown.truncate(api::LIMIT_MAX);
        shown
    }
}
