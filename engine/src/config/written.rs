//! The settings file as it may be written: every key, its default, and nothing checked yet.

use std::path::PathBuf;

use serde::{Deserialize, de::IgnoredAny};

use super::{Auth, Conflicts, Limits, Log};
use crate::storage;

/// How long registrations of a worker of iii wait for its namespace, which comes behind them. Not
/// at all: they are moved when it comes.
const GRACE_MS: u64 = 0;

/// The whole file. Every key may be left out.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Written {
    pub(super) listen: Listen,
    pub(super) data_dir: Option<PathBuf>,
    pub(super) storage: storage::Config,
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
    // The built-ins' own sections, likewise; see [`super::Modules`].
    #[serde(rename = "state")]
    pub(super) _state: IgnoredAny,
    #[serde(rename = "http")]
    pub(super) _http: IgnoredAny,
    #[serde(rename = "queue")]
    pub(super) _queue: IgnoredAny,
    #[serde(rename = "stream")]
    pub(super) _stream: IgnoredAny,
    #[serde(rename = "pubsub")]
    pub(super) _pubsub: IgnoredAny,
    #[serde(rename = "cron")]
    pub(super) _cron: IgnoredAny,
    #[serde(rename = "observe")]
    pub(super) _observe: IgnoredAny,
    #[serde(rename = "http_functions")]
    pub(super) _http_functions: IgnoredAny,
    #[serde(rename = "bridge")]
    pub(super) _bridge: IgnoredAny,
    #[serde(rename = "configuration")]
    pub(super) _configuration: IgnoredAny,
    pub(super) exec: Exec,
    pub(super) registration_namespace_grace_ms: u64,
    pub(super) limits: Limits,
    pub(super) log: Log,
}

impl Default for Written {
    fn default() -> Self {
        Written {
            listen: Listen::default(),
            data_dir: None,
            storage: storage::Config::default(),
            workers: Workers::default(),
            _agent: IgnoredAny,
            _api: IgnoredAny,
            _llm: IgnoredAny,
            _memory: IgnoredAny,
            _state: IgnoredAny,
            _http: IgnoredAny,
            _queue: IgnoredAny,
            _stream: IgnoredAny,
            _pubsub: IgnoredAny,
            _cron: IgnoredAny,
            _observe: IgnoredAny,
            _http_functions: IgnoredAny,
            _bridge: IgnoredAny,
            _configuration: IgnoredAny,
            exec: Exec::default(),
            registration_namespace_grace_ms: GRACE_MS,
            limits: Limits::default(),
            log: Log::default(),
        }
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Listen {
    pub(super) bus: Bus,
    pub(super) http: Http,
    pub(super) stream: Stream,
    pub(super) more: Vec<More>,
}

/// Where clients of streams come in.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Stream {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) auth: Auth,
    pub(super) origins: Vec<String>,
    pub(super) hosts: Vec<String>,
}

/// A listener for workers besides the bus, with rules of its own.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct More {
    #[serde(default = "loopback")]
    pub(super) host: String,
    pub(super) port: u16,
    #[serde(default)]
    pub(super) auth: Auth,
    #[serde(default)]
    pub(super) origins: Vec<String>,
    #[serde(default)]
    pub(super) hosts: Vec<String>,
    #[serde(default)]
    pub(super) middleware_function_id: Option<String>,
    #[serde(default = "handshake_timeout_ms")]
    pub(super) handshake_timeout_ms: u64,
    #[serde(default)]
    pub(super) registration_conflicts: Conflicts,
    // Read by its own type; see [`super::Rbac`].
    #[serde(default, rename = "rbac")]
    pub(super) _rbac: IgnoredAny,
}

/// Programs of the project that run beside the engine.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Exec {
    pub(super) run: Vec<String>,
    pub(super) watch: Vec<String>,
}

fn loopback() -> String {
    LOOPBACK.to_owned()
}

/// As long as iii gives its workers.
pub(super) fn handshake_timeout_ms() -> u64 {
    10_000
}

#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Bus {
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) auth: Auth,
    pub(super) origins: Vec<String>,
    pub(super) hosts: Vec<String>,
    pub(super) registration_conflicts: Conflicts,
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
            registration_conflicts: Conflicts::Share,
        }
    }
}

impl Default for Stream {
    fn default() -> Self {
        Stream {
            host: LOOPBACK.into(),
            port: 3112,
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
