//! A bus with the agent worker, a model that follows a script, and some tools.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentos_agent::{Agents, Config};
use agentos_contract::{
    agent::{CREATE, Created},
    llm::{COMPLETE, CompleteRequest, Completion, Event, FinishReason, ToolCall, Usage},
    testing::{Hub, State},
};
use agentos_sdk::{Bus, Code, Error, Registrar, Worker};
use parking_lot::Mutex;
use serde_json::{Value, json};

pub(crate) struct Stage {
    pub(crate) hub: Hub,
    pub(crate) bus: Bus,
    pub(crate) model: Arc<Model>,
    pub(crate) tools: Arc<Tools>,
    state: Arc<State>,
}

impl Stage {
    pub(crate) async fn set(config: Config) -> Self {
        Self::on(State::new(), config).await
    }

    async fn on(state: Arc<State>, config: Config) -> Self {
        let hub = Hub::with_state(Arc::clone(&state)).await;
        let (model, tools) = (Arc::new(Model::default()), Arc::new(Tools::default()));
        hub.join(Arc::clone(&model) as Arc<dyn Worker>).await;
        hub.join(Arc::clone(&tools) as Arc<dyn Worker>).await;
        let seat = hub.join(Agents::new(config)).await;
        Stage {
            hub,
            bus: seat.bus,
            model,
            tools,
            state,
        }
    }

    /// Everything anew but the state.
    pub(crate) async fn restart(self, config: Config) -> Self {
        Self::on(self.state, config).await
    }

    /// The agent `ada`, who may call `functions`.
    pub(crate) async fn agent(&self, functions: &[&str]) {
        let request = json!({
            "name": "ada", "systemPrompt": "You are Ada.", "capabilities": {"functions": functions}
        });
        let _: Created = self.bus.trigger(CREATE, &request).await.unwrap();
    }

    /// What the model says next.
    pub(crate) fn play(&self, script: impl IntoIterator<Item = Completion>) {
        self.model.script.lock().extend(script);
    }

    /// From now on the model says "well" and no more.
    pub(crate) fn hang(&self) {
        self.model.hangs.store(true, Ordering::Relaxed);
    }

    pub(crate) fn asked(&self) -> Vec<CompleteRequest> {
        self.model.asked.lock().clone()
    }

    pub(crate) async fn until(&self, mut done: impl FnMut() -> bool) {
        for _ in 0..300 {
            if done() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("it did not happen");
    }
}

pub(crate) fn says(text: &str, calls: &[ToolCall]) -> Completion {
    Completion {
        content: text.into(),
        tool_calls: calls.to_vec(),
        finish_reason: if calls.is_empty() {
            FinishReason::Stop
        } else {
            FinishReason::ToolCalls
        },
        usage: Usage::new(3, 2),
        model: "scripted".into(),
        provider: "test".into(),
        ..Completion::default()
    }
}

pub(crate) fn call(id: &str, name: &str, arguments: Value) -> ToolCall {
    ToolCall {
        id: id.into(),
        name: name.into(),
        arguments: arguments.to_string(),
    }
}

/// Counts a work that was dropped before its end.
struct Work<'a>(Option<&'a AtomicUsize>);

impl Drop for Work<'_> {
    fn drop(&mut self) {
        if let Some(dropped) = self.0 {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

#[derive(Default)]
pub(crate) struct Model {
    script: Mutex<VecDeque<Completion>>,
    asked: Mutex<Vec<CompleteRequest>>,
    hangs: AtomicBool,
    pub(crate) silent: AtomicBool,
    pub(crate) dropped: AtomicUsize,
}

impl Worker for Model {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        registrar.streaming(COMPLETE, move |_, request: CompleteRequest, sink| {
            let model = Arc::clone(&self);
            async move {
                model.asked.lock().push(request);
                let mut work = Work(Some(&model.dropped));
                let mut sink = sink.lock().await;
                let start = Event::Start {
                    model: "scripted".into(),
                    provider: "test".into(),
                };
                if model.hangs.load(Ordering::Relaxed) {
                    sink.send(&start).await?;
                    sink.send(&Event::Text {
                        text: "well".into(),
                    })
                    .await?;
                    tokio::time::sleep(Duration::from_hours(1)).await;
                }
                let next = model.script.lock().pop_front();
                work.0 = None;
                let Some(completion) = next else {
                    return Err(Error::worker(Code::Unavailable, "the script is over"));
                };
                if !model.silent.load(Ordering::Relaxed) {
                    sink.send(&start).await?;
                    for word in completion.content.split_inclusive(' ') {
                        sink.send(&Event::Text { text: word.into() }).await?;
                    }
                    sink.send(&Event::Usage(completion.usage)).await?;
                    sink.send(&Event::Finish {
                        reason: completion.finish_reason,
                    })
                    .await?;
                }
                Ok(completion)
            }
        });
    }
}

#[derive(Default)]
pub(crate) struct Tools {
    pub(crate) begun: AtomicUsize,
    pub(crate) dropped: AtomicUsize,
}

impl Worker for Tools {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        registrar.function("echo", |_, input: Value| async move { Ok(input) });
        registrar.function("fail", |_, _: Value| async move {
            Err::<Value, _>(Error::worker(Code::Failed, "no such luck"))
        });
        registrar.function("slow::wait", move |_, input: Value| {
            let tools = Arc::clone(&self);
            async move {
                tools.begun.fetch_add(1, Ordering::Relaxed);
                let mut work = Work(Some(&tools.dropped));
                tokio::time::sleep(Duration::from_millis(input["ms"].as_u64().unwrap())).await;
                work.0 = None;
                Ok("waited")
            }
        });
    }
}
