//! Limits of HTTP functions, and where they may be.

use serde::Deserialize;

/// Settings of `http_functions`.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub security: Security,
    /// Time of a call whose registration names none.
    pub timeout_ms: u64,
    /// The most that a registration can ask for.
    pub timeout_ms_max: u64,
    /// Time to look a name up, connect and agree on TLS.
    pub connect_timeout_ms: u64,
    /// Larger answers are refused.
    pub response_bytes_max: usize,
    /// Calls at one time; more are `overloaded`.
    pub calls_max: usize,
}

/// Which addresses may be called.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Security {
    /// Globs, one of which the host must match.
    pub url_allowlist: Vec<String>,
    /// Refuse loopback, private, link-local and other addresses that are not of the public internet.
    pub block_private_ips: bool,
    pub require_https: bool,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            security: Security::default(),
            timeout_ms: 30_000,
            timeout_ms_max: 60_000,
            connect_timeout_ms: 10_000,
            response_bytes_max: 16 << 20,
            calls_max: 1024,
        }
    }
}

impl Default for Security {
    fn default() -> Self {
        Security {
            url_allowlist: vec!["*".to_owned()],
            block_private_ips: true,
            require_https: true,
        }
    }
}
