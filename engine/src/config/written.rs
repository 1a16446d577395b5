//! The settings file as it may be written: every key, its default, and nothing checked yet.

use std::path::PathBuf;

use serde::{Deserialize, de::IgnoredAny};

use super::{Auth, Limits, Log};

/// The whole file. Every key may be left out.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Written {
    pub(super) listen: Listen,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) workers: Workers,
    // Read by the workers' own types; see [`super::Section`].
    #[serde(rename = "agent")]
    pub(super) _agent: IgnoredAny,
    #[serde(rename = "api")]
    pub(super) _api: IgnoredAny,
    #[serde(rename = "llm")]
    pub(super) _llm: IgnoredAny,
    #[serde(rename = "memory")]
    pub(super) _memory: IgnoredAny,
    pub(super) limits: Limits,
    pub(super) log: Log,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Listen {
    pub(super) bus: Bus,
    pub(super) http: Http,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Bus {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) auth: Auth,
    pub(super) origins: Vec<String>,
    pub(super) hosts: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Http {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) auth: Auth,
    pub(super) origins: Vec<String>,
    pub(super) hosts: Vec<String>,
    pub(super) body_bytes_max: u64,
    pub(super) timeout_ms: u64,
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Workers {
    pub(super) builtin: Vec<String>,
    pub(super) dirs: Vec<PathBuf>,
    pub(super) stop_timeout_ms: u64,
    pub(super) log_bytes_max: u64,
}

/// The address nobody outside the machine can reach.
const LOOPBACK: &str = "127.0.0.1";

impl Default for Bus {
    fn default() -> Self {
        // The port every SDK of this family looks at first.
        Bus {
            host: LOOPBACK.into(),
            port: 49134,
            auth: Auth::Token,
            origins: Vec::new(),
            hosts: Vec::new(),
        }
    }
}

impl Default for Http {
    fn default() -> Self {
        Http {
            host: LOOPBACK.into(),
            port: 3111,
            auth: Auth::Token,
            origins: Vec::new(),
            hosts: Vec::new(),
            body_bytes_max: 20 << 20,
            timeout_ms: 300_000,
        }
    }
}

impl Default for Workers {
    fn default() -> Self {
        Workers {
            builtin: super::BUILTIN_WORKERS.map(str::to_owned).into(),
            dirs: Vec::new(),
            stop_timeout_ms: 8_000,
            log_bytes_max: 8 << 20,
        }
    }
}
