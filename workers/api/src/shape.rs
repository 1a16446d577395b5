//! Completions and their chunks in OpenAI's shape. Pure: ids and time come from outside.

use agentos_contract::{
    agent::{ChatReply, StopReason},
    llm::{Completion, FinishReason, ToolCall, Usage},
};
use serde_json::{Map, Value, json};

use crate::{
    ask::{Reply, Said},
    error::Failure,
    relay::Wording,
    sse::data,
};

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

/// One choice of a chunk.
enum Piece {
    Role,
    Said(Said),
    Finish(FinishReason),
}

impl Frame {
    fn chunk(&self, choice: usize, piece: Piece) -> Value {
        let mut aside = Value::Null;
        let (delta, finish) = match piece {
            Piece::Role => (json!({ "role": "assistant", "content": "" }), None),
            Piece::Finish(reason) => (json!({}), Some(reason.as_str())),
            Piece::Said(Said::Aside(value)) => {
                aside = value;
                (json!({}), None)
            }
            Piece::Said(said) => (delta(said), None),
        };
        let mut chunk = self.head("chat.completion.chunk");
        let choice =
            json!({ "index": choice, "delta": delta, "logprobs": null, "finish_reason": finish });
        chunk.insert("choices".to_owned(), json!([choice]));
        if self.usage {
            chunk.insert("usage".to_owned(), Value::Null);
        }
        if !aside.is_null() {
            chunk.insert("agentos".to_owned(), aside);
        }
        Value::Object(chunk)
    }

    fn usage_chunk(&self, used: Usage) -> Value {
        let mut chunk = self.head("chat.completion.chunk");
        chunk.insert("choices".to_owned(), json!([]));
        chunk.insert("usage".to_owned(), usage(used));
        Value::Object(chunk)
    }

    /// The whole answer: a choice for each reply.
    pub(crate) fn whole(mut self, replies: &[Reply]) -> Value {
        self.hear_model(replies);
        let mut whole = self.head("chat.completion");
        let choices = replies.iter().enumerate().map(|(index, reply)| {
            let finish = reply.completion.finish_reason.as_str();
            json!({ "index": index, "message": message(&reply.completion), "logprobs": null, "finish_reason": finish })
        });
        whole.insert("choices".to_owned(), choices.collect());
        whole.insert("usage".to_owned(), usage(total(replies)));
        if let Some(aside) = replies.iter().find_map(|reply| reply.aside.clone()) {
            whole.insert("agentos".to_owned(), aside);
        }
        Value::Object(whole)
    }

    /// What the models that answered call themselves.
    pub(crate) fn hear_model(&mut self, replies: &[Reply]) {
        let mut models = replies.iter().map(|reply| &reply.completion.model);
        if let Some(model) = models.find(|model| !model.is_empty()) {
            self.model.clone_from(model);
        }
    }

    pub(crate) fn head(&self, object: &str) -> Map<String, Value> {
        let mut head = Map::new();
        head.insert("id".to_owned(), self.id.as_str().into());
        head.insert("object".to_owned(), object.into());
        head.insert("created".to_owned(), self.created.into());
        head.insert("model".to_owned(), self.model.as_str().into());
        head
    }
}

/// Tokens of all replies together.
pub(crate) fn total(replies: &[Reply]) -> Usage {
    let mut total = Usage::default();
    for reply in replies {
        total += reply.completion.usage;
    }
    total
}

fn delta(said: Said) -> Value {
    match said {
        Said::Text(text) => json!({ "content": text }),
        Said::Reasoning(text) => json!({ "reasoning_content": text }),
        Said::ToolCallStart { index, id, name } => {
            let function = json!({ "name": name, "arguments": "" });
            json!({ "tool_calls": [{ "index": index, "id": id, "type": "function", "function": function }] })
        }
        Said::ToolCallArguments { index, piece } => {
            json!({ "tool_calls": [{ "index": index, "function": { "arguments": piece } }] })
        }
        Said::Model(_) | Said::Aside(_) => json!({}),
    }
}

fn message(completion: &Completion) -> Value {
    let content = &completion.content;
    let mut message =
        json!({ "role": "assistant", "content": content, "refusal": null, "annotations": [] });
    if let Some(reasoning) = &completion.reasoning {
        message["reasoning_content"] = reasoning.as_str().into();
    }
    if !completion.tool_calls.is_empty() {
        message["tool_calls"] = completion.tool_calls.iter().map(tool_call).collect();
        if content.is_empty() {
            message["content"] = Value::Null;
        }
    }
    message
}

/// A stream of chunks: for each choice a role, pieces, and why it ended.
pub(crate) struct Chunks {
    frame: Frame,
    /// Whose role was told.
    spoke: Vec<bool>,
    used: Usage,
}

impl Chunks {
    pub(crate) fn new(frame: Frame, choices: usize) -> Self {
        Chunks {
            frame,
            spoke: vec![false; choices],
            used: Usage::default(),
        }
    }

    /// The first chunk of a choice says who speaks.
    fn role(&mut self, choice: usize) -> Vec<String> {
        let spoke = self
            .spoke
            .get_mut(choice)
            .map(|spoke| std::mem::replace(spoke, true));
        if spoke == Some(false) {
            vec![data(&self.frame.chunk(choice, Piece::Role))]
        } else {
            Vec::new()
        }
    }
}

impl Wording for Chunks {
    fn begin(&mut self) -> Vec<String> {
        Vec::new()
    }

    fn said(&mut self, choice: usize, said: Said) -> Vec<String> {
        if let Said::Model(model) = said {
            // The same on every chunk, so it cannot change once one was sent.
            if !model.is_empty() && self.spoke.iter().all(|spoke| !spoke) {
                self.frame.model = model;
            }
            return Vec::new();
        }
        let mut events = self.role(choice);
        events.push(data(&self.frame.chunk(choice, Piece::Said(said))));
        events
    }

    fn reply(&mut self, choice: usize, reply: Reply) -> Vec<String> {
        let mut events = self.role(choice);
        self.used += reply.completion.usage;
        let aside = reply.aside.map(|aside| Piece::Said(Said::Aside(aside)));
        let finish = Piece::Finish(reply.completion.finish_reason);
        for piece in aside.into_iter().chain([finish]) {
            events.push(data(&self.frame.chunk(choice, piece)));
        }
        events
    }

    fn close(&mut self) -> Vec<String> {
        let mut events = Vec::new();
        if self.frame.usage {
            events.push(data(&self.frame.usage_chunk(self.used)));
        }
        events.push("data: [DONE]\n\n".to_owned());
        events
    }

    fn fail(&mut self, failure: &Failure) -> Vec<String> {
        vec![data(&failure.body())]
    }
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
        StopReason::Stop | StopReason::Empty => FinishReason::Stop,
        StopReason::ContentFilter => FinishReason::ContentFilter,
        StopReason::Length
        | StopReason::MaxIterations
        | StopReason::Loop
        | StopReason::Timeout
        | StopReason::ToolLimit
        | StopReason::Stopped => FinishReason::Length,
    }
}

/// What an agent did, under a key that OpenAI does not use.
pub(crate) fn aside(reply: &ChatReply) -> Value {
    json!({
        "agentId": reply.agent_id,
        "runId": reply.run_id,
        "model": reply.model,
        "iterations": reply.iterations,
        "durationMs": reply.duration_ms,
        "stopReason": reply.stop_reason,
        "toolCalls": reply.tool_calls,
        "sessionId": reply.session_id,
        "notices": reply.notices,
    })
}

pub(crate) fn usage(usage: Usage) -> Value {
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
