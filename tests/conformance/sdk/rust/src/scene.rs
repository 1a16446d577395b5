//! One scenario being played.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use agentos_sdk::{CallStream, Client, Error, Payload};
use serde_json::Value;
use tokio::{task::JoinHandle, time::timeout};

use crate::{
    data::{Sent, fill, sent},
    expect::{self, Mismatch},
};

/// How long something may take to become true.
const PATIENCE: Duration = Duration::from_secs(20);

type Outcome = Result<Payload, Error>;

pub(crate) struct Scene {
    worker: Client,
    saved: Vec<(&'static str, String)>,
    started: HashMap<String, JoinHandle<Outcome>>,
    streams: HashMap<String, CallStream>,
}

fn text(step: &Value, key: &str) -> String {
    step[key].as_str().unwrap_or_default().to_owned()
}

async fn ask(worker: Client, step: Value) -> Outcome {
    let mut call = worker.bus().call(step["call"].as_str().unwrap_or_default());
    if let Some(ms) = step["timeout_ms"].as_u64() {
        call = call.timeout(Duration::from_millis(ms));
    }
    if let Some(retries) = step["retries"].as_u64() {
        call = call.retries(retries as u32);
    }
    if let Some(metadata) = step.get("metadata") {
        call = call.metadata(metadata.to_string());
    }
    match sent(&step["payload"]) {
        Sent::Payload(payload) => call.send_payload(payload).await,
        Sent::Odd(odd) => call.send::<Value>(&odd).await.map(|_| Payload::NULL),
    }
}

fn judge(step: &Value, outcome: &Outcome) -> Result<(), Mismatch> {
    match (outcome, step.get("fails")) {
        (Ok(answer), None) => expect::answer(answer, step),
        (Err(error), Some(wanted)) => expect::error(error, wanted),
        (Ok(answer), Some(wanted)) => {
            let answer = String::from_utf8_lossy(&answer.bytes[..answer.len().min(300)]);
            Err(format!(
                "the answer is {answer}, expected the error {wanted}"
            ))
        }
        (Err(error), None) => Err(format!("it failed: {error:?}")),
    }
}

impl Scene {
    pub(crate) fn new(worker: &Client, saved: Vec<(&'static str, String)>) -> Self {
        Scene {
            worker: worker.clone(),
            saved,
            started: HashMap::new(),
            streams: HashMap::new(),
        }
    }

    pub(crate) async fn play(&mut self, scenario: &Value) -> Result<(), Mismatch> {
        for step in scenario["steps"].as_array().into_iter().flatten() {
            Box::pin(self.step(&fill(step, &self.saved))).await?;
        }
        Ok(())
    }

    async fn step(&mut self, step: &Value) -> Result<(), Mismatch> {
        // The first kind that a step has a key of is its kind.
        if step.get("call").is_some() {
            self.call(step).await
        } else if step.get("ends").is_some() {
            let call = self
                .started
                .get_mut(&text(step, "ends"))
                .ok_or("nothing was started")?;
            let outcome = timeout(PATIENCE, call).await.map_err(|_| "nothing came")?;
            judge(step, &outcome.map_err(|error| error.to_string())?)
        } else if step.get("cancels").is_some() {
            self.started[&text(step, "cancels")].abort();
            Ok(())
        } else if step.get("void").is_some() {
            let call = self
                .worker
                .bus()
                .call(step["void"].as_str().unwrap_or_default());
            call.void(&step["payload"])
                .map_err(|error| error.to_string())
        } else if step.get("opens").is_some() {
            let call = self
                .worker
                .bus()
                .call(step["stream"].as_str().unwrap_or_default());
            let stream = call
                .stream(&step["payload"])
                .map_err(|error| error.to_string())?;
            self.streams.insert(text(step, "opens"), stream);
            Ok(())
        } else if step.get("reads").is_some() {
            self.reads(step).await
        } else if step.get("finishes").is_some() {
            let stream = self
                .streams
                .remove(&text(step, "finishes"))
                .ok_or("no such stream")?;
            let outcome = timeout(PATIENCE, stream.finish()).await;
            judge(step, &outcome.map_err(|_| "the stream does not end")?)
        } else if step.get("leaves").is_some() {
            self.streams.remove(&text(step, "leaves"));
            Ok(())
        } else {
            Err(format!("no such step: {step}"))
        }
    }

    async fn call(&mut self, step: &Value) -> Result<(), Mismatch> {
        if let Some(name) = step["starts"].as_str() {
            let call = tokio::spawn(ask(self.worker.clone(), step.clone()));
            self.started.insert(name.to_owned(), call);
            return Ok(());
        }
        if let Some(many) = step["many"].as_u64() {
            return self.many(step, many).await;
        }
        let until = Instant::now() + PATIENCE;
        loop {
            let verdict = judge(step, &ask(self.worker.clone(), step.clone()).await);
            if verdict.is_ok() || step.get("until").is_none() || Instant::now() > until {
                return verdict;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn many(&self, step: &Value, many: u64) -> Result<(), Mismatch> {
        let function = text(step, "call");
        let calls = (0..many).map(|number| {
            let (worker, function) = (self.worker.clone(), function.clone());
            tokio::spawn(async move { worker.trigger::<u64>(&function, &number).await })
        });
        for (number, call) in calls.collect::<Vec<_>>().into_iter().enumerate() {
            let answer = call.await.map_err(|error| error.to_string())?;
            if answer.as_ref().ok() != Some(&(number as u64)) {
                return Err(format!("call {number} ended with {answer:?}"));
            }
        }
        Ok(())
    }

    async fn reads(&mut self, step: &Value) -> Result<(), Mismatch> {
        let stream = self
            .streams
            .get_mut(&text(step, "reads"))
            .ok_or("no such stream")?;
        let number = |value: &Value| value.as_u64().unwrap_or(0);
        let (from, to) = match step.get("counts") {
            Some(counts) => (number(&counts[0]), number(&counts[1])),
            None => (0, number(&step["pieces"][0])),
        };
        for expected in from..to {
            let chunk = timeout(PATIENCE, stream.next())
                .await
                .map_err(|_| "no chunk came")?;
            let chunk = chunk.ok_or_else(|| format!("the stream ended before chunk {expected}"))?;
            let wanted = match step.get("pieces") {
                None => Payload::json(expected.to_string()),
                Some(pieces) => Payload::binary(vec![expected as u8; number(&pieces[1]) as usize]),
            };
            if chunk != wanted {
                return Err(format!(
                    "chunk {expected} has {} bytes: {:?}…",
                    chunk.len(),
                    &chunk.bytes[..chunk.len().min(8)]
                ));
            }
        }
        Ok(())
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        for call in self.started.values() {
            call.abort();
        }
    }
}
