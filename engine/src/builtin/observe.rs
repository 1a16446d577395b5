//! Logs, traces, metrics and what is made of them: the functions `engine::log::*`,
//! `engine::traces::*` and their like, and the trigger types `log` and `trace`.
//!
//! This file is the rim: decode, ask `telemetry`, encode. What comes in on sockets is read in
//! `otlp`; what the engine knows of its own calls is in `calls`.

use std::{sync::Arc, time::Duration};

use agentos_sdk::{
    Bus, Code, Context, Error, FunctionBuilder, Registrar, Stop, TriggerTypeSpec, Worker,
    async_trait,
};
use parking_lot::Mutex;
use schemars::{JsonSchema, schema_for};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

mod alerts;
mod api;
mod baggage;
mod calls;
mod completion;
mod config;
mod export;
mod histogram;
mod id;
mod keeping;
mod lineage;
mod log;
mod log_trigger;
mod logs;
mod metric;
mod metrics;
mod otlp;
mod page;
mod post;
mod ring;
mod sampling;
mod span;
mod telemetry;
mod trace_trigger;
mod traces;

pub use config::{
    Action, Alert, Config, Exporter, Operator, RateLimit, Rule, Sampling, TraceStorage,
};
pub use telemetry::Telemetry;
pub(crate) use telemetry::frame;

use calls::wall_clock_ns;
use id::{Place, SpanId, TraceId};
use log::{Record, Severity};
use telemetry::{Inlets, Store};

/// The built-in worker `observe`.
pub struct Observe {
    telemetry: Telemetry,
    inlets: Mutex<Option<Inlets>>,
}

impl Observe {
    /// The worker and the handle that takes telemetry in for it.
    pub fn open(config: Config) -> (Arc<Observe>, Telemetry) {
        let (telemetry, inlets) = Telemetry::open(config);
        let observe = Observe {
            telemetry: telemetry.clone(),
            inlets: Mutex::new(Some(inlets)),
        };
        (Arc::new(observe), telemetry)
    }

    fn store(&self) -> &Arc<Store> {
        self.telemetry.store()
    }

    fn log(&self, level: &str, context: &Context, input: api::Log) {
        let store = self.store();
        // What the call does not say, its trace does.
        let place = Place::of(context.trace());
        let trace = input.trace_id.as_deref().and_then(TraceId::parse);
        let span = input.span_id.as_deref().and_then(SpanId::parse);
        let attributes = match input.data {
            None | Some(Value::Null) => json!({}),
            Some(data @ Value::Object(_)) => data,
            Some(data) => json!({ "data": data }),
        };
        let named = input.service_name.filter(|name| !name.is_empty());
        let service_name: Arc<str> =
            named.map_or_else(|| Arc::clone(store.service_name()), Arc::from);
        let now_ns = wall_clock_ns();
        store.log(Record {
            at_ns: now_ns,
            observed_ns: now_ns,
            severity: Severity::of_level(level),
            body: match input.message {
                Value::String(text) => text.into(),
                other => other.to_string().into(),
            },
            attributes,
            trace: trace.or(place.map(|place| place.trace)),
            span: span.or(place
                .filter(|place| trace.is_none_or(|trace| trace == place.trace))
                .map(|place| place.span)),
            resource: Arc::new(json!({ "service.name": service_name })),
            scope_name: Some(Arc::clone(&service_name)),
            service_name,
            scope_version: None,
        });
    }

    /// What is known of spans, if they are kept.
    fn traces<T>(&self, look: impl FnOnce(&mut traces::Traces) -> T) -> Result<T, Error> {
        let store = self.store();
        if !store.keeps_spans() {
            return Err(Error::engine(
                Code::Unsupported,
                "spans are not kept in memory: set `exporter` to `memory` or `both`",
            )
            .reason("memory_exporter_not_enabled"));
        }
        store.gather();
        let mut traces = store.traces.lock();
        traces.age(wall_clock_ns());
        Ok(look(&mut traces))
    }

    fn metrics_list(&self, query: &api::MetricsList) -> Value {
        let now_ns = wall_clock_ns();
        let store = self.store();
        let mut metrics = store.metrics.lock();
        let kept = store.config.metrics_exporter.keeps();
        let mut answer = json!({
            "engine_metrics": store.calls.to_json(),
            "sdk_metrics": if kept { metrics.list(query, now_ns) } else { Vec::new() },
            "timestamp": now_ns / 1_000_000,
        });
        if let Some(seconds) = query.aggregate_interval {
            answer["aggregated_metrics"] = json!(metrics.aggregate(query, seconds));
        }
        let asked = json!(query);
        if asked.as_object().is_some_and(|fields| !fields.is_empty()) {
            answer["query"] = asked;
        }
        answer
    }

    fn health(&self) -> Value {
        let store = self.store();
        let config = &store.config;
        let component = |healthy: bool, details: Value| json!({ "status": if config.enabled && healthy { "healthy" } else { "disabled" }, "details": details });
        let otel = match (&store.export, &store.export_fault) {
            (Some(export), _) => export.to_json(),
            (None, Some(fault)) => json!({ "error": fault }),
            (None, None) => json!({ "exporter": "memory" }),
        };
        let sends = config.exporter.sends()
            || config.metrics_exporter.sends()
            || config.logs_exporter.sends();
        store.gather();
        let (traces, spans, span_bytes, spans_dropped) = {
            let traces = store.traces.lock();
            let (count, spans, bytes) = traces.size();
            (count, spans, bytes, traces.dropped)
        };
        let (logs, log_bytes) = {
            let logs = store.logs.lock();
            (logs.ring.len(), logs.ring.bytes())
        };
        let (metrics, metric_bytes) = {
            let metrics = store.metrics.lock();
            (metrics.ring.len(), metrics.ring.bytes())
        };
        json!({
            "status": "healthy",
            "components": {
                "otel": component(!sends || store.export.is_some(), otel),
                "metrics": component(config.metrics_enabled, json!({ "stored": metrics, "bytes": metric_bytes, "max": config.metrics_max_count })),
                "logs": component(config.logs_enabled, json!({ "stored": logs, "bytes": log_bytes, "max": config.logs_max_count })),
                "spans": component(store.keeps_spans(), json!({
                    "stored": spans, "traces": traces, "bytes": span_bytes,
                    "dropped": spans_dropped + store.calls.lost(), "max_traces": config.memory_max_spans,
                })),
            },
            "frames_dropped": store.dropped(),
            "timestamp": wall_clock_ns() / 1_000_000,
            "version": env!("CARGO_PKG_VERSION"),
        })
    }

    fn offer<'a, I, O, F>(
        self: &Arc<Self>,
        to: &'a mut Registrar,
        id: &str,
        answer: F,
    ) -> FunctionBuilder<'a>
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + JsonSchema + Send + 'static,
        F: Fn(&Self, &Context, I) -> Result<O, Error> + Send + Sync + 'static,
    {
        let observe = Arc::clone(self);
        to.function(id, move |context, input: I| {
            std::future::ready(answer(&observe, &context, input))
        })
    }
}

#[async_trait]
impl Worker for Observe {
    fn register(self: Arc<Self>, to: &mut Registrar) {
        for level in api::LEVELS {
            let id = format!("{}{level}", api::LOG_PREFIX);
            self.offer(to, &id, move |this, context, input: api::Log| {
                this.log(level, context, input);
                Ok(())
            })
            .describe(&format!(
                "Keeps a log record of level {level} and fires log triggers"
            ));
        }
        self.register_baggage(to);
        self.register_traces(to);
        self.register_the_rest(to);
        let store = self.store();
        to.trigger_type(
            TriggerTypeSpec {
                id: api::LOG_TRIGGER.into(),
                description: "Calls a function when a log record of a level comes in".to_owned(),
                config_schema: Some(schema_for!(api::LogTrigger).to_value()),
                payload_schema: None,
            },
            Arc::clone(&store.log_triggers) as _,
        );
        to.trigger_type(
            TriggerTypeSpec {
                id: api::TRACE_TRIGGER.into(),
                description: "Calls a function with the ids of traces that are complete".to_owned(),
                config_schema: Some(schema_for!(api::TraceTrigger).to_value()),
                payload_schema: None,
            },
            Arc::clone(&store.trace_triggers) as _,
        );
    }

    async fn run(self: Arc<Self>, bus: Bus, stop: Stop) -> Result<(), Error> {
        // Set once: a worker runs once.
        let _ = self.store().bus.set(bus.detached());
        let Some(inlets) = self.inlets.lock().take() else {
            stop.cancelled().await;
            return Ok(());
        };
        keeping::run(Arc::clone(self.store()), inlets, bus, stop).await;
        Ok(())
    }
}

impl Observe {
    fn register_baggage(self: &Arc<Self>, to: &mut Registrar) {
        self.offer(
            to,
            api::BAGGAGE_GET,
            |_, context, input: api::BaggageKey| {
                let baggage = baggage::parse(context.trace().baggage.as_deref());
                Ok(json!({ "value": baggage.get(&input.key) }))
            },
        )
        .describe("One value of the call's baggage")
        .idempotent();
        self.offer(to, api::BAGGAGE_SET, |_, _, _: api::BaggageEntry| {
            let note = "baggage travels with calls: put it on the call that shall carry it; nothing was kept here";
            Ok(json!({ "success": true, "note": note }))
        })
        .describe("Does nothing lasting: baggage is set where a call is made")
        .idempotent();
        self.offer(to, api::BAGGAGE_GET_ALL, |_, context, _: Option<Value>| {
            Ok(json!({ "baggage": baggage::parse(context.trace().baggage.as_deref()) }))
        })
        .describe("The call's baggage")
        .idempotent();
    }

    fn register_traces(self: &Arc<Self>, to: &mut Registrar) {
        self.offer(
            to,
            api::TRACES_LIST,
            |this, _, input: Option<api::TracesList>| {
                this.traces(|traces| traces.list(&input.unwrap_or_default()))
            },
        )
        .describe("Root spans that fit, page by page")
        .idempotent();
        self.offer(to, api::TRACES_TREE, |this, _, input: api::TracesTree| {
            this.traces(|traces| traces.tree(TraceId::parse(&input.trace_id)))
        })
        .describe("The spans of one trace, children in their parents")
        .idempotent();
        self.offer(
            to,
            api::TRACES_GROUP_BY,
            |this, _, input: api::TracesGroupBy| {
                this.traces(|traces| traces.group_by(&input, wall_clock_ns()))
            },
        )
        .describe("Spans gathered by the value of an attribute")
        .idempotent();
        self.offer(to, api::TRACES_CLEAR, |this, _, _: Option<Value>| {
            this.traces(traces::Traces::clear)?;
            Ok(json!({ "success": true }))
        })
        .describe("Forgets all spans");
    }

    fn register_page(self: &Arc<Self>, to: &mut Registrar) {
        let store = Arc::clone(self.store());
        let page = to
            .function(
                api::METRICS_PAGE,
                move |context: Context, _: Option<Value>| {
                    let store = Arc::clone(&store);
                    async move { Ok(page::make(&store.calls, context.bus()).await) }
                },
            )
            .describe("Counts of calls, workers and queues, as an HTTP route answers Prometheus")
            .idempotent();
        if let Some(path) = &self.store().config.prometheus_path {
            page.http("GET", path);
        }
    }

    fn register_the_rest(self: &Arc<Self>, to: &mut Registrar) {
        self.offer(
            to,
            api::METRICS_LIST,
            |this, _, input: Option<api::MetricsList>| {
                Ok(this.metrics_list(&input.unwrap_or_default()))
            },
        )
        .describe("The engine's counts of calls and workers, and the metrics that workers report")
        .idempotent();
        self.register_page(to);
        self.offer(
            to,
            api::LOGS_LIST,
            |this, _, input: Option<api::LogsList>| {
                Ok(this
                    .store()
                    .logs
                    .lock()
                    .list(&input.unwrap_or_default(), wall_clock_ns()))
            },
        )
        .describe("Log records that fit, newest first")
        .idempotent();
        self.offer(to, api::LOGS_CLEAR, |this, _, _: Option<Value>| {
            this.store().logs.lock().ring.clear();
            Ok(json!({ "success": true }))
        })
        .describe("Forgets all log records");
        self.offer(to, api::SAMPLING_RULES, |this, _, _: Option<Value>| {
            Ok(this.store().sampler.to_json())
        })
        .describe("Which traces are recorded")
        .idempotent();
        self.offer(to, api::HEALTH_CHECK, |this, _, _: Option<Value>| {
            Ok(this.health())
        })
        .describe("How the parts of the observability are")
        .idempotent();
        self.offer(to, api::ALERTS_LIST, |this, _, _: Option<Value>| {
            Ok(this.store().alerts.lock().to_json(wall_clock_ns()))
        })
        .describe("The alerts and how they stand")
        .idempotent();
        self.offer(to, api::ALERTS_EVALUATE, |this, _, _: Option<Value>| {
            let triggered = keeping::evaluate(this.store());
            let now_ns = wall_clock_ns();
            let mut answer = this.store().alerts.lock().to_json(now_ns);
            answer["triggered"] = json!(triggered);
            Ok(answer)
        })
        .describe("Looks at every alert now");
        self.offer(
            to,
            api::ROLLUPS_LIST,
            |this, _, input: Option<api::RollupsList>| {
                Ok(this
                    .store()
                    .metrics
                    .lock()
                    .rollups(&input.unwrap_or_default()))
            },
        )
        .describe("Metrics of workers by the minute, five minutes or hour")
        .idempotent();
    }
}

/// How long spans of calls wait for more of them before they are looked at together.
const GATHER_DELAY: Duration = Duration::from_millis(200);

#[cfg(test)]
mod tests;
