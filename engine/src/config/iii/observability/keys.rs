//! The keys of `iii-observability` as they may be written, and what stands in for those that are not.

use serde::Deserialize;

use super::{
    Alert, Exporter, LogsExporter, MetricsExporter, Observability, Sampling, TraceStorage,
};
use crate::config::{Env, Error, Format, Level, place::Place};

/// The block. What is `None` is not written.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Keys {
    enabled: Option<bool>,
    service_name: Option<String>,
    service_version: Option<String>,
    service_namespace: Option<String>,
    exporter: Option<Exporter>,
    endpoint: Option<String>,
    sampling_ratio: Option<f64>,
    sampling: Option<Sampling>,
    memory_max_spans: Option<u64>,
    metrics_enabled: Option<bool>,
    metrics_exporter: Option<MetricsExporter>,
    metrics_retention_seconds: Option<u64>,
    metrics_max_count: Option<u64>,
    logs_enabled: Option<bool>,
    logs_exporter: Option<LogsExporter>,
    logs_max_count: Option<u64>,
    logs_retention_seconds: Option<u64>,
    logs_batch_size: Option<u64>,
    logs_flush_interval_ms: Option<u64>,
    logs_sampling_ratio: Option<f64>,
    logs_console_output: Option<bool>,
    alerts: Vec<Alert>,
    level: Option<Level>,
    format: Option<Format>,
    trace_storage: Option<TraceStorage>,
    live_spans: Option<bool>,
    collapse_spans: Vec<String>,
}

impl Keys {
    pub(super) fn check(&self, place: &Place<'_>) -> Result<(), Error> {
        let shares = [
            ("sampling_ratio", self.sampling_ratio),
            ("logs_sampling_ratio", self.logs_sampling_ratio),
        ];
        for (key, share) in shares {
            if let Some(share) = share {
                place.share(key, share)?;
            }
        }
        let ranges = [
            ("logs_batch_size", self.logs_batch_size, 1..=10_000),
            (
                "logs_flush_interval_ms",
                self.logs_flush_interval_ms,
                100..=3_600_000,
            ),
            ("memory_max_spans", self.memory_max_spans, 1..=10_000_000),
            ("metrics_max_count", self.metrics_max_count, 1..=10_000_000),
            ("logs_max_count", self.logs_max_count, 1..=10_000_000),
        ];
        for (key, number, range) in ranges {
            if let Some(number) = number {
                place.within(key, number, range)?;
            }
        }
        if let Some(sampling) = &self.sampling {
            check_sampling(&place.at("sampling"), sampling)?;
        }
        let mut alerts = self.alerts.iter().enumerate();
        alerts.try_for_each(|(index, alert)| check_alert(&place.at("alerts").item(index), alert))
    }

    /// With what the environment says where the file says nothing. These variables are everybody's,
    /// so a value that means nothing here is none.
    pub(super) fn with_env(mut self, env: &dyn Env) -> Self {
        let text = |name: &str| env.var(name).filter(|value| !value.is_empty());
        let flag = |name| {
            choice(
                text(name),
                &[("true", true), ("1", true), ("false", false), ("0", false)],
            )
        };
        let number = |name| text(name)?.parse().ok().filter(|number: &u64| *number > 0);
        let share = |name| {
            text(name)?
                .parse()
                .ok()
                .filter(|share: &f64| (0.0..=1.0).contains(share))
        };
        self.enabled = self.enabled.or_else(|| flag("OTEL_ENABLED"));
        self.service_name = self.service_name.or_else(|| text("OTEL_SERVICE_NAME"));
        self.service_version = self.service_version.or_else(|| text("SERVICE_VERSION"));
        self.service_namespace = self.service_namespace.or_else(|| text("SERVICE_NAMESPACE"));
        self.endpoint = self
            .endpoint
            .or_else(|| text("OTEL_EXPORTER_OTLP_ENDPOINT"));
        self.exporter = self.exporter.or_else(|| {
            let known = [
                ("memory", Exporter::Memory),
                ("otlp", Exporter::Otlp),
                ("both", Exporter::Both),
            ];
            choice(text("OTEL_EXPORTER_TYPE"), &known)
        });
        self.sampling_ratio = self
            .sampling_ratio
            .or_else(|| share("OTEL_TRACES_SAMPLER_ARG"));
        self.memory_max_spans = self
            .memory_max_spans
            .or_else(|| number("OTEL_MEMORY_MAX_SPANS"));
        self.metrics_enabled = self
            .metrics_enabled
            .or_else(|| flag("OTEL_METRICS_ENABLED"));
        self.metrics_exporter = self.metrics_exporter.or_else(|| {
            let known = [
                ("memory", MetricsExporter::Memory),
                ("otlp", MetricsExporter::Otlp),
            ];
            choice(text("OTEL_METRICS_EXPORTER"), &known)
        });
        self.metrics_retention_seconds = self
            .metrics_retention_seconds
            .or_else(|| number("OTEL_METRICS_RETENTION_SECONDS"));
        self.metrics_max_count = self
            .metrics_max_count
            .or_else(|| number("OTEL_METRICS_MAX_COUNT"));
        self.logs_exporter = self.logs_exporter.or_else(|| {
            let known = [
                ("memory", LogsExporter::Memory),
                ("otlp", LogsExporter::Otlp),
                ("both", LogsExporter::Both),
            ];
            choice(text("OTEL_LOGS_EXPORTER"), &known)
        });
        self
    }

    /// With the defaults, which differ between a module without a block and one with it.
    pub(super) fn resolved(self, has_block: bool) -> Observability {
        let exporter = match has_block {
            true => Exporter::Otlp,
            false => Exporter::Memory,
        };
        Observability {
            enabled: self.enabled.unwrap_or(!has_block),
            service_name: self.service_name.unwrap_or_else(|| "iii".to_owned()),
            service_version: self.service_version,
            service_namespace: self.service_namespace,
            exporter: self.exporter.unwrap_or(exporter),
            endpoint: self
                .endpoint
                .unwrap_or_else(|| "http://localhost:4317".to_owned()),
            sampling_ratio: self.sampling_ratio.unwrap_or(1.0),
            sampling: self.sampling,
            memory_max_spans: self.memory_max_spans.unwrap_or(1000),
            metrics_enabled: self.metrics_enabled.unwrap_or(true),
            metrics_exporter: self.metrics_exporter.unwrap_or(MetricsExporter::Memory),
            metrics_retention_seconds: self.metrics_retention_seconds.unwrap_or(3600),
            metrics_max_count: self.metrics_max_count.unwrap_or(10_000),
            logs_enabled: self.logs_enabled.unwrap_or(true),
            logs_exporter: self.logs_exporter.unwrap_or(LogsExporter::Memory),
            logs_max_count: self.logs_max_count.unwrap_or(1000),
            logs_retention_seconds: self.logs_retention_seconds,
            logs_batch_size: self.logs_batch_size.unwrap_or(100),
            logs_flush_interval_ms: self.logs_flush_interval_ms.unwrap_or(5000),
            logs_sampling_ratio: self.logs_sampling_ratio.unwrap_or(1.0),
            logs_console_output: self.logs_console_output.unwrap_or(true),
            alerts: self.alerts,
            level: self.level.unwrap_or(Level::Info),
            format: self.format.unwrap_or(Format::Text),
            trace_storage: self.trace_storage,
            live_spans: self.live_spans.unwrap_or(false),
            collapse_spans: self.collapse_spans,
        }
    }
}

fn check_sampling(place: &Place<'_>, sampling: &Sampling) -> Result<(), Error> {
    if let Some(share) = sampling.default {
        place.share("default", share)?;
    }
    let mut rules = sampling.rules.iter().enumerate();
    rules.try_for_each(|(index, rule)| place.at("rules").item(index).share("rate", rule.rate))
}

fn check_alert(place: &Place<'_>, alert: &Alert) -> Result<(), Error> {
    if !alert.threshold.is_finite() {
        return Err(place.at("threshold").error("expected a number"));
    }
    place.within("window_seconds", alert.window_seconds, 1..=86_400)
}

fn choice<T: Copy>(value: Option<String>, known: &[(&str, T)]) -> Option<T> {
    let value = value?;
    let meant = known.iter().find(|(word, _)| *word == value)?;
    Some(meant.1)
}
