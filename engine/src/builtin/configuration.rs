//! The functions `configuration::*`: named values that fit a schema, for workers to read and to
//! hear of. Durable before they are acknowledged.
//!
//! This file is the rim: decode, call the thinking, encode. What fits is decided in `value`, what
//! is kept in `shelf`, who hears of it in `events`.

mod api;
mod config;
mod error;
mod events;
mod shelf;
#[cfg(test)]
mod tests;
mod value;

use std::{future::Future, sync::Arc};

use agentos_sdk::{Bus, Context, Error, Registrar, TriggerTypeSpec, Worker};
use schemars::{JsonSchema, schema_for};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{builtin::live::Live, config::Env, storage::Storage};

pub use config::Config;

use api::EventType;
use events::{Events, Happening};
use shelf::{Record, Shelf};

/// The built-in worker `configuration`.
pub struct Configuration {
    shelf: Shelf,
    events: Arc<Events>,
    env: Arc<dyn Env>,
    config: Live<Config>,
    /// One write after the other, so that events come in the order of the writes. Whoever waits
    /// does so within its call's deadline.
    writing: tokio::sync::Mutex<()>,
}

impl Configuration {
    /// Configurations kept in `store`; variables in them come from `env`.
    pub fn open(store: Arc<dyn Storage>, config: Config, env: Arc<dyn Env>) -> Arc<Self> {
        Arc::new(Configuration {
            shelf: Shelf::new(store),
            events: Arc::new(Events::new(config.events_per_trigger_max)),
            env,
            config: Live::new(config),
            writing: tokio::sync::Mutex::new(()),
        })
    }

    /// Goes by `config` from now on. Triggers that are bound keep their room for events.
    pub fn reconfigure(&self, config: Config) {
        self.events.resize(config.events_per_trigger_max);
        self.config.set(config);
    }

    async fn add(self: Arc<Self>, bus: Bus, input: api::Register) -> Result<api::Value, Error> {
        value::check_id(&input.id)?;
        let schema = value::Schema::compile(&input.schema, self.config.get().schema_bytes_max)?;
        let writing = self.writing.lock().await;
        let old = self.shelf.get(&input.id).await?;
        let record = Record {
            name: input.name,
            description: input.description,
            schema: input.schema,
            metadata: input.metadata,
            // What somebody has set outlives the worker that registered it.
            value: match &old {
                Some((_, old)) if !old.value.is_null() => old.value.clone(),
                _ => input.initial_value.unwrap_or_default(),
            },
        };
        let is_kept = old
            .as_ref()
            .is_some_and(|(_, old)| old.value == record.value);
        if !record.value.is_null() {
            match self.check(&schema, &record.value) {
                Err(error) if is_kept => {
                    tracing::warn!(id = input.id, %error, "the value that was set before does not fit the new schema; it stays until it is set again");
                }
                checked => checked?,
            }
        }
        let version = old.as_ref().map_or(0, |(version, _)| *version);
        let old = old.map(|(_, old)| old);
        if old.as_ref() != Some(&record) {
            if old.is_none() {
                self.shelf
                    .make_room(self.config.get().configurations_max)
                    .await?;
            }
            self.shelf.put(&input.id, version, &record).await?;
            let old_value = old.map(|old| old.value).unwrap_or_default();
            self.tell(
                &bus,
                EventType::Registered,
                &input.id,
                &record,
                old_value,
                true,
            );
        }
        drop(writing);
        Ok(api::Value {
            value: self.shown(&record),
            id: input.id,
        })
    }

    async fn set(self: Arc<Self>, bus: Bus, input: api::Set) -> Result<api::Written, Error> {
        let _writing = self.writing.lock().await;
        let (version, old) = self.known(&input.id).await?;
        let schema = value::Schema::compile(&old.schema, self.config.get().schema_bytes_max)?;
        self.check(&schema, &input.value)?;
        let record = Record {
            value: input.value,
            ..old.clone()
        };
        self.shelf.put(&input.id, version, &record).await?;
        let written = api::Written {
            old_value: self.shown(&old),
            new_value: self.shown(&record),
        };
        self.tell(
            &bus,
            EventType::Updated,
            &input.id,
            &record,
            old.value,
            true,
        );
        Ok(written)
    }

    async fn get(self: Arc<Self>, _: Bus, input: api::Get) -> Result<api::Value, Error> {
        let (_, record) = self.known(&input.id).await?;
        let value = match input.raw {
            Some(true) => record.value,
            _ => {
                let schema =
                    value::Schema::compile(&record.schema, self.config.get().schema_bytes_max)?;
                schema.expanded(&record.value, &*self.env)?
            }
        };
        Ok(api::Value {
            id: input.id,
            value,
        })
    }

    async fn list(self: Arc<Self>, _: Bus, _: Option<api::List>) -> Result<api::Listed, Error> {
        let all = self.shelf.all().await?;
        let configurations = all.into_iter().map(|(id, record)| api::About {
            id,
            name: record.name,
            description: record.description,
            schema: record.schema,
            metadata: record.metadata,
        });
        Ok(api::Listed {
            configurations: configurations.collect(),
        })
    }

    async fn schema(self: Arc<Self>, _: Bus, input: api::Id) -> Result<api::SchemaOf, Error> {
        let (_, record) = self.known(&input.id).await?;
        Ok(api::SchemaOf {
            id: input.id,
            schema: record.schema,
        })
    }

    async fn delete(self: Arc<Self>, bus: Bus, input: api::Id) -> Result<api::Deleted, Error> {
        let _writing = self.writing.lock().await;
        let Some((version, record)) = self.shelf.get(&input.id).await? else {
            return Ok(api::Deleted { deleted: false });
        };
        self.shelf.delete(&input.id, version).await?;
        let old = record.value.clone();
        self.tell(&bus, EventType::Deleted, &input.id, &record, old, false);
        Ok(api::Deleted { deleted: true })
    }

    async fn known(&self, id: &str) -> Result<(crate::storage::Version, Record), Error> {
        let record = self.shelf.get(id).await?;
        record.ok_or_else(|| error::unknown(id))
    }

    fn check(&self, schema: &value::Schema, value: &Value) -> Result<(), Error> {
        value::check_size(value, self.config.get().value_bytes_max)?;
        schema.expanded(value, &*self.env).map(|_| ())
    }

    /// The value with its variables, or as it is where they cannot be had.
    fn shown(&self, record: &Record) -> Value {
        let schema = value::Schema::compile(&record.schema, self.config.get().schema_bytes_max);
        schema
            .and_then(|schema| schema.expanded(&record.value, &*self.env))
            .unwrap_or_else(|_| record.value.clone())
    }

    fn tell(
        &self,
        bus: &Bus,
        event_type: EventType,
        id: &str,
        record: &Record,
        old_value: Value,
        is_there: bool,
    ) {
        let old = Record {
            value: old_value,
            ..record.clone()
        };
        let happening = Happening {
            event_type,
            id,
            record,
            old_value: self.shown(&old),
            new_value: match is_there {
                true => self.shown(record),
                false => Value::Null,
            },
        };
        self.events.publish(bus, &happening);
    }
}

impl Worker for Configuration {
    fn register(self: Arc<Self>, to: &mut Registrar) {
        self.offer(to, api::REGISTER, Self::add)
            .describe("Makes a configuration known: its schema, and a value to begin with");
        self.offer(to, api::SET, Self::set)
            .describe("Sets the value of a configuration; durable when it answers");
        self.offer(to, api::GET, Self::get)
            .describe("The value of a configuration, with its variables replaced unless raw")
            .idempotent();
        self.offer(to, api::LIST, Self::list)
            .describe("All configurations with their schemas")
            .idempotent();
        self.offer(to, api::SCHEMA, Self::schema)
            .describe("The schema of a configuration")
            .idempotent();
        self.offer(to, api::DELETE, Self::delete)
            .describe("Forgets a configuration");
        to.trigger_type(trigger_type(), Arc::clone(&self.events) as _);
    }
}

impl Configuration {
    fn offer<'a, I, O, F, Fut>(
        self: &Arc<Self>,
        to: &'a mut Registrar,
        id: &str,
        run: F,
    ) -> agentos_sdk::FunctionBuilder<'a>
    where
        I: DeserializeOwned + JsonSchema + Send + 'static,
        O: Serialize + JsonSchema + Send + 'static,
        F: Fn(Arc<Self>, Bus, I) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<O, Error>> + Send + 'static,
    {
        let own = Arc::clone(self);
        to.function(id, move |context: Context, input: I| {
            run(Arc::clone(&own), context.bus().clone(), input)
        })
    }
}

fn trigger_type() -> TriggerTypeSpec {
    TriggerTypeSpec {
        id: api::TRIGGER_TYPE.into(),
        description: "Calls a function when a configuration is registered, updated or deleted"
            .to_owned(),
        config_schema: Some(schema_for!(api::TriggerConfig).to_value()),
        payload_schema: Some(schema_for!(api::Event<'static>).to_value()),
    }
}
