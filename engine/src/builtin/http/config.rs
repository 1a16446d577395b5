//! The settings of the HTTP listener.

use std::{sync::Arc, time::Duration};

use serde::Deserialize;

#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Largest body of a request.
    pub body_bytes_max: usize,
    /// Longest wait for the head of an answer, from the head of the request on.
    pub timeout_ms: u64,
    /// Requests worked on at one time; more wait. One route has three quarters of it at most.
    pub requests_max: usize,
    /// Requests that may wait; more are `overloaded`.
    pub requests_waiting_max: usize,
    /// Connections at one time; more get 503.
    pub connections_max: usize,
    /// How long a client may take to send a head, and may keep an idle connection.
    pub head_timeout_ms: u64,
    /// How long a client may pause within a body.
    pub body_idle_ms: u64,
    /// Pages of which origins may call, and how; `None` leaves it to the listener's `origins`.
    pub cors: Option<Cors>,
    /// Asked before every function, in order of their priority.
    pub middleware: Vec<Middleware>,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            body_bytes_max: 20 << 20,
            timeout_ms: 300_000,
            requests_max: 1024,
            requests_waiting_max: 16_384,
            connections_max: 8192,
            head_timeout_ms: 10_000,
            body_idle_ms: 30_000,
            cors: None,
            middleware: Vec::new(),
        }
    }
}

impl Config {
    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(super) fn head_timeout(&self) -> Duration {
        Duration::from_millis(self.head_timeout_ms)
    }

    pub(super) fn body_idle(&self) -> Duration {
        Duration::from_millis(self.body_idle_ms)
    }
}

/// What browser pages may do.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cors {
    /// Empty, or with a `*` in it, means any.
    pub allowed_origins: Vec<String>,
    /// Empty means any.
    pub allowed_methods: Vec<String>,
}

/// A function that is asked before the function of a route.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Middleware {
    pub function_id: Arc<str>,
    #[serde(default)]
    pub phase: Phase,
    /// Smaller ones are asked first.
    #[serde(default)]
    pub priority: i64,
}

/// When a middleware is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
pub enum Phase {
    #[default]
    #[serde(rename = "preHandler")]
    PreHandler,
}
