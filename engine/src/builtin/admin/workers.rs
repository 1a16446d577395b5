//! `engine::workers::*` that change something: swap, rollback, scale and the like, for people, CI jobs
//! and agents. What takes its time tells its steps as a stream.

use std::{
    path::{Path, PathBuf},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use agentos_sdk::{Code, Context, Error, FunctionBuilder, Registrar, Sink};
use schemars::JsonSchema;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio::sync::{Mutex, broadcast::error::RecvError};

use super::Admin;
use crate::fleet::{DRAIN, Fleet, Plan, READY, Step, To};

/// How long a new build is tried when nobody says.
const HOLD: Duration = Duration::from_secs(30);

/// How much worse than the old build a new one may be, when nobody says.
const ERROR_MARGIN: f64 = 0.01;

#[derive(Deserialize, JsonSchema)]
struct OfWorker {
    name: String,
    /// How long calls that run may go on; 5 minutes when absent.
    drain_ms: Option<u64>,
}

#[derive(Deserialize, JsonSchema)]
struct Scale {
    name: String,
    /// Instances that are to run.
    replicas: usize,
    /// How long calls of instances that end may go on; 5 minutes when absent.
    drain_ms: Option<u64>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Swap {
    name: String,
    /// Folder of the new build, with a `worker.yaml`; `in-process` for the engine's own. Absent: what
    /// the worker's folder holds now.
    to: Option<PathBuf>,
    /// In place of a folder: the program of the new build and its arguments.
    command: Option<Vec<String>>,
    /// Where `command` runs.
    folder: Option<PathBuf>,
    /// Share of the calls that the new build gets while it is tried, in percent.
    canary_percent: Option<u8>,
    /// How long it is tried; 30 s with `canary_percent`, not at all without.
    hold_ms: Option<u64>,
    /// How much larger than the old build's its rate of failed calls may be; 0.01 when absent.
    max_error_rate: Option<f64>,
    /// How long the new process may run before it has registered; 30 s when absent.
    ready_ms: Option<u64>,
    /// How long calls of the old build may go on; 5 minutes when absent.
    drain_ms: Option<u64>,
}

fn ms(given: Option<u64>, default: Duration) -> Duration {
    given.map_or(default, Duration::from_millis)
}

fn invalid(why: &str) -> Error {
    Error::caller(Code::InvalidInput, why)
}

impl Swap {
    fn plan(&self) -> Result<Plan, Error> {
        let to = match (&self.to, &self.command, &self.folder) {
            (None, None, _) => To::Again,
            (Some(to), None, _) if to.as_os_str() == "in-process" => To::InProcess,
            (Some(to), None, _) => To::Folder(absolute(to)?),
            (None, Some(command), Some(folder)) if !command.is_empty() => {
                To::Command(command.clone(), absolute(folder)?)
            }
            (None, Some(_), _) => return Err(invalid("`command` needs words, and a `folder`")),
            (Some(_), Some(_), _) => return Err(invalid("give either `to` or `command`")),
        };
        if self
            .canary_percent
            .is_some_and(|percent| !(1..=99).contains(&percent))
        {
            return Err(invalid("expected a `canary_percent` from 1 to 99"));
        }
        let error_margin = self.max_error_rate.unwrap_or(ERROR_MARGIN);
        if !(0.0..=1.0).contains(&error_margin) {
            return Err(invalid("expected a `max_error_rate` from 0 to 1"));
        }
        let hold = match self.canary_percent {
            Some(_) => HOLD,
            None => Duration::ZERO,
        };
        Ok(Plan {
            canary_percent: self.canary_percent,
            hold: ms(self.hold_ms, hold),
            error_margin,
            ready: ms(self.ready_ms, READY),
            drain: ms(self.drain_ms, DRAIN),
            ..Plan::plain("swap", to)
        })
    }
}

fn absolute(folder: &Path) -> Result<PathBuf, Error> {
    match folder.is_absolute() {
        true => Ok(folder.to_owned()),
        false => Err(invalid(
            "expected an absolute path: the engine's working directory is not yours",
        )),
    }
}

/// What is done to a worker, under way.
type Doing = Pin<Box<dyn Future<Output = Result<Value, Error>> + Send>>;

impl Admin {
    pub(super) fn register_workers(self: &Arc<Self>, to: &mut Registrar) {
        let of_worker = |drain_ms| ms(drain_ms, DRAIN);
        self.steps(to, "engine::workers::swap", |fleet, input: Swap| {
            let plan = input.plan()?;
            let name = input.name.clone();
            Ok((input.name, Box::pin(swap(fleet, name, plan))))
        })
        .describe("replaces a worker under traffic: the new build is started beside the old one, tried, and takes its place, or goes");
        self.steps(
            to,
            "engine::workers::rollback",
            move |fleet, input: OfWorker| {
                let plan = Plan {
                    drain: of_worker(input.drain_ms),
                    ..Plan::plain("rollback", To::Previous)
                };
                let name = input.name.clone();
                Ok((input.name, Box::pin(swap(fleet, name, plan))))
            },
        )
        .describe("puts back the build that served before");
        self.steps(
            to,
            "engine::workers::restart",
            move |fleet, input: OfWorker| {
                let (name, drain) = (input.name.clone(), of_worker(input.drain_ms));
                let doing = async move { fleet.restart(&name, drain).await.map(|()| done()) };
                Ok((input.name, Box::pin(doing)))
            },
        )
        .describe("starts a worker anew without losing a call");
        self.steps(
            to,
            "engine::workers::stop",
            move |fleet, input: OfWorker| {
                let (name, drain) = (input.name.clone(), of_worker(input.drain_ms));
                let doing = async move { fleet.stop(&name, drain).await.map(|()| done()) };
                Ok((input.name, Box::pin(doing)))
            },
        )
        .describe("lets a worker finish its calls and ends it until it is started");
        self.steps(to, "engine::workers::scale", move |fleet, input: Scale| {
            let (name, drain) = (input.name.clone(), of_worker(input.drain_ms));
            let doing = async move {
                let scaled = fleet.scale(&name, input.replicas, drain).await;
                scaled.map(|()| done())
            };
            Ok((input.name, Box::pin(doing)))
        })
        .describe("has so many instances of a worker run");
        self.steps(to, "engine::workers::start", |fleet, input: OfWorker| {
            let name = input.name.clone();
            let doing = async move { fleet.start(&name).await.map(|()| done()) };
            Ok((input.name, Box::pin(doing)))
        })
        .describe("starts a worker that was stopped, or has given up");
        self.steps(to, "engine::workers::pause", |fleet, input: OfWorker| {
            let name = input.name.clone();
            let doing = async move { fleet.pause(&name).await.map(|()| done()) };
            Ok((input.name, Box::pin(doing)))
        })
        .describe("gives a worker no calls; it runs on");
        self.steps(to, "engine::workers::resume", |fleet, input: OfWorker| {
            let name = input.name.clone();
            let doing = async move { fleet.resume(&name).await.map(|()| done()) };
            Ok((input.name, Box::pin(doing)))
        })
        .describe("gives a paused worker calls again");
        self.answer(to, "engine::workers::fleet", |admin, _, _: Value| {
            Ok(admin.fleet.list())
        })
        .describe(
            "lists the workers that the engine runs: builds, instances, what each does and uses",
        )
        .idempotent();
        let fleet = self.fleet.clone();
        to.function(
            "engine::workers::versions",
            move |_: Context, input: OfWorker| {
                let versions = fleet.versions(&input.name);
                std::future::ready(versions.map(|versions| json!({ "versions": versions })))
            },
        )
        .describe("lists the builds of a worker that have served, or were tried")
        .idempotent();
    }

    /// Offers a function that does something to the worker that it names, and streams what happens to
    /// that worker meanwhile.
    fn steps<'a, I, B>(
        self: &Arc<Self>,
        to: &'a mut Registrar,
        id: &str,
        begin: B,
    ) -> FunctionBuilder<'a>
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        B: Fn(Fleet, I) -> Result<(String, Doing), Error> + Send + Sync + 'static,
    {
        let (admin, begin) = (Arc::clone(self), Arc::new(begin));
        to.streaming(id, move |_: Context, input: I, sink| {
            let (admin, begin) = (Arc::clone(&admin), Arc::clone(&begin));
            async move {
                // Before it begins, so that nothing is missed.
                let heard = Heard {
                    steps: admin.fleet.steps(),
                    processes: admin.supervisor.later_events(),
                };
                let (worker, doing) = begin(admin.fleet.clone(), input)?;
                heard.tell(&worker, doing, sink).await
            }
        })
    }
}

async fn swap(fleet: Fleet, name: String, plan: Plan) -> Result<Value, Error> {
    let swapped = fleet.swap(&name, plan).await?;
    Ok(json!(swapped))
}

fn done() -> Value {
    json!({ "done": true })
}

/// Where steps come from.
struct Heard {
    steps: tokio::sync::broadcast::Receiver<Step>,
    processes: tokio::sync::broadcast::Receiver<crate::supervisor::Event>,
}

impl Heard {
    /// Passes on what happens to `worker` until it is done, and its outcome.
    async fn tell(
        mut self,
        worker: &str,
        mut doing: Doing,
        sink: Arc<Mutex<Sink>>,
    ) -> Result<Value, Error> {
        let mut sink = sink.lock().await;
        loop {
            let told = tokio::select! {
                biased;
                step = self.steps.recv() => of_worker(step, worker, |step| &step.worker, Step::to_json),
                event = self.processes.recv() => {
                    of_worker(event, worker, |event| &event.worker, crate::supervisor::Event::to_json)
                }
                outcome = &mut doing => {
                    while let Ok(step) = self.steps.try_recv() {
                        if step.worker == worker {
                            sink.send(&step.to_json()).await?;
                        }
                    }
                    return outcome;
                }
            };
            if let Some(told) = told {
                sink.send(&told).await?;
            }
        }
    }
}

/// What was heard, if it is about `worker`. What a slow reader has missed, it does without.
fn of_worker<T>(
    received: Result<T, RecvError>,
    worker: &str,
    of: fn(&T) -> &String,
    to_json: fn(&T) -> Value,
) -> Option<Value> {
    let heard = received.ok()?;
    (of(&heard) == worker).then(|| to_json(&heard))
}
