//! The worker's task: reads what comes in, and does what is due. Sleeps otherwise.

use std::{sync::Arc, time::Duration};

use agentos_sdk::{Bus, Stop};
use serde_json::json;
use tokio::time::Instant;

use super::{
    GATHER_DELAY,
    alerts::Fired,
    calls::wall_clock_ns,
    config::Action,
    export,
    log::{Record, Severity},
    post::Poster,
    telemetry::{Body, Inlets, Store},
};

/// Bodies above this size are read where reading delays nobody.
const LARGE_BYTES: usize = 128 << 10;

pub(super) async fn run(store: Arc<Store>, inlets: Inlets, bus: Bus, stop: Stop) {
    let Inlets {
        mut bodies,
        exports,
    } = inlets;
    let sending = exports
        .zip(store.export.clone())
        .map(|(items, export)| tokio::spawn(export::run(export, items, stop.clone())));
    let alerts_every = store
        .alerts
        .lock()
        .interval_ns()
        .filter(|_| store.config.enabled);
    let alerts_every = alerts_every.map(Duration::from_nanos);
    let mut alerts_due = alerts_every.map(|every| Instant::now() + every);
    // When to look at spans: some have come, or a trace may be complete by then.
    let mut spans_due: Option<Instant> = None;
    loop {
        tokio::select! {
            body = bodies.recv() => {
                let Some(body) = body else { return };
                read(&store, body).await;
                // Spans may have completed a trace.
                spans_due = spans_due.or_else(|| store.trace_triggers.due(wall_clock_ns()).map(after));
            }
            () = store.calls.more() => {
                let soon = Instant::now() + GATHER_DELAY;
                spans_due = Some(spans_due.map_or(soon, |due| due.min(soon)));
            }
            () = at(spans_due) => {
                store.gather();
                spans_due = store.trace_triggers.fire(&bus, wall_clock_ns()).map(after);
            }
            () = at(alerts_due) => {
                evaluate(&store);
                alerts_due = alerts_every.map(|every| Instant::now() + every);
            }
            () = stop.cancelled() => break,
        }
    }
    store.gather();
    if let Some(sending) = sending {
        // It stops by itself, and soon.
        let _ = sending.await;
    }
}

async fn read(store: &Arc<Store>, body: Body) {
    if body.len() < LARGE_BYTES {
        return store.read(body);
    }
    let store = Arc::clone(store);
    if let Err(error) = tokio::task::spawn_blocking(move || store.read(body)).await {
        tracing::error!(%error, "a telemetry frame could not be read");
    }
}

/// The instant that many nanoseconds of the wall clock from now.
fn after(moment_ns: u64) -> Instant {
    Instant::now() + Duration::from_nanos(moment_ns.saturating_sub(wall_clock_ns()))
}

async fn at(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}

/// Looks at every alert and does what those that go off ask for; their names.
pub(super) fn evaluate(store: &Arc<Store>) -> Vec<String> {
    let now_ns = wall_clock_ns();
    let counts = store.calls.counts();
    let fired = {
        let metrics = store.metrics.lock();
        let reported = |metric: &str, since_ns| metrics.since(metric, since_ns);
        store.alerts.lock().evaluate(now_ns, counts, reported)
    };
    fired
        .into_iter()
        .map(|fired| {
            go_off(store, &fired, now_ns);
            fired.alert.name
        })
        .collect()
}

fn go_off(store: &Arc<Store>, fired: &Fired, now_ns: u64) {
    let event = fired.to_json(now_ns);
    match &fired.alert.action {
        Action::Log => store.log(Record {
            at_ns: now_ns,
            observed_ns: now_ns,
            severity: Severity::of_level("warn"),
            body: format!(
                "alert {}: {} is {}",
                fired.alert.name, fired.alert.metric, fired.value
            )
            .into(),
            attributes: event,
            trace: None,
            span: None,
            resource: Arc::new(store.resource()),
            service_name: Arc::clone(store.service_name()),
            scope_name: Some("agentos".into()),
            scope_version: None,
        }),
        Action::Function { path } => {
            let sent = store.bus.get().map(|bus| bus.call(path).void(&event));
            if let Some(Err(error)) = sent {
                tracing::warn!(alert = fired.alert.name, function = path, %error, "an alert did not reach its function");
            }
        }
        Action::Webhook { url } => {
            let (name, url, body) = (
                fired.alert.name.clone(),
                url.clone(),
                json!(event).to_string(),
            );
            // At most one per alert and cooldown, and each has a deadline.
            tokio::spawn(async move {
                let why = match url.parse() {
                    Ok(to) => match Poster::new().json(&to, body.into()).await {
                        Ok(status) if status.is_success() => return,
                        Ok(status) => format!("status {status}"),
                        Err(error) => error,
                    },
                    Err(error) => error.to_string(),
                };
                tracing::warn!(alert = name, why, "an alert did not reach its webhook");
            });
        }
    }
}
