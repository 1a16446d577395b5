//! A bridge to another engine, ours or iii's: functions from here can be called over there, and the
//! other way round.
//!
//! This file is the rim. The connection is in `client`, what is said on it in `words`.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use agentos_sdk::{
    Bus, Context, Error, FunctionSpec, Handler, Invocation, Payload, Registrar, Stop, Worker,
    async_trait,
};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};

mod client;
mod config;
#[cfg(test)]
mod tests;
mod words;

pub use client::{Beside, Remote};
pub use config::{Config, Expose, Forward};

use client::{BRIDGE_ERROR, Door};

/// Time of a call that names none.
const TIMEOUT_DEFAULT_MS: u64 = 30_000;
/// The most that a call can ask for.
const TIMEOUT_MAX_MS: u64 = 86_400_000;

/// The built-in worker `bridge`.
pub struct Bridge {
    config: Config,
    remote: Arc<Remote>,
    /// Set when the bridge runs.
    local: Arc<OnceLock<Bus>>,
}

/// Input of `bridge.invoke` and `bridge.invoke_async`.
#[derive(Deserialize, JsonSchema)]
struct Invoke {
    /// A function of the other engine.
    function_id: String,
    #[serde(default)]
    data: Value,
    /// How long to wait; 30 s unless given.
    #[serde(default)]
    timeout_ms: Option<u64>,
}

impl Bridge {
    /// A bridge that looks up `III_URL` and its token in `env`.
    ///
    /// # Errors
    /// What is wrong with `config`.
    pub fn open(config: Config, env: &dyn Fn(&str) -> Option<String>) -> Result<Arc<Self>, String> {
        config.check()?;
        let url = config.url.clone().or_else(|| env("III_URL"));
        let url = url.ok_or("url: it is missing, and `III_URL` is not set")?;
        client::check_url(&url)?;
        let service = config.service_id.clone().map(|id| {
            let name = config.service_name.clone().unwrap_or_else(|| id.clone());
            (id, name)
        });
        let remote = Remote::new(Door {
            url,
            token: env(&config.token_key).filter(|token| !token.is_empty()),
            service,
        });
        Ok(Arc::new(Bridge {
            config,
            remote,
            local: Arc::default(),
        }))
    }

    /// The other engine.
    pub fn remote(&self) -> &Arc<Remote> {
        &self.remote
    }

    fn exposed(&self) -> Registrar {
        let mut registrar = Registrar::new();
        for expose in &self.config.expose {
            let handler = Exposed {
                local: Arc::clone(&self.local),
                function: expose.local_function.as_str().into(),
                timeout: Duration::from_millis(self.config.expose_timeout_ms.max(1)),
            };
            registrar.handler(FunctionSpec::new(expose.remote()), Arc::new(handler));
        }
        registrar
    }
}

#[async_trait]
impl Worker for Bridge {
    fn register(self: Arc<Self>, to: &mut Registrar) {
        let remote = Arc::clone(&self.remote);
        to.function("bridge.invoke", move |context: Context, input: Invoke| {
            let remote = Arc::clone(&remote);
            async move {
                let called = remote.call(
                    &input.function_id,
                    client::encode(&input.data),
                    timeout(input.timeout_ms),
                    beside(&context),
                );
                let answer = called.await.map_err(bridge_error)?;
                answer.decode::<Value>().map_err(|error| {
                    let message = format!("the other engine's answer is not JSON: {error}");
                    Error::worker(agentos_sdk::Code::Failed, message).reason(BRIDGE_ERROR)
                })
            }
        })
        .describe("Calls a function of the other engine");
        let remote = Arc::clone(&self.remote);
        to.function(
            "bridge.invoke_async",
            move |context: Context, input: Invoke| {
                let data = client::encode(&input.data);
                let sent = remote.send(&input.function_id, data, beside(&context));
                std::future::ready(sent.map_err(bridge_error))
            },
        )
        .describe("Calls a function of the other engine and does not wait");
        for forward in &self.config.forward {
            let handler = Forwarded {
                remote: Arc::clone(&self.remote),
                function: forward.remote_function.as_str().into(),
                timeout: timeout(forward.timeout_ms),
            };
            to.handler(
                FunctionSpec::new(forward.local_function.as_str()),
                Arc::new(handler),
            )
            .describe("A function of another engine");
        }
    }

    async fn run(self: Arc<Self>, bus: Bus, stop: Stop) -> Result<(), Error> {
        // Set once, here.
        let _ = self.local.set(bus);
        self.remote.offer(self.exposed()).await?;
        self.remote.run(stop).await;
        Ok(())
    }
}

/// Runs a function over there that was called here.
struct Forwarded {
    remote: Arc<Remote>,
    function: Arc<str>,
    timeout: Duration,
}

impl Handler for Forwarded {
    fn start(&self, invocation: Invocation) {
        let (remote, function) = (Arc::clone(&self.remote), Arc::clone(&self.function));
        let (call, timeout) = (invocation.call().clone(), self.timeout);
        answer(invocation, async move {
            let beside = Beside {
                trace: call.trace,
                metadata: call.metadata,
                namespace: None,
            };
            remote.call(&function, call.payload, timeout, beside).await
        });
    }
}

/// Runs a function here that was called over there.
struct Exposed {
    local: Arc<OnceLock<Bus>>,
    function: Arc<str>,
    timeout: Duration,
}

impl Handler for Exposed {
    fn start(&self, invocation: Invocation) {
        let (local, function) = (Arc::clone(&self.local), Arc::clone(&self.function));
        let (call, timeout) = (invocation.call().clone(), self.timeout);
        answer(invocation, async move {
            let bus = local
                .get()
                .expect("the bridge offers nothing before it runs");
            let bus = bus.with_trace(call.trace);
            let mut builder = bus.call(&function).timeout(timeout);
            if let Some(metadata) = call.metadata {
                builder = builder.metadata(metadata);
            }
            builder.send_payload(call.payload).await
        });
    }
}

/// Answers with what `work` comes to; drops it when nobody waits any more.
fn answer(
    invocation: Invocation,
    work: impl Future<Output = Result<Payload, Error>> + Send + 'static,
) {
    tokio::spawn(async move {
        let cancelled = invocation.cancelled();
        let outcome = tokio::select! {
            biased;
            outcome = work => outcome,
            () = cancelled.cancelled() => return,
        };
        invocation.reply(outcome);
    });
}

fn timeout(ms: Option<u64>) -> Duration {
    Duration::from_millis(ms.unwrap_or(TIMEOUT_DEFAULT_MS).clamp(1, TIMEOUT_MAX_MS))
}

fn beside(context: &Context) -> Beside {
    Beside {
        trace: context.trace().clone(),
        metadata: context.metadata().map(Into::into),
        namespace: None,
    }
}

/// The one name under which `bridge.*` reports failures; what it was is in the details.
fn bridge_error(error: Error) -> Error {
    let code = error
        .reason
        .clone()
        .unwrap_or_else(|| error.code.to_string());
    error.reason(BRIDGE_ERROR).details(json!({ "code": code }))
}
