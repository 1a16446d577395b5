//! The newest metrics of workers, what they add up to, and how each worker is.

mod rollup;
mod workers;

use std::{collections::BTreeMap, sync::Arc};

use serde_json::{Value, json};

use super::{
    api,
    metric::{Kind, Metric, Number},
    ring::{Bounds, Ring},
};
use rollup::{Rollups, Sum};
use workers::Workers;

/// Buckets in one answer.
const BUCKETS_MAX: usize = 10_000;

pub(super) struct Metrics {
    pub(super) ring: Ring<Metric>,
    pub(super) rollups: Rollups,
    pub(super) workers: Workers,
}

impl Metrics {
    pub(super) fn new(bounds: Bounds) -> Self {
        Metrics {
            ring: Ring::new(bounds),
            rollups: Rollups::default(),
            workers: Workers::default(),
        }
    }

    /// Keeps what `from`, a worker's public id, has reported; not everybody says who they are.
    pub(super) fn insert(&mut self, now_ns: u64, from: Option<&str>, metric: Metric) {
        self.workers.insert(from, &metric);
        for (at_ns, value) in values(&metric) {
            self.rollups.add(&metric.name, at_ns, value);
        }
        self.ring.push(now_ns, metric.bytes(), metric);
    }

    /// What fits, oldest first.
    pub(super) fn list(&mut self, query: &api::MetricsList, now_ns: u64) -> Vec<Value> {
        self.ring.age(now_ns);
        self.fitting(query).map(Metric::to_json).collect()
    }

    fn fitting(&self, query: &api::MetricsList) -> impl Iterator<Item = &Metric> {
        let from = query.start_time.map_or(0, api::moment_ns);
        let to = query.end_time.map_or(u64::MAX, api::moment_ns);
        self.ring.iter().filter(move |metric| {
            (from..=to).contains(&metric.at_ns())
                && query
                    .metric_name
                    .as_deref()
                    .is_none_or(|name| name == &*metric.name)
        })
    }

    /// What fits, by name and spans of `seconds`.
    pub(super) fn aggregate(&self, query: &api::MetricsList, seconds: u64) -> Vec<Value> {
        let width_ns = seconds.max(1).saturating_mul(1_000_000_000);
        let mut buckets: BTreeMap<(Arc<str>, u64), Sum> = BTreeMap::new();
        for metric in self.fitting(query) {
            for (at_ns, value) in values(metric) {
                let key = (Arc::clone(&metric.name), at_ns - at_ns % width_ns);
                if buckets.len() < BUCKETS_MAX || buckets.contains_key(&key) {
                    buckets.entry(key).or_default().add(value);
                }
            }
        }
        let shown = buckets
            .iter()
            .map(|((name, start_ns), sum)| sum.to_json(name, *start_ns, width_ns));
        shown.collect()
    }

    /// What the alerts look at: counters by how much they grew since `since_ns`, everything else
    /// by its mean.
    pub(super) fn since(&self, name: &str, since_ns: u64) -> Option<f64> {
        let mut mean = Sum::default();
        let mut growth: BTreeMap<Vec<(Arc<str>, Arc<str>)>, (f64, f64)> = BTreeMap::new();
        let mut grown = None;
        for metric in self.ring.iter().filter(|metric| &*metric.name == name) {
            for point in &metric.points {
                let Number::Value(value) = point.number else {
                    continue;
                };
                if metric.kind == Kind::Sum && metric.monotonic {
                    let grown = grown.get_or_insert(0.0);
                    let inside = point.at_ns >= since_ns;
                    if !metric.cumulative {
                        *grown += if inside { value } else { 0.0 };
                        continue;
                    }
                    // From the last reading before, or the first inside; a fall is a new start.
                    let (last, sum) = growth
                        .entry(point.attributes.clone())
                        .or_insert((value, 0.0));
                    if inside {
                        *sum += if value >= *last { value - *last } else { value };
                    }
                    *last = value;
                }
            }
            if grown.is_none() {
                let inside = values(metric).filter(|(at_ns, _)| *at_ns >= since_ns);
                inside.for_each(|(_, value)| mean.add(value));
            }
        }
        match grown {
            Some(grown) => Some(grown + growth.values().map(|(_, sum)| sum).sum::<f64>()),
            None => (mean.count > 0).then(|| mean.sum / mean.count as f64),
        }
    }

    pub(super) fn rollups(&self, query: &api::RollupsList) -> Value {
        json!({ "rollups": self.rollups.list(query) })
    }
}

/// What a metric's points weigh in a sum; a histogram weighs its mean.
fn values(metric: &Metric) -> impl Iterator<Item = (u64, f64)> {
    metric
        .points
        .iter()
        .filter_map(|point| match &point.number {
            Number::Value(value) => Some((point.at_ns, *value)),
            Number::Histogram(histogram) if histogram.count > 0 => {
                Some((point.at_ns, histogram.sum / histogram.count as f64))
            }
            Number::Histogram(_) => None,
        })
}

#[cfg(test)]
mod tests;
