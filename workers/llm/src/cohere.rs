//! The wire family of Cohere's chat, version 2: OpenAI-like messages, typed events.

use std::collections::VecDeque;

use agentos_contract::llm::{Event, FinishReason, Usage};
use agentos_sdk::Error;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::{
    error::{Complaint, invalid, one_choice},
    history::{Block, Conversation, Source, Speaker, joined},
    hosted::{Outgoing, Wire},
    parameters::{self, Choice, Format, set},
    provider::Ask,
    reading::{self, Fault, finish},
};

/// Cohere's dialect.
pub(crate) struct Cohere {
    pub(crate) provider: String,
    pub(crate) options: Map<String, Value>,
}

impl Wire for Cohere {
    fn write(&self, ask: Ask<'_>) -> Result<Outgoing, Error> {
        Ok(Outgoing {
            path: "/v2/chat".to_owned(),
            body: encode(ask, &self.options)?,
        })
    }

    fn read(&self, ask: Ask<'_>) -> Box<dyn reading::Codec> {
        Box::new(Codec {
            provider: self.provider.clone(),
            model: ask.model.to_owned(),
            calls: 0,
        })
    }
}

fn encode(ask: Ask<'_>, options: &Map<String, Value>) -> Result<Vec<u8>, Error> {
    let request = ask.request;
    one_choice(request)?;
    let messages = Conversation::written(&request.messages, say)?;
    let mut body = parameters::passed_on(request, options);
    set(&mut body, "model", Some(ask.model));
    set(&mut body, "messages", Some(messages));
    set(&mut body, "temperature", request.temperature);
    set(&mut body, "p", request.top_p);
    set(&mut body, "max_tokens", parameters::max_tokens(request));
    set(&mut body, "stop_sequences", parameters::stop(request));
    set(&mut body, "seed", request.seed);
    let functions = parameters::functions(request);
    if !functions.is_empty() {
        let tool = |function: &&agentos_contract::chat::FunctionTool| {
            let schema = parameters::object_schema(function.parameters.as_ref());
            json!({ "type": "function", "function": {
                "name": function.name, "description": function.description, "parameters": schema } })
        };
        let chosen =
            |function: &&&agentos_contract::chat::FunctionTool| match parameters::choice(request) {
                // It can be told to call, but not whom: it is offered nothing else.
                Choice::Function(name) => function.name == name,
                _ => true,
            };
        let tools: Vec<Value> = functions.iter().filter(chosen).map(tool).collect();
        set(&mut body, "tools", Some(tools));
        if matches!(
            parameters::choice(request),
            Choice::Required | Choice::Function(_)
        ) {
            set(&mut body, "tool_choice", Some("REQUIRED"));
        }
    }
    match parameters::format(request) {
        Format::Text => {}
        Format::Json => set(
            &mut body,
            "response_format",
            Some(json!({ "type": "json_object" })),
        ),
        Format::Schema(schema) => {
            let format = json!({ "type": "json_object", "json_schema": schema });
            set(&mut body, "response_format", Some(format));
        }
    }
    set(&mut body, "stream", Some(ask.stream));
    serde_json::to_vec(&body)
        .map_err(|error| invalid("messages", format!("the request has no JSON form: {error}")))
}

fn say(speaker: Speaker, blocks: &[Block], messages: &mut Vec<Value>) -> Result<(), Error> {
    let (mut parts, mut calls) = (Vec::new(), Vec::new());
    for block in blocks {
        match block {
            Block::Text { text, .. } => parts.push(json!({ "type": "text", "text": text })),
            Block::Image { source, .. } => {
                let url = match source {
                    Source::Url(url) => url.clone(),
                    Source::Data { media_type, base64 } => {
                        format!("data:{media_type};base64,{base64}")
                    }
                };
                parts.push(json!({ "type": "image_url", "image_url": { "url": url } }));
            }
            Block::Call { id, name, input } => {
                let arguments = Value::Object(input.clone()).to_string();
                calls.push(json!({ "id": id, "type": "function", "function": { "name": name, "arguments": arguments } }));
            }
            Block::Result { id, content, .. } => messages
                .push(json!({ "role": "tool", "tool_call_id": id, "content": joined(content) })),
            Block::Thought(_) => {}
            Block::File { .. } | Block::Other { .. } => return Err(block.refused("this provider")),
        }
    }
    if parts.is_empty() && calls.is_empty() {
        return Ok(());
    }
    let mut message = match speaker {
        Speaker::User => json!({ "role": "user" }),
        Speaker::Assistant => json!({ "role": "assistant" }),
    };
    if !parts.is_empty() {
        message["content"] = parts.into();
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
    calls: u32,
}

#[derive(Deserialize)]
struct Piece {
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    delta: Value,
}

#[derive(Deserialize)]
struct Whole {
    finish_reason: String,
    message: Message,
    #[serde(default)]
    usage: Value,
}

#[derive(Deserialize)]
struct Message {
    #[serde(default)]
    content: Option<Vec<Value>>,
    tool_plan: Option<String>,
    #[serde(default)]
    tool_calls: Option<Vec<Value>>,
}

impl Codec {
    fn start(&self) -> Event {
        Event::Start {
            model: self.model.clone(),
            provider: self.provider.clone(),
        }
    }

    fn begin(&mut self, call: &Value, events: &mut VecDeque<Event>) {
        let text = |pointer: &str| {
            call.pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let index = self.calls;
        self.calls += 1;
        events.push_back(Event::ToolCallStart {
            index,
            id: text("/id").to_owned(),
            name: text("/function/name").to_owned(),
        });
        self.arguments(call, events);
    }

    /// Belongs to the call that began last: they come one after the other.
    fn arguments(&self, call: &Value, events: &mut VecDeque<Event>) {
        let piece = call.pointer("/function/arguments").and_then(Value::as_str);
        if let (Some(piece), Some(index)) = (
            piece.filter(|piece| !piece.is_empty()),
            self.calls.checked_sub(1),
        ) {
            let piece = piece.to_owned();
            events.push_back(Event::ToolCallArguments { index, piece });
        }
    }

    fn over(&self, reason: &str, usage: &Value, events: &mut VecDeque<Event>) -> Result<(), Fault> {
        let reason = match reason {
            "MAX_TOKENS" => FinishReason::Length,
            "TOOL_CALL" => FinishReason::ToolCalls,
            "ERROR" | "ERROR_TOXIC" | "TIMEOUT" => {
                return Err(Fault::Refused(Complaint {
                    message: format!("the model failed in the middle of its answer: {reason}"),
                    ..Complaint::default()
                }));
            }
            _ => FinishReason::Stop,
        };
        let count = |name: &str| {
            let counted = usage["tokens"][name]
                .as_f64()
                .or(usage["billed_units"][name].as_f64());
            counted.map(|count| count as u64)
        };
        if let (Some(input), Some(output)) = (count("input_tokens"), count("output_tokens")) {
            events.push_back(Event::Usage(Usage {
                cached_tokens: usage["cached_tokens"].as_u64(),
                ..Usage::new(input, output)
            }));
        }
        events.push_back(finish(reason, self.calls > 0));
        Ok(())
    }
}

fn content(part: &Value, events: &mut VecDeque<Event>) {
    let text = |name: &str| {
        part[name]
            .as_str()
            .filter(|text| !text.is_empty())
            .map(str::to_owned)
    };
    events.extend(text("thinking").map(|text| Event::Reasoning { text }));
    events.extend(text("text").map(|text| Event::Text { text }));
}

fn plan(plan: Option<&str>, events: &mut VecDeque<Event>) {
    if let Some(text) = plan.filter(|text| !text.is_empty()) {
        events.push_back(Event::Reasoning {
            text: text.to_owned(),
        });
    }
}

impl reading::Codec for Codec {
    fn piece(&mut self, data: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        if matches!(data.trim_ascii(), b"" | b"[DONE]") {
            return Ok(());
        }
        let Piece { kind, delta } = serde_json::from_slice(data)?;
        let message = &delta["message"];
        match kind.as_str() {
            "message-start" => events.push_back(self.start()),
            "content-start" | "content-delta" => content(&message["content"], events),
            // What it says about the calls that it is going to make.
            "tool-plan-delta" => plan(message["tool_plan"].as_str(), events),
            "tool-call-start" => self.begin(&message["tool_calls"], events),
            "tool-call-delta" => self.arguments(&message["tool_calls"], events),
            "message-end" => {
                if let Some(error) = delta.get("error").filter(|error| !error.is_null()) {
                    return Err(Fault::Refused(Complaint::read(&json!({ "error": error }))));
                }
                let reason = delta["finish_reason"].as_str().unwrap_or_default();
                return self.over(reason, &delta["usage"], events);
            }
            "" => {
                let body = serde_json::from_slice(data)?;
                return Err(Fault::Refused(Complaint::read(&body)));
            }
            _ => {}
        }
        Ok(())
    }

    fn end(&mut self, _: &mut VecDeque<Event>) -> Result<(), Fault> {
        Err(Fault::Cut)
    }

    fn whole(&mut self, body: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault> {
        let whole: Whole = serde_json::from_slice(body)?;
        events.push_back(self.start());
        plan(whole.message.tool_plan.as_deref(), events);
        for part in whole.message.content.iter().flatten() {
            content(part, events);
        }
        for call in whole.message.tool_calls.iter().flatten() {
            self.begin(call, events);
        }
        self.over(&whole.finish_reason, &whole.usage, events)
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
            "tools": [{"type": "function", "function": {"name": "f", "description": "d"}}, {"type": "function", "function": {"name": "g"}}],
            "toolChoice": {"type": "function", "function": {"name": "f"}}, "maxTokens": 5, "topP": 0.5, "stop": "x",
            "responseFormat": {"type": "json_schema", "json_schema": {"schema": {"type": "object"}}}, "extra": {"k": 4, "store": true},
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
                "model": "m", "stream": true, "k": 4, "p": 0.5, "max_tokens": 5, "stop_sequences": ["x"],
                "messages": [
                    {"role": "system", "content": "be brief"},
                    {"role": "user", "content": [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]},
                    {"role": "assistant", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}]},
                    {"role": "tool", "tool_call_id": "c", "content": "42"}],
                "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object", "properties": {}}}}],
                "tool_choice": "REQUIRED", "response_format": {"type": "json_object", "json_schema": {"type": "object"}},
            })
        );
    }
}
