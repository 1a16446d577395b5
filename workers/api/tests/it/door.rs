//! The front door on a bus, with agents, a model that follows a script, and one tool.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use agentos_api::{Api, Config};
use agentos_contract::{
    agent::{CREATE, Created},
    embedding::{Embeddings, GENERATE, GenerateRequest},
    llm::{self, COMPLETE, CompleteRequest, Completion, Event},
    testing::{Hub, State},
};
use agentos_sdk::{Bus, CallStream, Encoding, Error, Payload, Registrar, Worker};
use parking_lot::Mutex;
use serde_json::{Value, json};

pub(crate) struct Door {
    pub(crate) hub: Hub,
    pub(crate) bus: Bus,
    pub(crate) model: Arc<Model>,
}

/// What the model does next.
#[derive(Clone)]
pub(crate) enum Line {
    Event(Event),
    Wait(Duration),
    Fail(Error),
}

impl Line {
    pub(crate) fn start() -> Self {
        Line::Event(Event::Start {
            model: "upstream-m".into(),
            provider: "test".into(),
        })
    }
}

pub(crate) struct Whole {
    pub(crate) status: u64,
    pub(crate) headers: Value,
    pub(crate) body: Value,
}

pub(crate) struct Streamed {
    pub(crate) head: Value,
    pub(crate) events: Vec<Value>,
    pub(crate) comments: Vec<String>,
    pub(crate) done: bool,
}

impl Streamed {
    pub(crate) fn text(&self) -> String {
        self.events
            .iter()
            .filter_map(|event| event["choices"][0]["delta"]["content"].as_str())
            .collect()
    }
}

impl Door {
    pub(crate) async fn open(config: Config) -> Self {
        let hub = Hub::with_state(State::new()).await;
        let model = Arc::new(Model::default());
        hub.join(Arc::clone(&model) as Arc<dyn Worker>).await;
        hub.join(agentos_agent::Agents::new(agentos_agent::Config::default()))
            .await;
        let bus = hub.join(Api::new(config)).await.bus;
        Door { hub, bus, model }
    }

    pub(crate) async fn agent(&self, name: &str, functions: &[&str]) {
        let request =
            json!({"name": name, "capabilities": {"functions": functions, "memoryScopes": []}});
        let _: Created = self.bus.trigger(CREATE, &request).await.unwrap();
    }

    pub(crate) fn play(&self, lines: Vec<Line>) {
        self.model.script.lock().push_back(lines);
    }

    pub(crate) fn asked(&self) -> Vec<CompleteRequest> {
        self.model.asked.lock().clone()
    }

    /// A request that is answered as a whole.
    pub(crate) async fn call(&self, function: &str, params: Value, body: Value) -> Whole {
        let request = json!({"method": "POST", "path_params": params, "headers": {}, "body": body});
        let mut stream = self.bus.call(function).stream(&request).unwrap();
        assert!(
            stream.next().await.is_none(),
            "it was to be answered as a whole"
        );
        let answer: Value = stream.finish().await.unwrap().decode().unwrap();
        Whole {
            status: answer["status_code"].as_u64().unwrap(),
            headers: answer["headers"].clone(),
            body: answer["body"].clone(),
        }
    }

    pub(crate) async fn post(&self, body: Value) -> Whole {
        self.call("api::chat_completions", json!({}), body).await
    }

    pub(crate) fn start(&self, body: Value) -> CallStream {
        self.bus
            .call("api::chat_completions")
            .stream(&json!({"method": "POST", "body": body}))
            .unwrap()
    }

    pub(crate) async fn stream(&self, body: Value) -> Streamed {
        let mut stream = self.start(body);
        let head = stream.next_as().await.unwrap().expect("a head");
        let mut streamed = Streamed {
            head,
            events: Vec::new(),
            comments: Vec::new(),
            done: false,
        };
        while let Some(chunk) = stream.next().await {
            streamed.take(&chunk);
        }
        assert!(stream.finish().await.unwrap().is_null());
        streamed
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

impl Streamed {
    fn take(&mut self, chunk: &Payload) {
        assert!(!self.done, "nothing comes after the end");
        assert_eq!(chunk.encoding, Encoding::Binary);
        let text = String::from_utf8(chunk.bytes.to_vec()).unwrap();
        let event = text
            .strip_suffix("\n\n")
            .expect("one whole event per chunk");
        assert!(!event.contains('\n'), "one line per event");
        match event.strip_prefix("data: ") {
            Some("[DONE]") => self.done = true,
            Some(json) => self.events.push(serde_json::from_str(json).unwrap()),
            None => self.comments.push(text),
        }
    }
}

#[derive(Default)]
pub(crate) struct Model {
    script: Mutex<VecDeque<Vec<Line>>>,
    asked: Mutex<Vec<CompleteRequest>>,
    pub(crate) dropped: AtomicUsize,
}

/// Counts a completion that was dropped before its end.
struct Work<'a>(Option<&'a AtomicUsize>);

impl Drop for Work<'_> {
    fn drop(&mut self) {
        if let Some(dropped) = self.0 {
            dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Worker for Model {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        registrar.function("echo", |_, input: Value| async move { Ok(input) });
        registrar.function(llm::MODELS, |_, _: Value| async move {
            Ok(json!({"models": [{"id": "test/m", "model": "m", "provider": "test"}]}))
        });
        registrar.function(GENERATE, |_, request: GenerateRequest| async move {
            let embeddings = request
                .texts
                .iter()
                .map(|text| vec![text.len() as f32, 0.1])
                .collect();
            Ok(Embeddings {
                embeddings,
                model: "sentence-transformers/all-MiniLM-L6-v2".into(),
                dimensions: 2,
                tokens: Some(3),
            })
        });
        registrar.streaming(COMPLETE, move |context, request: CompleteRequest, sink| {
            let model = Arc::clone(&self);
            async move {
                model.asked.lock().push(request);
                let lines = model.script.lock().pop_front().unwrap();
                let mut work = Work(Some(&model.dropped));
                let mut completion = Completion::default();
                for line in lines {
                    match line {
                        Line::Wait(time) => tokio::time::sleep(time).await,
                        Line::Fail(error) => {
                            work.0 = None;
                            return Err(error);
                        }
                        Line::Event(event) => {
                            completion.absorb(&event);
                            if context.wants_stream() {
                                sink.lock().await.send(&event).await?;
                            }
                        }
                    }
                }
                work.0 = None;
                Ok(completion)
            }
        });
    }
}
