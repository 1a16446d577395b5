//! `iii-http`.

use std::net::{IpAddr, Ipv4Addr};

use serde::{Deserialize, Serialize};

use crate::config::{Error, host::Host, place::Place};

/// What `iii-http` is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Http {
    pub host: Host,
    pub port: u16,
    /// Milliseconds until an answer begins.
    pub default_timeout: u64,
    pub concurrency_request_limit: u64,
    /// `None` lets every origin in.
    pub cors: Option<Cors>,
    /// For every request, those with the smallest priority first.
    pub middleware: Vec<Middleware>,
}

#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Cors {
    /// Empty, or with a `*` in it, means any.
    pub allowed_origins: Vec<String>,
    /// Empty means any.
    pub allowed_methods: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Middleware {
    pub function_id: String,
    #[serde(default)]
    pub phase: Phase,
    #[serde(default)]
    pub priority: i64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
pub enum Phase {
    #[default]
    #[serde(rename = "preHandler")]
    PreHandler,
}

impl Default for Http {
    fn default() -> Self {
        Http {
            host: Host(IpAddr::V4(Ipv4Addr::UNSPECIFIED)),
            port: 3111,
            default_timeout: 30_000,
            concurrency_request_limit: 1024,
            cors: None,
            middleware: Vec::new(),
        }
    }
}

impl Http {
    /// Browser origins that are let in; `*` is all of them.
    pub fn origins(&self) -> Vec<String> {
        let listed = self.cors.as_ref().map(|cors| &cors.allowed_origins[..]);
        match listed.unwrap_or_default() {
            [] => vec!["*".to_owned()],
            listed => listed.to_vec(),
        }
    }
}

pub(super) fn read(place: &Place<'_>) -> Result<Http, Error> {
    let mut http: Http = place.read()?;
    place.within("default_timeout", http.default_timeout, 1..=86_400_000)?;
    place.within(
        "concurrency_request_limit",
        http.concurrency_request_limit,
        1..=1_000_000,
    )?;
    http.middleware
        .sort_by_key(|middleware| middleware.priority);
    Ok(http)
}
