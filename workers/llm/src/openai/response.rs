//! The shapes of OpenAI's answers, as far as anybody here looks at them.
//!
//! Every field may be missing or `null`: compatible servers leave out what they like.

use agentos_contract::llm::{FinishReason, Usage};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// A chunk of a stream, or a whole answer: they differ in where the message stands.
#[derive(Deserialize)]
pub(super) struct Answer {
    pub(super) model: Option<String>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(super) choices: Vec<Choice>,
    pub(super) usage: Option<Counts>,
    /// Groq's place for the usage of a stream.
    pub(super) x_groq: Option<Groq>,
    pub(super) error: Option<Value>,
}

#[derive(Deserialize)]
pub(super) struct Groq {
    pub(super) usage: Option<Counts>,
}

#[derive(Deserialize)]
pub(super) struct Choice {
    #[serde(default)]
    pub(super) index: Option<u32>,
    #[serde(alias = "delta")]
    pub(super) message: Option<Message>,
    pub(super) finish_reason: Option<String>,
}

#[derive(Deserialize)]
pub(super) struct Message {
    pub(super) content: Option<Value>,
    pub(super) refusal: Option<String>,
    /// DeepSeek, vLLM, Qwen.
    pub(super) reasoning_content: Option<String>,
    /// OpenRouter, Groq.
    pub(super) reasoning: Option<String>,
    /// OpenRouter; wanted back.
    #[serde(default, deserialize_with = "null_as_default")]
    pub(super) reasoning_details: Vec<Value>,
    #[serde(default, deserialize_with = "null_as_default")]
    pub(super) tool_calls: Vec<CallPiece>,
}

impl Message {
    /// Text of the content; Mistral sends parts when it thinks.
    pub(super) fn text(&self) -> String {
        match &self.content {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Array(parts)) => parts
                .iter()
                .filter_map(|part| part.get("text")?.as_str())
                .collect(),
            _ => self.refusal.clone().unwrap_or_default(),
        }
    }
}

/// A tool call, or a piece of one.
#[derive(Deserialize)]
pub(super) struct CallPiece {
    pub(super) index: Option<u32>,
    pub(super) id: Option<String>,
    pub(super) function: Option<FunctionPiece>,
}

#[derive(Deserialize)]
pub(super) struct FunctionPiece {
    pub(super) name: Option<String>,
    /// A text; some servers send the object itself.
    pub(super) arguments: Option<Value>,
}

impl FunctionPiece {
    pub(super) fn arguments(&self) -> String {
        match &self.arguments {
            None | Some(Value::Null) => String::new(),
            Some(Value::String(text)) => text.clone(),
            Some(other) => other.to_string(),
        }
    }
}

#[derive(Deserialize)]
pub(super) struct Counts {
    prompt_tokens: Option<u64>,
    completion_tokens: Option<u64>,
    total_tokens: Option<u64>,
    prompt_tokens_details: Option<PromptDetails>,
    completion_tokens_details: Option<CompletionDetails>,
    /// DeepSeek's word for cached tokens.
    prompt_cache_hit_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct PromptDetails {
    cached_tokens: Option<u64>,
}

#[derive(Deserialize)]
struct CompletionDetails {
    reasoning_tokens: Option<u64>,
}

impl From<Counts> for Usage {
    fn from(counts: Counts) -> Self {
        let counted = Usage::new(
            counts.prompt_tokens.unwrap_or(0),
            counts.completion_tokens.unwrap_or(0),
        );
        Usage {
            total_tokens: counts.total_tokens.unwrap_or(counted.total_tokens),
            cached_tokens: counts
                .prompt_tokens_details
                .and_then(|d| d.cached_tokens)
                .or(counts.prompt_cache_hit_tokens),
            reasoning_tokens: counts
                .completion_tokens_details
                .and_then(|details| details.reasoning_tokens),
            ..counted
        }
    }
}

/// Reads a reason; hosts have their own words beside OpenAI's four.
pub(super) fn finish_reason(text: &str) -> FinishReason {
    match text {
        "length" | "max_tokens" | "MAX_TOKENS" => FinishReason::Length,
        "tool_calls" | "function_call" | "tool_use" => FinishReason::ToolCalls,
        "content_filter" | "safety" | "SAFETY" | "refusal" => FinishReason::ContentFilter,
        _ => FinishReason::Stop,
    }
}

fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}
