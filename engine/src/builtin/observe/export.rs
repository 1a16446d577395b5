//! Sends telemetry on to an OTLP/HTTP endpoint, in batches, as JSON.
//!
//! Bounded everywhere: what does not fit in the queue is dropped and counted, and so is a batch
//! that the endpoint refuses or does not take after some tries.

mod write;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use hyper::{StatusCode, Uri};
use serde_json::{Map, Value, json};
use tokio::{sync::mpsc, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{config::Config, post::Poster};
pub(super) use write::{camel, of_records, of_spans};

/// Bodies that may wait.
const QUEUE_MAX: usize = 1024;
/// A batch is sent at this size, however few records it has.
const BATCH_BYTES_MAX: usize = 1 << 20;
const TRIES: u32 = 4;
const BACKOFF: Duration = Duration::from_millis(500);
/// How long the last batches may take when the engine stops.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// The port of OTLP over gRPC, which is not spoken.
const GRPC_PORT: u16 = 4317;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Signal {
    Traces,
    Metrics,
    Logs,
}

const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

impl Signal {
    fn path(self) -> &'static str {
        match self {
            Signal::Traces => "v1/traces",
            Signal::Metrics => "v1/metrics",
            Signal::Logs => "v1/logs",
        }
    }

    /// The one key of a request of this kind.
    pub(super) fn key(self) -> &'static str {
        match self {
            Signal::Traces => "resourceSpans",
            Signal::Metrics => "resourceMetrics",
            Signal::Logs => "resourceLogs",
        }
    }
}

/// Something to send on: the groups of one request.
pub(super) struct Item {
    pub(super) signal: Signal,
    pub(super) groups: Vec<Value>,
    pub(super) records: usize,
    pub(super) bytes: usize,
}

/// The way to the endpoint.
pub(super) struct Export {
    queue: mpsc::Sender<Item>,
    endpoint: Endpoint,
    waiting_bytes: AtomicUsize,
    waiting_bytes_max: usize,
    batch_records_max: usize,
    flush: Duration,
    sent: AtomicU64,
    dropped: AtomicU64,
}

/// Where to, one address for each signal.
struct Endpoint([Uri; 3]);

impl Endpoint {
    /// # Errors
    /// What is wrong with the address, and what would be right.
    fn parse(text: &str) -> Result<Self, String> {
        let help =
            "give `endpoint` the address of an OTLP/HTTP receiver, such as http://localhost:4318";
        let base: Uri = text
            .parse()
            .map_err(|error| format!("`endpoint` is no address ({error}); {help}"))?;
        if !matches!(base.scheme_str(), Some("http" | "https")) || base.host().is_none() {
            return Err(format!(
                "`endpoint` is not an http or https address; {help}"
            ));
        }
        if base.port_u16() == Some(GRPC_PORT) {
            return Err(format!(
                "`endpoint` has port {GRPC_PORT}, which is OTLP over gRPC; only OTLP over HTTP is spoken: {help}"
            ));
        }
        let text = text.trim_end_matches('/');
        let mut uris = Vec::new();
        for signal in SIGNALS {
            let uri = format!("{text}/{}", signal.path()).parse();
            uris.push(uri.map_err(|error| format!("`endpoint` cannot be used ({error}); {help}"))?);
        }
        uris.try_into().map(Endpoint).map_err(|_| help.to_owned())
    }
}

impl Export {
    /// The way to `config.endpoint`, and what [`run`] takes from it.
    ///
    /// # Errors
    /// What is wrong with the address, and what would be right.
    pub(super) fn open(config: &Config) -> Result<(Arc<Self>, mpsc::Receiver<Item>), String> {
        let endpoint = Endpoint::parse(&config.endpoint)?;
        let (queue, items) = mpsc::channel(QUEUE_MAX);
        let export = Export {
            queue,
            endpoint,
            waiting_bytes: AtomicUsize::new(0),
            waiting_bytes_max: config.inbox_bytes_max,
            batch_records_max: config.logs_batch_size.clamp(1, 10_000),
            flush: Duration::from_millis(config.logs_flush_interval_ms.clamp(100, 3_600_000)),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
        };
        Ok((Arc::new(export), items))
    }

    /// Queues without waiting; counts what does not fit.
    pub(super) fn send(&self, item: Item) {
        if item.groups.is_empty() {
            return;
        }
        let (records, bytes) = (item.records as u64, item.bytes);
        let waiting = self.waiting_bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting + bytes > self.waiting_bytes_max || self.queue.try_send(item).is_err() {
            self.waiting_bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.dropped.fetch_add(records, Ordering::Relaxed);
        }
    }

    /// For the health check. Names the host only: the rest of an address may hold a secret.
    pub(super) fn to_json(&self) -> Value {
        json!({
            "endpoint": self.endpoint.0[0].host(),
            "sent": self.sent.load(Ordering::Relaxed),
            "dropped": self.dropped.load(Ordering::Relaxed),
        })
    }
}

/// Sends what is queued until `stop`, and then what is left. Sleeps while nothing waits.
pub(super) async fn run(
    export: Arc<Export>,
    mut items: mpsc::Receiver<Item>,
    stop: CancellationToken,
) {
    let poster = Poster::new();
    let mut batches = SIGNALS.map(Batch::new);
    let mut due: Option<Instant> = None;
    loop {
        let flush = async {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            item = items.recv() => {
                let Some(item) = item else { return };
                export.waiting_bytes.fetch_sub(item.bytes, Ordering::Relaxed);
                let batch = &mut batches[item.signal as usize];
                batch.add(item);
                if batch.records >= export.batch_records_max || batch.bytes >= BATCH_BYTES_MAX {
                    tokio::select! {
                        () = batch.send(&export, &poster) => {}
                        () = stop.cancelled() => {}
                    }
                }
                due = due.or_else(|| Some(Instant::now() + export.flush));
            }
            () = flush => {
                due = None;
                for batch in &mut batches {
                    tokio::select! {
                        () = batch.send(&export, &poster) => {}
                        () = stop.cancelled() => break,
                    }
                }
            }
            () = stop.cancelled() => break,
        }
    }
    let last = async {
        while let Ok(item) = items.try_recv() {
            batches[item.signal as usize].add(item);
        }
        for batch in &mut batches {
            batch.send(&export, &poster).await;
        }
    };
    if tokio::time::timeout(LAST_WORDS, last).await.is_err() {
        tracing::warn!("the OTLP endpoint did not take the last telemetry in time");
    }
}

struct Batch {
    signal: Signal,
    groups: Vec<Value>,
    records: usize,
    bytes: usize,
}

impl Batch {
    fn new(signal: Signal) -> Self {
        Batch {
            signal,
            groups: Vec::new(),
            records: 0,
            bytes: 0,
        }
    }

    fn add(&mut self, item: Item) {
        self.groups.extend(item.groups);
        self.records += item.records;
        self.bytes += item.bytes;
    }

    async fn send(&mut self, export: &Export, poster: &Poster) {
        if self.groups.is_empty() {
            return;
        }
        let batch = std::mem::replace(self, Batch::new(self.signal));
        let records = batch.records as u64;
        let mut request = Map::new();
        request.insert(batch.signal.key().to_owned(), Value::Array(batch.groups));
        let body = bytes::Bytes::from(Value::Object(request).to_string());
        let to = &export.endpoint.0[batch.signal as usize];
        let mut wait = BACKOFF;
        for again in (0..TRIES).rev() {
            let why = match poster.json(to, body.clone()).await {
                Ok(status) if status.is_success() => {
                    export.sent.fetch_add(records, Ordering::Relaxed);
                    return;
                }
                Ok(status) if again > 0 && is_passing(status) => None,
                Ok(status) => Some(format!("status {status}")),
                Err(_) if again > 0 => None,
                Err(error) => Some(error),
            };
            if let Some(why) = why {
                tracing::warn!(
                    host = to.host(),
                    records,
                    why,
                    "the OTLP endpoint did not take telemetry"
                );
                break;
            }
            tokio::time::sleep(wait + wait.mul_f64(fastrand::f64() / 2.0)).await;
            wait *= 2;
        }
        export.dropped.fetch_add(records, Ordering::Relaxed);
    }
}

/// Answers after which the OTLP standard asks to try again.
fn is_passing(status: StatusCode) -> bool {
    matches!(status.as_u16(), 429 | 502 | 503 | 504)
}

#[cfg(test)]
mod tests;
