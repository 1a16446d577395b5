//! The contract of a worker, and the registrar that collects what it offers.

use std::{future::Future, sync::Arc};

use agentos_protocol::{
    Code, ErrorBody, FunctionSpec, Payload, Register, TriggerSpec, TriggerTypeSpec,
};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::{
    Bus, Context, Function, Handler, Sink,
    handler::{Invocation, Spawning},
    json, panics,
};

/// Fires when a worker should finish.
pub type Stop = CancellationToken;

/// A program that offers functions. Runs in the engine's process or on its own.
#[async_trait]
pub trait Worker: Send + Sync + 'static {
    /// Names every function and trigger offered. Pure: no I/O.
    fn register(self: Arc<Self>, registrar: &mut Registrar);

    /// Background work until `stop`; the default has none.
    async fn run(self: Arc<Self>, bus: Bus, stop: Stop) -> Result<(), ErrorBody> {
        let _ = bus;
        stop.cancelled().await;
        Ok(())
    }
}

/// Provides a trigger type: is told which functions to call for which events.
pub trait TriggerProvider: Send + Sync + 'static {
    /// Starts calling `trigger.function` as `trigger.config` asks. The same id again replaces.
    ///
    /// # Errors
    /// `invalid_input` when the config cannot be used, `conflict` when it collides.
    fn bind(&self, trigger: TriggerSpec) -> Result<(), ErrorBody>;

    /// Stops. Unknown ids are fine.
    fn unbind(&self, id: &str);
}

/// Collects what a worker offers.
#[derive(Default)]
pub struct Registrar {
    pub(crate) register: Register,
    pub(crate) handlers: Vec<(Arc<str>, Arc<dyn Handler>)>,
    pub(crate) providers: Vec<(Arc<str>, Arc<dyn TriggerProvider>)>,
}

impl Registrar {
    pub fn new() -> Self {
        Self::default()
    }

    /// Offers `id`: decode the input, run `handler`, encode the result. The schemas come from the
    /// types.
    pub fn function<I, O, F, Fut>(&mut self, id: &str, handler: F) -> FunctionBuilder<'_>
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + JsonSchema + Send + 'static,
        F: Fn(Context, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, ErrorBody>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let run = Spawning(move |invocation: Invocation| {
            let handler = Arc::clone(&handler);
            async move {
                let outcome = match decode_input(&invocation) {
                    Ok(input) => panics::caught(|| handler(Context::of(&invocation), input))
                        .await
                        .and_then(|output| encode_output(&output)),
                    Err(error) => Err(error),
                };
                invocation.reply(outcome);
            }
        });
        self.handler(typed_spec::<I, O>(id), Arc::new(run))
    }

    /// Offers `id` as a function that may answer with a stream; see [`Sink`].
    pub fn streaming<I, O, F, Fut>(&mut self, id: &str, handler: F) -> FunctionBuilder<'_>
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + JsonSchema + Send + 'static,
        F: Fn(Context, I, Arc<tokio::sync::Mutex<Sink>>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, ErrorBody>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let run = Spawning(move |invocation: Invocation| {
            let handler = Arc::clone(&handler);
            async move {
                let sink = Arc::new(tokio::sync::Mutex::new(match invocation.chunker() {
                    Some(chunker) if invocation.wants_stream() => Sink::streaming(chunker),
                    Some(_) => Sink::collecting(),
                    None => Sink::nowhere(),
                }));
                let outcome = match decode_input(&invocation) {
                    Ok(input) => {
                        let context = Context::of(&invocation);
                        panics::caught(|| handler(context, input, Arc::clone(&sink)))
                            .await
                            .and_then(|output| encode_output(&output))
                    }
                    Err(error) => Err(error),
                };
                let outcome = match (outcome, Arc::try_unwrap(sink)) {
                    (Ok(result), Ok(sink)) => Ok(sink.into_inner().finish(result)),
                    (outcome, _) => outcome,
                };
                invocation.reply(outcome);
            }
        });
        let mut spec = typed_spec::<I, O>(id);
        spec.streams = true;
        self.handler(spec, Arc::new(run))
    }

    /// Offers `id` with a handler that takes and gives payloads as they are: bytes, or JSON text that
    /// nobody reads.
    pub fn payloads<F, Fut>(&mut self, id: &str, handler: F) -> FunctionBuilder<'_>
    where
        F: Fn(Context, Payload) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<Payload, ErrorBody>> + Send + 'static,
    {
        let handler = Arc::new(handler);
        let run = Spawning(move |invocation: Invocation| {
            let handler = Arc::clone(&handler);
            async move {
                let payload = invocation.payload().clone();
                let outcome = panics::caught(|| handler(Context::of(&invocation), payload)).await;
                invocation.reply(outcome);
            }
        });
        self.handler(FunctionSpec::new(id), Arc::new(run))
    }

    /// Offers a function that [`crate::function`] was put on: `registrar.offer::<greet>()`.
    pub fn offer<F: Function>(&mut self) -> FunctionBuilder<'_> {
        F::offer(self)
    }

    /// Offers a function with a low-level handler.
    pub fn handler(
        &mut self,
        spec: FunctionSpec,
        handler: Arc<dyn Handler>,
    ) -> FunctionBuilder<'_> {
        self.handlers.push((Arc::clone(&spec.id), handler));
        self.register.functions.push(spec);
        FunctionBuilder {
            register: &mut self.register,
        }
    }

    /// Binds a function, of this worker or of another, to an event source.
    pub fn trigger(&mut self, trigger_type: &str, function: &str, config: Value) -> &mut Self {
        self.register
            .triggers
            .push(trigger(trigger_type, function, config));
        self
    }

    /// Provides a kind of event source.
    pub fn trigger_type(
        &mut self,
        spec: TriggerTypeSpec,
        provider: Arc<dyn TriggerProvider>,
    ) -> &mut Self {
        self.providers.push((Arc::clone(&spec.id), provider));
        self.register.trigger_types.push(spec);
        self
    }

    /// What has been collected.
    pub fn collected(&self) -> &Register {
        &self.register
    }
}

fn trigger(trigger_type: &str, function: &str, config: Value) -> TriggerSpec {
    TriggerSpec::new(Uuid::new_v4().to_string(), trigger_type, function, config)
}

/// The function just offered; add to its description.
pub struct FunctionBuilder<'a> {
    register: &'a mut Register,
}

impl FunctionBuilder<'_> {
    fn spec(&mut self) -> &mut FunctionSpec {
        self.register
            .functions
            .last_mut()
            .expect("a builder is only made after a function was pushed")
    }

    /// One sentence for people and models.
    pub fn describe(mut self, description: &str) -> Self {
        self.spec().description = Some(description.to_owned());
        self
    }

    pub fn metadata(mut self, metadata: Value) -> Self {
        self.spec().metadata = Some(metadata);
        self
    }

    /// Replaces the schema of the input that was made from the type.
    pub fn input_schema(mut self, schema: Value) -> Self {
        self.spec().input_schema = Some(schema);
        self
    }

    /// Says that running the function twice does no harm.
    pub fn idempotent(mut self) -> Self {
        self.spec().idempotent = true;
        self
    }

    /// At most so many calls of the function run in this process at one time; more wait in the engine.
    pub fn concurrency(mut self, calls_max: u32) -> Self {
        self.spec().concurrency = Some(calls_max);
        self
    }

    /// At most so many calls wait, of all instances together; more are `overloaded`. Default 1024. Of
    /// use with [`FunctionBuilder::concurrency`] only.
    pub fn waiting_max(mut self, calls_max: u32) -> Self {
        self.spec().waiting_max = Some(calls_max);
        self
    }

    /// Binds the function to an HTTP route, `:name` and `*rest` being parameters.
    pub fn http(mut self, method: &str, path: &str) -> Self {
        self.on("http", json!({ "http_method": method, "api_path": path }));
        self
    }

    /// Binds the function to any trigger type.
    pub fn trigger(mut self, trigger_type: &str, config: Value) -> Self {
        self.on(trigger_type, config);
        self
    }

    fn on(&mut self, trigger_type: &str, config: Value) {
        let function = Arc::clone(&self.spec().id);
        self.register
            .triggers
            .push(trigger(trigger_type, &function, config));
    }
}

fn typed_spec<I: JsonSchema, O: JsonSchema>(id: &str) -> FunctionSpec {
    FunctionSpec {
        input_schema: Some(schemars::schema_for!(I).to_value()),
        output_schema: Some(schemars::schema_for!(O).to_value()),
        ..FunctionSpec::new(id)
    }
}

/// Reads the payload as `I`, naming the field that does not fit.
fn decode_input<I: DeserializeOwned>(invocation: &Invocation) -> Result<I, ErrorBody> {
    let mut text = serde_json::Deserializer::from_slice(invocation.payload().text());
    serde_path_to_error::deserialize(&mut text).map_err(|error| {
        let field = error.path().to_string();
        let function = invocation.function();
        ErrorBody::caller(
            Code::InvalidInput,
            format!("input of `{function}`: {field}: {}", error.inner()),
        )
        .details(json!({ "field": field }))
    })
}

fn encode_output<O: Serialize>(output: &O) -> Result<Payload, ErrorBody> {
    json::encode(output).map_err(|why| {
        ErrorBody::worker(Code::Failed, format!("the result has no JSON form: {why}"))
    })
}
