//! Completions and their chunks in OpenAI's shape. Pure: ids and time come from outside.

use agentos_contract::{
    agent::{ChatReply, StopReason},
    llm::{Completion, FinishReason, ToolCall, Usage},
};
use serde_json::{Map, Value, json};

/// What all parts of one answer have in common.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Frame {
    /// `chatcmpl-...`
    pub(crate) id: String,
    /// Seconds since 1970.
    pub(crate) created: u64,
    pub(crate) model: String,
    /// Whether the client asked for usage; then all chunks have the key.
    pub(crate) usage: bool,
}

/// One choice of a chunk, or none in the last one.
pub(crate) enum Piece {
    Role,
    Text(String),
    Reasoning(String),
    ToolCallStart {
        index: u32,
        id: String,
        name: String,
    },
    ToolCallArguments {
        index: u32,
        piece: String,
    },
    /// What happens behind the scenes; clients that do not know it see an empty delta.
    Aside(Value),
    Finish(FinishReason),
    Usage(Usage),
}

impl Frame {
    /// A chunk of the stream.
    pub(crate) fn chunk(&self, piece: Piece) -> Value {
        let mut aside = Value::Null;
        let (delta, finish) = match piece {
            Piece::Usage(used) => {
                let mut chunk = self.head("chat.completion.chunk");
                chunk.insert("choices".to_owned(), json!([]));
                chunk.insert("usage".to_owned(), usage(used));
                return Value::Object(chunk);
            }
            Piece::Role => (json!({ "role": "assistant", "content": "" }), None),
            Piece::Text(text) => (json!({ "content": text }), None),
            Piece::Reasoning(text) => (json!({ "reasoning_content": text }), None),
            Piece::ToolCallStart { index, id, name } => {
                let function = json!({ "name": name, "arguments": "" });
                (
                    json!({ "tool_calls": [{ "index": index, "id": id, "type": "function", "function": function }] }),
                    None,
                )
            }
            Piece::ToolCallArguments { index, piece } => (
                json!({ "tool_calls": [{ "index": index, "function": { "arguments": piece } }] }),
                None,
            ),
            Piece::Aside(value) => {
                aside = value;
                (json!({}), None)
            }
            Piece::Finish(reason) => (json!({}), Some(reason.as_str())),
        };
        let mut chunk = self.head("chat.completion.chunk");
        let choice =
            json!({ "index": 0, "delta": delta, "logprobs": null, "finish_reason": finish });
        chunk.insert("choices".to_owned(), json!([choice]));
        if self.usage {
            chunk.insert("usage".to_owned(), Value::Null);
        }
        if !aside.is_null() {
            chunk.insert("agentos".to_owned(), aside);
        }
        Value::Object(chunk)
    }

    /// The whole answer of a model.
    pub(crate) fn completion(&self, completion: &Completion) -> Value {
        let mut message = message(&completion.content, completion.reasoning.as_deref());
        if !completion.tool_calls.is_empty() {
            message["tool_calls"] = completion.tool_calls.iter().map(tool_call).collect();
            if completion.content.is_empty() {
                message["content"] = Value::Null;
            }
        }
        self.whole(message, finish(completion), completion.usage)
    }

    /// The whole answer of an agent.
    pub(crate) fn reply(&self, reply: &ChatReply) -> Value {
        let message = message(&reply.content, reply.reasoning.as_deref());
        let mut whole = self.whole(message, agent_finish(reply.stop_reason), reply.usage);
        whole["agentos"] = aside(reply);
        whole
    }

    fn whole(&self, message: Value, finish: FinishReason, used: Usage) -> Value {
        let mut whole = self.head("chat.completion");
        let choice = json!({ "index": 0, "message": message, "logprobs": null, "finish_reason": finish.as_str() });
        whole.insert("choices".to_owned(), json!([choice]));
        whole.insert("usage".to_owned(), usage(used));
        Value::Object(whole)
    }

    fn head(&self, object: &str) -> Map<String, Value> {
        let mut head = Map::new();
        head.insert("id".to_owned(), self.id.as_str().into());
        head.insert("object".to_owned(), object.into());
        head.insert("created".to_owned(), self.created.into());
        head.insert("model".to_owned(), self.model.as_str().into());
        head
    }
}

fn message(content: &str, reasoning: Option<&str>) -> Value {
    let mut message =
        json!({ "role": "assistant", "content": content, "refusal": null, "annotations": [] });
    if let Some(reasoning) = reasoning {
        message["reasoning_content"] = reasoning.into();
    }
    message
}

fn tool_call(call: &ToolCall) -> Value {
    let function = json!({ "name": call.name, "arguments": call.arguments });
    json!({ "id": call.id, "type": "function", "function": function })
}

/// Clients look at this and not at the message: calls always say so.
pub(crate) fn finish(completion: &Completion) -> FinishReason {
    match completion.finish_reason {
        FinishReason::Stop if !completion.tool_calls.is_empty() => FinishReason::ToolCalls,
        FinishReason::ToolCalls if completion.tool_calls.is_empty() => FinishReason::Stop,
        reason => reason,
    }
}

/// A partial answer is one that ran into a limit: `length`, so that no client takes it for whole.
pub(crate) fn agent_finish(reason: StopReason) -> FinishReason {
    match reason {
        StopReason::Stop => FinishReason::Stop,
        StopReason::ContentFilter => FinishReason::ContentFilter,
        StopReason::Length | StopReason::MaxIterations | StopReason::Loop | StopReason::Timeout => {
            FinishReason::Length
        }
    }
}

/// What an agent did, under a key that OpenAI does not use.
pub(crate) fn aside(reply: &ChatReply) -> Value {
    json!({
        "agentId": reply.agent_id,
        "model": reply.model,
        "iterations": reply.iterations,
        "durationMs": reply.duration_ms,
        "stopReason": reply.stop_reason,
        "toolCalls": reply.tool_calls,
        "sessionId": reply.session_id,
        "notices": reply.notices,
    })
}

fn usage(usage: Usage) -> Value {
    let mut shown = json!({
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
    });
    if let Some(cached) = usage.cached_tokens {
        shown["prompt_tokens_details"] = json!({ "cached_tokens": cached });
    }
    if let Some(reasoning) = usage.reasoning_tokens {
        shown["completion_tokens_details"] = json!({ "reasoning_tokens": reasoning });
    }
    shown
}
