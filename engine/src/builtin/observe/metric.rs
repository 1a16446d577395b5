//! One metric as a worker reported it.

use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::{log::json_bytes, span::Pairs};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Gauge,
    Sum,
    Histogram,
    ExponentialHistogram,
    Summary,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Metric {
    pub(super) name: Arc<str>,
    pub(super) description: Option<Arc<str>>,
    pub(super) unit: Option<Arc<str>>,
    pub(super) kind: Kind,
    pub(super) monotonic: bool,
    /// The points count from the start rather than from the report before.
    pub(super) cumulative: bool,
    pub(super) points: Vec<Point>,
    pub(super) resource: Arc<Value>,
    pub(super) service_name: Arc<str>,
    pub(super) scope_name: Option<Arc<str>>,
    pub(super) received_ns: u64,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Point {
    pub(super) at_ns: u64,
    pub(super) start_ns: u64,
    pub(super) attributes: Pairs,
    pub(super) number: Number,
}

#[derive(Clone, PartialEq, Debug)]
pub(super) enum Number {
    Value(f64),
    Histogram(Histogram),
}

#[derive(Clone, PartialEq, Debug)]
pub(super) struct Histogram {
    pub(super) count: u64,
    pub(super) sum: f64,
    pub(super) min: Option<f64>,
    pub(super) max: Option<f64>,
    pub(super) bucket_counts: Vec<u64>,
    pub(super) explicit_bounds: Vec<f64>,
}

impl Metric {
    /// When it was measured: at its newest point.
    pub(super) fn at_ns(&self) -> u64 {
        let points = self.points.iter();
        points
            .map(|point| point.at_ns)
            .max()
            .unwrap_or(self.received_ns)
    }

    /// What it takes in memory, roughly.
    pub(super) fn bytes(&self) -> usize {
        let points = self.points.iter().map(|point| {
            let pairs: usize = point
                .attributes
                .iter()
                .map(|(key, value)| key.len() + value.len() + 64)
                .sum();
            let buckets = match &point.number {
                Number::Value(_) => 0,
                Number::Histogram(histogram) => {
                    8 * (histogram.bucket_counts.len() + histogram.explicit_bounds.len())
                }
            };
            size_of::<Point>() + pairs + buckets
        });
        size_of::<Metric>() + self.name.len() + json_bytes(&self.resource) + points.sum::<usize>()
    }

    pub(super) fn to_json(&self) -> Value {
        let kind = match self.kind {
            Kind::Gauge => "gauge",
            Kind::Sum => "sum",
            Kind::Histogram => "histogram",
            Kind::ExponentialHistogram => "exponential_histogram",
            Kind::Summary => "summary",
        };
        json!({
            "name": self.name,
            "description": self.description,
            "unit": self.unit,
            "metric_type": kind,
            "data_points": self.points.iter().map(Point::to_json).collect::<Vec<_>>(),
            "service_name": self.service_name,
            "resource": *self.resource,
            "instrumentation_scope_name": self.scope_name,
            "timestamp_unix_nano": self.at_ns(),
        })
    }
}

impl Point {
    fn to_json(&self) -> Value {
        let attributes: Map<String, Value> = self
            .attributes
            .iter()
            .map(|(key, value)| (key.to_string(), json!(value)))
            .collect();
        let mut point = json!({
            "timestamp_unix_nano": self.at_ns,
            "start_time_unix_nano": self.start_ns,
            "attributes": attributes,
        });
        match &self.number {
            Number::Value(value) => point["value"] = json!(value),
            Number::Histogram(histogram) => {
                point["count"] = json!(histogram.count);
                point["sum"] = json!(histogram.sum);
                point["min"] = json!(histogram.min);
                point["max"] = json!(histogram.max);
                point["bucket_counts"] = json!(histogram.bucket_counts);
                point["explicit_bounds"] = json!(histogram.explicit_bounds);
            }
        }
        point
    }
}
