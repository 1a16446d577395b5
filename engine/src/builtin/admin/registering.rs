//! Binding triggers by a call, for clients that want to hear what became of it.

use std::{sync::Arc, time::Duration};

use agentos_core::{Event, TriggerState};
use agentos_sdk::{Code, Context, Error, Registrar, TriggerSpec};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::Admin;

/// How long the provider of a trigger type may take to say whether it takes a trigger.
const PROVIDER_TIMEOUT: Duration = Duration::from_secs(10);

#[derive(Deserialize, JsonSchema)]
struct Wanted {
    #[serde(alias = "type")]
    trigger_type: String,
    #[serde(alias = "function")]
    function_id: String,
    #[serde(default)]
    config: Value,
    metadata: Option<Value>,
    /// The function's; the caller's own when absent.
    namespace: Option<String>,
    /// Where the type's provider is looked for.
    trigger_namespace: Option<String>,
    /// Made by the engine when absent.
    id: Option<String>,
}

#[derive(Deserialize, JsonSchema)]
struct ById {
    id: String,
}

impl Admin {
    pub(super) fn register_triggers(self: &Arc<Self>, to: &mut Registrar) {
        // The second name is one that existing workers use and no engine ever had.
        for id in ["engine::register_trigger", "engine::triggers::register"] {
            let admin = Arc::clone(self);
            to.function(id, move |context, wanted| {
                let admin = Arc::clone(&admin);
                async move { admin.register_trigger(&context, wanted).await }
            })
            .describe("binds a function to an event source and waits for the provider's word");
        }
        let admin = Arc::clone(self);
        to.function(
            "engine::unregister_trigger",
            move |context: Context, ById { id }| {
                let caller = context.caller();
                let removed =
                    caller.is_some_and(|caller| admin.directory.remove_trigger(caller, &id));
                std::future::ready(Ok(json!({ "removed": removed })))
            },
        )
        .describe("takes back a trigger that the calling worker has registered");
    }

    async fn register_trigger(&self, context: &Context, wanted: Wanted) -> Result<Value, Error> {
        let caller = context.caller().ok_or_else(|| {
            Error::caller(
                Code::Unsupported,
                "triggers belong to a worker; the engine is none",
            )
        })?;
        let id: Arc<str> = wanted
            .id
            .unwrap_or_else(|| uuid::Uuid::new_v4().to_string())
            .into();
        let mut trigger = TriggerSpec::new(
            Arc::clone(&id),
            wanted.trigger_type,
            wanted.function_id,
            wanted.config,
        );
        trigger.metadata = wanted.metadata;
        trigger.namespace = wanted.namespace.map(Into::into);
        trigger.trigger_namespace = wanted.trigger_namespace.map(Into::into);
        let mut events = self.directory.events();
        if !self.directory.add_trigger(caller, trigger) {
            return Err(Error::engine(
                Code::Unavailable,
                "the calling session is closed",
            ));
        }
        let state = tokio::time::timeout(PROVIDER_TIMEOUT, self.verdict(&mut events, &id)).await;
        match state {
            Ok(state) => {
                let state = state?;
                Ok(json!({ "id": id, "state": state }))
            }
            Err(_) => {
                self.directory.remove_trigger(caller, &id);
                let message = "the provider of the trigger type did not answer in 10 s";
                Err(Error::engine(Code::Timeout, message).reason("trigger_registration_failed"))
            }
        }
    }

    /// Waits for what becomes of the trigger.
    async fn verdict(&self, events: &mut Receiver<Event>, id: &str) -> Result<&'static str, Error> {
        let refused = |error: Error| {
            let reason = match error.code {
                Code::Forbidden => "FORBIDDEN",
                _ => "trigger_registration_failed",
            };
            Err(error.reason(reason))
        };
        loop {
            match events.recv().await {
                Ok(Event::TriggerRegistered { id: of, state, .. }) if *of == *id => match state {
                    TriggerState::Bound => return Ok("bound"),
                    TriggerState::Parked => return Ok("parked"),
                    TriggerState::Refused(error) => return refused(error),
                },
                Ok(Event::RegistrationRefused { id: of, error, .. }) if *of == *id => {
                    return refused(error);
                }
                Ok(_) => {}
                // Too much happened at once to have heard it all: the registry knows.
                Err(RecvError::Lagged(_)) => {
                    let triggers = self.directory.triggers();
                    let found = triggers.iter().find(|trigger| *trigger.spec.id == *id);
                    match found.map(|trigger| trigger.state.clone()) {
                        Some(TriggerState::Refused(error)) => return refused(error),
                        Some(TriggerState::Parked) => return Ok("parked"),
                        Some(TriggerState::Bound) | None => {}
                    }
                }
                Err(RecvError::Closed) => {
                    return Err(Error::engine(Code::Unavailable, "the engine is stopping"));
                }
            }
        }
    }
}
