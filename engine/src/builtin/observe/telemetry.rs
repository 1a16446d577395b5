//! The handle that everything else holds, and what is behind it.
//!
//! Whoever hands telemetry in never waits: bodies go to a bounded queue and the worker's task
//! reads them. Spans of the engine's own calls stay where they were made until somebody looks.

use std::sync::{
    Arc, OnceLock,
    atomic::{AtomicU64, AtomicUsize, Ordering},
};

use agentos_core::Watcher;
use agentos_sdk::Bus;
use agentos_wire::{Incoming, Kind};
use bytes::Bytes;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::{
    alerts::Alerts,
    calls::{Calls, Ear, wall_clock_ns},
    config::Config,
    export::{self, Export, Item, Signal},
    lineage::Lineage,
    log::Record,
    log_trigger::{Fired, LogTriggers},
    logs::Logs,
    metrics::Metrics,
    otlp,
    ring::Bounds,
    sampling::Sampler,
    span::{Link, Span, Status},
    trace_trigger::TraceTriggers,
    traces::Traces,
};

/// Bodies that may wait to be read; `inbox_bytes_max` bounds their bytes.
const INBOX_MAX: usize = 4096;

/// Takes telemetry in. Cheap to clone.
#[derive(Clone)]
pub struct Telemetry(Arc<Store>);

/// Everything that is kept.
pub(super) struct Store {
    pub(super) config: Config,
    pub(super) sampler: Arc<Sampler>,
    pub(super) calls: Arc<Calls>,
    pub(super) traces: Mutex<Traces>,
    pub(super) logs: Mutex<Logs>,
    pub(super) metrics: Mutex<Metrics>,
    pub(super) alerts: Mutex<Alerts>,
    pub(super) log_triggers: Arc<LogTriggers>,
    pub(super) trace_triggers: Arc<TraceTriggers>,
    pub(super) export: Option<Arc<Export>>,
    pub(super) export_fault: Option<String>,
    pub(super) bus: OnceLock<Bus>,
    service_name: Arc<str>,
    inbox: mpsc::Sender<Body>,
    inbox_bytes: AtomicUsize,
    dropped: AtomicU64,
}

/// A telemetry frame that waits to be read.
pub(super) struct Body {
    signal: Signal,
    bytes: Bytes,
    from: Option<Box<str>>,
}

/// What the worker's task takes from: bodies to read, and what is to be sent on.
pub(super) struct Inlets {
    pub(super) bodies: mpsc::Receiver<Body>,
    pub(super) exports: Option<mpsc::Receiver<Item>>,
}

/// The prefix and the JSON of a message that is a telemetry frame: a binary one with one of three
/// beginnings.
pub(crate) fn frame(message: &Incoming<'_>) -> Option<([u8; 4], Bytes)> {
    if message.kind != Kind::Binary {
        return None;
    }
    let prefix = *message.bytes().first_chunk()?;
    matches!(&prefix, b"OTLP" | b"MTRC" | b"LOGS").then(|| (prefix, message.to_bytes().slice(4..)))
}

impl Body {
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }
}

impl Telemetry {
    /// Takes the JSON `body` of a telemetry frame that began with `prefix`, of the worker with the
    /// public id `from` if that is known. Never waits: what does not fit is dropped and counted.
    pub fn ingest(&self, prefix: [u8; 4], body: Bytes, from: Option<&str>) {
        let store = &self.0;
        let signal = match &prefix {
            b"OTLP" => Signal::Traces,
            b"MTRC" => Signal::Metrics,
            b"LOGS" => Signal::Logs,
            _ => return,
        };
        if !store.wants(signal) {
            return;
        }
        let bytes = body.len();
        let waiting = store.inbox_bytes.fetch_add(bytes, Ordering::Relaxed);
        let body = Body {
            signal,
            bytes: body,
            from: from.map(Box::from),
        };
        // A body larger than the bound is taken when nothing else waits.
        let fits = waiting == 0 || waiting + bytes <= store.config.inbox_bytes_max;
        if !fits || store.inbox.try_send(body).is_err() {
            store.inbox_bytes.fetch_sub(bytes, Ordering::Relaxed);
            if store.dropped.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::warn!("telemetry comes in faster than it is read; some is dropped");
            }
        }
    }

    /// The newest gauges of a worker, as `latest_metrics`.
    pub fn worker_metrics(&self, public_id: &str) -> Option<Value> {
        self.0.metrics.lock().workers.get(public_id)
    }

    /// For the bus: hears of every call.
    pub(crate) fn watcher(&self) -> Arc<dyn Watcher> {
        Arc::new(Ear(Arc::clone(&self.0.calls)))
    }

    pub(super) fn open(config: Config) -> (Self, Inlets) {
        let sends = config.exporter.sends()
            || config.metrics_exporter.sends()
            || config.logs_exporter.sends();
        let (export, exports, export_fault) =
            match (config.enabled && sends).then(|| Export::open(&config)) {
                None => (None, None, None),
                Some(Ok((export, exports))) => (Some(export), Some(exports), None),
                Some(Err(fault)) => {
                    tracing::warn!("telemetry is not sent anywhere: {fault}");
                    (None, None, Some(fault))
                }
            };
        let now_ns = wall_clock_ns();
        let sampler = Arc::new(Sampler::new(&config));
        let keeps_spans = config.exporter.keeps() && config.trace_storage.enabled;
        let sends_spans = config.exporter.sends() && export.is_some();
        let spans_max = config.memory_max_spans.max(1);
        let calls = Calls::new(
            Arc::clone(&sampler),
            config.enabled && (keeps_spans || sends_spans),
            spans_max,
        );
        let lineage = Arc::new(Mutex::new(Lineage::default()));
        let seconds = |seconds: u64| seconds.saturating_mul(1_000_000_000);
        let (inbox, bodies) = mpsc::channel(INBOX_MAX);
        let store = Store {
            traces: Mutex::new(Traces::new(Bounds {
                count_max: spans_max,
                bytes_max: config.trace_storage.memory_max_bytes,
                age_max_ns: config.trace_storage.retention_seconds.map(seconds),
            })),
            logs: Mutex::new(Logs::new(Bounds {
                count_max: config.logs_max_count,
                bytes_max: config.memory_bytes_max,
                age_max_ns: config.logs_retention_seconds.map(seconds),
            })),
            metrics: Mutex::new(Metrics::new(Bounds {
                count_max: config.metrics_max_count,
                bytes_max: config.memory_bytes_max,
                age_max_ns: Some(seconds(config.metrics_retention_seconds)),
            })),
            alerts: Mutex::new(Alerts::new(config.alerts.clone(), now_ns)),
            log_triggers: Arc::new(LogTriggers::new(Arc::clone(&lineage))),
            trace_triggers: Arc::new(TraceTriggers::new(
                Arc::clone(&calls),
                lineage,
                seconds(config.trace_storage.pending_max_age_seconds),
                sends_spans,
            )),
            service_name: config.service_name.as_str().into(),
            config,
            sampler,
            calls,
            export,
            export_fault,
            bus: OnceLock::new(),
            inbox,
            inbox_bytes: AtomicUsize::new(0),
            dropped: AtomicU64::new(0),
        };
        (Telemetry(Arc::new(store)), Inlets { bodies, exports })
    }

    pub(super) fn store(&self) -> &Arc<Store> {
        &self.0
    }
}

impl Store {
    fn wants(&self, signal: Signal) -> bool {
        self.config.enabled
            && match signal {
                Signal::Traces => true,
                Signal::Metrics => self.config.metrics_enabled,
                Signal::Logs => self.config.logs_enabled,
            }
    }

    /// Whether spans can be looked at.
    pub(super) fn keeps_spans(&self) -> bool {
        self.config.enabled && self.config.exporter.keeps() && self.config.trace_storage.enabled
    }

    /// Bodies that were not read since the start.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Reads one body and keeps what is in it.
    pub(super) fn read(&self, body: Body) {
        self.inbox_bytes.fetch_sub(body.len(), Ordering::Relaxed);
        let request: Value = match serde_json::from_slice(&body.bytes) {
            Ok(request) => request,
            Err(error) => {
                let from = body.from.as_deref();
                return tracing::warn!(signal = ?body.signal, from, %error, "a telemetry frame was ignored: it is not JSON");
            }
        };
        let now_ns = wall_clock_ns();
        let records = match body.signal {
            Signal::Traces => {
                let spans = otlp::spans(&request);
                let count = spans.len();
                self.keep_spans(now_ns, spans);
                count
            }
            Signal::Metrics => {
                let metrics = otlp::metrics(&request, now_ns);
                let count = metrics.len();
                // Always: lists of workers show the newest gauges.
                let mut kept = self.metrics.lock();
                for metric in metrics {
                    kept.insert(now_ns, body.from.as_deref(), metric);
                }
                count
            }
            Signal::Logs => {
                let records = otlp::logs(&request, now_ns);
                let count = records.len();
                for record in records {
                    self.keep_log(now_ns, record);
                }
                count
            }
        };
        self.forward(body.signal, request, records, body.bytes.len());
    }

    fn forward(&self, signal: Signal, request: Value, records: usize, bytes: usize) {
        let Some(export) = self.export.as_ref().filter(|_| self.sends(signal)) else {
            return;
        };
        let Value::Object(mut fields) = export::camel(request) else {
            return;
        };
        if let Some(Value::Array(groups)) = fields.remove(signal.key()) {
            export.send(Item {
                signal,
                groups,
                records,
                bytes,
            });
        }
    }

    fn sends(&self, signal: Signal) -> bool {
        match signal {
            Signal::Traces => self.config.exporter.sends(),
            Signal::Metrics => self.config.metrics_exporter.sends(),
            Signal::Logs => self.config.logs_exporter.sends(),
        }
    }

    fn keep_spans(&self, now_ns: u64, spans: Vec<Span>) {
        self.trace_triggers.heard(now_ns, &spans);
        if self.keeps_spans() {
            let mut traces = self.traces.lock();
            for span in spans {
                traces.insert(now_ns, span);
            }
        }
    }

    /// Takes up the spans that the engine's own calls have made meanwhile.
    pub(super) fn gather(&self) {
        let spans = self.calls.take_spans();
        if !spans.is_empty() {
            let spans: Vec<Span> = spans
                .into_iter()
                .map(|span| span.into_span(&self.service_name))
                .collect();
            self.keep_own(spans);
        }
    }

    fn keep_own(&self, spans: Vec<Span>) {
        if let Some(export) = self.export.as_ref().filter(|_| self.sends(Signal::Traces)) {
            export.send(Item {
                signal: Signal::Traces,
                records: spans.len(),
                bytes: spans.iter().map(Span::bytes).sum(),
                groups: vec![export::of_spans(&spans, &self.resource())],
            });
        }
        self.keep_spans(wall_clock_ns(), spans);
    }

    /// Who the engine is, to receivers of telemetry.
    pub(super) fn resource(&self) -> Value {
        let mut resource = json!({ "service.name": self.service_name });
        let more = [
            ("service.version", &self.config.service_version),
            ("service.namespace", &self.config.service_namespace),
        ];
        for (key, text) in more {
            if let Some(text) = text {
                resource[key] = json!(text);
            }
        }
        resource
    }

    /// A record of a call of `engine::log::*`, or of the engine's own.
    pub(super) fn log(&self, record: Record) {
        if !self.wants(Signal::Logs) {
            return;
        }
        if let Some(export) = self.export.as_ref().filter(|_| self.sends(Signal::Logs)) {
            export.send(Item {
                signal: Signal::Logs,
                groups: vec![export::of_records(&record)],
                records: 1,
                bytes: record.bytes(),
            });
        }
        self.keep_log(wall_clock_ns(), record);
    }

    fn keep_log(&self, now_ns: u64, record: Record) {
        if !self.sampler.takes_log(fastrand::u64(..)) {
            return;
        }
        if self.config.logs_console_output {
            print(&record);
        }
        // Before the handlers are called: they may look for it.
        if self.config.logs_exporter.keeps() {
            self.logs.lock().insert(now_ns, record.clone());
        }
        let fired = match self.bus.get() {
            Some(bus) => self
                .log_triggers
                .publish(bus, &record, |function| self.samples(function)),
            None => Vec::new(),
        };
        let spans: Vec<Span> = fired
            .into_iter()
            .filter(|fired| fired.place.sampled)
            .map(|fired| self.firing(fired, &record, now_ns))
            .collect();
        if !spans.is_empty() {
            self.keep_own(spans);
        }
    }

    fn samples(&self, function: &str) -> bool {
        self.config.enabled
            && self
                .sampler
                .takes(function, fastrand::u64(..), wall_clock_ns() / 1_000_000_000)
    }

    /// The span that begins the trace of a firing, linked to where the record was made.
    fn firing(&self, fired: Fired, record: &Record, now_ns: u64) -> Span {
        let link = record.trace.zip(record.span).map(|(trace, span)| Link {
            trace,
            span,
            trace_state: "".into(),
            attributes: Vec::new(),
        });
        Span {
            trace: fired.place.trace,
            id: fired.place.span,
            parent: None,
            name: format!("trigger {}", fired.function).into(),
            start_ns: now_ns,
            end_ns: now_ns,
            status: Status::Ok,
            status_description: None,
            attributes: vec![
                ("iii.function.id".into(), fired.function),
                ("iii.trigger.id".into(), fired.trigger),
                ("iii.trigger.type".into(), "log".into()),
            ],
            service_name: Arc::clone(&self.service_name),
            events: Vec::new(),
            links: link.into_iter().collect(),
            scope_name: Some("agentos".into()),
            scope_version: None,
            flags: Some(1),
        }
    }

    pub(super) fn service_name(&self) -> &Arc<str> {
        &self.service_name
    }
}

/// Writes a worker's record to the engine's own log.
fn print(record: &Record) {
    let (service, body) = (&*record.service_name, &*record.body);
    let attributes = record
        .attributes
        .as_object()
        .filter(|fields| !fields.is_empty())
        .map(|_| &record.attributes);
    let attributes = attributes.map(tracing::field::display);
    match record.severity.number {
        17.. => tracing::error!(target: "agentos::worker", service, attributes, "{body}"),
        13..=16 => tracing::warn!(target: "agentos::worker", service, attributes, "{body}"),
        9..=12 => tracing::info!(target: "agentos::worker", service, attributes, "{body}"),
        5..=8 => tracing::debug!(target: "agentos::worker", service, attributes, "{body}"),
        _ => tracing::trace!(target: "agentos::worker", service, attributes, "{body}"),
    }
}
