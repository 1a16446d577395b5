//! An engine to test against, and what tests need around it.

mod channel;
mod socket;

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use agentos_sdk::{Client, Options};
use anyhow::{Context, Result, bail};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) use channel::{End, Item, address, refused};
pub(crate) use socket::{Heard, Iii, V2, hello};

/// How long anything may take that should take a moment. Generous: machines are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A running `agentos start`.
pub(crate) struct Engine {
    child: Child,
    pub(crate) folder: TempDir,
    pub(crate) url: String,
    pub(crate) http: String,
    /// Where clients of streams connect.
    pub(crate) stream: String,
    pub(crate) token: String,
}

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("the package is in the workspace")
        .to_owned()
}

pub(crate) fn binary() -> PathBuf {
    std::env::var_os("AGENTOS_BIN")
        .map_or_else(|| root().join("target/release/agentos"), PathBuf::from)
}

impl Engine {
    /// The bus and its built-ins alone.
    pub(crate) async fn bare() -> Result<Self> {
        Self::start("", &["--no-workers"]).await
    }

    /// An engine with `config` as its `config.yaml` and more arguments.
    pub(crate) async fn start(config: &str, arguments: &[&str]) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, config, arguments).await
    }

    /// An engine in `folder`, which may hold what an earlier one left.
    pub(crate) async fn start_in(
        folder: TempDir,
        config: &str,
        arguments: &[&str],
    ) -> Result<Self> {
        let mut all = vec!["--http-port", "0", "--stream-port", "0"];
        if !arguments.contains(&"--bus-port") {
            all.extend(["--bus-port", "0"]);
        }
        all.extend(arguments);
        Self::start_as(folder, config, &all, &[]).await
    }

    /// An engine whose listeners are those of `config`, with more environment variables.
    pub(crate) async fn start_as(
        folder: TempDir,
        config: &str,
        arguments: &[&str],
        env: &[(&str, &str)],
    ) -> Result<Self> {
        let file = folder.path().join("config.yaml");
        fs::write(&file, config)?;
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(folder.path().join("engine.log"))?;
        let ready = folder.path().join("data/engine.json");
        // What an engine that was killed has left.
        let _ = fs::remove_file(&ready);
        let child = Command::new(binary())
            .arg("start")
            .arg("--config")
            .arg(&file)
            .arg("--data-dir")
            .arg(folder.path().join("data"))
            .args(arguments)
            .envs(env.iter().copied())
            .current_dir(folder.path())
            .env("AGENTOS_HOME", folder.path().join("home"))
            .env_remove("OPENAI_API_KEY")
            .env_remove("ANTHROPIC_API_KEY")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("cannot start the binary; build it with `cargo build --release`")?;
        let mut engine = Engine {
            child,
            folder,
            url: String::new(),
            http: String::new(),
            stream: String::new(),
            token: String::new(),
        };
        let note = engine.wait_for_note(&ready).await?;
        note["url"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut engine.url);
        note["http"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut engine.http);
        note["stream"]
            .as_str()
            .unwrap_or_default()
            .clone_into(&mut engine.stream);
        fs::read_to_string(engine.folder.path().join("data/token"))?
            .trim()
            .clone_into(&mut engine.token);
        Ok(engine)
    }

    async fn wait_for_note(&mut self, path: &Path) -> Result<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Ok(text) = fs::read(path) {
                return Ok(serde_json::from_slice(&text)?);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the engine ended with {status}:\n{}", self.log());
            }
            if Instant::now() > until {
                bail!("the engine is not ready:\n{}", self.log());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The engine's process.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the engine has printed so far.
    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("engine.log")).unwrap_or_default()
    }

    /// A worker of the Rust SDK, connected.
    pub(crate) async fn worker(&self, name: &str) -> Result<Client> {
        let options = Options::new(name).url(&self.url).token(&self.token);
        Client::connect(options)
            .await
            .map_err(|error| anyhow::anyhow!("{error}\n{}", self.log()))
    }

    /// A request to the HTTP listener with the right token.
    pub(crate) fn request(&self, method: reqwest::Method, path: &str) -> reqwest::RequestBuilder {
        let client = reqwest::Client::builder()
            .no_proxy()
            .build()
            .expect("a client without TLS");
        client
            .request(method, format!("{}{path}", self.http))
            .bearer_auth(&self.token)
            .timeout(PATIENCE)
    }

    pub(crate) fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.request(reqwest::Method::GET, path)
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.request(reqwest::Method::POST, path).json(body)
    }

    /// Runs `agentos` with the engine's address and token; gives exit code, output, errors.
    pub(crate) fn cli(&self, arguments: &[&str], input: &str) -> Result<(i32, String, String)> {
        let mut command = self.command(arguments);
        command
            .env("AGENTOS_URL", &self.url)
            .env("AGENTOS_TOKEN", &self.token);
        finish(command, input)
    }

    /// As [`Engine::cli`], on an account where no engine runs.
    pub(crate) fn cli_without_engine(&self, arguments: &[&str]) -> Result<(i32, String, String)> {
        let mut command = self.command(arguments);
        command.env("AGENTOS_HOME", self.folder.path().join("nowhere"));
        finish(command, "")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary());
        command
            .args(arguments)
            .current_dir(self.folder.path())
            .env("AGENTOS_HOME", self.folder.path().join("home"));
        command
    }

    /// As `kill -9`; gives the folder back for the next engine.
    pub(crate) fn kill(mut self) -> Result<TempDir> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(std::mem::replace(&mut self.folder, tempfile::tempdir()?))
    }

    /// As `kill`; waits until the engine has ended by itself and gives its exit code.
    pub(crate) async fn terminate(&mut self) -> Result<i32> {
        self.signal(rustix::process::Signal::TERM)?;
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code().unwrap_or(-1));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("the engine did not end:\n{}", self.log())
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) -> Result<()> {
        let pid = i32::try_from(self.child.id())?;
        let pid = rustix::process::Pid::from_raw(pid).context("a process has a number")?;
        Ok(rustix::process::kill_process(pid, signal)?)
    }
}

/// Runs a command with `input`; gives exit code, output, errors.
fn finish(mut command: Command, input: &str) -> Result<(i32, String, String)> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    child
        .stdin
        .take()
        .context("piped")?
        .write_all(input.as_bytes())?;
    let output = child.wait_with_output()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok((
        output.status.code().unwrap_or(-1),
        text(&output.stdout),
        text(&output.stderr),
    ))
}

impl Drop for Engine {
    #[expect(
        clippy::print_stdout,
        reason = "the test runner shows it beside the failure"
    )]
    fn drop(&mut self) {
        // Ended already is as good. The guards of its workers end those.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            println!("── engine ──\n{}", self.log());
        }
    }
}

/// Waits until `probe` gives something.
pub(crate) async fn eventually<T, F>(what: &str, probe: impl FnMut() -> F) -> Result<T>
where
    F: Future<Output = Option<T>>,
{
    eventually_within(PATIENCE, what, probe).await
}

/// As [`eventually`], for things that take longer.
pub(crate) async fn eventually_within<T, F>(
    patience: Duration,
    what: &str,
    mut probe: impl FnMut() -> F,
) -> Result<T>
where
    F: Future<Output = Option<T>>,
{
    let until = Instant::now() + patience;
    loop {
        if let Some(found) = probe().await {
            return Ok(found);
        }
        if Instant::now() > until {
            bail!("{what} did not happen in {patience:?}");
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
