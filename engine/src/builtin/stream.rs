//! The functions `stream::*`: items in groups of streams, and who follows them live.
//!
//! This file is the rim: decode, call the thinking, encode. Items are in `items`, who follows in
//! `feed`, triggers in `triggers`, the listener of port 3112 in `server`.

use std::{future::Future, net::SocketAddr, sync::Arc};

use agentos_sdk::{
    Bus, Code, Context, Error, Registrar, Stop, TriggerTypeSpec, Worker, async_trait,
};
use parking_lot::Mutex;
use schemars::{JsonSchema, schema_for};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tokio::net::TcpListener;

pub mod api;
mod config;
mod feed;
mod items;
mod provider;
mod server;
mod triggers;

pub use config::Config;

use crate::{
    builtin::document::{Doc, ops},
    listener::Gate,
    storage::Storage,
};
use api::EventKind;
use feed::{Feed, Happening};
use items::{Change, Items};
use triggers::Triggers;

/// Does somebody offer the function of this id? Asked before a stream is looked for elsewhere.
pub(crate) type Offered = Arc<dyn Fn(&str) -> bool + Send + Sync>;

/// The built-in worker `stream`.
pub struct Stream {
    shared: Arc<Shared>,
    listener: Mutex<Option<TcpListener>>,
}

struct Shared {
    config: Config,
    gate: Gate,
    items: Items,
    feed: Feed,
    triggers: Arc<Triggers>,
    offered: Offered,
}

impl Stream {
    /// Binds the listener of clients; port 0 picks a free one. They are let in once the worker
    /// runs.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub(crate) async fn bind(
        address: SocketAddr,
        gate: Gate,
        config: Config,
        store: Arc<dyn Storage>,
        offered: Offered,
    ) -> std::io::Result<(Arc<Self>, SocketAddr)> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            items: Items::new(store, config.value_bytes_max, config.list_bytes_max),
            feed: Feed::default(),
            triggers: Arc::default(),
            config,
            gate,
            offered,
        });
        let listener = Mutex::new(Some(listener));
        Ok((Arc::new(Stream { shared, listener }), address))
    }
}

impl Shared {
    async fn set(self: Arc<Self>, bus: Bus, input: api::Set) -> Result<Value, Error> {
        if let Some(answer) = self
            .delegated("set", &bus, &input.stream_name, &input)
            .await?
        {
            let kind = match answer.get("old_value") {
                None | Some(Value::Null) => EventKind::Create,
                Some(_) => EventKind::Update,
            };
            let new = answer.get("new_value").unwrap_or(&Value::Null);
            self.tell(&bus, &input.place(), kind, Some(&provider::doc(new)?));
            return Ok(answer);
        }
        let place = input.place();
        self.items.check(&place)?;
        self.write(&bus, &place, Change::Set(input.data)).await
    }

    async fn update(self: Arc<Self>, bus: Bus, input: api::Update) -> Result<Value, Error> {
        if let Some(answer) = self
            .delegated("update", &bus, &input.stream_name, &input)
            .await?
        {
            let new = answer.get("new_value").unwrap_or(&Value::Null);
            let doc = provider::doc(new)?;
            self.tell(&bus, &input.place(), EventKind::Update, Some(&doc));
            return Ok(answer);
        }
        let (place, steps) = (input.place(), ops::check(input.ops)?);
        self.items.check(&place)?;
        self.write(&bus, &place, Change::Update(steps)).await
    }

    async fn delete(self: Arc<Self>, bus: Bus, input: api::Item) -> Result<Value, Error> {
        let place = input.place();
        if let Some(answer) = self
            .delegated("delete", &bus, &input.stream_name, &input)
            .await?
        {
            let old = answer.get("old_value").unwrap_or(&Value::Null);
            if !old.is_null() {
                self.tell(&bus, &place, EventKind::Delete, Some(&provider::doc(old)?));
            }
            return Ok(answer);
        }
        self.items.check(&place)?;
        let mut answer = self.write(&bus, &place, Change::Delete).await?;
        if let Some(answer) = answer.as_object_mut() {
            answer.remove("new_value");
        }
        Ok(answer)
    }

    /// Writes one item and tells everybody, in the order of the writes of that item.
    async fn write(&self, bus: &Bus, place: &api::Place, change: Change) -> Result<Value, Error> {
        let turn = self.items.turn(place).await;
        let done = self.items.write(place, change).await?;
        if let Some(kind) = done.kind {
            let data = done.new.as_ref().or(done.old.as_ref());
            self.tell(bus, place, kind, data);
        }
        drop(turn);
        done.answer()
    }

    async fn get(self: Arc<Self>, bus: Bus, input: api::Item) -> Result<Option<Doc>, Error> {
        if self.has_provider("get", &input.stream_name) {
            let answer = provider::ask(&bus, "get", &input.stream_name, &input).await?;
            return (!answer.is_null())
                .then(|| provider::doc(&answer))
                .transpose();
        }
        let place = input.place();
        self.items.check(&place)?;
        self.items.get(&place).await
    }

    async fn list(self: Arc<Self>, bus: Bus, input: api::Group) -> Result<Vec<Doc>, Error> {
        if self.has_provider("list", &input.stream_name) {
            return match provider::ask(&bus, "list", &input.stream_name, &input).await? {
                Value::Array(items) => items.iter().map(provider::doc).collect(),
                _ => Ok(Vec::new()),
            };
        }
        self.items.list(&input.stream_name, &input.group_id).await
    }

    async fn list_groups(self: Arc<Self>, bus: Bus, input: api::Whole) -> Result<Value, Error> {
        if self.has_provider("list_groups", &input.stream_name) {
            return provider::ask(&bus, "list_groups", &input.stream_name, &input).await;
        }
        Ok(self.items.groups(&input.stream_name).await?.into())
    }

    async fn list_all(self: Arc<Self>, _: Bus, _: Option<Value>) -> Result<api::All, Error> {
        let stream = self.items.all().await?;
        let count = stream.len();
        Ok(api::All { stream, count })
    }

    fn send(&self, bus: &Bus, input: &api::Send) -> Result<(), Error> {
        let data = input.data.clone();
        let data = data.map_or_else(|| Doc::of(&Value::Null), Ok);
        let data = data.map_err(|error| Error::caller(Code::InvalidInput, error.to_string()))?;
        let event = Happening::sent(
            &input.stream_name,
            &input.group_id,
            input.id.as_deref(),
            &input.kind,
            &data,
        )?;
        self.publish(bus, &event);
        Ok(())
    }

    fn has_provider(&self, verb: &str, stream: &str) -> bool {
        (self.offered)(&provider::id(verb, stream))
    }

    /// A write that somebody else's storage does. One that answers nothing has failed.
    async fn delegated(
        &self,
        verb: &str,
        bus: &Bus,
        stream: &str,
        input: &(impl Serialize + Sync),
    ) -> Result<Option<Value>, Error> {
        if !self.has_provider(verb, stream) {
            return Ok(None);
        }
        let answer = provider::ask(bus, verb, stream, input).await?;
        if answer.is_object() {
            return Ok(Some(answer));
        }
        let message = format!("`{}` answered no object", provider::id(verb, stream));
        Err(Error::worker(Code::Failed, message))
    }

    fn tell(&self, bus: &Bus, place: &api::Place, kind: EventKind, data: Option<&Doc>) {
        match Happening::changed(place, kind, data) {
            Ok(event) => self.publish(bus, &event),
            Err(error) => tracing::error!(%error, "a stream event has no JSON form"),
        }
    }

    fn publish(&self, bus: &Bus, event: &Happening) {
        self.feed.publish(event);
        self.triggers.publish(&bus.detached(), event);
    }
}

#[async_trait]
impl Worker for Stream {
    fn register(self: Arc<Self>, to: &mut Registrar) {
        self.offer(to, api::SET, "STREAM_SET_ERROR", Shared::set)
            .describe("Stores an item and tells everybody who follows its group");
        self.offer(to, api::GET, "STREAM_GET_ERROR", Shared::get)
            .describe("An item, or null")
            .idempotent();
        self.offer(to, api::DELETE, "STREAM_DELETE_ERROR", Shared::delete)
            .describe("Removes an item and tells everybody who follows its group");
        self.offer(to, api::UPDATE, "STREAM_UPDATE_ERROR", Shared::update)
            .describe("Changes an item in steps, atomically");
        self.offer(to, api::LIST, "STREAM_GET_GROUP_ERROR", Shared::list)
            .describe("All items of a group")
            .idempotent();
        self.offer(
            to,
            api::LIST_GROUPS,
            "STREAM_LIST_GROUPS_ERROR",
            Shared::list_groups,
        )
        .describe("All groups of a stream")
        .idempotent();
        self.offer(to, api::LIST_ALL, "STREAM_LIST_ALL_ERROR", Shared::list_all)
            .describe("All streams and their groups")
            .idempotent();
        let send = |shared: Arc<Shared>, bus: Bus, input: api::Send| {
            std::future::ready(shared.send(&bus, &input))
        };
        self.offer(to, api::SEND, "STREAM_SEND_ERROR", send)
            .describe("Tells everybody who follows a group something, and stores nothing");
        for (id, description) in api::TRIGGER_TYPES {
            let kind = TriggerTypeSpec {
                id: id.into(),
                description: description.to_owned(),
                config_schema: Some(schema_for!(api::TriggerConfig).to_value()),
                payload_schema: None,
            };
            to.trigger_type(kind, triggers::provider(&self.shared.triggers, id));
        }
    }

    async fn run(self: Arc<Self>, bus: Bus, stop: Stop) -> Result<(), Error> {
        let listener = self.listener.lock().take();
        let listener = listener
            .ok_or_else(|| Error::engine(Code::Internal, "the stream listener runs already"))?;
        server::run(listener, Arc::clone(&self.shared), bus, stop).await;
        Ok(())
    }
}

impl Stream {
    fn offer<'a, I, O, F, Fut>(
        self: &Arc<Self>,
        to: &'a mut Registrar,
        id: &str,
        reason: &'static str,
        run: F,
    ) -> agentos_sdk::FunctionBuilder<'a>
    where
        I: DeserializeOwned + JsonSchema + std::marker::Send + 'static,
        O: Serialize + JsonSchema + std::marker::Send + 'static,
        F: Fn(Arc<Shared>, Bus, I) -> Fut + std::marker::Send + Sync + 'static,
        Fut: Future<Output = Result<O, Error>> + std::marker::Send + 'static,
    {
        let shared = Arc::clone(&self.shared);
        to.function(id, move |context: Context, input: I| {
            let work = run(Arc::clone(&shared), context.bus().clone(), input);
            async move {
                work.await.map_err(|error| match error.reason {
                    Some(_) => error,
                    None => error.reason(reason),
                })
            }
        })
    }
}
