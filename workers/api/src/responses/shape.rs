//! A response as OpenAI has it: what it says of its request, and what was put out.

use agentos_contract::llm::{Completion, FinishReason, Usage};
use serde_json::{Map, Value, json};

use crate::{ask::Reply, chat::new_id, error::Failure};

/// A response; `status` and `output` change, the rest stays.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) id: String,
    pub(super) created: u64,
    pub(super) model: String,
    pub(super) echo: Map<String, Value>,
}

impl Draft {
    /// The response while it is made.
    pub(super) fn under_way(&self, status: &str) -> Value {
        self.response(status, Vec::new(), Value::Null)
    }

    /// The response when `reply` is whole and `output` was put out.
    pub(super) fn done(&self, reply: &Reply, output: Vec<Value>) -> Value {
        let reason = match reply.completion.finish_reason {
            FinishReason::Length => Some("max_output_tokens"),
            FinishReason::ContentFilter => Some("content_filter"),
            FinishReason::Stop | FinishReason::ToolCalls => None,
        };
        let status = if reason.is_some() {
            "incomplete"
        } else {
            "completed"
        };
        let mut response = self.response(status, output, usage(reply.completion.usage));
        if let Some(reason) = reason {
            response["incomplete_details"] = json!({ "reason": reason });
        }
        if let Some(aside) = &reply.aside {
            response["agentos"] = aside.clone();
        }
        response
    }

    /// The response when it broke off.
    pub(super) fn failed(&self, failure: &Failure, output: Vec<Value>) -> Value {
        let mut response = self.response("failed", output, Value::Null);
        let code = failure.code.as_deref().unwrap_or("server_error");
        response["error"] = json!({ "code": code, "message": failure.message });
        response
    }

    fn response(&self, status: &str, output: Vec<Value>, usage: Value) -> Value {
        let mut response = json!({
            "id": self.id, "object": "response", "created_at": self.created, "status": status,
            "error": null, "incomplete_details": null, "model": self.model, "output": output,
            "usage": usage,
        });
        if let Some(fields) = response.as_object_mut() {
            fields.extend(self.echo.clone());
        }
        response
    }
}

fn usage(usage: Usage) -> Value {
    json!({
        "input_tokens": usage.input_tokens,
        "input_tokens_details": { "cached_tokens": usage.cached_tokens.unwrap_or_default() },
        "output_tokens": usage.output_tokens,
        "output_tokens_details": { "reasoning_tokens": usage.reasoning_tokens.unwrap_or_default() },
        "total_tokens": usage.input_tokens + usage.output_tokens,
    })
}

/// What an answer puts out, in one piece.
pub(super) fn output(completion: &Completion) -> Vec<Value> {
    let mut output = Vec::new();
    if let Some(text) = &completion.reasoning {
        output.push(reasoning(&new_id("rs_"), text));
    }
    if !completion.content.is_empty() || completion.tool_calls.is_empty() {
        output.push(message(
            &new_id("msg_"),
            "completed",
            Some(&completion.content),
        ));
    }
    for call in &completion.tool_calls {
        let id = new_id("fc_");
        output.push(function_call(
            &id,
            "completed",
            &call.id,
            &call.name,
            &call.arguments,
        ));
    }
    output
}

/// Without a text there is no part of it yet.
pub(super) fn message(id: &str, status: &str, text: Option<&str>) -> Value {
    let content: Vec<Value> = text.map(output_text).into_iter().collect();
    json!({ "id": id, "type": "message", "status": status, "role": "assistant", "content": content })
}

pub(super) fn output_text(text: &str) -> Value {
    json!({ "type": "output_text", "text": text, "annotations": [], "logprobs": [] })
}

pub(super) fn reasoning(id: &str, text: &str) -> Value {
    let summary = if text.is_empty() {
        json!([])
    } else {
        json!([{ "type": "summary_text", "text": text }])
    };
    json!({ "id": id, "type": "reasoning", "summary": summary })
}

pub(super) fn function_call(
    id: &str,
    status: &str,
    call_id: &str,
    name: &str,
    arguments: &str,
) -> Value {
    json!({
        "id": id, "type": "function_call", "status": status,
        "call_id": call_id, "name": name, "arguments": arguments,
    })
}
