//! The mailbox as a JavaScript class. Failing methods throw an `Error` whose message is the
//! error's JSON text.

use std::sync::Arc;

use agentos_sdk::{
    Options, Trace,
    mailbox::{self, Outgoing},
    protocol::Delivery,
};
use napi::{
    bindgen_prelude::{Either, Function, Uint8Array},
    threadsafe_function::ThreadsafeFunctionCallMode,
};
use napi_derive::napi;

use crate::{
    event::{Event, id_out},
    payload::{inward, parse, thrown},
};

/// Who connects, and where to; what is left out is found as in every SDK.
#[napi(object, object_to_js = false)]
pub struct ConnectOptions {
    pub name: String,
    pub sdk_version: String,
    pub url: Option<String>,
    pub token: Option<String>,
    pub build: Option<String>,
    pub description: Option<String>,
}

/// How a call is to be made.
#[napi(object, object_to_js = false)]
pub struct CallOptions {
    #[napi(ts_type = "'reply' | 'stream' | 'void'")]
    pub delivery: String,
    pub timeout_ms: Option<u32>,
    pub trace_parent: Option<String>,
    pub baggage: Option<String>,
    pub metadata: Option<String>,
}

/// A connection to the engine that is asked for its events.
#[napi]
pub struct Mailbox(mailbox::Mailbox);

#[napi]
impl Mailbox {
    /// Starts connecting. `wake` is called when there are events after there were none; it does
    /// not keep the process alive.
    #[napi(constructor)]
    pub fn new(options: ConnectOptions, wake: Function<'_, (), ()>) -> napi::Result<Self> {
        // A second wake adds nothing to one that is still to come: room for one is enough.
        let wake = wake
            .build_threadsafe_function::<()>()
            .weak::<true>()
            .callee_handled::<false>()
            .max_queue_size::<1>()
            .build()?;
        let wake = move || {
            // Refused when one waits already, or when Node is shutting down.
            let _ = wake.call((), ThreadsafeFunctionCallMode::NonBlocking);
        };
        mailbox::Mailbox::connect(connect_options(options), wake)
            .map(Mailbox)
            .map_err(thrown)
    }

    /// Takes up to `max` events.
    #[napi]
    pub fn drain(&self, max: u32) -> Vec<Event> {
        self.0
            .drain(max as usize)
            .into_iter()
            .map(Event::from)
            .collect()
    }

    /// Offers functions and binds triggers, each a JSON array of their specs; a `registered`
    /// event with the returned id follows.
    #[napi]
    pub fn register(&self, functions: String, triggers: String) -> napi::Result<i64> {
        self.0
            .register(parse(&functions)?, parse(&triggers)?)
            .map(id_out)
            .map_err(thrown)
    }

    /// Takes functions and triggers back.
    #[napi]
    pub fn unregister(&self, functions: Vec<String>, triggers: Vec<String>) -> napi::Result<()> {
        self.0
            .unregister(ids(functions), ids(triggers))
            .map_err(thrown)
    }

    /// Calls a function; chunks and the outcome follow as events under the returned id.
    #[napi]
    pub fn call(
        &self,
        function_id: String,
        payload: Either<String, Uint8Array>,
        options: CallOptions,
    ) -> napi::Result<i64> {
        let call = Outgoing {
            function: function_id.into(),
            payload: inward(payload),
            timeout_ms: options.timeout_ms,
            delivery: delivery(&options.delivery),
            trace: Trace {
                parent: options.trace_parent.map(Arc::from),
                baggage: options.baggage.map(Arc::from),
            },
            metadata: options.metadata.map(Arc::from),
        };
        self.0.call(call).map(id_out).map_err(thrown)
    }

    /// Gives up our call `id`.
    #[napi]
    pub fn cancel(&self, id: i64) {
        self.0.cancel(id_in(id));
    }

    /// Lets our streaming call `id` send `chunks` more.
    #[napi]
    pub fn read(&self, id: i64, chunks: u32) {
        self.0.read(id_in(id), chunks);
    }

    /// Answers call `id`.
    #[napi]
    pub fn reply(&self, id: i64, payload: Either<String, Uint8Array>) {
        self.0.reply(id_in(id), Ok(inward(payload)));
    }

    /// Answers call `id` with an error, given as JSON text.
    #[napi]
    pub fn fail(&self, id: i64, error: String) -> napi::Result<()> {
        self.0.reply(id_in(id), Err(parse(&error)?));
        Ok(())
    }

    /// Sends a piece of the answer to call `id`; false when it must wait for a `credit` event.
    #[napi]
    pub fn chunk(&self, id: i64, payload: Either<String, Uint8Array>) -> napi::Result<bool> {
        self.0.chunk(id_in(id), inward(payload)).map_err(thrown)
    }

    /// Takes no new calls, lets running ones finish, then the state is `closed`.
    #[napi]
    pub fn close(&self) {
        self.0.close();
    }
}

fn connect_options(given: ConnectOptions) -> Options {
    let mut options = Options::new(given.name)
        .language("typescript")
        .sdk_version(given.sdk_version);
    if let Some(url) = given.url {
        options = options.url(url);
    }
    if let Some(token) = given.token {
        options = options.token(token);
    }
    if let Some(build) = given.build {
        options = options.build(build);
    }
    if let Some(description) = given.description {
        options = options.description(description);
    }
    options
}

/// The typings allow three words.
fn delivery(word: &str) -> Delivery {
    match word {
        "stream" => Delivery::Stream,
        "void" => Delivery::Void,
        _ => Delivery::Reply,
    }
}

fn ids(ids: Vec<String>) -> Vec<Arc<str>> {
    ids.into_iter().map(Arc::from).collect()
}

/// Ids only come back from where [`id_out`] sent them; anything else names no call.
fn id_in(id: i64) -> u64 {
    u64::try_from(id).unwrap_or_default()
}
