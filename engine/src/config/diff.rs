//! What is different between two settings, in parts that can be started and stopped on their own.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    net::SocketAddr,
    path::Path,
    time::Duration,
};

use serde_json::Value;

use super::{Access, Http, Limits, Listener, Log, Module, Settings, host::Host};
use crate::{builtin::exec, storage, supervisor::Manifest};

/// A part of the engine that has settings of its own.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Part {
    /// The listener that worker processes are told of.
    Bus,
    /// A further listener for workers.
    Listener(SocketAddr),
    Module(Module),
    /// A worker in the engine's process.
    Worker(String),
    /// A worker that is a process of its own.
    Process(String),
    /// The files whose changes restart a process.
    Watches,
    Log,
    Grace,
    DataDir,
    Limits,
    Storage,
    /// How worker processes are ended, and how large their logs become.
    Supervision,
}

/// One difference.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Change {
    pub part: Part,
    pub how: How,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum How {
    Added,
    Removed,
    Changed,
}

impl Change {
    /// Must the engine be started again for this one, whatever it is?
    pub fn needs_restart(&self) -> bool {
        matches!(
            self.part,
            Part::DataDir | Part::Storage | Part::Limits | Part::Supervision
        )
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Bus => f.write_str("the bus"),
            Part::Listener(address) => write!(f, "the listener {}", Host(address.ip()))
                .and_then(|()| write!(f, ":{}", address.port())),
            Part::Module(module) => f.write_str(module.name()),
            Part::Worker(name) | Part::Process(name) => write!(f, "the worker {name}"),
            Part::Watches => f.write_str("watched files"),
            Part::Log => f.write_str("log"),
            Part::Grace => f.write_str("registration_namespace_grace_ms"),
            Part::DataDir => f.write_str("data_dir"),
            Part::Limits => f.write_str("limits"),
            Part::Storage => f.write_str("storage"),
            Part::Supervision => f.write_str("workers.stop_timeout_ms or workers.log_bytes_max"),
        }
    }
}

/// What a part is set to.
#[derive(PartialEq)]
enum Body<'a> {
    Listener(&'a Listener, &'a Access),
    Http(&'a Http, Value),
    Stream(&'a Listener, Value),
    Module(Value),
    Worker(Option<Value>),
    Process(&'a Manifest),
    Watches(&'a [exec::Watch]),
    Log(&'a Log),
    Grace(Duration),
    DataDir(&'a Path),
    Limits(&'a Limits),
    Storage(&'a storage::Config),
    Supervision(Duration, u64),
}

/// What must be done to come from `old` to `new`: removed, changed and added parts, in this order.
pub fn diff(old: &Settings, new: &Settings) -> Vec<Change> {
    let (old, new) = (parts(old), parts(new));
    let all: BTreeSet<&Part> = old.keys().chain(new.keys()).collect();
    let mut changes: Vec<Change> = all
        .into_iter()
        .filter_map(|part| {
            let how = match (old.get(part), new.get(part)) {
                (Some(_), None) => How::Removed,
                (None, Some(_)) => How::Added,
                (old, new) if old != new => How::Changed,
                _ => return None,
            };
            Some(Change {
                part: part.clone(),
                how,
            })
        })
        .collect();
    // What goes may hold what comes, a port for instance.
    changes.sort_by_key(|change| match change.how {
        How::Removed => 0,
        How::Changed => 1,
        How::Added => 2,
    });
    changes
}

fn parts(settings: &Settings) -> BTreeMap<Part, Body<'_>> {
    let mut parts = BTreeMap::new();
    parts.insert(
        Part::Bus,
        Body::Listener(&settings.bus, &settings.bus_access),
    );
    for more in &settings.listeners {
        let body = Body::Listener(&more.listener, &more.access);
        parts.insert(Part::Listener(more.listener.address), body);
    }
    for module in Module::ALL {
        if settings.modules.runs(module) {
            parts.insert(Part::Module(module), body_of(settings, module));
        }
    }
    for worker in &settings.workers.builtin {
        let body = Body::Worker(worker.section.read().ok());
        parts.insert(Part::Worker(worker.name.clone()), body);
    }
    for process in &settings.workers.processes {
        parts.insert(Part::Process(process.name.clone()), Body::Process(process));
    }
    parts.insert(Part::Watches, Body::Watches(&settings.watches));
    parts.insert(Part::Log, Body::Log(&settings.log));
    let grace = settings.registration_namespace_grace;
    parts.insert(Part::Grace, Body::Grace(grace));
    let workers = &settings.workers;
    parts.insert(Part::DataDir, Body::DataDir(&settings.data_dir));
    parts.insert(Part::Limits, Body::Limits(&settings.limits));
    parts.insert(Part::Storage, Body::Storage(&settings.storage));
    let supervision = Body::Supervision(workers.stop_timeout, workers.log_bytes_max);
    parts.insert(Part::Supervision, supervision);
    parts
}

fn body_of(settings: &Settings, module: Module) -> Body<'_> {
    let asked = settings.modules.asked(module);
    match module {
        Module::Http => Body::Http(&settings.http, asked),
        Module::Stream => Body::Stream(&settings.stream, asked),
        _ => Body::Module(asked),
    }
}
