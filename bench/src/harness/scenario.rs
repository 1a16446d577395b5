//! What is asked of the contenders.

use anyhow::{Result, bail};

use super::contender::Contender;
use crate::args::{Fire, Tongue};

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) kind: Kind,
    /// What the ratio is of.
    pub(crate) figure: Figure,
    /// Server and clients share one core.
    pub(crate) one_core: bool,
}

#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Calls(Shape),
    /// One publisher and many subscribers.
    Fanout {
        subscribers: usize,
        ahead: u64,
    },
    /// Requests that a worker answers, one at a time on each connection.
    Http {
        connections: usize,
    },
    /// Echo through the SDKs of other languages.
    Sdk {
        in_flight: usize,
    },
    /// Durable messages of so many producers, put on a queue, or taken off it.
    Queue {
        producers: usize,
        consume: bool,
    },
    /// A model behind a gateway.
    Gateway(Asking),
    /// Memory of an engine with many idle workers.
    Idle,
}

/// What is carried where nothing else is said.
pub(crate) const PAYLOAD_BYTES: usize = 64;

#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) callers: usize,
    /// As many as callers, or one for all.
    pub(crate) callees: usize,
    pub(crate) in_flight: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) fire: Option<Fire>,
}

/// What is asked of a model.
#[derive(Clone, Copy)]
pub(crate) struct Asking {
    pub(crate) connections: usize,
    pub(crate) prompt_bytes: usize,
    /// Of a stream; 0 is a whole answer.
    pub(crate) tokens: u64,
    /// Between two tokens.
    pub(crate) pace_us: u64,
    /// Measured is the first token of each answer, not how late each token is.
    pub(crate) first: bool,
}

impl Shape {
    /// A relay copies between pairs.
    pub(crate) fn is_pairs(&self) -> bool {
        self.callers == self.callees
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Calls, deliveries or requests per second; more is better.
    Rate,
    /// Payload per second, each of so many bytes counted once; more is better.
    Bytes(usize),
    /// The median of a call's time; less is better.
    Latency,
}

impl Scenario {
    fn new(name: &'static str, about: &'static str, kind: Kind, figure: Figure) -> Self {
        Scenario {
            name,
            about,
            kind,
            figure,
            one_core: false,
        }
    }

    /// Echo calls between `callers` and `callees`.
    fn calls(name: &'static str, about: &'static str, ends: [usize; 2], in_flight: usize) -> Self {
        let shape = Shape {
            callers: ends[0],
            callees: ends[1],
            in_flight,
            payload_bytes: PAYLOAD_BYTES,
            fire: None,
        };
        let figure = if ends[0] * in_flight == 1 {
            Figure::Latency
        } else {
            Figure::Rate
        };
        Self::new(name, about, Kind::Calls(shape), figure)
    }

    fn payload(name: &'static str, about: &'static str, bytes: usize, in_flight: usize) -> Self {
        let shape = Shape {
            callers: 1,
            callees: 1,
            in_flight,
            payload_bytes: bytes,
            fire: None,
        };
        Self::new(name, about, Kind::Calls(shape), Figure::Bytes(bytes))
    }

    fn queue(name: &'static str, about: &'static str, producers: usize, consume: bool) -> Self {
        let kind = Kind::Queue { producers, consume };
        Self::new(name, about, kind, Figure::Rate)
    }

    fn gateway(name: &'static str, about: &'static str, asking: Asking, figure: Figure) -> Self {
        Self::new(name, about, Kind::Gateway(asking), figure)
    }

    fn on_one_core(mut self) -> Self {
        self.one_core = true;
        self
    }

    /// The contender by whose figure that of `contender` is divided.
    pub(crate) fn reference(&self, contender: &Contender) -> &'static str {
        match (self.kind, contender.tongue) {
            (Kind::Sdk { .. }, _) if contender.name.starts_with("python") => "python iii-sdk",
            (Kind::Sdk { .. }, _) => "node iii-sdk",
            (Kind::Calls(shape), _) if !shape.is_pairs() => "nats",
            (Kind::Calls(_), Tongue::V2) => "relay v2",
            (Kind::Calls(_), _) => "relay iii",
            (Kind::Fanout { .. }, _) => "nats",
            (Kind::Http { .. }, _) => "axum echo",
            (Kind::Queue { consume: false, .. }, _) => "log",
            (Kind::Queue { consume: true, .. }, _) => "jetstream",
            (Kind::Gateway(_), _) => "pass",
            (Kind::Idle, _) => "",
        }
    }
}

pub(crate) fn all() -> Vec<Scenario> {
    let fire = Shape {
        callers: 1,
        callees: 1,
        in_flight: 1,
        payload_bytes: PAYLOAD_BYTES,
        fire: Some(Fire {
            window: 256,
            acknowledge_every: 128,
        }),
    };
    let fanout = Kind::Fanout {
        subscribers: 50,
        ahead: 8,
    };
    let whole = |connections: usize, prompt_bytes: usize| Asking {
        connections,
        prompt_bytes,
        tokens: 0,
        pace_us: 0,
        first: false,
    };
    let stream = |connections: usize, tokens: u64, pace_us: u64| Asking {
        tokens,
        pace_us,
        ..whole(connections, PAYLOAD_BYTES)
    };
    let first = Asking {
        first: true,
        ..stream(1, 4, 5_000)
    };
    #[rustfmt::skip]
    let all = vec![
        Scenario::calls("calls-8x32", "8 callers and 8 callees, 32 calls of 64 B in flight each", [8, 8], 32),
        Scenario::calls("calls-1x64", "1 caller, 64 calls of 64 B in flight", [1, 1], 64),
        Scenario::calls("calls-8x1", "8 callers and 8 callees, 1 call of 64 B in flight each", [8, 8], 1),
        Scenario::calls("calls-8to1x32", "8 callers of one callee, 32 calls of 64 B in flight each", [8, 1], 32),
        Scenario::calls("latency-1", "1 caller, 1 call of 64 B in flight", [1, 1], 1),
        Scenario::calls("latency-1-one-core", "1 caller, 1 call of 64 B in flight, all on one core", [1, 1], 1).on_one_core(),
        Scenario::payload("payload-64k", "1 caller, 8 calls of 64 KiB in flight, echoed", 64 << 10, 8),
        Scenario::payload("payload-1m", "1 caller, 4 calls of 1 MiB in flight, echoed", 1 << 20, 4),
        Scenario::new("fire", "1 caller, void calls of 64 B, 256 ahead of what is acknowledged", Kind::Calls(fire), Figure::Rate),
        Scenario::new("fanout-50", "1 publisher, 50 subscribers, 8 messages of 64 B ahead; deliveries", fanout, Figure::Rate),
        Scenario::new("http", "POST of 64 B, a worker answers; 64 connections", Kind::Http { connections: 64 }, Figure::Rate),
        Scenario::new("sdk-1", "echo as users of the SDKs write it, 1 call in flight", Kind::Sdk { in_flight: 1 }, Figure::Rate),
        Scenario::new("sdk-64", "echo as users of the SDKs write it, 64 calls in flight", Kind::Sdk { in_flight: 64 }, Figure::Rate),
        Scenario::queue("enqueue-1", "1 producer, a durable message of 256 B after the other", 1, false),
        Scenario::queue("enqueue-64", "64 producers, a durable message of 256 B after the other each", 64, false),
        Scenario::queue("queue-1", "the same with 1 producer and a consumer that acknowledges each; what is consumed", 1, true),
        Scenario::queue("queue-64", "the same with 64 producers and a consumer that acknowledges each; what is consumed", 64, true),
        Scenario::gateway("gateway-32", "a model behind a gateway, whole answers, 32 connections", whole(32, PAYLOAD_BYTES), Figure::Rate),
        Scenario::gateway("gateway-1", "the same, one at a time", whole(1, PAYLOAD_BYTES), Figure::Latency),
        Scenario::gateway("gateway-100k", "the same, a prompt of 100 KB, 4 connections", whole(4, 100_000), Figure::Rate),
        Scenario::gateway("gateway-first", "a stream behind a gateway: when the first token comes", first, Figure::Latency),
        Scenario::gateway("gateway-flat", "streams of 512 tokens as quick as they come, 8 connections; tokens", stream(8, 512, 0), Figure::Rate),
        Scenario::gateway("gateway-200", "200 streams, a token every 20 ms each; how late a token is", stream(200, 100, 20_000), Figure::Latency),
        Scenario::new("idle", "memory with 1,000 workers of 10 functions each, and 10,000 connections", Kind::Idle, Figure::Rate),
    ];
    all
}

/// Those that were asked for, in their order; all, when nothing was.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<Scenario>> {
    let mut all = all();
    let known: Vec<&str> = all.iter().map(|scenario| scenario.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!(
            "no scenario is called {unknown}; there are {}",
            known.join(", ")
        );
    }
    all.retain(|scenario| names.is_empty() || names.iter().any(|name| name == scenario.name));
    Ok(all)
}
