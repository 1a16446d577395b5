//! Streams: items in groups that functions write and clients watch, over WebSocket.
//!
//! This file is the rim of the functions `stream::*`: decode, call the thinking, encode. Deciding is
//! in `change` and `plan`, order and commits in `writes`, looking up in `reads`; who hears what is in
//! `events`, and how clients come in and are served in `listener`, `connection` and `client`.

use std::{
    future::Future,
    io,
    net::SocketAddr,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use agentos_sdk::{
    Bus, Context, Error, FunctionBuilder, Registrar, Stop, TriggerTypeSpec, Worker, async_trait,
};
use schemars::{JsonSchema, Schema, schema_for};
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::TcpListener;

use crate::{
    builtin::{document::Doc, live::Live, moving::Moving},
    listener::Gate,
    storage::Storage,
};

mod api;
mod change;
mod client;
mod config;
mod connection;
mod error;
mod events;
mod frame;
mod history;
mod hub;
mod listener;
mod mailbox;
mod plan;
mod providers;
mod reads;
mod row;
mod subscription;
#[cfg(test)]
mod tests;
mod triggers;
mod visits;
mod writes;

pub use config::Config;
pub(crate) use providers::Offered;

use api::{Answer, Deleted, Written};
use change::{Change, Steps};
use client::Shared;
use events::{Events, Happening};
use frame::{Body, Sent};
use providers::Providers;
use reads::Reads;
use row::{Address, Place};
use triggers::Triggers;
use visits::Visits;
use writes::Writes;

/// Milliseconds since 1970.
type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The built-in worker `stream`.
pub struct Stream {
    config: Live<Config>,
    reads: Arc<Reads>,
    writes: Arc<Writes>,
    events: Arc<Events>,
    joins: Arc<Visits>,
    leaves: Arc<Visits>,
    /// Where clients come in, and who may.
    listener: Moving,
    gate: Option<Live<Gate>>,
}

impl Stream {
    /// Streams kept in `store`, or by workers that `offered` knows. Clients come in at `address`,
    /// port 0 picking a free one, once the worker runs.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub(crate) async fn bind(
        address: SocketAddr,
        gate: Gate,
        config: Config,
        store: Arc<dyn Storage>,
        offered: Offered,
    ) -> io::Result<(Arc<Self>, SocketAddr)> {
        let socket = TcpListener::bind(address).await?;
        let address = socket.local_addr()?;
        let clock: Clock = Arc::new(wall_clock_ms);
        let stream = Self::open(Some(gate), config, store, offered, clock);
        stream.move_to(socket).map_err(io::Error::other)?;
        Ok((stream, address))
    }

    /// Lets clients in there from now on. Those that came in elsewhere stay.
    pub(crate) fn move_to(&self, socket: TcpListener) -> Result<(), Error> {
        self.listener.to(socket)
    }

    /// Goes by `config` and `gate` from now on. Clients that are there keep the bounds with which they
    /// came, and triggers that are bound keep their room for events.
    pub(crate) fn reconfigure(&self, gate: Gate, config: Config) {
        self.writes.resize(config.writes_per_item_max);
        self.events.triggers.resize(config.events_per_trigger_max);
        self.joins.resize(config.events_per_trigger_max);
        self.leaves.resize(config.events_per_trigger_max);
        self.config.set(config);
        if let Some(live) = &self.gate {
            live.set(gate);
        }
    }

    fn open(
        gate: Option<Gate>,
        config: Config,
        store: Arc<dyn Storage>,
        offered: Offered,
        clock: Clock,
    ) -> Arc<Self> {
        let providers = Providers(offered);
        let waiting_max = config.events_per_trigger_max;
        let config = Live::new(config);
        let triggers = Arc::new(Triggers::new(waiting_max));
        let events = Arc::new(Events::new(triggers, config.clone(), clock));
        let reads = Reads {
            store: Arc::clone(&store),
            config: config.clone(),
            providers: providers.clone(),
        };
        let writes = Writes::new(store, config.clone(), providers, Arc::clone(&events));
        Arc::new(Stream {
            config,
            reads: Arc::new(reads),
            writes: Arc::new(writes),
            events,
            joins: Arc::new(Visits::new(api::JOINED, waiting_max)),
            leaves: Arc::new(Visits::new(api::LEFT, waiting_max)),
            listener: Moving::new(),
            gate: gate.map(Live::new),
        })
    }

    async fn set(self: Arc<Self>, bus: Bus, input: api::Set) -> Result<Answer<Written>, Error> {
        let address = self.address(&input.stream_name, &input.group_id, &input.item_id)?;
        let change = Change::Set(input.data);
        Ok(self.writes.submit(address, change, bus).await?.written())
    }

    async fn get(self: Arc<Self>, bus: Bus, input: api::Item) -> Result<Option<Doc>, Error> {
        self.reads.get(&bus, &input).await
    }

    async fn delete(self: Arc<Self>, bus: Bus, input: api::Item) -> Result<Answer<Deleted>, Error> {
        let address = self.address(&input.stream_name, &input.group_id, &input.item_id)?;
        let outcome = self.writes.submit(address, Change::Delete, bus).await?;
        Ok(outcome.deleted())
    }

    async fn update(
        self: Arc<Self>,
        bus: Bus,
        input: api::Update,
    ) -> Result<Answer<Written>, Error> {
        let address = self.address(&input.stream_name, &input.group_id, &input.item_id)?;
        let change = Change::Update(Steps::check(input.ops)?);
        Ok(self.writes.submit(address, change, bus).await?.written())
    }

    async fn list(self: Arc<Self>, bus: Bus, input: api::Group) -> Result<Answer<Vec<Doc>>, Error> {
        self.reads.list(&bus, &input).await
    }

    async fn list_groups(
        self: Arc<Self>,
        bus: Bus,
        input: api::Named,
    ) -> Result<Answer<Vec<String>>, Error> {
        self.reads.list_groups(&bus, &input).await
    }

    async fn list_all(self: Arc<Self>, _: Bus, _: Option<api::Nothing>) -> Result<api::All, Error> {
        self.reads.list_all().await
    }

    fn send(&self, bus: &Bus, input: &api::Sending) -> Result<(), Error> {
        let place = Place {
            stream: &input.stream_name,
            group: &input.group_id,
            item: input.id.as_deref(),
        };
        let config = self.config.get();
        place.check(&config)?;
        let data = input.data.clone().unwrap_or_default();
        let (bytes, bytes_max) = (data.text().len(), config.value_bytes_max);
        if bytes > bytes_max {
            return Err(error::value_too_large(bytes, bytes_max));
        }
        let event = Sent {
            r#type: &input.kind,
            data: &data,
        };
        let happening = Happening {
            place,
            body: Body::Event { event },
            version: None,
        };
        self.events.publish(bus, &happening);
        Ok(())
    }

    fn address(&self, stream: &str, group: &str, item: &str) -> Result<Address, Error> {
        Address::new(stream, group, item, &self.config.get())
    }
}

#[async_trait]
impl Worker for Stream {
    fn register(self: Arc<Self>, to: &mut Registrar) {
        self.offer(to, api::SET, "STREAM_SET_ERROR", Self::set)
            .describe("Stores an item in a group of a stream, and tells who watches; durable when it answers");
        self.offer(to, api::GET, "STREAM_GET_ERROR", Self::get)
            .describe("An item of a group, or null")
            .idempotent();
        self.offer(to, api::DELETE, "STREAM_DELETE_ERROR", Self::delete)
            .describe("Removes an item and tells who watches");
        self.offer(to, api::UPDATE, "STREAM_UPDATE_ERROR", Self::update)
            .describe("Changes an item in steps, atomically, and tells who watches");
        self.offer(to, api::LIST, "STREAM_GET_GROUP_ERROR", Self::list)
            .describe("All items of a group")
            .idempotent();
        let reason = "STREAM_LIST_GROUPS_ERROR";
        self.offer(to, api::LIST_GROUPS, reason, Self::list_groups)
            .describe("The groups of a stream that hold something")
            .idempotent();
        self.offer(to, api::LIST_ALL, "STREAM_LIST_ALL_ERROR", Self::list_all)
            .describe("All streams and their groups")
            .idempotent();
        let send = |stream: Arc<Self>, bus: Bus, input: api::Sending| {
            std::future::ready(stream.send(&bus, &input))
        };
        self.offer(to, api::SEND, "STREAM_SEND_ERROR", send)
            .describe("Tells who watches a group, or an item, and stores nothing");

        let changes = trigger_type(
            api::CHANGED,
            "Calls a function when an item of a stream changes, or something is sent",
            schema_for!(api::Changes),
            schema_for!(frame::Frame<'static>),
        );
        to.trigger_type(changes, Arc::clone(&self.events.triggers) as _);
        let joins = visiting(
            api::JOINED,
            "Calls a function when a client subscribes; {\"unauthorized\": true} refuses",
        );
        to.trigger_type(joins, Arc::clone(&self.joins) as _);
        let leaves = visiting(
            api::LEFT,
            "Calls a function when a client's subscription ends",
        );
        to.trigger_type(leaves, Arc::clone(&self.leaves) as _);
    }

    async fn run(self: Arc<Self>, bus: Bus, stop: Stop) -> Result<(), Error> {
        let Some(gate) = self.gate.clone() else {
            stop.cancelled().await;
            return Ok(());
        };
        let shared = Arc::new(Shared {
            bus,
            config: self.config.clone(),
            events: Arc::clone(&self.events),
            reads: Arc::clone(&self.reads),
            writes: Arc::clone(&self.writes),
            joins: Arc::clone(&self.joins),
            leaves: Arc::clone(&self.leaves),
        });
        let serve = |socket, leave| {
            listener::run(
                socket,
                gate.clone(),
                Arc::clone(&shared),
                leave,
                stop.clone(),
            )
        };
        self.listener.serve(&stop, serve).await
    }
}

impl Stream {
    fn offer<'a, I, O, F, Fut>(
        self: &Arc<Self>,
        to: &'a mut Registrar,
        id: &str,
        reason: &'static str,
        run: F,
    ) -> FunctionBuilder<'a>
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + JsonSchema + Send + 'static,
        F: Fn(Arc<Self>, Bus, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Error>> + Send + 'static,
    {
        let stream = Arc::clone(self);
        to.function(id, move |context: Context, input: I| {
            let work = run(Arc::clone(&stream), context.bus().clone(), input);
            async move { work.await.map_err(|error| error::named(error, reason)) }
        })
    }
}

fn visiting(id: &str, description: &str) -> TriggerTypeSpec {
    let (config, payload) = (schema_for!(api::Visits), schema_for!(api::Visit<'static>));
    trigger_type(id, description, config, payload)
}

fn trigger_type(id: &str, description: &str, config: Schema, payload: Schema) -> TriggerTypeSpec {
    TriggerTypeSpec {
        id: id.into(),
        description: description.to_owned(),
        config_schema: Some(config.to_value()),
        payload_schema: Some(payload.to_value()),
    }
}

fn wall_clock_ms() -> u64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
