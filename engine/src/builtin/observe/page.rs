//! The page that Prometheus reads: the engine's own counts, and how every queue is.
//!
//! Of the queues only what `queue::list` answers is known here; an engine without queues has a page
//! without them.

use std::{
    fmt::{Display, Write},
    time::Duration,
};

use agentos_sdk::Bus;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::calls::Calls;

/// Asked for the queues, and how long that may take.
const QUEUES: &str = "queue::list";
const QUEUES_WAIT: Duration = Duration::from_secs(2);

/// As Prometheus names the format.
const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// An answer as HTTP routes take it.
#[derive(Serialize, schemars::JsonSchema)]
pub(super) struct Page {
    status_code: u16,
    headers: Value,
    body: String,
}

#[derive(Deserialize, Default)]
struct Listed {
    queues: Vec<Queue>,
}

#[derive(Deserialize)]
struct Queue {
    queue: String,
    depth: u64,
    in_flight: u64,
    delayed: u64,
    dead: u64,
    consumers: u64,
    paused: bool,
    oldest_ms: Option<u64>,
    totals: Events<u64>,
    rates: Events<f64>,
}

#[derive(Deserialize, Clone, Copy)]
struct Events<T> {
    enqueued: T,
    acknowledged: T,
    failed: T,
    died: T,
}

impl<T: Copy> Events<T> {
    fn named(self) -> [(&'static str, T); 4] {
        [
            ("enqueued", self.enqueued),
            ("acknowledged", self.acknowledged),
            ("failed", self.failed),
            ("died", self.died),
        ]
    }
}

/// The page as it is now.
pub(super) async fn make(calls: &Calls, bus: &Bus) -> Page {
    let call = bus.call(QUEUES).timeout(QUEUES_WAIT);
    // Without queues there is nobody to ask.
    let listed: Listed = call.send(&json!({})).await.unwrap_or_default();
    let mut text = Text::default();
    text.calls(calls);
    text.queues(&listed.queues);
    Page {
        status_code: 200,
        headers: json!({ "content-type": CONTENT_TYPE }),
        body: text.0,
    }
}

/// The page as it grows.
#[derive(Default)]
struct Text(String);

impl Text {
    fn calls(&mut self, calls: &Calls) {
        let counts = calls.counts();
        self.family("agentos_workers", "gauge", "Workers that are connected.");
        self.sample("agentos_workers", &[], counts.active());
        let by_function = calls.by_function();
        self.family("agentos_calls_total", "counter", "Calls that have ended.");
        for (function, count) in &by_function {
            let label = [("function", &**function)];
            self.sample("agentos_calls_total", &label, count.calls);
        }
        let name = "agentos_call_errors_total";
        self.family(name, "counter", "Calls that have failed.");
        for (function, count) in &by_function {
            self.sample(name, &[("function", function)], count.errors);
        }
        let name = "agentos_call_seconds_total";
        self.family(name, "counter", "Time that calls have taken.");
        for (function, count) in &by_function {
            let seconds = count.took_us as f64 / 1e6;
            self.sample(name, &[("function", function)], seconds);
        }
    }

    fn queues(&mut self, queues: &[Queue]) {
        let name = "agentos_queue_messages";
        self.family(name, "gauge", "Messages of a queue by state.");
        for queue in queues {
            let waiting = queue.depth.saturating_sub(queue.in_flight + queue.delayed);
            let states = [
                ("ready", waiting),
                ("delayed", queue.delayed),
                ("in_flight", queue.in_flight),
                ("dead", queue.dead),
            ];
            for (state, messages) in states {
                let labels = [("queue", &*queue.queue), ("state", state)];
                self.sample(name, &labels, messages);
            }
        }
        let name = "agentos_queue_oldest_seconds";
        self.family(name, "gauge", "Age of the oldest message to be delivered.");
        for queue in queues {
            let seconds = queue.oldest_ms.unwrap_or_default() as f64 / 1000.0;
            self.sample(name, &[("queue", &queue.queue)], seconds);
        }
        let name = "agentos_queue_consumers";
        self.family(name, "gauge", "Functions that are delivered to.");
        for queue in queues {
            self.sample(name, &[("queue", &queue.queue)], queue.consumers);
        }
        let name = "agentos_queue_paused";
        self.family(name, "gauge", "1 while nothing is delivered.");
        for queue in queues {
            let paused = u8::from(queue.paused);
            self.sample(name, &[("queue", &queue.queue)], paused);
        }
        let name = "agentos_queue_events_total";
        self.family(name, "counter", "What has happened since the start.");
        for queue in queues {
            self.events(name, &queue.queue, queue.totals);
        }
        let name = "agentos_queue_events_per_second";
        self.family(name, "gauge", "The same over the last minute.");
        for queue in queues {
            self.events(name, &queue.queue, queue.rates);
        }
    }

    fn events(&mut self, name: &str, queue: &str, events: Events<impl Copy + Display>) {
        for (event, count) in events.named() {
            self.sample(name, &[("queue", queue), ("event", event)], count);
        }
    }

    fn family(&mut self, name: &str, kind: &str, help: &str) {
        self.line(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Copy + Display) {
        self.0.push_str(name);
        for (place, (label, text)) in labels.iter().enumerate() {
            let before = if place == 0 { '{' } else { ',' };
            self.line(format_args!("{before}{label}=\"{}\"", escaped(text)));
        }
        if !labels.is_empty() {
            self.0.push('}');
        }
        self.line(format_args!(" {value}\n"));
    }

    fn line(&mut self, text: std::fmt::Arguments<'_>) {
        self.0
            .write_fmt(text)
            .expect("a String takes whatever is written to it");
    }
}

/// As the value of a label.
fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_cannot_break_the_page() {
        let mut text = Text::default();
        let labels = [("queue", "a\"b\\c\nd"), ("state", "dead")];
        text.sample("agentos_queue_messages", &labels, 3);
        text.sample("agentos_workers", &[], 0.5);
        assert_eq!(
            text.0,
            "agentos_queue_messages{queue=\"a\\\"b\\\\c\\nd\",state=\"dead\"} 3\nagentos_workers 0.5\n"
        );
    }
}
