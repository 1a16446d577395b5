//! The wire family of Ollama's own chat: JSON lines, options apart, calls in one piece.

use std::collections::VecDeque;

use agentos_contract::llm::{Event, FinishReason, Usage};
use agentos_sdk::Error;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use crate::{
    error::{Complaint, invalid, one_choice},
    history::{Block, Conversation, Source, Speaker, joined},
    hosted::{Outgoing, Wire},
    parameters::{self, Format, set},
    provider::Ask,
    reading::{self, Fault, finish},
};

/// Parameters that stand in the body; all others are options of the model's run.
const OUTER: [&str; 4] = ["think", "keep_alive", "format", "logprobs"];
/// The smallest window that is asked for. Ollama's own default cuts longer prompts silently.
const CONTEXT_TOKENS_MIN: usize = 8_192;
/// Room for an answer without a limit of its own.
const ANSWER_TOKENS: usize = 2_048;
/// Bytes of a prompt that are a token at least, in the languages that are dearest.
const TOKEN_BYTES: usize = 3;

/// Ollama's dialect.
pub(crate) struct Ollama {
    pub(crate) provider: String,
    pub(crate) options: Map<String, Value>,
}

impl Wire for Ollama {
    fn write(&self, ask: Ask<'_>) -> Result<Outgoing, Error> {
        Ok(Outgoing {
            path: "/api/chat".to_owned(),
            body: encode(ask, &self.options)?,
        })
    }

    fn read(&self, ask: Ask<'_>) -> Box<dyn reading::Codec> {
        Box::new(Codec {
            provider: self.provider.clone(),
            model: ask.model.to_owned(),
            started: false,
            calls: 0,
        })
    }
}

fn encode(ask: Ask<'_>, options: &Map<String, Value>) -> Result<Vec<u8>, Error> {
    let request = ask.request;
    one_choice(request)?;
    let messages = Conversation::written(&request.messages, say)?;
    let bytes: usize = messages
        .iter()
        .map(|message| message["content"].as_str().map_or(0, str::len))
        .sum();
    let mut run = parameters::passed_on(request, options);
    let mut body = Map::new();
    for name in OUTER {
        set(&mut body, name, run.shift_remove(name));
    }
    set(&mut body, "model", Some(ask.model));
    set(&mut body, "messages", Some(messages));
    set(&mut body, "stream", Some(ask.stream));
    let functions = parameters::functions(request);
    if !functions.is_empty() {
        let tools: Vec<Value> = functions
            .iter()
            .map(|function| json!({ "type": "function", "function": function }))
            .collect();
        set(&mut body, "tools", Some(tools));
    }
    match parameters::format(request) {
        Format::Text => {}
        Format::Json => set(&mut body, "format", Some("json")),
        Format::Schema(schema) => set(&mut body, "format", Some(schema.clone())),
    }
    if let Some(effort) = request
        .extra
        .get("reasoning_effort")
        .and_then(Value::as_str)
    {
        let think = if effort == "none" {
            false.into()
        } else {
            Value::from(effort)
        };
        body.entry("think").or_insert(think);
    }
    let limit = parameters::max_tokens(request);
    set(&mut run, "temperature", request.temperature);
    set(&mut run, "top_p", request.top_p);
    set(&mut run, "num_predict", limit);
    set(&mut run, "stop", parameters::stop(request));
    set(&mut run, "seed", request.seed);
    if !run.contains_key("num_ctx") {
        let tokens = bytes / TOKEN_BYTES + limit.map_or(ANSWER_TOKENS, |limit| limit as usize);
        // In steps, because another window means that the model is loaded again.
        let window = tokens.next_power_of_two().max(CONTEXT_TOKENS_MIN);
        set(&mut run, "num_ctx", Some(window));
    }
    set(&mut body, "options", Some(run));
    serde_json::to_vec(&body)
        .map_err(|error| invalid("messages", format!("the request has no JSON form: {error}")))
}

fn say(speaker: Speaker, blocks: &[Block], messages: &mut Vec<Value>) -> Result<(), Error> {
    let (mut images, mut calls, mut said) = (Vec::new(), Vec::new(), Vec::new());
    for block in blocks {
        match block {
            Block::Text { .. } => said.push(block.clone()),
            Block::Image {
                source: Source::Data { base64, .. },
                ..
            } => images.push(base64.clone()),
            Block::Call { id, name, input } => {
                calls.push(json!({ "id": id, "function": { "name": name, "arguments": input } }));
            }
            Block::Result { id, name, content } => messages.push(json!({
                "role": "tool", "content": joined(content), "tool_name": name, "tool_call_id": id,
            })),
            Block::Thought(_) => {}
            Block::Image { .. } | Block::File { .. } | Block::Other { .. } => {
                return Err(block.refused("this provider"));
            }
        }
    }
    if said.is_empty() && images.is_empty() && calls.is_empty() {
        return Ok(());
    }
    let role = match speaker {
        Speaker::User => "user",
        Speaker::Assistant => "assistant",
    };
    let mut message = json!({ "role": role, "content": joined(&said) });
    if !images.is_empty() {
        message["images"] = images.into();
    }
    if !calls.is_empty() {
        message["tool_calls"] = calls.into();
    }
    messages.push(message);
    Ok(())
}

/// Reads one answer.
struct Codec {
    provider: String,
    model: String,
    started: bool,
    calls: u32,
}

#[derive(Deserialize)]
struct Line {
    model: Option<String>,
    message: Option<Message>,
    #[serde(default)]
    done: bool,
    done_reason: Option<String>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<String>,
    thinking: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Call>>,
}

#[derive(Deserialize)]
struct Call {
    id: Option<String>,
    function: Function,
}

#[derive(Deserialize)]
struct Function {
    name: String,
    #[serde(default)]
    arguments: Value,
}

impl Codec {
    fn message(&mut self, message: Message, events: &mut VecDeque<Event>) {
        let filled = |text: Option<String>| text.filter(|text| !text.is_empty());
        events.extend(filled(message.thinking).map(|text| Event::Reasoning { text }));
        events.extend(filled(message.content).map(|text| Event::Text { text }));
        for call in message.tool_calls.unwrap_or_default() {
            let index = self.calls;
            self.calls += 1;
            let minted = || format!("call_{}", Uuid::new_v4().simple());
            events.push_back(Event::ToolCallStart {
                index,
                id: filled(call.id).unwrap_or_else(minted),
                name: call.function.name,
            });
            let piece = match call.function.arguments {
                Value::String(text) => text,
                Value::Null => "{}".to_owned(),
                arguments => arguments.to_string(),
            };
            events.push_back(Event::ToolCallArguments { index, piece });
        }
    }
}

impl reading::Codec for Codec {
    fn piece(&mut self, data: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        let line: Line = serde_json::from_slice(data)?;
        if let Some(error) = line.error {
            return Err(Fault::Refused(Complaint::read(&json!({ "error": error }))));
        }
        if line.message.is_none() && !line.done {
            return Err(Fault::Garbage("a line that is no answer".to_owned()));
        }
        if !std::mem::replace(&mut self.started, true) {
            events.push_back(Event::Start {
                model: line.model.unwrap_or_else(|| self.model.clone()),
                provider: self.provider.clone(),
            });
        }
        if let Some(message) = line.message {
            self.message(message, events);
        }
        if line.done {
            if line.prompt_eval_count.is_some() || line.eval_count.is_some() {
                let (input, output) = (line.prompt_eval_count, line.eval_count);
                let usage = Usage::new(input.unwrap_or(0), output.unwrap_or(0));
                events.push_back(Event::Usage(usage));
            }
            let reason = match line.done_reason.as_deref() {
                Some("length") => FinishReason::Length,
                _ => FinishReason::Stop,
            };
            events.push_back(finish(reason, self.calls > 0));
        }
        Ok(())
    }

    fn end(&mut self, _: &mut VecDeque<Event>) -> Result<(), Fault> {
        Err(Fault::Cut)
    }

    fn whole(&mut self, body: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        self.piece(body, events)?;
        match events.back() {
            Some(Event::Finish { .. }) => Ok(()),
            _ => Err(Fault::Cut),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_request() {
        let request = json!({
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
                {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}]},
                {"role": "tool", "tool_call_id": "c", "content": "42"}],
            "tools": [{"type": "function", "function": {"name": "f"}}], "maxTokens": 5, "temperature": 0.5,
            "responseFormat": {"type": "json_object"}, "extra": {"keep_alive": "1m", "min_p": 0.1, "store": true},
        });
        let ask = Ask {
            model: "m",
            request: &serde_json::from_value(request).unwrap(),
            stream: true,
        };
        let body: Value = serde_json::from_slice(&encode(ask, &Map::new()).unwrap()).unwrap();
        assert_eq!(
            body,
            json!({
                "model": "m", "stream": true, "keep_alive": "1m", "format": "json",
                "messages": [
                    {"role": "system", "content": "be brief"},
                    {"role": "user", "content": "what?", "images": ["AAAA"]},
                    {"role": "assistant", "content": "", "tool_calls": [{"id": "c", "function": {"name": "f", "arguments": {"x": 1}}}]},
                    {"role": "tool", "content": "42", "tool_name": "f", "tool_call_id": "c"}],
                "tools": [{"type": "function", "function": {"name": "f"}}],
                "options": {"min_p": 0.1, "temperature": 0.5, "num_predict": 5, "num_ctx": 8192},
            })
        );
    }

    #[test]
    fn the_window_grows_with_the_prompt() {
        let window = |bytes: usize, options: Value| {
            let request = serde_json::from_value(
                json!({"messages": [{"role": "user", "content": "x".repeat(bytes)}]}),
            )
            .unwrap();
            let ask = Ask {
                model: "m",
                request: &request,
                stream: false,
            };
            let options = serde_json::from_value(options).unwrap();
            let body: Value = serde_json::from_slice(&encode(ask, &options).unwrap()).unwrap();
            body["options"]["num_ctx"].as_u64().unwrap()
        };
        assert_eq!(window(10, json!({})), 8_192);
        assert_eq!(window(60_000, json!({})), 32_768);
        assert_eq!(window(60_000, json!({"num_ctx": 4096})), 4_096);
    }
}
