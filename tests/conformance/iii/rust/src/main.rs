//! Plays the scenarios with the crate of generation 0.11.6: `conformance-iii-rust scenarios.json`.

mod chapters;
mod expect;

use std::{
    collections::{BTreeMap, HashMap},
    env, fs,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use expect::{Saved, expect, same_members, times};
use iii_sdk::{
    FunctionRef, HttpInvocationConfig, III, IIIError, InitOptions, OtelConfig,
    RegisterFunctionMessage, RegisterTriggerInput, RegisterTriggerType, Trigger, TriggerAction,
    TriggerConfig, TriggerHandler, TriggerRequest, WorkerMetadata, register_worker,
};
use serde_json::{Value, json};
use tokio::{sync::Mutex, time::sleep};

/// How long anything may take that should take a moment.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long to listen for what should not come, after everything sent before has been answered.
const SETTLE: Duration = Duration::from_millis(150);
const ABILITIES: [&str; 3] = ["g11", "shared-functions", "large-messages"];

type Outcome = Result<(), String>;

pub fn worker_name() -> String {
    format!("rust-11-{}", std::process::id())
}

pub fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| panic!("{name} is not set"))
}

pub fn connect(url: &str, name: &str, headers: Option<HashMap<String, String>>) -> III {
    let metadata = WorkerMetadata {
        name: name.to_owned(),
        ..WorkerMetadata::default()
    };
    let otel = OtelConfig {
        enabled: Some(false),
        ..OtelConfig::default()
    };
    register_worker(
        url,
        InitOptions {
            metadata: Some(metadata),
            headers,
            otel: Some(otel),
        },
    )
}

/// Everything that was said before on this connection has been handled.
pub async fn settle(peer: &III) {
    let _ = call(peer, "engine::baggage::get_all", json!({})).await;
}

pub async fn call(peer: &III, function: &str, payload: Value) -> Result<Value, IIIError> {
    let request = TriggerRequest {
        function_id: function.to_owned(),
        payload,
        action: None,
        timeout_ms: Some(20_000),
    };
    peer.trigger(request).await
}

/// The connection's thread is waited for.
pub async fn shutdown(peer: III) {
    let _ = tokio::task::spawn_blocking(move || peer.shutdown()).await;
}

type Record = Arc<Mutex<Vec<Value>>>;

#[derive(Clone, Default)]
struct Provider {
    bound: Record,
}

struct Handler(Provider);

// The attribute expands to this; the crate itself is not needed for one trait.
impl TriggerHandler for Handler {
    fn register_trigger<'a, 'b>(
        &'a self,
        config: TriggerConfig,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), IIIError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async move {
            let seen = json!({ "id": config.id, "function_id": config.function_id, "config": config.config });
            self.0.bound.lock().await.push(seen);
            Ok(())
        })
    }

    fn unregister_trigger<'a, 'b>(
        &'a self,
        _: TriggerConfig,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<(), IIIError>> + Send + 'b>>
    where
        'a: 'b,
        Self: 'b,
    {
        Box::pin(async { Ok(()) })
    }
}

/// What a function does with a payload.
fn act(
    does: Value,
    main: III,
    count: u64,
    data: Value,
) -> std::pin::Pin<Box<dyn Future<Output = Result<Value, IIIError>> + Send>> {
    Box::pin(async move {
        let Some((word, operand)) = does.as_object().and_then(|does| does.iter().next()) else {
            return Ok(match does.as_str() {
                Some("nothing") => Value::Null,
                _ => data,
            });
        };
        match word.as_str() {
            "returns" => Ok(operand.clone()),
            "fails" => Err(IIIError::Handler(
                operand.as_str().unwrap_or_default().to_owned(),
            )),
            "fails_first" if count <= operand.as_u64().unwrap_or(0) => {
                Err(IIIError::Handler(format!("failure {count}")))
            }
            "fails_first" => Ok(Value::Null),
            "waits_ms" => {
                sleep(Duration::from_millis(operand.as_u64().unwrap_or(0))).await;
                Ok(json!("waited"))
            }
            "looks_at" => {
                let found = dig(&data, operand.as_str().unwrap_or_default());
                let found = found
                    .as_str()
                    .map_or_else(|| found.to_string(), str::to_owned);
                let next = does["cases"]
                    .get(&found)
                    .unwrap_or(&does["otherwise"])
                    .clone();
                act(next, main, count, data).await
            }
            "forwards" => {
                let mut payload = data["payload"].clone();
                if let Some(object) = payload.as_object_mut() {
                    for (key, value) in operand.as_object().into_iter().flatten() {
                        let from = value.get("$from").and_then(Value::as_str);
                        object.insert(
                            key.clone(),
                            from.map_or_else(|| value.clone(), |path| dig(&data, path)),
                        );
                    }
                }
                call(
                    &main,
                    data["function_id"].as_str().unwrap_or_default(),
                    payload,
                )
                .await
            }
            _ => Err(IIIError::Handler(format!("no such deed: {word}"))),
        }
    })
}

fn dig(value: &Value, path: &str) -> Value {
    path.split('.')
        .fold(value, |value, key| &value[key])
        .clone()
}

struct Scene {
    saved: Saved,
    peers: BTreeMap<String, III>,
    functions: BTreeMap<String, FunctionRef>,
    triggers: BTreeMap<String, Trigger>,
    heard: BTreeMap<String, Record>,
    providers: BTreeMap<String, Provider>,
    started: BTreeMap<String, tokio::task::JoinHandle<Result<Value, IIIError>>>,
    http: reqwest::Client,
}

fn text<'a>(step: &'a Value, key: &str) -> &'a str {
    step[key].as_str().unwrap_or_default()
}

impl Scene {
    fn peer(&self, step: &Value) -> III {
        self.peers[step["by"].as_str().unwrap_or("main")].clone()
    }

    fn key(step: &Value, kind: &str) -> String {
        format!(
            "{} {}",
            step["by"].as_str().unwrap_or("main"),
            text(step, kind)
        )
    }

    /// `$name` in texts, `$repeat` anywhere.
    fn fill(&self, value: &Value) -> Value {
        match value {
            Value::String(text) => {
                let mut text = text.clone();
                // Longer names first: `$run` must not take the head of another.
                let mut names: Vec<_> = self.saved.iter().collect();
                names.sort_by_key(|(name, _)| std::cmp::Reverse(name.len()));
                for (name, found) in names {
                    text = text.replace(&format!("${name}"), found);
                }
                Value::String(text)
            }
            Value::Array(items) => items.iter().map(|item| self.fill(item)).collect(),
            Value::Object(fields) if fields.contains_key("$saves") => value.clone(),
            Value::Object(fields) if fields.contains_key("$repeat") => {
                let (size, unit) = (
                    fields["$repeat"][0].as_u64().unwrap_or(0) as usize,
                    text(&fields["$repeat"], "").to_owned(),
                );
                let unit = if unit.is_empty() {
                    fields["$repeat"][1].as_str().unwrap_or("x").to_owned()
                } else {
                    unit
                };
                let mut long = unit.repeat(size / unit.len() + 1);
                long.truncate(size);
                Value::String(long)
            }
            Value::Object(fields) => {
                let filled = fields.iter().map(|(key, item)| {
                    let Value::String(key) = self.fill(&json!(key)) else {
                        unreachable!("text stays text")
                    };
                    (key, self.fill(item))
                });
                Value::Object(filled.collect())
            }
            other => other.clone(),
        }
    }

    async fn step(&mut self, raw: &Value) -> Outcome {
        let step = self.fill(raw);
        let has = |key: &str| step.get(key).is_some();
        // The first kind that a step has a key of is its kind.
        if has("bind") {
            self.bind(&step).await
        } else if has("unbind") {
            self.unbind(&step).await
        } else if has("connect") {
            self.connect(&step).await
        } else if has("disconnect") {
            self.disconnect(&step).await
        } else if has("function") {
            self.function(&step).await
        } else if has("forget") {
            self.forget(&step).await
        } else if has("call") {
            self.call(&step).await
        } else if has("ends") {
            self.ends(&step).await
        } else if has("hears") {
            self.hears(&step).await
        } else if has("http") {
            self.http(&step).await
        } else if has("offers") {
            self.offers(&step).await
        } else if has("offered") {
            self.offered(&step).await
        }
        // G11 is told of no withdrawal.
        else if has("withdrawn") {
            Ok(())
        } else if let Some(ms) = step["settle_ms"].as_u64() {
            sleep(Duration::from_millis(ms)).await;
            Ok(())
        } else {
            Err(format!("no such step: {raw}"))
        }
    }

    async fn bind(&mut self, step: &Value) -> Outcome {
        let peer = self.peer(step);
        let input = RegisterTriggerInput {
            trigger_type: text(step, "type").to_owned(),
            function_id: text(step, "function").to_owned(),
            config: step["config"].clone(),
            metadata: step.get("metadata").cloned(),
        };
        let trigger = peer
            .register_trigger(input)
            .map_err(|error| error.to_string())?;
        self.triggers.insert(text(step, "bind").to_owned(), trigger);
        settle(&peer).await;
        Ok(())
    }

    async fn unbind(&mut self, step: &Value) -> Outcome {
        if let Some(trigger) = self.triggers.remove(text(step, "unbind")) {
            trigger.unregister();
        }
        settle(&self.peers["main"]).await;
        Ok(())
    }

    async fn connect(&mut self, step: &Value) -> Outcome {
        let name = text(step, "connect");
        let url = variable(if step["to"] == "rbac" {
            "III_RBAC_URL"
        } else {
            "III_URL"
        });
        let headers = step["headers"].as_object().map(|all| {
            let pairs = all
                .iter()
                .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()));
            pairs.collect()
        });
        let peer = connect(
            &url,
            &format!("{}-{name}-{}", worker_name(), self.saved["run"]),
            headers,
        );
        settle(&peer).await;
        self.peers.insert(name.to_owned(), peer);
        Ok(())
    }

    async fn disconnect(&mut self, step: &Value) -> Outcome {
        if let Some(peer) = self.peers.remove(text(step, "disconnect")) {
            shutdown(peer).await;
        }
        sleep(SETTLE).await;
        Ok(())
    }

    async fn function(&mut self, step: &Value) -> Outcome {
        let (peer, main) = (self.peer(step), self.peers["main"].clone());
        let record = Record::default();
        self.heard
            .insert(Self::key(step, "function"), record.clone());
        let mut message = RegisterFunctionMessage::with_id(text(step, "function").to_owned());
        message.description = step["description"].as_str().map(str::to_owned);
        message.request_format = step.get("request_format").cloned();
        message.response_format = step.get("response_format").cloned();
        message.metadata = step.get("metadata").cloned();
        let reference = if let Some(over) = step.get("over_http") {
            let mut over = over.clone();
            if over.get("headers").is_none() {
                over["headers"] = json!({});
            }
            let config: HttpInvocationConfig =
                serde_json::from_value(over).map_err(|error| error.to_string())?;
            peer.register_function((message, config))
        } else {
            let does = step["does"].clone();
            let count = Arc::new(AtomicU64::new(0));
            peer.register_function((message, move |data: Value| {
                let (record, does, main) = (record.clone(), does.clone(), main.clone());
                let count = count.fetch_add(1, Ordering::SeqCst) + 1;
                async move {
                    record.lock().await.push(data.clone());
                    act(does, main, count, data).await
                }
            }))
        };
        self.functions
            .insert(Self::key(step, "function"), reference);
        settle(&peer).await;
        Ok(())
    }

    async fn forget(&mut self, step: &Value) -> Outcome {
        if let Some(reference) = self.functions.remove(&Self::key(step, "forget")) {
            reference.unregister();
        }
        settle(&self.peer(step)).await;
        Ok(())
    }

    fn ask(&self, step: &Value) -> impl Future<Output = Result<Value, IIIError>> + Send + 'static {
        let action = match text(&step["action"], "type") {
            "void" => Some(TriggerAction::Void),
            "enqueue" => Some(TriggerAction::Enqueue {
                queue: text(&step["action"], "queue").to_owned(),
            }),
            _ => None,
        };
        let request = TriggerRequest {
            function_id: text(step, "call").to_owned(),
            payload: step["payload"].clone(),
            action,
            timeout_ms: Some(
                step["timeout_ms"]
                    .as_u64()
                    .unwrap_or(PATIENCE.as_millis() as u64),
            ),
        };
        let peer = self.peer(step);
        async move { peer.trigger(request).await }
    }

    fn judge(&mut self, step: &Value, answer: Result<Value, IIIError>) -> Outcome {
        let what = step["call"].as_str().unwrap_or("the call");
        let value = match answer {
            Ok(value) => value,
            Err(error) => {
                let Some(wanted) = step.get("fails") else {
                    return Err(format!("{what} failed: {error}"));
                };
                let (code, says) = match &error {
                    IIIError::Remote { code, message, .. } => (code.clone(), message.clone()),
                    other => ("LOCAL".to_owned(), other.to_string()),
                };
                if wanted["code"].as_str().is_some_and(|wanted| wanted != code) {
                    return Err(format!(
                        "the error is {code} ({says}), expected {}",
                        wanted["code"]
                    ));
                }
                return match wanted["says"].as_str() {
                    Some(part) if !says.contains(part) => {
                        Err(format!("the error says {says}, expected {part}"))
                    }
                    _ => Ok(()),
                };
            }
        };
        if let Some(wanted) = step.get("fails") {
            return Err(format!(
                "the answer is {value}, expected the error {wanted}"
            ));
        }
        if step["absent"] == true && !value.is_null() {
            return Err(format!(
                "{what} answered {value}, expected an absent result"
            ));
        }
        if let Some(expected) = step.get("answers") {
            expect(&value, expected, false, &mut self.saved, "answer")?;
        }
        if let Some(expected) = step.get("like") {
            expect(&value, expected, true, &mut self.saved, "answer")?;
        }
        Ok(())
    }

    async fn call(&mut self, step: &Value) -> Outcome {
        if let Some(name) = step["starts"].as_str() {
            let started = tokio::spawn(self.ask(step));
            self.started.insert(name.to_owned(), started);
            return Ok(());
        }
        if let Some(many) = step["many"].as_u64() {
            let calls: Vec<_> = (0..many).map(|_| tokio::spawn(self.ask(step))).collect();
            for call in calls {
                let answer = call.await.map_err(|error| error.to_string())?;
                self.judge(step, answer)?;
            }
            return Ok(());
        }
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.ask(step).await;
            match self.judge(step, answer) {
                Err(_) if step["until"] == true && Instant::now() < end => {
                    sleep(Duration::from_millis(50)).await
                }
                outcome => return outcome,
            }
        }
    }

    async fn ends(&mut self, step: &Value) -> Outcome {
        let started = self
            .started
            .remove(text(step, "ends"))
            .ok_or("nothing has started")?;
        let answer = tokio::time::timeout(PATIENCE, started).await;
        let answer = answer
            .map_err(|_| "it does not end")?
            .map_err(|error| error.to_string())?;
        self.judge(step, answer)
    }

    async fn hears(&mut self, step: &Value) -> Outcome {
        let record = self
            .heard
            .get(&Self::key(step, "hears"))
            .cloned()
            .ok_or("no such function")?;
        let loose = step.get("calls").is_none();
        let mut expected = step
            .get("calls")
            .or(step.get("like"))
            .cloned()
            .unwrap_or(json!([]));
        if expected.get("$times").is_some() {
            expected = times(&expected["$times"]);
        }
        let expected = expected.as_array().cloned().unwrap_or_default();
        let end = Instant::now() + PATIENCE;
        let at = text(step, "hears");
        if step["at_least"] == true {
            loop {
                let found = Value::Array(record.lock().await.clone());
                let fine = expected.iter().try_for_each(|one| {
                    expect(&found, &json!({ "$has": one }), true, &mut self.saved, at)
                });
                if fine.is_ok() || Instant::now() > end {
                    record.lock().await.clear();
                    return fine;
                }
                sleep(Duration::from_millis(20)).await;
            }
        }
        while record.lock().await.len() < expected.len() && Instant::now() < end {
            sleep(Duration::from_millis(10)).await;
        }
        settle(&self.peer(step)).await;
        sleep(SETTLE).await;
        let found = Value::Array(std::mem::take(&mut *record.lock().await));
        if step["any_order"] == true {
            same_members(&found, &expected, loose, &mut self.saved, at)
        } else {
            expect(&found, &Value::Array(expected), loose, &mut self.saved, at)
        }
    }

    async fn http(&mut self, step: &Value) -> Outcome {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.fetch(step).await {
                Err(_) if step["until"] == true && Instant::now() < end => {
                    sleep(Duration::from_millis(50)).await
                }
                outcome => return outcome,
            }
        }
    }

    async fn fetch(&mut self, step: &Value) -> Outcome {
        let (method, path) = text(step, "http").split_once(' ').ok_or("METHOD /path")?;
        let method =
            reqwest::Method::from_bytes(method.as_bytes()).map_err(|error| error.to_string())?;
        let mut request = self
            .http
            .request(method, format!("{}{path}", variable("III_HTTP_URL")));
        if let Some(body) = step.get("json") {
            request = request
                .header("content-type", "application/json")
                .body(body.to_string());
        } else if let Some(body) = step["text"].as_str() {
            request = request.body(body.to_owned());
        }
        for (name, value) in step["headers"].as_object().into_iter().flatten() {
            request = request.header(name, value.as_str().unwrap_or_default());
        }
        let response = request.send().await.map_err(|error| format!("{error:?}"))?;
        let status = response.status().as_u16();
        let headers: Value = response
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), json!(value.to_str().unwrap_or_default())))
            .collect::<serde_json::Map<_, _>>()
            .into();
        let body = response.text().await.map_err(|error| error.to_string())?;
        let fine = step["status"] == status
            || step["status"]
                .as_array()
                .is_some_and(|all| all.contains(&json!(status)));
        if !fine {
            return Err(format!(
                "{} is {status} {body}, expected {}",
                step["http"], step["status"]
            ));
        }
        if let Some(expected) = step.get("like_headers") {
            expect(&headers, expected, true, &mut self.saved, "headers")?;
        }
        if let Some(expected) = step.get("says") {
            expect(&json!(body), expected, true, &mut self.saved, "body")?;
        }
        for (key, loose) in [("answers", false), ("like", true)] {
            if let Some(expected) = step.get(key) {
                let body: Value =
                    serde_json::from_str(&body).map_err(|error| format!("{error}: {body}"))?;
                expect(&body, expected, loose, &mut self.saved, "body")?;
            }
        }
        Ok(())
    }

    async fn offers(&mut self, step: &Value) -> Outcome {
        let provider = Provider::default();
        let peer = self.peer(step);
        peer.register_trigger_type(RegisterTriggerType::new(
            text(step, "offers"),
            "a type of the suite",
            Handler(provider.clone()),
        ));
        self.providers.insert(Self::key(step, "offers"), provider);
        settle(&peer).await;
        Ok(())
    }

    async fn offered(&mut self, step: &Value) -> Outcome {
        let provider = self.providers[&Self::key(step, "offered")].clone();
        let wanted = step["like"].as_array().map_or(0, Vec::len);
        let end = Instant::now() + PATIENCE;
        while provider.bound.lock().await.len() < wanted && Instant::now() < end {
            sleep(Duration::from_millis(10)).await;
        }
        sleep(SETTLE).await;
        let found = Value::Array(std::mem::take(&mut *provider.bound.lock().await));
        expect(
            &found,
            &step["like"],
            true,
            &mut self.saved,
            text(step, "offered"),
        )
    }

    async fn end(mut self) {
        for trigger in std::mem::take(&mut self.triggers).into_values() {
            trigger.unregister();
        }
        for (key, function) in std::mem::take(&mut self.functions) {
            if key.starts_with("main ") {
                function.unregister();
            }
        }
        for (name, peer) in std::mem::take(&mut self.peers) {
            if name != "main" {
                shutdown(peer).await;
            }
        }
    }
}

#[derive(Default)]
pub struct Telling {
    passed: u32,
    failed: u32,
}

impl Telling {
    pub fn tell(&mut self, name: &str, outcome: &Outcome) {
        match outcome {
            Ok(()) => {
                self.passed += 1;
                println!("ok {name}");
            }
            Err(why) => {
                self.failed += 1;
                println!("not ok {name}: {}", why.replace('\n', " | "));
            }
        }
    }
}

fn able(scenario: &Value) -> bool {
    let needs = scenario["needs"].as_array().into_iter().flatten();
    needs
        .filter_map(Value::as_str)
        .all(|need| ABILITIES.contains(&need))
}

#[tokio::main]
async fn main() {
    let file = env::args().nth(1).expect("the file of scenarios");
    let scenarios: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(file).expect("a readable file"))
            .expect("scenarios");
    let only = env::var("ONLY").unwrap_or_default();
    let main = connect(&variable("III_URL"), &worker_name(), None);
    settle(&main).await;
    let mut telling = Telling::default();
    let wanted = scenarios
        .iter()
        .filter(|one| able(one) && text(one, "name").contains(&only));
    for (place, scenario) in wanted.enumerate() {
        let saved = [
            ("run", format!("r11x{}x{place}", std::process::id())),
            ("http", variable("III_HTTP_URL")),
            ("worker_name", worker_name()),
            ("runtime", "rust".to_owned()),
        ];
        let mut scene = Scene {
            saved: saved
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value))
                .collect(),
            peers: BTreeMap::from([("main".to_owned(), main.clone())]),
            functions: BTreeMap::new(),
            triggers: BTreeMap::new(),
            heard: BTreeMap::new(),
            providers: BTreeMap::new(),
            started: BTreeMap::new(),
            http: reqwest::Client::builder()
                .no_proxy()
                .redirect(reqwest::redirect::Policy::none())
                .build()
                .expect("a client"),
        };
        let (mut name, mut outcome) = (text(scenario, "name").to_owned(), Ok(()));
        for step in scenario["steps"].as_array().into_iter().flatten() {
            if let Some(next) = step["check"].as_str() {
                telling.tell(&name, &outcome);
                next.clone_into(&mut name);
                outcome = outcome.map_err(|_| "not reached".to_owned());
            } else if outcome.is_ok() {
                outcome = scene.step(step).await;
            }
        }
        telling.tell(&name, &outcome);
        scene.end().await;
    }
    chapters::play(&mut telling, &only).await;
    shutdown(main).await;
    println!(
        "conformance: {} passed, {} failed",
        telling.passed, telling.failed
    );
    std::process::exit(i32::from(telling.failed > 0));
}
