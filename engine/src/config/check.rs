//! From what was written to what may be relied on.

use std::{
    net::{IpAddr, SocketAddr},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use super::{
    Access, Auth, BUILTIN_WORKERS, Builtin, Document, Env, Error, Http, Limits, Listener,
    ListenerSettings, Modules, Overrides, Rbac, Section, Settings, Workers, host::Host,
    modules::Sections, order, place::Place, ports, written, written::Written,
};
use crate::{builtin::exec, supervisor::Manifest};

/// Checks a document as a whole.
pub(super) struct Check<'a> {
    pub(super) document: &'a Arc<Document>,
    /// What relative paths in the file are relative to.
    pub(super) base: &'a Path,
    pub(super) env: &'a dyn Env,
    pub(super) overrides: &'a Overrides,
}

impl Check<'_> {
    pub(super) fn run(&self, file: Option<PathBuf>) -> Result<Settings, Error> {
        let mut written: Written = self.document.read()?;
        self.overrides.apply(&mut written);
        let bus = self.bus(&written.listen.bus)?;
        let http = self.http(&written.listen.http)?;
        let stream = self.stream(&written.listen.stream)?;
        let listeners = self.more(&written.listen.more)?;
        self.refuse_shared_ports(&bus, &http.listener, &stream, &listeners)?;
        let grace_ms = self.within(
            "registration_namespace_grace_ms",
            written.registration_namespace_grace_ms,
            0,
            DAY_MS,
        )?;
        let (program, watches) = self.exec(&written.exec)?;
        Ok(Settings {
            file,
            base: absolute(self.base),
            bus,
            bus_access: Access {
                rbac: None,
                middleware_function_id: None,
                handshake_timeout: Duration::from_millis(written::handshake_timeout_ms()),
                registration_conflicts: written.listen.bus.registration_conflicts,
            },
            listeners,
            http,
            stream,
            data_dir: self.data_dir(written.data_dir.as_deref()),
            storage: written.storage.clone(),
            limits: self.limits(&written)?,
            log: written.log.clone(),
            workers: self.workers(written, program)?,
            modules: Modules::Native(Sections {
                document: Arc::clone(self.document),
            }),
            watches,
            registration_namespace_grace: Duration::from_millis(grace_ms),
            remarks: Vec::new(),
        })
    }

    pub(super) fn data_dir(&self, written: Option<&Path>) -> PathBuf {
        match &self.overrides.data_dir {
            Some(path) => absolute(path),
            None => self.path(written.unwrap_or(Path::new("data"))),
        }
    }

    /// The project's own program, if there is one, and the files that restart it.
    fn exec(&self, exec: &written::Exec) -> Result<(Option<Manifest>, Vec<exec::Watch>), Error> {
        if exec.run.is_empty() && exec.watch.is_empty() {
            return Ok((None, Vec::new()));
        }
        exec::check(&exec.run, &exec.watch).map_err(|fault| {
            let key = match fault {
                exec::Fault::NoCommand => "exec.run".to_owned(),
                exec::Fault::Glob(index, _) => format!("exec.watch.{index}"),
            };
            self.document.error(&key, fault.to_string())
        })?;
        let (program, watch) = exec::program("exec", &exec.run, &exec.watch, &absolute(self.base));
        Ok((Some(program), watch.into_iter().collect()))
    }

    pub(super) fn path(&self, path: &Path) -> PathBuf {
        absolute(&self.base.join(path))
    }

    fn bus(&self, bus: &written::Bus) -> Result<Listener, Error> {
        let address = SocketAddr::new(self.host("listen.bus", &bus.host, bus.auth)?, bus.port);
        self.origins("listen.bus", &bus.origins)?;
        self.hosts("listen.bus", &bus.hosts)?;
        Ok(Listener {
            address,
            auth: bus.auth,
            origins: bus.origins.clone(),
            hosts: bus.hosts.clone(),
        })
    }

    fn stream(&self, stream: &written::Stream) -> Result<Listener, Error> {
        let host = self.host("listen.stream", &stream.host, stream.auth)?;
        self.origins("listen.stream", &stream.origins)?;
        self.hosts("listen.stream", &stream.hosts)?;
        Ok(Listener {
            address: SocketAddr::new(host, stream.port),
            auth: stream.auth,
            origins: stream.origins.clone(),
            hosts: stream.hosts.clone(),
        })
    }

    fn more(&self, more: &[written::More]) -> Result<Vec<ListenerSettings>, Error> {
        let listeners = more.iter().enumerate();
        listeners
            .map(|(index, listener)| self.listener(index, listener))
            .collect()
    }

    fn listener(&self, index: usize, more: &written::More) -> Result<ListenerSettings, Error> {
        let section = format!("listen.more.{index}");
        let place = Place::root(self.document)
            .at("listen")
            .at("more")
            .item(index);
        let handshake_timeout_ms = self.within(
            &format!("{section}.handshake_timeout_ms"),
            more.handshake_timeout_ms,
            1,
            600_000,
        )?;
        let access = Access {
            rbac: Rbac::read(&place.at("rbac"))?,
            middleware_function_id: more.middleware_function_id.clone(),
            handshake_timeout: Duration::from_millis(handshake_timeout_ms),
            registration_conflicts: more.registration_conflicts,
        };
        // Where a function decides who comes in, no token is needed to be open to others.
        let who = match access.asks_who() {
            true => Auth::Token,
            false => more.auth,
        };
        let host = self.host(&section, &more.host, who)?;
        self.origins(&section, &more.origins)?;
        self.hosts(&section, &more.hosts)?;
        let listener = Listener {
            address: SocketAddr::new(host, more.port),
            auth: more.auth,
            origins: more.origins.clone(),
            hosts: more.hosts.clone(),
        };
        Ok(ListenerSettings { listener, access })
    }

    fn refuse_shared_ports(
        &self,
        bus: &Listener,
        http: &Listener,
        stream: &Listener,
        more: &[ListenerSettings],
    ) -> Result<(), Error> {
        let fixed = [
            ("listen.bus", bus.address),
            ("listen.http", http.address),
            ("listen.stream", stream.address),
        ];
        let fixed = fixed.map(|(key, address)| (key.to_owned(), address));
        let more = more.iter().enumerate();
        let more =
            more.map(|(index, more)| (format!("listen.more.{index}"), more.listener.address));
        let all: Vec<(String, SocketAddr)> = fixed.into_iter().chain(more).collect();
        match ports::shared(&all) {
            None => Ok(()),
            Some((earlier, later)) => {
                let message = format!(
                    "{} is the port of `{}` too; choose another",
                    all[later].1.port(),
                    all[earlier].0
                );
                Err(self
                    .document
                    .error(&format!("{}.port", all[later].0), message))
            }
        }
    }

    fn http(&self, http: &written::Http) -> Result<Http, Error> {
        let address = SocketAddr::new(self.host("listen.http", &http.host, http.auth)?, http.port);
        self.origins("listen.http", &http.origins)?;
        self.hosts("listen.http", &http.hosts)?;
        let listener = Listener {
            address,
            auth: http.auth,
            origins: http.origins.clone(),
            hosts: http.hosts.clone(),
        };
        let body_bytes_max = self.within(
            "listen.http.body_bytes_max",
            http.body_bytes_max,
            1,
            1 << 30,
        )?;
        let timeout_ms = self.within("listen.http.timeout_ms", http.timeout_ms, 1, DAY_MS)?;
        Ok(Http {
            listener,
            body_bytes_max: body_bytes_max as usize,
            timeout: Duration::from_millis(timeout_ms),
        })
    }

    fn host(&self, section: &str, host: &str, auth: Auth) -> Result<IpAddr, Error> {
        let Host(address) = host
            .parse()
            .map_err(|message: String| self.document.error(&format!("{section}.host"), message))?;
        if auth == Auth::None && !address.is_loopback() {
            let message = format!(
                "`none` lets anybody who can reach {address} run your functions, so it is accepted on loopback only; \
                 use `auth: token`, or `host: 127.0.0.1`"
            );
            return Err(self.document.error(&format!("{section}.auth"), message));
        }
        Ok(address)
    }

    fn origins(&self, section: &str, origins: &[String]) -> Result<(), Error> {
        let wrong = origins
            .iter()
            .enumerate()
            .find(|(_, origin)| !is_origin(origin));
        if let Some((index, origin)) = wrong {
            let message = format!(
                "`{origin}` is no origin; expected scheme and host, for instance https://app.example.org or http://localhost:5173"
            );
            return Err(self
                .document
                .error(&format!("{section}.origins.{index}"), message));
        }
        Ok(())
    }

    fn hosts(&self, section: &str, hosts: &[String]) -> Result<(), Error> {
        let is_host = |host: &String| !host.is_empty() && !host.contains(['/', ' ', '@']);
        let wrong = hosts.iter().enumerate().find(|(_, host)| !is_host(host));
        if let Some((index, host)) = wrong {
            let message = format!(
                "`{host}` is no host name; expected a name such as agents.example.org, without scheme or path"
            );
            return Err(self
                .document
                .error(&format!("{section}.hosts.{index}"), message));
        }
        Ok(())
    }

    fn limits(&self, written: &Written) -> Result<Limits, Error> {
        let limits = written.limits.clone();
        let message = self.within(
            "limits.message_bytes_max",
            limits.message_bytes_max,
            1 << 10,
            1 << 30,
        )?;
        self.within(
            "limits.outbox_frames_max",
            limits.outbox_frames_max,
            16,
            1 << 20,
        )?;
        self.within(
            "limits.outbox_bytes_max",
            limits.outbox_bytes_max,
            message,
            16 << 30,
        )?;
        self.within("limits.sessions_max", limits.sessions_max, 1, 1_000_000)?;
        Ok(limits)
    }

    fn within(&self, key: &str, value: u64, min: u64, max: u64) -> Result<u64, Error> {
        if (min..=max).contains(&value) {
            return Ok(value);
        }
        Err(self.document.error(
            key,
            format!("{value} is out of range; expected {min} to {max}"),
        ))
    }

    fn workers(&self, written: Written, program: Option<Manifest>) -> Result<Workers, Error> {
        let stop_timeout_ms = self.within(
            "workers.stop_timeout_ms",
            written.workers.stop_timeout_ms,
            1,
            600_000,
        )?;
        let log_bytes_max = self.within(
            "workers.log_bytes_max",
            written.workers.log_bytes_max,
            4096,
            1 << 40,
        )?;
        let mut builtin = self.builtin(&written)?;
        let mut processes = self.processes(&written.workers.dirs)?;
        processes.extend(program);
        self.refuse_unknown(&builtin, &processes)?;
        self.refuse_disorder(&builtin, &processes)?;
        builtin.retain(|worker| self.overrides.wants(&worker.name));
        processes.retain(|worker| self.overrides.wants(&worker.name));
        Ok(Workers {
            builtin,
            processes,
            stop_timeout: Duration::from_millis(stop_timeout_ms),
            log_bytes_max,
        })
    }

    fn builtin(&self, written: &Written) -> Result<Vec<Builtin>, Error> {
        let names = written.workers.builtin.iter().enumerate();
        names
            .map(|(index, name)| {
                if !BUILTIN_WORKERS.contains(&name.as_str()) {
                    let message = format!(
                        "`{name}` is no in-process worker; expected any of {}",
                        BUILTIN_WORKERS.join(", ")
                    );
                    return Err(self
                        .document
                        .error(&format!("workers.builtin.{index}"), message));
                }
                let section = Section {
                    document: Arc::clone(self.document),
                    key: name.clone(),
                };
                Ok(Builtin {
                    name: name.clone(),
                    section,
                })
            })
            .collect()
    }

    fn processes(&self, dirs: &[PathBuf]) -> Result<Vec<Manifest>, Error> {
        let mut processes: Vec<Manifest> = Vec::new();
        for (index, dir) in dirs.iter().enumerate() {
            let key = format!("workers.dirs.{index}");
            let folder = self.path(dir);
            if !folder.join(Manifest::FILE).is_file() {
                let message = format!(
                    "{} has no {}; expected the folder of a worker",
                    folder.display(),
                    Manifest::FILE
                );
                return Err(self.document.error(&key, message));
            }
            let manifest = Manifest::open(&folder, self.env)?;
            if let Some(other) = processes.iter().find(|other| other.name == manifest.name) {
                let message = format!(
                    "{} is named `{}`, as is {}",
                    folder.display(),
                    manifest.name,
                    other.folder.display()
                );
                return Err(self.document.error(&key, message));
            }
            processes.push(manifest);
        }
        Ok(processes)
    }

    /// A misspelt `--only` would otherwise start nothing and say nothing.
    /// What processes depend on must be there, whether or not it is left out this time.
    pub(super) fn refuse_disorder(
        &self,
        builtin: &[Builtin],
        processes: &[Manifest],
    ) -> Result<(), Error> {
        let others: Vec<&str> = builtin.iter().map(|worker| &*worker.name).collect();
        match order::fault(&others, processes) {
            None => Ok(()),
            Some(message) => Err(self.document.error("workers.dirs", message)),
        }
    }

    pub(super) fn refuse_unknown(
        &self,
        builtin: &[Builtin],
        processes: &[Manifest],
    ) -> Result<(), Error> {
        let known: Vec<&str> = builtin
            .iter()
            .map(|worker| worker.name.as_str())
            .chain(processes.iter().map(|worker| worker.name.as_str()))
            .collect();
        match self
            .overrides
            .only
            .iter()
            .find(|name| !known.contains(&name.as_str()))
        {
            None => Ok(()),
            Some(name) => {
                let message = format!(
                    "--only {name}: there is no such worker; expected any of {}",
                    known.join(", ")
                );
                Err(self.document.error("workers", message))
            }
        }
    }
}

/// Milliseconds of a day, the longest any request may take.
pub(super) const DAY_MS: u64 = 86_400_000;

pub(super) fn absolute(path: &Path) -> PathBuf {
    // It fails for an empty path and when there is no current directory; then nothing is lost.
    std::path::absolute(path).map_or_else(|_| path.to_owned(), tidy)
}

/// Without `.` and `..`, so that messages are readable.
fn tidy(path: PathBuf) -> PathBuf {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            std::path::Component::ParentDir => {
                out.pop();
            }
            part => out.push(part),
        }
    }
    out
}

fn is_origin(origin: &str) -> bool {
    let host = origin
        .strip_prefix("https://")
        .or_else(|| origin.strip_prefix("http://"));
    host.is_some_and(|host| !host.is_empty() && !host.contains(['/', ' ', '@', '*']))
}
