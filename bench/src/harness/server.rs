//! The servers, each started fresh in a folder of its own.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{net::TcpStream, process::Command};

use super::child::Child;

/// How long a server may take to start.
const START: Duration = Duration::from_secs(20);
/// It reads much Python first.
const START_LITELLM: Duration = Duration::from_secs(90);
/// How often somebody looks whether it has.
const LOOK: Duration = Duration::from_millis(5);

/// More than any scenario connects.
const CONFIG: &str = "limits: { sessions_max: 20000 }
queue: { queue_configs: { default: { concurrency: 256 } } }
";

/// JetStream answers when a message is on disk.
const JETSTREAM: &str = "jetstream: { store_dir: \"store\", sync_interval: always }\n";

pub(crate) enum Server {
    Relay {
        plain: bool,
    },
    Web {
        worker: bool,
    },
    Engine(PathBuf),
    Nats(PathBuf),
    /// The same, with JetStream, each message synced.
    JetStream(PathBuf),
    Redis(PathBuf),
    /// The same, each write synced.
    RedisSynced(PathBuf),
    Log,
    /// A reverse proxy before a model.
    Pass,
    /// An engine, with the workers that make it a gateway.
    Gateway(PathBuf),
    LiteLlm(PathBuf),
}

/// A server that runs.
pub(crate) struct Running {
    child: Child,
    /// Where workers and clients connect.
    pub(crate) address: String,
    /// Where HTTP is answered.
    pub(crate) http: String,
    /// Who may ask.
    pub(crate) key: String,
    /// What is behind it.
    upstream: Option<Child>,
    /// Goes last: the process has ended by then.
    folder: Option<TempDir>,
}

impl Running {
    pub(crate) fn pid(&self) -> u32 {
        self.child.pid()
    }

    pub(crate) async fn end(self) {
        self.child.end().await;
        if let Some(upstream) = self.upstream {
            upstream.end().await;
        }
        drop(self.folder);
    }
}

impl Server {
    pub(crate) async fn start(&self) -> Result<Running> {
        match self {
            Server::Relay { plain } => own("relay", plain.then_some("--plain")).await,
            Server::Web { worker } => own("web", worker.then_some("--worker")).await,
            Server::Engine(file) => engine(file, CONFIG, &["--no-workers", "--auth", "none"]).await,
            Server::Pass | Server::Gateway(_) | Server::LiteLlm(_) => self.before_a_model().await,
            Server::Nats(file) => nats(file, false).await,
            Server::JetStream(file) => nats(file, true).await,
            Server::Redis(file) => redis(file, false).await,
            Server::RedisSynced(file) => redis(file, true).await,
            Server::Log => log().await,
        }
    }
}

impl Server {
    /// A gateway, and the model behind it.
    async fn before_a_model(&self) -> Result<Running> {
        let mut upstream = Child::role(&["upstream".to_owned()])?;
        let at = upstream.line(START).await?;
        let mut running = match self {
            Server::Gateway(file) => {
                let settings = format!(
                    "llm:\n  default_model: up/m\n  providers:\n    - {{ name: up, family: openai, base_url: 'http://{at}/v1', api_key: k, models: [m] }}\n"
                );
                engine(file, &settings, &["--only", "api", "llm"]).await?
            }
            Server::LiteLlm(file) => litellm(file, &at).await?,
            _ => own("pass", Some(&at)).await?,
        };
        running.upstream = Some(upstream);
        Ok(running)
    }
}

async fn litellm(file: &Path, upstream: &str) -> Result<Running> {
    let folder = TempDir::new()?;
    let config = folder.path().join("config.yaml");
    fs::write(
        &config,
        format!(
            "model_list:\n  - model_name: m\n    litellm_params: {{ model: openai/m, api_base: 'http://{upstream}/v1', api_key: k }}\n"
        ),
    )?;
    let port = free_port()?;
    // Nobody reads what it says of each request.
    let mut command = logged(Path::new("sh"), folder.path())?;
    command
        .args(["-c", "exec \"$0\" \"$@\" > /dev/null"])
        .arg(file)
        .args(["--host", "127.0.0.1", "--port", &port.to_string()])
        .arg("--config")
        .arg(&config)
        .env("LITELLM_LOG", "ERROR");
    let mut running = listening(folder, command, port, START_LITELLM).await?;
    running.http.clone_from(&running.address);
    Ok(running)
}

/// A port that nobody listens on, for who cannot choose one itself.
fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}

/// A server, once its port answers.
async fn listening(
    folder: TempDir,
    command: Command,
    port: u16,
    patience: Duration,
) -> Result<Running> {
    let child = Child::spawn(command)?;
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let look = async || TcpStream::connect(address).await.ok();
    ready(folder.path(), patience, look).await?;
    Ok(Running {
        child,
        address: address.to_string(),
        http: String::new(),
        key: String::new(),
        upstream: None,
        folder: Some(folder),
    })
}

/// A file, and who appends to it.
async fn log() -> Result<Running> {
    let folder = TempDir::new()?;
    let file = folder.path().join("log");
    let mut running = own("log", file.to_str()).await?;
    running.folder = Some(folder);
    Ok(running)
}

/// One of our own roles, which says where it is.
async fn own(role: &str, more: Option<&str>) -> Result<Running> {
    let words: Vec<String> = [Some(role), more]
        .into_iter()
        .flatten()
        .map(str::to_owned)
        .collect();
    let mut child = Child::role(&words)?;
    let line = child.line(START).await?;
    let (address, http) = line.split_once(' ').unwrap_or((&line, ""));
    Ok(Running {
        child,
        address: address.to_owned(),
        http: http.to_owned(),
        key: String::new(),
        upstream: None,
        folder: None,
    })
}

/// An engine, by default in everything but what it is told.
async fn engine(file: &Path, settings: &str, words: &[&str]) -> Result<Running> {
    let folder = TempDir::new()?;
    let config = folder.path().join("config.yaml");
    fs::write(&config, settings)?;
    let data = folder.path().join("data");
    let mut command = logged(file, folder.path())?;
    command
        .arg("start")
        .args(words)
        .args(["--bus-port", "0", "--http-port", "0", "--stream-port", "0"])
        .arg("--config")
        .arg(&config)
        .arg("--data-dir")
        .arg(&data)
        .env("AGENTOS_HOME", folder.path().join("home"));
    let child = Child::spawn(command)?;
    let note = ready(folder.path(), START, async || {
        fs::read(data.join("engine.json")).ok()
    })
    .await?;
    let note: Value = serde_json::from_slice(&note)?;
    let host = |key: &str| -> Result<String> {
        let url = note[key].as_str().unwrap_or_default();
        let (_, host) = url
            .split_once("://")
            .with_context(|| format!("the engine does not say where its {key} is"))?;
        Ok(host.trim_end_matches('/').to_owned())
    };
    Ok(Running {
        address: host("url")?,
        http: host("http")?,
        key: fs::read_to_string(note["token_file"].as_str().unwrap_or_default())
            .unwrap_or_default()
            .trim()
            .to_owned(),
        child,
        upstream: None,
        folder: Some(folder),
    })
}

async fn nats(file: &Path, durable: bool) -> Result<Running> {
    let folder = TempDir::new()?;
    let mut command = logged(file, folder.path())?;
    command
        .args(["--addr", "127.0.0.1", "--port", "-1", "--ports_file_dir"])
        .arg(folder.path());
    if durable {
        let config = folder.path().join("nats.conf");
        fs::write(&config, JETSTREAM)?;
        command.arg("--config").arg(config);
    }
    let child = Child::spawn(command)?;
    let find = async || {
        let entries = fs::read_dir(folder.path()).ok()?;
        let file = entries.flatten().map(|entry| entry.path()).find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "ports")
        })?;
        let ports: Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
        let address = ports["nats"][0].as_str()?.strip_prefix("nats://")?;
        Some(address.to_owned())
    };
    let address = ready(folder.path(), START, find).await?;
    Ok(Running {
        child,
        address,
        http: String::new(),
        key: String::new(),
        upstream: None,
        folder: Some(folder),
    })
}

async fn redis(file: &Path, durable: bool) -> Result<Running> {
    let folder = TempDir::new()?;
    let port = free_port()?;
    let mut command = logged(file, folder.path())?;
    command
        .args(["--bind", "127.0.0.1", "--port", &port.to_string()])
        .args([
            "--save",
            "",
            "--appendonly",
            if durable { "yes" } else { "no" },
        ])
        .args(["--appendfsync", "always"]);
    listening(folder, command, port, START).await
}

fn logged(file: &Path, folder: &Path) -> Result<Command> {
    let mut command = Command::new(file);
    command
        .current_dir(folder)
        .stderr(fs::File::create(folder.join("log"))?);
    Ok(command)
}

/// Looks until there is something.
async fn ready<T>(
    folder: &Path,
    patience: Duration,
    mut look: impl AsyncFnMut() -> Option<T>,
) -> Result<T> {
    let began = Instant::now();
    loop {
        if let Some(found) = look().await {
            return Ok(found);
        }
        if began.elapsed() > patience {
            let log = fs::read_to_string(folder.join("log"))?;
            bail!("not ready after {patience:?}: {log}");
        }
        tokio::time::sleep(LOOK).await;
    }
}
