//! `agentos worker …`: what is done to the workers that the engine runs, told as it happens.

mod alone;
pub(super) mod fleet;
mod steps;

use std::{path::Path, time::Duration};

use serde_json::{Value, json};

use crate::{
    args::{Common, OfWorker, Swap, Worker},
    client,
    failure::Failure,
    screen::Screen,
};

/// The longest deadline that the engine gives: how long it takes is said by other times.
const TIMEOUT: Duration = Duration::from_hours(24);

pub(crate) async fn run(worker: Worker, common: &Common, screen: &Screen) -> Result<(), Failure> {
    let doing = Doing { common, screen };
    match worker {
        Worker::New { name, lang, dir } => super::new::run(&name, lang, dir, screen),
        Worker::Run { name, config } => alone::run(&name, config.as_deref(), common).await,
        Worker::Ls => fleet::list(common, screen).await,
        Worker::Versions { name } => fleet::versions(&name, common, screen).await,
        Worker::Swap(swap) => doing.of("swap", request(&swap)?).await,
        Worker::Rollback(of) => doing.of("rollback", of_worker(&of)).await,
        Worker::Restart(of) => doing.of("restart", of_worker(&of)).await,
        Worker::Stop(of) => doing.of("stop", of_worker(&of)).await,
        Worker::Start { name } => doing.of("start", json!({ "name": name })).await,
        Worker::Pause { name } => doing.of("pause", json!({ "name": name })).await,
        Worker::Resume { name } => doing.of("resume", json!({ "name": name })).await,
        Worker::Scale { of, replicas } => {
            let mut request = of_worker(&of);
            request["replicas"] = replicas.into();
            doing.of("scale", request).await
        }
    }
}

struct Doing<'a> {
    common: &'a Common,
    screen: &'a Screen,
}

impl Doing<'_> {
    /// Has it done, and shows its steps.
    async fn of(&self, what: &str, request: Value) -> Result<(), Failure> {
        let client = client::connect(self.common).await?;
        let function = format!("engine::workers::{what}");
        let call = client.bus().call(&function).timeout(TIMEOUT);
        let mut stream = call.stream(&request)?;
        let steps = steps::Steps::new(*self.screen);
        while let Some(chunk) = stream.next().await {
            if let Ok(step) = chunk.decode::<Value>() {
                steps.show(&step);
            }
        }
        steps.close();
        let outcome = stream.finish().await?;
        if self.screen.json {
            let outcome: Value = outcome.decode().unwrap_or_default();
            self.screen
                .value(&json!({ "event": "result", "result": outcome }));
        }
        Ok(())
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

fn of_worker(of: &OfWorker) -> Value {
    json!({ "name": of.name, "drain_ms": ms(of.drain) })
}

fn request(swap: &Swap) -> Result<Value, Failure> {
    let mut request = of_worker(&swap.of);
    let here = std::env::current_dir()?;
    match swap.to.as_deref() {
        None => {}
        Some("in-process") => request["to"] = "in-process".into(),
        Some(folder) if Path::new(folder).is_dir() => {
            let folder = std::path::absolute(folder)?;
            if !folder.join("worker.yaml").is_file() {
                let what = format!("{} has no worker.yaml", folder.display());
                return Err(Failure::usage(what)
                    .remedy("give the folder of a worker, or a command that runs one"));
            }
            request["to"] = folder.display().to_string().into();
        }
        Some(command) => {
            // A shell takes it apart as its writer expects, and becomes it.
            request["command"] = json!(["sh", "-c", format!("exec {command}")]);
            request["folder"] = here.display().to_string().into();
        }
    }
    request["canary_percent"] = json!(swap.canary);
    request["hold_ms"] = json!(swap.hold.map(ms));
    request["max_error_rate"] = swap.max_error_rate.into();
    request["ready_ms"] = ms(swap.ready).into();
    Ok(request)
}
