//! `agentos dev`: a save is a swap. The old build serves until the new one does.

use std::{
    io,
    path::Path,
    time::{Duration, Instant},
};

use agentos_engine::{
    config::ProcessEnv,
    supervisor::Manifest,
    watching::{Root, Watching},
};
use agentos_sdk::Client;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::worker::fleet::Worker;
use crate::{
    args::{Common, Dev},
    client,
    failure::{FAILED, Failure},
    screen::{BOLD, DIM, GREEN, RED, Screen, plain, styled},
};

/// An editor that saves in several steps saves once.
const QUIET: Duration = Duration::from_millis(30);
const QUIET_AT_MOST: Duration = Duration::from_secs(2);

/// Calls of an old build are a developer's own.
const DRAIN: Duration = Duration::from_secs(2);

/// A build may take its time.
const TIMEOUT: Duration = Duration::from_hours(1);

pub(crate) async fn run(dev: Dev, common: &Common, screen: &Screen) -> Result<(), Failure> {
    let client = client::connect(common).await?;
    let workers = chosen(&client, &dev.names).await?;
    let (tell, mut saved) = mpsc::channel::<(String, Instant)>(workers.len());
    for worker in workers {
        let manifest = Manifest::open(Path::new(&worker.source), &ProcessEnv)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let watching = watch(&manifest)?;
        if !screen.json {
            screen.line(format!(
                "{}  {}",
                styled(BOLD, &worker.name),
                styled(DIM, format!("watching {}", worker.source))
            ));
        }
        tokio::spawn(tell_saves(worker.name, watching, tell.clone()));
    }
    drop(tell);
    while let Some((name, at)) = saved.recv().await {
        let swap = Swap {
            name: &name,
            saved: at,
            screen,
        };
        swap.run(&client).await?;
    }
    Ok(())
}

/// The workers that are meant, each with a folder.
async fn chosen(client: &Client, names: &[String]) -> Result<Vec<Worker>, Failure> {
    let mut fleet: Value = client.trigger("engine::workers::fleet", &json!({})).await?;
    let mut workers: Vec<Worker> =
        serde_json::from_value(fleet["workers"].take()).unwrap_or_default();
    workers.retain(|worker| Path::new(&worker.source).join(Manifest::FILE).is_file());
    let unknown = names
        .iter()
        .find(|name| !workers.iter().any(|worker| worker.name == **name));
    if let Some(name) = unknown {
        return Err(Failure::usage(format!(
            "no worker `{name}` runs from a folder of this machine"
        ))
        .remedy("see `agentos worker ls`"));
    }
    workers.retain(|worker| names.is_empty() || names.contains(&worker.name));
    if workers.is_empty() {
        return Err(Failure::new(
            FAILED,
            "the engine runs no worker from a folder of this machine",
        )
        .remedy("make one with `agentos worker new`, and add it to workers.dirs"));
    }
    Ok(workers)
}

fn watch(manifest: &Manifest) -> io::Result<Watching> {
    let written = manifest.clone();
    let root = Root::deep(manifest.folder.clone());
    Watching::start(vec![root], move |path| written.is_written(path))
}

/// Until nobody listens.
async fn tell_saves(name: String, mut watching: Watching, tell: mpsc::Sender<(String, Instant)>) {
    loop {
        watching.changed(QUIET, QUIET_AT_MOST).await;
        let at = Instant::now()
            .checked_sub(QUIET)
            .unwrap_or_else(Instant::now);
        if tell.send((name.clone(), at)).await.is_err() {
            return;
        }
    }
}

/// One save on its way.
struct Swap<'a> {
    name: &'a str,
    saved: Instant,
    screen: &'a Screen,
}

impl Swap<'_> {
    /// What goes wrong with the build is shown; only an engine that is gone ends the watch.
    async fn run(&self, client: &Client) -> Result<(), Failure> {
        let call = client.bus().call("engine::workers::swap").timeout(TIMEOUT);
        let drain_ms = DRAIN.as_millis() as u64;
        let mut stream = call.stream(&json!({ "name": self.name, "drain_ms": drain_ms }))?;
        while let Some(chunk) = stream.next().await {
            if let Ok(step) = chunk.decode::<Value>() {
                self.show(&step);
            }
        }
        match stream.finish().await {
            Ok(_) => Ok(()),
            // Its step has told why.
            Err(error) if error.reason.is_some() => Ok(()),
            Err(error) if client.state().borrow().0 == agentos_sdk::State::Connected => {
                self.line(&styled(RED, &error.message));
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn show(&self, step: &Value) {
        if self.screen.json {
            return self.screen.value(step);
        }
        match step["event"].as_str().unwrap_or_default() {
            "traffic_shifted" => {
                let live = self.saved.elapsed().as_secs_f64();
                let text = format!(
                    "build {} is live, {live:.2} s after the save",
                    plain(&step["build"])
                );
                self.line(&styled(GREEN, text));
            }
            "failed" | "swap_failed" => {
                self.line(&styled(RED, plain(&step["message"])));
                for line in step["output"].as_array().into_iter().flatten() {
                    self.screen.line(format!("    {}", plain(line)));
                }
            }
            _ => {}
        }
    }

    fn line(&self, text: &str) {
        self.screen
            .line(format!("{}  {text}", styled(BOLD, self.name)));
    }
}
