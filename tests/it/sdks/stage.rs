//! Where players play: an engine, workers in all languages, and functions that cut their connections,
//! end them and start them again.

use std::{
    collections::BTreeMap,
    process::{Child, Command, Stdio},
    sync::Arc,
};

use agentos_sdk::{Client, Code, Context, Error, Registrar};
use anyhow::{Context as _, Result, ensure};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::sync::Semaphore;

use super::{player, proxy::Proxy};
use crate::harness::{Engine, eventually};

pub(super) const LANGUAGES: [&str; 3] = ["rust", "typescript", "python"];
/// Who plays, beside the workers of the languages.
pub(super) const CALLER: &str = "caller";

pub(super) struct Stage {
    pub(super) engine: Engine,
    /// The stage's own way to the engine.
    pub(super) worker: Client,
    crew: Arc<Crew>,
}

/// What the stage's functions share.
struct Crew {
    proxies: BTreeMap<&'static str, Proxy>,
    token: String,
    players: Mutex<BTreeMap<String, Child>>,
    holds: Mutex<BTreeMap<String, Hold>>,
}

/// A call that waits to be released.
#[derive(Clone)]
struct Hold {
    called: Arc<Semaphore>,
    released: Arc<Semaphore>,
}

impl Stage {
    /// An engine, and a worker of each of `languages`.
    pub(super) async fn with(languages: &[&'static str]) -> Result<Self> {
        let engine = Engine::bare().await?;
        let target = engine.url.trim_start_matches("ws://").trim_end_matches('/');
        let mut proxies = BTreeMap::new();
        for name in languages.iter().chain([&CALLER]) {
            proxies.insert(*name, Proxy::to(target.to_owned()).await?);
        }
        let crew = Arc::new(Crew {
            proxies,
            token: engine.token.clone(),
            players: Mutex::default(),
            holds: Mutex::default(),
        });
        let worker = engine.worker("stage").await?;
        let mut functions = Registrar::new();
        crew.functions(&mut functions);
        worker.register(functions).await?;
        for language in languages {
            crew.start(language)?;
        }
        let stage = Stage {
            engine,
            worker,
            crew,
        };
        for language in languages {
            stage.is_there(language).await?;
        }
        Ok(stage)
    }

    /// Waits until the worker of `language` answers.
    pub(super) async fn is_there(&self, language: &str) -> Result<()> {
        let echo = format!("{language}::echo");
        let what = format!("the worker in {language} answers");
        eventually(&what, || async {
            self.worker.trigger::<u8>(&echo, &1).await.ok()
        })
        .await?;
        Ok(())
    }

    /// Tells a program where `player` finds the engine.
    pub(super) fn lead(&self, program: &mut Command, player: &str) {
        self.crew.lead(program, player);
    }

    pub(super) fn cut(&self, player: &str) {
        self.crew.proxies[player].cut();
    }

    pub(super) fn pid(&self, player: &str) -> Option<u32> {
        self.crew.players.lock().get(player).map(Child::id)
    }

    pub(super) fn kill(&self, player: &str) -> Result<()> {
        self.crew.kill(player)
    }

    pub(super) fn start(&self, player: &str) -> Result<()> {
        self.crew.start(player)
    }

    /// Tells all workers to stop, and sees that they end well.
    pub(super) async fn dismiss(self) -> Result<()> {
        let all: Vec<String> = self.crew.players.lock().keys().cloned().collect();
        for player in all {
            self.crew.signal(&player, Signal::TERM)?;
            let code = self.crew.ended(&player).await?;
            ensure!(code == 0, "{player} ended with {code}");
        }
        Ok(())
    }
}

impl Drop for Crew {
    fn drop(&mut self) {
        for player in self.players.get_mut().values_mut() {
            // Ended already is as good.
            let _ = player.kill();
            let _ = player.wait();
        }
    }
}

impl Crew {
    fn lead(&self, program: &mut Command, player: &str) {
        let url = format!("ws://127.0.0.1:{}", self.proxies[player].port);
        program
            .env("AGENTOS_URL", url)
            .env("AGENTOS_TOKEN", &self.token)
            .stdin(Stdio::null());
    }

    fn start(&self, language: &str) -> Result<()> {
        let mut command = player(language);
        command.arg("serve");
        self.lead(&mut command, language);
        let child = command
            .spawn()
            .with_context(|| format!("cannot run the player in {language}"))?;
        self.players.lock().insert(language.to_owned(), child);
        Ok(())
    }

    fn signal(&self, player: &str, signal: Signal) -> Result<()> {
        let mut players = self.players.lock();
        let child = players.get_mut(player).context("no such player")?;
        let pid = Pid::from_raw(i32::try_from(child.id())?).context("a process has a number")?;
        Ok(kill_process(pid, signal)?)
    }

    fn kill(&self, player: &str) -> Result<()> {
        self.signal(player, Signal::KILL)?;
        let gone = self.players.lock().remove(player);
        gone.context("no such player")?.wait()?;
        Ok(())
    }

    /// The exit code of a player that is on its way out; -1 when a signal ended it.
    async fn ended(&self, player: &str) -> Result<i32> {
        let status = eventually("the player ends", || async {
            let mut players = self.players.lock();
            players.get_mut(player)?.try_wait().ok()?
        })
        .await?;
        self.players.lock().remove(player);
        Ok(status.code().unwrap_or(-1))
    }

    fn hold(&self, key: &str) -> Hold {
        let mut holds = self.holds.lock();
        let fresh = || Hold {
            called: Arc::new(Semaphore::new(0)),
            released: Arc::new(Semaphore::new(0)),
        };
        holds.entry(key.to_owned()).or_insert_with(fresh).clone()
    }

    /// Offers `stage::*`: all take a key or the name of a player.
    fn functions(self: &Arc<Self>, registrar: &mut Registrar) {
        self.deed(registrar, "hold", |crew, key| async move {
            let hold = crew.hold(&key);
            hold.called.add_permits(1);
            hold.released.acquire().await?.forget();
            Ok(Value::String(key))
        });
        self.deed(registrar, "held", |crew, key| async move {
            crew.hold(&key).called.acquire().await?.forget();
            Ok(Value::Null)
        });
        self.deed(registrar, "release", |crew, key| async move {
            crew.hold(&key).released.add_permits(1);
            Ok(Value::Null)
        });
        self.deed(registrar, "cut", |crew, player| async move {
            crew.proxies[player.as_str()].cut();
            Ok(Value::Null)
        });
        self.deed(registrar, "kill", |crew, player| async move {
            crew.kill(&player)?;
            Ok(Value::Null)
        });
        self.deed(registrar, "terminate", |crew, player| async move {
            crew.signal(&player, Signal::TERM)?;
            Ok(Value::Null)
        });
        self.deed(registrar, "ended", |crew, player| async move {
            Ok(crew.ended(&player).await?.into())
        });
        self.deed(registrar, "start", |crew, player| async move {
            crew.start(&player)?;
            Ok(Value::Null)
        });
    }

    fn deed<Fut>(
        self: &Arc<Self>,
        registrar: &mut Registrar,
        name: &str,
        deed: impl Fn(Arc<Crew>, String) -> Fut + Send + Sync + 'static,
    ) where
        Fut: Future<Output = Result<Value>> + Send + 'static,
    {
        let crew = Arc::clone(self);
        registrar.function(
            &format!("stage::{name}"),
            move |_: Context, subject: String| {
                let done = deed(Arc::clone(&crew), subject);
                async move {
                    done.await
                        .map_err(|error| Error::worker(Code::Internal, format!("{error:#}")))
                }
            },
        );
    }
}
