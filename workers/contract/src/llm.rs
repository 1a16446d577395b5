//! `llm::*`: one completion by a model, and which models and providers there are.
//!
//! Tool names are those the model sees (`file__read`); [`crate::tools`] maps them to function ids.

mod forward;
mod routing;
mod usage;

pub use self::{forward::*, routing::*, usage::*};

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::chat::{Extra, Message, Tool, ToolCall as MessageToolCall};

/// One completion. A streaming caller gets [`Event`]s, then the [`Completion`] as final value.
pub const COMPLETE: &str = "llm::complete";
/// Lists models: [`ListRequest`] to [`Models`].
pub const MODELS: &str = "llm::models";
/// Lists providers: [`ListRequest`] to [`Providers`].
pub const PROVIDERS: &str = "llm::providers";
/// Lets a `hold` of a scripted model go on: [`ReleaseRequest`] to [`Released`].
pub const SCRIPT_RELEASE: &str = "llm::script::release";
/// What the scripted models were asked in this run: [`ListRequest`] to [`ScriptRecords`].
pub const SCRIPT_REQUESTS: &str = "llm::script::requests";
/// Field of an assistant's message that holds what its provider wants back.
pub const REASONING_DETAILS: &str = "reasoning_details";
/// Starts all scripts again from their first turn: [`ListRequest`] to `null`.
pub const SCRIPT_RESET: &str = "llm::script::reset";

/// Asks a model for the next message.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CompleteRequest {
    /// `provider/model`, a model that one provider lists, an alias, or [`AUTO`]; empty for the
    /// default model.
    #[serde(default)]
    pub model: String,
    /// Models asked in order, should the first not begin to answer.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fallbacks: Vec<String>,
    /// Who is charged.
    #[serde(default, skip_serializing_if = "Account::is_empty")]
    pub account: Account,
    /// `false`: not from the cache of answers, where the settings have one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<bool>,
    /// Asks this provider whatever the model is called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub provider: Option<String>,
    pub messages: Vec<Message>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Tool>,
    /// `"auto"`, `"none"`, `"required"`, or one function, in OpenAI's shape.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_choice: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub temperature: Option<f64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_tokens: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub top_p: Option<f64>,
    /// Texts at which the model stops; one string is read as a list of one.
    #[serde(
        default,
        deserialize_with = "one_or_many",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub stop: Vec<String>,
    /// In OpenAI's shape: `{"type": "json_object"}`, `{"type": "json_schema", ..}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response_format: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<i64>,
    /// The end user, for the provider's abuse tracking.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// Other parameters by the provider's own names, passed on (`reasoning_effort`, `logit_bias`).
    #[serde(default, skip_serializing_if = "Extra::is_empty")]
    pub extra: Extra,
}

/// A step of a completion as it happens.
///
/// `start` comes first and once; `finish` last and once, after `usage` where that is known. A
/// stream that fails has no `finish`: it ends with the function's error.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(
    tag = "type",
    rename_all = "camelCase",
    rename_all_fields = "camelCase"
)]
pub enum Event {
    /// The upstream accepted the request.
    Start {
        model: String,
        provider: String,
    },
    /// A piece of the answer.
    Text {
        text: String,
    },
    /// A piece of the model's thinking.
    Reasoning {
        text: String,
    },
    /// Something that the provider wants back with the next request: a signed or sealed thought.
    /// An item of `reasoning_details` in the shape that OpenRouter has made common: `type`,
    /// `format`, and `text`, `signature` or `data`; `id` where it belongs to a tool call.
    ReasoningDetail {
        detail: Value,
    },
    /// The model begins a tool call; `index` counts the calls from 0.
    ToolCallStart {
        index: u32,
        id: String,
        name: String,
    },
    /// A piece of the JSON text of the arguments of call `index`.
    ToolCallArguments {
        index: u32,
        piece: String,
    },
    /// What was consumed so far; a later one replaces an earlier one.
    Usage(Usage),
    Finish {
        reason: FinishReason,
    },
}

/// Why the model stopped.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FinishReason {
    #[default]
    Stop,
    Length,
    ToolCalls,
    ContentFilter,
}

impl FinishReason {
    /// As OpenAI writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            FinishReason::Stop => "stop",
            FinishReason::Length => "length",
            FinishReason::ToolCalls => "tool_calls",
            FinishReason::ContentFilter => "content_filter",
        }
    }
}

/// Tokens consumed. `total_tokens` is input plus output.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Usage {
    pub input_tokens: u64,
    pub output_tokens: u64,
    pub total_tokens: u64,
    /// Of the input, read from the provider's cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_tokens: Option<u64>,
    /// Of the output, spent on thinking.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reasoning_tokens: Option<u64>,
}

impl Usage {
    pub fn new(input_tokens: u64, output_tokens: u64) -> Self {
        Usage {
            input_tokens,
            output_tokens,
            total_tokens: input_tokens + output_tokens,
            ..Usage::default()
        }
    }
}

impl std::ops::AddAssign for Usage {
    /// Sums the usage of several completions.
    fn add_assign(&mut self, other: Usage) {
        let sum = |a: Option<u64>, b: Option<u64>| a.or(b).map(|_| a.unwrap_or(0) + b.unwrap_or(0));
        self.input_tokens += other.input_tokens;
        self.output_tokens += other.output_tokens;
        self.total_tokens += other.total_tokens;
        self.cached_tokens = sum(self.cached_tokens, other.cached_tokens);
        self.reasoning_tokens = sum(self.reasoning_tokens, other.reasoning_tokens);
    }
}

/// A tool call of a finished completion.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ToolCall {
    pub id: String,
    /// The name the model used, `file__read`.
    pub name: String,
    /// JSON text, as the model wrote it: it may be malformed.
    pub arguments: String,
}

impl From<&ToolCall> for MessageToolCall {
    fn from(call: &ToolCall) -> Self {
        MessageToolCall::function(&call.id, &call.name, &call.arguments)
    }
}

/// A finished completion.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Completion {
    pub content: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    #[serde(default)]
    pub tool_calls: Vec<ToolCall>,
    pub finish_reason: FinishReason,
    pub model: String,
    pub provider: String,
    #[serde(default)]
    pub usage: Usage,
    /// At the catalogue's price; absent when usage or price is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cost_usd: Option<f64>,
    /// See [`Event::ReasoningDetail`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasoning_details: Vec<Value>,
    /// From the cache of answers: nothing was consumed.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub cached: bool,
}

impl Completion {
    /// Takes in the next event. Arguments of a call that never started are dropped.
    pub fn absorb(&mut self, event: &Event) {
        match event {
            Event::Start { model, provider } => {
                self.model.clone_from(model);
                self.provider.clone_from(provider);
            }
            Event::Text { text } => self.content.push_str(text),
            Event::Reasoning { text } => self.reasoning.get_or_insert_default().push_str(text),
            Event::ReasoningDetail { detail } => self.reasoning_details.push(detail.clone()),
            Event::ToolCallStart { id, name, .. } => {
                self.tool_calls.push(ToolCall {
                    id: id.clone(),
                    name: name.clone(),
                    arguments: String::new(),
                });
            }
            Event::ToolCallArguments { index, piece } => {
                if let Some(call) = self.tool_calls.get_mut(*index as usize) {
                    call.arguments.push_str(piece);
                }
            }
            Event::Usage(usage) => self.usage = *usage,
            Event::Finish { reason } => self.finish_reason = *reason,
        }
    }

    /// The completion as the next message of its conversation.
    pub fn message(&self) -> Message {
        let mut message = Message::assistant(
            self.content.clone(),
            self.tool_calls.iter().map(Into::into).collect(),
        );
        if !self.reasoning_details.is_empty() {
            let details = self.reasoning_details.clone().into();
            message.extra.insert(REASONING_DETAILS.to_owned(), details);
        }
        message
    }
}

/// Asks for a list; there is nothing to say.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ListRequest {}

/// All models that can be asked by name.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Models {
    pub models: Vec<Model>,
}

/// One model.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Model {
    /// `provider/model`, always understood.
    pub id: String,
    pub model: String,
    pub provider: String,
    /// Used when a request names no model.
    #[serde(default)]
    pub default: bool,
    /// Other names that it answers to.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// What the catalogue knows of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub facts: Option<ModelFacts>,
}

/// What the catalogue says of a model. Absent is not known, never zero.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct ModelFacts {
    /// Tokens of question and answer together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub context_tokens: Option<u64>,
    /// Longest answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_tokens: Option<u64>,
    /// US dollars for a million tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input_usd_per_mtok: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_usd_per_mtok: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cached_input_usd_per_mtok: Option<f64>,
    /// Up to which requests `auto` gives it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tier: Option<Tier>,
    /// `tools`, `vision`, `json`, `reasoning`.
    pub capabilities: Vec<String>,
}

/// All providers.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Providers {
    pub providers: Vec<Provider>,
}

/// One provider. Says nothing about its key but whether there is one.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Provider {
    pub name: String,
    /// `openai`, `responses`, `anthropic`, `gemini`, `bedrock`, `ollama`, `cohere`, `scripted` or
    /// `offline`.
    pub family: String,
    /// Base URL, or the script's file; empty for `offline`.
    pub base: String,
    /// Whether it can be asked: it has a key, or needs none.
    pub configured: bool,
    /// How it has been lately.
    #[serde(default)]
    pub health: Health,
}

/// How a provider has been lately.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
pub struct Health {
    pub breaker: Breaker,
    /// Milliseconds until an open breaker lets one request through.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
    /// Until the first byte, smoothed; absent before the first answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<u64>,
    pub keys: u32,
    /// Of the keys, those that are left alone for a while.
    pub keys_cooling: u32,
}

/// Whether a provider is asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Breaker {
    /// It is.
    #[default]
    Closed,
    /// It failed too often and is not, for a while.
    Open,
    /// One request is let through to see how it is.
    HalfOpen,
}

/// See [`SCRIPT_RELEASE`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseRequest {
    /// Name of the `hold` step.
    pub hold: String,
}

/// See [`SCRIPT_RELEASE`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Released {
    /// Completions that were waiting; the hold stays open for later ones.
    pub waiting: u32,
}

/// See [`SCRIPT_REQUESTS`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ScriptRecords {
    /// The lines that the record file holds too; docs/scripted-models.md has their shape.
    pub records: Vec<Value>,
}

fn one_or_many<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Stop {
        None(()),
        One(String),
        Many(Vec<String>),
    }
    Ok(match Stop::deserialize(deserializer)? {
        Stop::None(()) => Vec::new(),
        Stop::One(text) => vec![text],
        Stop::Many(texts) => texts,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn events_are_tagged_in_camel_case() {
        let check =
            |event: Event, text: Value| assert_eq!(serde_json::to_value(event).unwrap(), text);
        check(
            Event::Start {
                model: "m".into(),
                provider: "p".into(),
            },
            json!({"type": "start", "model": "m", "provider": "p"}),
        );
        check(
            Event::ToolCallArguments {
                index: 1,
                piece: "{".into(),
            },
            json!({"type": "toolCallArguments", "index": 1, "piece": "{"}),
        );
        check(
            Event::Usage(Usage::new(3, 4)),
            json!({"type": "usage", "inputTokens": 3, "outputTokens": 4, "totalTokens": 7}),
        );
        check(
            Event::Finish {
                reason: FinishReason::ToolCalls,
            },
            json!({"type": "finish", "reason": "tool_calls"}),
        );
    }

    #[test]
    fn a_completion_is_what_its_events_add_up_to() {
        let mut completion = Completion::default();
        for event in [
            Event::Start {
                model: "m".into(),
                provider: "p".into(),
            },
            Event::Text { text: "a".into() },
            Event::ToolCallStart {
                index: 0,
                id: "c0".into(),
                name: "f".into(),
            },
            Event::ToolCallStart {
                index: 1,
                id: "c1".into(),
                name: "g".into(),
            },
            Event::ToolCallArguments {
                index: 0,
                piece: "{\"x\"".into(),
            },
            Event::ToolCallArguments {
                index: 1,
                piece: "{}".into(),
            },
            Event::ToolCallArguments {
                index: 0,
                piece: ":1}".into(),
            },
            Event::ToolCallArguments {
                index: 9,
                piece: "lost".into(),
            },
            Event::Finish {
                reason: FinishReason::ToolCalls,
            },
        ] {
            completion.absorb(&event);
        }
        let calls: Vec<_> = completion
            .tool_calls
            .iter()
            .map(|call| (call.id.as_str(), call.arguments.as_str()))
            .collect();
        assert_eq!(calls, [("c0", "{\"x\":1}"), ("c1", "{}")]);
        assert_eq!(completion.message().text(), "a");
    }

    #[test]
    fn stop_is_one_text_or_many() {
        let stop = |value: Value| {
            serde_json::from_value::<CompleteRequest>(json!({"messages": [], "stop": value}))
                .unwrap()
                .stop
        };
        assert_eq!(stop(json!("x")), ["x"]);
        assert_eq!(stop(json!(["x", "y"])), ["x", "y"]);
        assert!(stop(Value::Null).is_empty());
    }
}
