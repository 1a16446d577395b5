//! Settings: what was written in `config.yaml`, or in a file of iii, on the command line and in the
//! environment, checked before anything starts. The only reader of the environment; knows every room's plain `Config`
//! and no room's work.

mod check;
mod diff;
mod document;
mod env;
mod error;
mod expand;
mod host;
pub mod iii;
mod mask;
mod modules;
mod node;
mod order;
mod place;
mod ports;
mod rbac;
mod remark;
mod report;
mod rooms;
mod settings;
#[cfg(test)]
mod tests;
pub mod watch;
mod written;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

pub use diff::{Change, How, Part, diff};
pub use document::Document;
pub use env::{Env, ProcessEnv};
pub use error::Error;
pub(crate) use expand::expand;
pub use host::Host;
pub use modules::{Module, Modules, Sections};
pub use rbac::{ExposeFilter, MetadataMatch, Rbac};
pub use remark::{Remark, Weight};
pub use report::{Address, Report, report};
pub use settings::{
    Access, Auth, Builtin, Conflicts, Format, Http, Level, Limits, Listener, ListenerSettings, Log,
    Section, Settings, Workers, logs_dir,
};

/// The file looked for when none is named.
pub const FILE_DEFAULT: &str = "config.yaml";

/// The in-process workers there are.
pub const BUILTIN_WORKERS: [&str; 4] = ["api", "agent", "llm", "memory"];

/// What the command line says; it wins over the file.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// Relative to the current directory, unlike the file's.
    pub data_dir: Option<PathBuf>,
    pub bus_port: Option<u16>,
    pub http_port: Option<u16>,
    pub stream_port: Option<u16>,
    /// For all listeners.
    pub auth: Option<Auth>,
    /// Only these workers; empty means all.
    pub only: Vec<String>,
    /// No worker at all: just the bus and its built-in functions.
    pub no_workers: bool,
}

impl Overrides {
    fn apply(&self, written: &mut written::Written) {
        let listen = &mut written.listen;
        listen.bus.port = self.bus_port.unwrap_or(listen.bus.port);
        listen.http.port = self.http_port.unwrap_or(listen.http.port);
        listen.bus.auth = self.auth.unwrap_or(listen.bus.auth);
        listen.http.auth = self.auth.unwrap_or(listen.http.auth);
        listen.stream.port = self.stream_port.unwrap_or(listen.stream.port);
        listen.stream.auth = self.auth.unwrap_or(listen.stream.auth);
    }

    fn wants(&self, worker: &str) -> bool {
        !self.no_workers && (self.only.is_empty() || self.only.iter().any(|name| name == worker))
    }
}

/// Reads the settings from `file`, or from `config.yaml` if there is one, or takes the defaults.
///
/// # Errors
/// The first fault, with file, line, key and what would be right.
pub fn load(file: Option<&Path>, overrides: &Overrides, env: &dyn Env) -> Result<Settings, Error> {
    let default = Path::new(FILE_DEFAULT);
    let (document, file) = match file {
        Some(file) => (Document::open(file, env)?, Some(file)),
        None if default.exists() => (Document::open(default, env)?, Some(default)),
        None => (Document::empty(default), None),
    };
    settings_of(&Arc::new(document), file, overrides, env)
}

fn settings_of(
    document: &Arc<Document>,
    file: Option<&Path>,
    overrides: &Overrides,
    env: &dyn Env,
) -> Result<Settings, Error> {
    let base = document
        .file()
        .parent()
        .filter(|base| !base.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let check = check::Check {
        document,
        base,
        env,
        overrides,
    };
    let file = file.map(Path::to_owned);
    let settings = match iii::is_iii(document.root()) {
        true => iii::settings(&check, file)?,
        false => check.run(file)?,
    };
    settings.modules.check()?;
    Ok(settings)
}
