use serde_json::json;

use super::*;
use crate::builtin::observe::otlp;

const SECOND: u64 = 1_000_000_000;
const BASE: u64 = 1_781_000_400 * SECOND;

fn empty() -> Metrics {
    Metrics::new(Bounds {
        count_max: 100,
        bytes_max: 1 << 20,
        age_max_ns: None,
    })
}

fn gauge(name: &str, at_seconds: u64, value: f64) -> Metric {
    let body = json!({"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":name,"gauge":{"dataPoints":[
        {"timeUnixNano":BASE + at_seconds * SECOND,"asDouble":value}]}}]}]}]});
    otlp::metrics(&body, BASE).remove(0)
}

fn counter(at_seconds: u64, value: u64, cumulative: bool) -> Metric {
    let body = json!({"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"c","sum":{"isMonotonic":true,
        "aggregationTemporality":if cumulative { 2 } else { 1 },"dataPoints":[{"timeUnixNano":BASE + at_seconds * SECOND,"asInt":value}]}}]}]}]});
    otlp::metrics(&body, BASE).remove(0)
}

#[test]
fn lists_by_name_and_time() {
    let mut metrics = empty();
    metrics.insert(0, None, gauge("a", 0, 1.0));
    metrics.insert(0, None, gauge("b", 10, 2.0));
    let rows = [
        (json!({}), 2),
        (json!({"metric_name":"a"}), 1),
        (json!({"metric_name":"c"}), 0),
        (json!({"start_time":(BASE + 5 * SECOND) / 1_000_000}), 1),
        (json!({"end_time":BASE / 1_000_000}), 1),
    ];
    for (query, expected) in rows {
        let query: api::MetricsList = serde_json::from_value(query).unwrap();
        assert_eq!(metrics.list(&query, 0).len(), expected);
    }
}

#[test]
fn aggregates_by_interval() {
    let mut metrics = empty();
    for (at, value) in [(0, 1.0), (5, 3.0), (10, 7.0)] {
        metrics.insert(0, None, gauge("a", at, value));
    }
    let buckets = metrics.aggregate(&api::MetricsList::default(), 10);
    assert_eq!(buckets.len(), 2);
    assert_eq!(buckets[0]["count"], 2);
    assert_eq!(
        (&buckets[0]["avg"], &buckets[0]["min"], &buckets[0]["max"]),
        (&json!(2.0), &json!(1.0), &json!(3.0))
    );
    assert_eq!(buckets[1]["start_time"], (BASE + 10 * SECOND) / 1_000_000);
}

#[test]
fn rolls_up_by_level() {
    let mut metrics = empty();
    for minute in 0..70 {
        metrics.insert(0, None, gauge("a", minute * 60, 1.0));
    }
    metrics.insert(0, None, gauge("b", 0, 5.0));
    let count = |query: Value| {
        let query: api::RollupsList = serde_json::from_value(query).unwrap();
        metrics.rollups(&query)["rollups"].as_array().unwrap().len()
    };
    assert_eq!(count(json!({"metric_name":"a"})), 60, "an hour of minutes");
    assert_eq!(count(json!({})), 61);
    assert_eq!(count(json!({"level":1,"metric_name":"a"})), 14);
    assert!((2..=3).contains(&count(json!({"level":2,"metric_name":"a"}))));
    assert_eq!(
        count(
            json!({"level":0,"metric_name":"a","start_time":(BASE + 69 * 60 * SECOND) / 1_000_000})
        ),
        1
    );
}

#[test]
fn worker_gauges_are_joined_to_their_worker() {
    let mut metrics = empty();
    let body = json!({"resourceMetrics":[{"resource":{"attributes":[{"key":"telemetry.sdk.language","value":{"stringValue":"nodejs"}}]},
        "scopeMetrics":[{"metrics":[
        {"name":"iii.worker.memory.rss","gauge":{"dataPoints":[{"timeUnixNano":"5000000","asInt":"1024","attributes":[{"key":"worker.id","value":{"stringValue":"w1"}}]}]}},
        {"name":"iii.worker.cpu.percent","gauge":{"dataPoints":[{"timeUnixNano":"6000000","asDouble":1.5,"attributes":[{"key":"worker.id","value":{"stringValue":"w1"}}]}]}},
        {"name":"iii.worker.uptime_seconds","gauge":{"dataPoints":[{"asInt":3}]}},
        {"name":"iii.worker.unheard.of","gauge":{"dataPoints":[{"asInt":3}]}}]}]}]});
    for metric in otlp::metrics(&body, 7_000_000) {
        metrics.insert(0, Some("w2"), metric);
    }
    assert_eq!(
        metrics.workers.get("w1").unwrap(),
        json!({"memory_rss":1024,"cpu_percent":1.5,"timestamp_ms":6,"runtime":"nodejs"})
    );
    assert_eq!(metrics.workers.get("w2").unwrap()["uptime_seconds"], 3);
    assert_eq!(metrics.workers.get("w3"), None);
}

#[test]
fn alerts_see_growth_of_counters_and_means_of_the_rest() {
    let mut metrics = empty();
    for (at, value) in [(0, 10), (10, 14), (20, 3), (30, 5)] {
        metrics.insert(0, None, counter(at, value, true));
        metrics.insert(0, None, gauge("g", at, value as f64));
    }
    // 4 up, a restart at 3, 2 up.
    assert_eq!(metrics.since("c", BASE + 5 * SECOND), Some(9.0));
    assert_eq!(metrics.since("c", BASE + 40 * SECOND), Some(0.0));
    assert_eq!(metrics.since("g", BASE + 15 * SECOND), Some(4.0));
    assert_eq!(metrics.since("g", BASE + 40 * SECOND), None);
    assert_eq!(metrics.since("nothing", 0), None);
    let mut deltas = empty();
    for at in [0, 10, 20] {
        deltas.insert(0, None, counter(at, 2, false));
    }
    assert_eq!(deltas.since("c", BASE + 5 * SECOND), Some(4.0));
}
