//! What was understood of a file, for people and for programs. Tells no value that could be a
//! secret: names, addresses and places only.

use serde::Serialize;

use super::{Access, Auth, Listener, Module, Modules, Remark, Settings};

/// A file in short.
#[derive(Debug, Serialize)]
pub struct Report {
    /// `agentos` or `iii`.
    pub form: &'static str,
    pub listeners: Vec<Address>,
    /// Built-ins that run.
    pub modules: Vec<&'static str>,
    /// Workers in the engine's process.
    pub workers: Vec<String>,
    /// Workers that are processes of their own.
    pub processes: Vec<String>,
    pub data_dir: std::path::PathBuf,
    pub remarks: Vec<Remark>,
}

/// One listener.
#[derive(Debug, Serialize)]
pub struct Address {
    /// `bus`, `http` or `stream`.
    pub what: &'static str,
    pub address: std::net::SocketAddr,
    /// Who may come in: `token`, `none`, or the id of the function that is asked.
    pub auth: String,
    /// What is called in place of every function.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub middleware: Option<String>,
}

/// What `settings` say.
pub fn report(settings: &Settings) -> Report {
    let runs = |module: &Module| settings.modules.runs(*module);
    let mut listeners = vec![worker_listener(&settings.bus, &settings.bus_access)];
    let more = settings.listeners.iter();
    listeners.extend(more.map(|more| worker_listener(&more.listener, &more.access)));
    if runs(&Module::Http) {
        listeners.push(address("http", &settings.http.listener, None));
    }
    if runs(&Module::Stream) {
        // The section was read before, when the file was checked.
        let asked = settings.modules.stream().unwrap_or_default().auth_function;
        listeners.push(address("stream", &settings.stream, asked.as_ref()));
    }
    Report {
        form: match settings.modules {
            Modules::Native(_) => "agentos",
            Modules::Iii(_) => "iii",
        },
        listeners,
        modules: Module::ALL
            .iter()
            .filter(|module| runs(module))
            .map(|module| module.name())
            .collect(),
        workers: names(settings.workers.builtin.iter().map(|worker| &worker.name)),
        processes: names(settings.workers.processes.iter().map(|worker| &worker.name)),
        data_dir: settings.data_dir.clone(),
        remarks: settings.remarks.clone(),
    }
}

fn names<'a>(names: impl Iterator<Item = &'a String>) -> Vec<String> {
    names.cloned().collect()
}

fn worker_listener(listener: &Listener, access: &Access) -> Address {
    let asked = access.rbac.as_ref();
    let asked = asked.and_then(|rbac| rbac.auth_function_id.as_ref());
    Address {
        middleware: access.middleware_function_id.clone(),
        ..address("bus", listener, asked)
    }
}

fn address(what: &'static str, listener: &Listener, asked: Option<&String>) -> Address {
    let auth = match (asked, listener.auth) {
        (Some(function), _) => function.clone(),
        (None, Auth::Token) => "token".to_owned(),
        (None, Auth::None) => "none".to_owned(),
    };
    Address {
        what,
        address: listener.address,
        auth,
        middleware: None,
    }
}
