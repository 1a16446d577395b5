//! The newest `iii.worker.*` gauges of each worker, in the shape of its `latest_metrics`.

use std::collections::{HashMap, VecDeque};

use serde_json::{Map, Value, json};

use crate::builtin::observe::metric::{Metric, Number};

const PREFIX: &str = "iii.worker.";
/// The attribute that names the worker, as the SDKs write it.
const WORKER_ID: &str = "worker.id";
/// Workers that are remembered; the ones heard of first are forgotten first.
const WORKERS_MAX: usize = 10_000;

/// Gauges and what lists call them.
const NAMES: [(&str, &str); 10] = [
    ("memory.heap_used", "memory_heap_used"),
    ("memory.heap_total", "memory_heap_total"),
    ("memory.rss", "memory_rss"),
    ("memory.external", "memory_external"),
    ("cpu.user_micros", "cpu_user_micros"),
    ("cpu.system_micros", "cpu_system_micros"),
    ("cpu.percent", "cpu_percent"),
    ("event_loop.lag_ms", "event_loop_lag_ms"),
    ("event_loop_lag_ms", "event_loop_lag_ms"),
    ("uptime_seconds", "uptime_seconds"),
];

#[derive(Default)]
pub(in super::super) struct Workers {
    rows: HashMap<String, Map<String, Value>>,
    order: VecDeque<String>,
}

impl Workers {
    pub(super) fn insert(&mut self, from: Option<&str>, metric: &Metric) {
        let Some(gauge) = metric.name.strip_prefix(PREFIX) else {
            return;
        };
        let Some((_, key)) = NAMES.iter().find(|(name, _)| *name == gauge) else {
            return;
        };
        for point in &metric.points {
            let named = point.attributes.iter().find(|(key, _)| &**key == WORKER_ID);
            let worker = named.map(|(_, id)| &**id).or(from);
            let (Some(worker), Number::Value(value)) = (worker, &point.number) else {
                continue;
            };
            let row = self.row(worker);
            // Bytes and microseconds are whole; shares and seconds need not be.
            let whole = value.fract() == 0.0 && (0.0..1e15).contains(value);
            row.insert(
                (*key).to_owned(),
                if whole {
                    json!(*value as u64)
                } else {
                    json!(value)
                },
            );
            row.insert("timestamp_ms".to_owned(), json!(point.at_ns / 1_000_000));
            if let Some(runtime) = metric.resource.get("telemetry.sdk.language") {
                row.insert("runtime".to_owned(), runtime.clone());
            }
        }
    }

    fn row(&mut self, worker: &str) -> &mut Map<String, Value> {
        if !self.rows.contains_key(worker) {
            if self.order.len() >= WORKERS_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.rows.remove(&oldest);
            }
            self.order.push_back(worker.to_owned());
        }
        self.rows.entry(worker.to_owned()).or_default()
    }

    pub(in super::super) fn get(&self, worker: &str) -> Option<Value> {
        self.rows.get(worker).map(|row| Value::Object(row.clone()))
    }
}
