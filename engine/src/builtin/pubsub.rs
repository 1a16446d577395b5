//! The function `publish` and the trigger type `subscribe`: messages to everybody who listens now.
//!
//! At most once and nobody waits: what must not be lost belongs on a queue. This file is the rim;
//! who gets what is decided in `topics`.

use std::sync::Arc;

use agentos_sdk::{
    Code, Context, Error, Payload, Registrar, TriggerProvider, TriggerSpec, TriggerTypeSpec, Worker,
};
use parking_lot::RwLock;
use schemars::{JsonSchema, schema_for};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::builtin::{firing::Target, live::Live};

mod config;
mod topics;

pub use config::Config;
use topics::Topics;

/// The built-in worker `pubsub`.
pub struct Pubsub {
    config: Live<Config>,
    topics: RwLock<Topics<Arc<Target>>>,
}

/// Input of `publish`.
#[derive(Deserialize, JsonSchema)]
struct Publish {
    topic: Option<String>,
    /// What subscribers get, as it is.
    #[schemars(with = "serde_json::Value")]
    data: Option<Box<RawValue>>,
}

/// Config of a `subscribe` trigger.
#[derive(Deserialize, Serialize, JsonSchema)]
struct Subscribe {
    /// `*` stands for one part between dots, `>` at the end for all that follow.
    topic: String,
    /// Asked first with the same data; exactly `false` skips the message.
    condition_function_id: Option<String>,
}

impl Pubsub {
    pub fn new(config: Config) -> Arc<Self> {
        Arc::new(Pubsub {
            config: Live::new(config),
            topics: RwLock::default(),
        })
    }

    /// Goes by `config` from now on. Subscribers that are there keep their room for messages.
    pub fn reconfigure(&self, config: Config) {
        self.config.set(config);
    }

    fn publish(&self, context: &Context, input: Publish) -> Result<(), Error> {
        let topic = input
            .topic
            .filter(|topic| !topic.is_empty())
            .ok_or_else(|| {
                Error::caller(Code::InvalidInput, "topic is empty or missing")
                    .reason("topic_not_set")
            })?;
        let targets = self.topics.read().matching(&topic);
        if targets.is_empty() {
            return Ok(());
        }
        let data = input.data.map_or(Payload::NULL, |data| {
            Payload::checked_json(Box::<str>::from(data).into_string())
        });
        // Subscribers have time of their own; the trace is the publisher's.
        let bus = context.bus().detached();
        for target in targets {
            target.fire(&bus, data.clone());
        }
        Ok(())
    }
}

impl Worker for Pubsub {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        let pubsub = Arc::clone(&self);
        registrar
            .function("publish", move |context: Context, input: Publish| {
                std::future::ready(pubsub.publish(&context, input))
            })
            .describe("sends data to everybody who is subscribed to a topic now");
        let kind = TriggerTypeSpec {
            id: "subscribe".into(),
            description: "calls a function with what is published on a topic".to_owned(),
            config_schema: Some(schema_for!(Subscribe).to_value()),
            payload_schema: None,
        };
        registrar.trigger_type(kind, self);
    }
}

impl TriggerProvider for Pubsub {
    fn bind(&self, trigger: TriggerSpec) -> Result<(), Error> {
        let invalid = |why: String| {
            let message = format!("config of a subscribe trigger: {why}");
            Error::caller(Code::InvalidInput, message)
        };
        let config =
            Subscribe::deserialize(&trigger.config).map_err(|error| invalid(error.to_string()))?;
        if config.topic.is_empty() {
            return Err(invalid("topic is empty".to_owned()));
        }
        let condition = config.condition_function_id;
        let waiting_max = self.config.get().waiting_per_subscriber_max;
        let target = Target::new(&trigger, condition, waiting_max);
        let replaced = self.topics.write().add(&trigger.id, &config.topic, target);
        if let Some(replaced) = replaced {
            replaced.close();
        }
        Ok(())
    }

    fn unbind(&self, id: &str) {
        let gone = self.topics.write().remove(id);
        if let Some(gone) = gone {
            gone.close();
        }
    }
}
