//! The mailbox as a JavaScript class. Failing methods throw an `Error` whose message is the
//! error's JSON text.

use std::sync::Arc;

use agentos_sdk::{Options, mailbox};
use bytes::Bytes;
use napi::{
    bindgen_prelude::{Buffer, Either, Function, Uint8Array},
    threadsafe_function::ThreadsafeFunctionCallMode,
};
use napi_derive::napi;

use crate::{
    event::Batch,
    orders::Orders,
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

    /// Takes up to `max` events: a JSON array of them, then the payloads that stand apart; nothing
    /// when nothing happened.
    #[napi]
    pub fn drain(&self, max: u32) -> Vec<Either<String, Buffer>> {
        let mut batch = Batch::default();
        for event in self.0.drain(max as usize) {
            batch.add(event);
        }
        batch.into_parts()
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

    /// Makes calls, gives answers and more, as `ts/orders.ts` writes it. Throws when a call that
    /// nobody waits for cannot be made.
    #[napi]
    pub fn submit(&self, orders: String, binary: Option<Uint8Array>) -> napi::Result<()> {
        // Copied, because JavaScript may go on writing to its array.
        let binary = binary.map(|bytes| Bytes::copy_from_slice(&bytes));
        Orders::new(orders, binary)
            .carry_out(&self.0)
            .map_err(thrown)
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

fn ids(ids: Vec<String>) -> Vec<Arc<str>> {
    ids.into_iter().map(Arc::from).collect()
}

/// Ids are counted from 1 and stay far below 2^53.
fn id_out(id: u64) -> i64 {
    i64::try_from(id).expect("ids are counted from 1")
}

/// Ids only come back from where they were sent to; anything else names no call.
fn id_in(id: i64) -> u64 {
    u64::try_from(id).unwrap_or_default()
}
