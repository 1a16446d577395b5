//! What a file of iii means for this engine.
//!
//! Workers of iii know no token, so its listeners ask for none, and are for this machine alone
//! unless a function decides who comes in, or `--auth token` is given.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::{Deserialize, de::IgnoredAny};

use super::{
    External, Http, Modules, WorkerManager,
    entries::{self, Entry, Listed},
    kind::Kind,
};
use crate::{
    builtin::exec,
    config::{
        Access, Auth, Error, Http as HttpSettings, Limits, Listener, ListenerSettings, Log,
        Modules as Either, Remark, Settings, Workers,
        check::{Check, DAY_MS, absolute},
        host::Host,
        place::Place,
        ports,
        written::Written,
    },
    supervisor::Manifest,
};

/// The top of a file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Top {
    #[serde(default, rename = "workers")]
    _workers: IgnoredAny,
    #[serde(default, rename = "modules")]
    _modules: IgnoredAny,
    #[serde(default)]
    registration_namespace_grace_ms: Option<u64>,
}

/// Reads the file as one of iii.
///
/// # Errors
/// The first fault, with line, key and what would be right.
pub(in crate::config) fn settings(
    check: &Check<'_>,
    file: Option<PathBuf>,
) -> Result<Settings, Error> {
    super::check_form(check.document)?;
    let top: Top = check.document.read()?;
    let root = Place::root(check.document);
    let modules = super::modules(&root, check.env)?;
    let entries = match entries::read(&root)? {
        Listed::Nothing => Vec::new(),
        Listed::These(entries) => entries,
    };
    let mut reading = Reading {
        check,
        root,
        entries,
        remarks: Vec::new(),
    };
    reading.settings(file, modules, top.registration_namespace_grace_ms)
}

struct Reading<'a> {
    check: &'a Check<'a>,
    root: Place<'a>,
    entries: Vec<Entry<'a>>,
    remarks: Vec<Remark>,
}

/// A listener as the file has it.
struct Opening<'a> {
    name: &'static str,
    place: Place<'a>,
    host: Host,
    port: u16,
    /// A function decides who comes in.
    is_guarded: bool,
    /// What would open it, besides a token.
    way: Option<&'static str>,
    origins: Vec<String>,
}

impl<'a> Reading<'a> {
    fn settings(
        &mut self,
        file: Option<PathBuf>,
        modules: Modules,
        grace_ms: Option<u64>,
    ) -> Result<Settings, Error> {
        self.refuse_shared_ports(&modules)?;
        let own = Written::default();
        let grace_ms = grace_ms.unwrap_or(own.registration_namespace_grace_ms);
        self.root
            .within("registration_namespace_grace_ms", grace_ms, 0..=DAY_MS)?;
        let mut listeners = self.listeners(&modules.listeners);
        let primary = listeners.remove(primary(&modules.listeners));
        let http = self.http(modules.http.as_ref());
        let stream = self.stream(&modules);
        let (processes, watches) = self.processes(&modules, primary.listener.address.port())?;
        self.note_stores();
        Ok(Settings {
            file,
            base: absolute(self.check.base),
            bus: primary.listener,
            bus_access: primary.access,
            listeners,
            http,
            stream,
            data_dir: self.check.data_dir(None),
            storage: crate::storage::Config::default(),
            workers: Workers {
                builtin: Vec::new(),
                processes,
                stop_timeout: Duration::from_millis(own.workers.stop_timeout_ms),
                log_bytes_max: own.workers.log_bytes_max,
            },
            watches,
            registration_namespace_grace: Duration::from_millis(grace_ms),
            limits: Limits::default(),
            log: Log {
                level: modules.observability.level,
                format: modules.observability.format,
            },
            modules: Either::Iii(Box::new(modules)),
            remarks: std::mem::take(&mut self.remarks),
        })
    }

    /// The configuration of the `nth` entry of `kind`; the file's top when it is not listed.
    fn place(&self, kind: Kind, nth: usize) -> Place<'a> {
        let mut entries = self.entries.iter().filter(|entry| entry.kind == Some(kind));
        let entry = entries.nth(nth);
        entry.map_or_else(|| self.root.clone(), |entry| entry.config.clone())
    }

    fn listeners(&mut self, managers: &[WorkerManager]) -> Vec<ListenerSettings> {
        let primary = primary(managers);
        let mut listeners = Vec::new();
        for (index, manager) in managers.iter().enumerate() {
            let access = Access {
                rbac: manager.rbac.clone(),
                middleware_function_id: manager.middleware_function_id.clone(),
                handshake_timeout: Duration::from_millis(manager.handshake_timeout_ms),
                registration_conflicts: manager.registration_conflicts,
            };
            let is_guarded = access.asks_who();
            let given = self.check.overrides.bus_port.filter(|_| index == primary);
            let listener = self.open(Opening {
                name: "iii-worker-manager",
                place: self.place(Kind::WorkerManager, index),
                host: manager.host,
                port: given.unwrap_or(manager.port),
                is_guarded,
                way: Some("give it `rbac.auth_function_id`"),
                // Any page a person visits could come in where nobody is asked.
                origins: match is_guarded {
                    true => vec!["*".to_owned()],
                    false => Vec::new(),
                },
            });
            listeners.push(ListenerSettings { listener, access });
        }
        listeners
    }

    fn http(&mut self, written: Option<&Http>) -> HttpSettings {
        let own = Written::default().listen.http;
        let default = Http::default();
        let http = written.unwrap_or(&default);
        let opening = Opening {
            name: "iii-http",
            place: self.place(Kind::Http, 0),
            host: http.host,
            port: self.check.overrides.http_port.unwrap_or(http.port),
            is_guarded: false,
            way: None,
            origins: http.origins(),
        };
        let listener = match written {
            Some(_) => self.open(opening),
            None => self.listener(&opening),
        };
        HttpSettings {
            listener,
            body_bytes_max: own.body_bytes_max as usize,
            timeout: Duration::from_millis(http.default_timeout),
        }
    }

    fn stream(&mut self, modules: &Modules) -> Listener {
        let default = super::Stream::default();
        let stream = modules.stream.as_ref().unwrap_or(&default);
        let opening = Opening {
            name: "iii-stream",
            place: self.place(Kind::Stream, 0),
            host: stream.host,
            port: self.check.overrides.stream_port.unwrap_or(stream.port),
            is_guarded: stream.auth_function.is_some(),
            way: Some("give it `auth_function`"),
            // Its clients are browsers.
            origins: vec!["*".to_owned()],
        };
        match modules.stream {
            Some(_) => self.open(opening),
            None => self.listener(&opening),
        }
    }

    /// The listener, and a warning when it is not where the file says.
    fn open(&mut self, opening: Opening<'_>) -> Listener {
        let listener = self.listener(&opening);
        if listener.address.ip() != opening.host.0 {
            let or = match opening.way {
                Some(way) => format!("{way}, or "),
                None => String::new(),
            };
            let place = match opening.place.is_root() {
                true => opening.place.clone(),
                false => opening.place.at("host"),
            };
            let says = match !opening.place.is_root() && place.is_there() {
                true => "the file says",
                false => "the default of iii is",
            };
            let message = format!(
                "{} listens on {} alone, although {says} `{}`: its clients show no token, so it would be open to everybody who reaches it; \
                 to open it, {or}start with --auth token, which clients then must show",
                opening.name, listener.address, opening.host,
            );
            self.remarks.push(Remark::warning(&place.error(message)));
        }
        listener
    }

    fn listener(&self, opening: &Opening<'_>) -> Listener {
        let auth = self.check.overrides.auth.unwrap_or(Auth::None);
        let is_asked = opening.is_guarded || auth == Auth::Token;
        let host = match opening.host.0 {
            host if is_asked || host.is_loopback() => host,
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::LOCALHOST),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::LOCALHOST),
        };
        Listener {
            address: SocketAddr::new(host, opening.port),
            auth,
            origins: opening.origins.clone(),
            // A page that has its name point here is still asked who it is.
            hosts: match is_asked {
                true => vec!["*".to_owned()],
                false => Vec::new(),
            },
        }
    }

    fn refuse_shared_ports(&self, modules: &Modules) -> Result<(), Error> {
        let managers = modules.listeners.iter().enumerate();
        let mut all: Vec<(Place<'_>, SocketAddr)> = managers
            .map(|(index, manager)| {
                let address = SocketAddr::new(manager.host.0, manager.port);
                (self.place(Kind::WorkerManager, index), address)
            })
            .collect();
        if let Some(http) = &modules.http {
            let address = SocketAddr::new(http.host.0, http.port);
            all.push((self.place(Kind::Http, 0), address));
        }
        if let Some(stream) = &modules.stream {
            let address = SocketAddr::new(stream.host.0, stream.port);
            all.push((self.place(Kind::Stream, 0), address));
        }
        match ports::shared(&all) {
            None => Ok(()),
            Some((earlier, later)) => {
                let message = format!(
                    "{} is the port of the listener in line {} too; choose another",
                    all[later].1.port(),
                    all[earlier].0.line(),
                );
                Err(all[later].0.at("port").error(message))
            }
        }
    }

    fn processes(
        &mut self,
        modules: &Modules,
        port: u16,
    ) -> Result<(Vec<Manifest>, Vec<exec::Watch>), Error> {
        let base = absolute(self.check.base);
        let mut processes: Vec<Manifest> = Vec::new();
        for external in &modules.external {
            match self.manifest(external)? {
                Some(manifest) => processes.push(manifest),
                None => self.warn_of(external, port),
            }
        }
        let mut watches = Vec::new();
        for (index, exec) in modules.exec.iter().enumerate() {
            let name = match index {
                0 => "iii-exec".to_owned(),
                index => format!("iii-exec-{}", index + 1),
            };
            let (program, watch) = exec::program(&name, &exec.exec, &exec.watch, &base);
            processes.push(program);
            watches.extend(watch);
        }
        self.refuse_namesakes(&processes)?;
        self.check.refuse_unknown(&[], &processes)?;
        self.check.refuse_disorder(&[], &processes)?;
        processes.retain(|process| self.check.overrides.wants(&process.name));
        watches.retain(|watch| self.check.overrides.wants(&watch.worker));
        Ok((processes, watches))
    }

    /// What `workers/<name>/worker.yaml` says.
    fn manifest(&self, external: &External) -> Result<Option<Manifest>, Error> {
        // A name is one step, not a way.
        if external.name.contains(['/', '\\']) || external.name.starts_with('.') {
            return Ok(None);
        }
        let folder = self
            .check
            .path(&PathBuf::from("workers").join(&external.name));
        match folder.join(Manifest::FILE).is_file() {
            true => Manifest::open(&folder, self.check.env).map(Some),
            false => Ok(None),
        }
    }

    fn warn_of(&mut self, external: &External, port: u16) {
        let (list, index) = external.at;
        let how = match &external.image {
            Some(image) => format!(
                "run its image by itself, for instance `docker run --network host -e III_URL=ws://127.0.0.1:{port} {image}`"
            ),
            None => format!(
                "run it by itself with III_URL=ws://127.0.0.1:{port}, or give it workers/{}/worker.yaml, which docs/settings.md describes",
                external.name
            ),
        };
        let message = format!(
            "`{}` is not built in and is not started; {how}",
            external.name
        );
        let place = self.root.at(list).item(index);
        self.remarks.push(Remark::warning(&place.error(message)));
    }

    fn refuse_namesakes(&self, processes: &[Manifest]) -> Result<(), Error> {
        let namesake = processes.iter().enumerate().find(|(index, process)| {
            processes[..*index]
                .iter()
                .any(|other| other.name == process.name)
        });
        match namesake {
            None => Ok(()),
            Some((_, process)) => Err(self.root.error(format!(
                "two workers are named `{}`; the one in {} must have another name",
                process.name,
                process.folder.display()
            ))),
        }
    }

    /// What iii has kept so far is not read, which a person may find out too late.
    fn note_stores(&mut self) {
        let kinds = [Kind::State, Kind::Stream, Kind::Queue];
        for kind in kinds {
            let adapter = self.place(kind, 0).at("adapter");
            let place = adapter.at("config").at("file_path");
            let Some(path) = place.read::<Option<PathBuf>>().ok().flatten() else {
                continue;
            };
            let message = format!(
                "{} keeps what it has in the data directory, not in {}",
                kind.name(),
                path.display()
            );
            let remark = match self.check.path(&path).exists() {
                true => Remark::warning(
                    &place.error(format!("{message}; what iii has left there is not read")),
                ),
                false => Remark::note(&place.error(message)),
            };
            self.remarks.push(remark);
        }
    }
}

/// The listener that worker processes are told of: one that lets them do everything, if there is.
fn primary(managers: &[WorkerManager]) -> usize {
    let open = managers
        .iter()
        .position(|manager| manager.rbac.is_none() && manager.middleware_function_id.is_none());
    open.unwrap_or(0)
}
