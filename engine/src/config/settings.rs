//! The settings after checking: what the rest of the engine may rely on.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{Document, Error, Modules, Rbac, Remark};
use crate::{builtin::exec, storage, supervisor::Manifest};

/// Everything that can be set, checked.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The file these came from; `None` when there was none.
    pub file: Option<PathBuf>,
    /// What relative paths in the file are relative to. Absolute.
    pub base: PathBuf,
    /// Where workers come in, and the address that worker processes are told.
    pub bus: Listener,
    /// What holds for those who come in there.
    pub bus_access: Access,
    /// Further places where workers come in.
    pub listeners: Vec<ListenerSettings>,
    pub http: Http,
    /// Where clients of streams come in.
    pub stream: Listener,
    /// Absolute.
    pub data_dir: PathBuf,
    /// What keeps the records of the built-ins, in a folder of the data directory.
    pub storage: storage::Config,
    pub workers: Workers,
    /// Which built-ins run, and what each is asked for.
    pub modules: Modules,
    /// Files whose changes restart a process.
    pub watches: Vec<exec::Watch>,
    /// How long registrations of a worker of iii wait for its namespace, which comes behind them.
    pub registration_namespace_grace: Duration,
    pub limits: Limits,
    pub log: Log,
    /// What a person should know about the file.
    pub remarks: Vec<Remark>,
}

/// A listener for workers besides the bus.
#[derive(Clone, PartialEq, Debug)]
pub struct ListenerSettings {
    pub listener: Listener,
    pub access: Access,
}

/// What holds for those who come in through a listener for workers, once they are in.
#[derive(Clone, PartialEq, Debug)]
pub struct Access {
    /// Without it everything is allowed.
    pub rbac: Option<Rbac>,
    /// Called in place of every function.
    pub middleware_function_id: Option<String>,
    pub handshake_timeout: Duration,
    pub registration_conflicts: Conflicts,
}

/// What happens to a worker of iii whose name, or function, another live worker of its namespace
/// has: docs/decisions/005.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Conflicts {
    /// Both have it, and calls go to the less busy one.
    #[default]
    Share,
    /// It is told, if its SDK knows the word: those from 0.23 on do.
    Reject,
}

impl Access {
    /// Is there anything to enforce?
    pub fn is_open(&self) -> bool {
        self.rbac.is_none() && self.middleware_function_id.is_none()
    }

    /// Does a function decide who comes in?
    pub fn asks_who(&self) -> bool {
        self.rbac
            .as_ref()
            .is_some_and(|rbac| rbac.auth_function_id.is_some())
    }
}

/// One address to listen on, and who may come in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listener {
    pub address: SocketAddr,
    pub auth: Auth,
    /// Browser origins let in; empty means none.
    pub origins: Vec<String>,
    /// Names accepted in `Host` besides the address itself and the names of loopback.
    pub hosts: Vec<String>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Http {
    pub listener: Listener,
    pub body_bytes_max: usize,
    /// Longest a request may take; a streamed answer may go on.
    pub timeout: Duration,
}

/// Who may connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Auth {
    /// Whoever shows the token of the data directory.
    #[default]
    Token,
    /// Anybody on this machine; loopback only.
    None,
}

/// Which workers run.
#[derive(Clone, Debug)]
pub struct Workers {
    /// In-process workers, by name.
    pub builtin: Vec<Builtin>,
    /// Workers that are processes of their own.
    pub processes: Vec<Manifest>,
    /// How long a process may take to end before it is killed.
    pub stop_timeout: Duration,
    /// Size at which a worker's log is rotated; one older file is kept.
    pub log_bytes_max: u64,
}

/// An in-process worker and its section of the file.
#[derive(Clone, Debug)]
pub struct Builtin {
    pub name: String,
    pub section: Section,
}

/// The part of the file that a worker's own type reads.
#[derive(Clone, Debug)]
pub struct Section {
    pub(super) document: Arc<Document>,
    pub(super) key: String,
}

impl Section {
    /// The section as `T`; an absent one reads like an empty one.
    ///
    /// # Errors
    /// The first key that does not fit, with file and line.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.document.read_at(&self.key)
    }

    /// A fault that the worker itself found.
    pub fn error(&self, message: impl Into<String>) -> Error {
        self.document.error(&self.key, message)
    }
}

/// Bounds that protect the engine.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Largest message on the bus.
    pub message_bytes_max: u64,
    /// Frames that may wait for one session; more is `overloaded`.
    pub outbox_frames_max: u64,
    /// Bytes that may wait for one session.
    pub outbox_bytes_max: u64,
    /// Sessions at one time.
    pub sessions_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            // Four times the largest HTTP body in base64, rounded; the SDKs assume it.
            message_bytes_max: 64 << 20,
            outbox_frames_max: 16_384,
            outbox_bytes_max: 256 << 20,
            sessions_max: 10_000,
        }
    }
}

/// What the engine says about itself on standard error.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    pub level: Level,
    pub format: Format,
}

impl Default for Log {
    fn default() -> Self {
        Log {
            level: Level::Info,
            format: Format::Text,
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Level {
    pub fn as_str(self) -> &'static str {
        match self {
            Level::Error => "error",
            Level::Warn => "warn",
            Level::Info => "info",
            Level::Debug => "debug",
            Level::Trace => "trace",
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    Text,
    Json,
}

impl Settings {
    /// Where logs of worker processes go.
    pub fn logs_dir(&self) -> PathBuf {
        logs_dir(&self.data_dir)
    }
}

/// Where logs of worker processes go, given a data directory.
pub fn logs_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("logs")
}
