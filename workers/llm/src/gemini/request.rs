//! Our request as Google's: contents of parts, the system text apart.

use std::collections::HashMap;

use agentos_sdk::Error;
use serde_json::{Map, Value, json};

use super::FORMAT;
use crate::{
    error::{invalid, one_choice},
    history::{Block, Conversation, Source, Speaker, joined},
    parameters::{self, Choice, Format, set},
    provider::Ask,
};

/// Parameters that Google keeps apart from the body's own.
const GENERATION: [&str; 6] = [
    "topK",
    "thinkingConfig",
    "candidateCount",
    "responseModalities",
    "mediaResolution",
    "speechConfig",
];

/// The body to post.
///
/// # Errors
/// `invalid_input` for what Google has no counterpart of.
pub(super) fn encode(ask: Ask<'_>, options: &Map<String, Value>) -> Result<Vec<u8>, Error> {
    let request = ask.request;
    one_choice(request)?;
    let conversation = Conversation::of(&request.messages)?;
    let contents = conversation
        .turns
        .iter()
        .map(|turn| -> Result<Value, Error> {
            let signatures = signatures(&turn.blocks);
            let parts: Result<Vec<Value>, Error> = turn
                .blocks
                .iter()
                .filter_map(|block| part(block, &signatures).transpose())
                .collect();
            let role = match turn.speaker {
                Speaker::User => "user",
                Speaker::Assistant => "model",
            };
            Ok(json!({ "role": role, "parts": parts? }))
        });
    let contents: Vec<Value> = contents.collect::<Result<_, _>>()?;
    let mut body = parameters::passed_on(request, options);
    let mut generation = Map::new();
    for name in GENERATION {
        set(&mut generation, name, body.shift_remove(name));
    }
    set(&mut generation, "temperature", request.temperature);
    set(&mut generation, "topP", request.top_p);
    set(
        &mut generation,
        "maxOutputTokens",
        parameters::max_tokens(request),
    );
    set(&mut generation, "stopSequences", parameters::stop(request));
    set(&mut generation, "seed", request.seed);
    match parameters::format(request) {
        Format::Text => {}
        Format::Json => set(
            &mut generation,
            "responseMimeType",
            Some("application/json"),
        ),
        Format::Schema(schema) => {
            set(
                &mut generation,
                "responseMimeType",
                Some("application/json"),
            );
            set(&mut generation, "responseJsonSchema", Some(schema.clone()));
        }
    }
    set(&mut body, "contents", Some(contents));
    let system = joined(&conversation.system);
    if !system.is_empty() {
        let system = json!({ "parts": [{ "text": system }] });
        set(&mut body, "systemInstruction", Some(system));
    }
    let functions: Vec<Value> = request
        .tools
        .iter()
        .filter_map(|tool| tool.function.as_ref())
        .map(declaration)
        .collect();
    if !functions.is_empty() {
        let tools = json!([{ "functionDeclarations": functions }]);
        set(&mut body, "tools", Some(tools));
        set(&mut body, "toolConfig", mode(parameters::choice(request)));
    }
    if !generation.is_empty() {
        set(&mut body, "generationConfig", Some(generation));
    }
    serde_json::to_vec(&body)
        .map_err(|error| invalid("messages", format!("the request has no JSON form: {error}")))
}

fn declaration(function: &agentos_contract::chat::FunctionTool) -> Value {
    let mut declaration = Map::new();
    set(&mut declaration, "name", Some(function.name.as_str()));
    set(
        &mut declaration,
        "description",
        function.description.clone(),
    );
    set(
        &mut declaration,
        "parametersJsonSchema",
        function.parameters.clone(),
    );
    declaration.into()
}

fn mode(choice: Choice<'_>) -> Option<Value> {
    let config = match choice {
        Choice::Auto => return None,
        Choice::None => json!({ "mode": "NONE" }),
        Choice::Required => json!({ "mode": "ANY" }),
        Choice::Function(name) => json!({ "mode": "ANY", "allowedFunctionNames": [name] }),
    };
    Some(json!({ "functionCallingConfig": config }))
}

/// Signatures of thoughts by the call that they belong to.
fn signatures(blocks: &[Block]) -> HashMap<&str, &Value> {
    let signed = blocks.iter().filter_map(|block| match block {
        Block::Thought(detail) if detail["format"] == FORMAT => {
            Some((detail["id"].as_str()?, &detail["data"]))
        }
        _ => None,
    });
    signed.collect()
}

fn part(block: &Block, signatures: &HashMap<&str, &Value>) -> Result<Option<Value>, Error> {
    Ok(Some(match block {
        Block::Text { text, .. } => json!({ "text": text }),
        Block::Image { source, .. } | Block::File { source, .. } => data(source),
        Block::Call { id, name, input } => {
            let mut part = json!({ "functionCall": { "name": name, "args": input } });
            if let Some(signature) = signatures.get(id.as_str()) {
                part["thoughtSignature"] = (*signature).clone();
            }
            part
        }
        Block::Result { name, content, .. } => {
            let mut response = json!({ "name": name, "response": { "result": joined(content) } });
            let seen = content.iter().filter_map(|block| match block {
                Block::Image { source, .. } | Block::File { source, .. } => Some(data(source)),
                _ => None,
            });
            let seen: Vec<Value> = seen.collect();
            if !seen.is_empty() {
                response["parts"] = seen.into();
            }
            json!({ "functionResponse": response })
        }
        Block::Thought(_) => return Ok(None),
        Block::Other { .. } => return Err(block.refused("this provider")),
    }))
}

fn data(source: &Source) -> Value {
    match source {
        Source::Data { media_type, base64 } => {
            json!({ "inlineData": { "mimeType": media_type, "data": base64 } })
        }
        Source::Url(url) => json!({ "fileData": { "fileUri": url } }),
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
                {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}],
                    "reasoning_details": [{"type": "reasoning.encrypted", "format": FORMAT, "id": "c", "data": "SIG"}]},
                {"role": "tool", "tool_call_id": "c", "content": "42"}],
            "tools": [{"type": "function", "function": {"name": "f", "description": "d", "parameters": {"type": "object"}}}],
            "toolChoice": "required", "maxTokens": 5, "temperature": 0.5, "stop": "x", "seed": 3,
            "responseFormat": {"type": "json_object"}, "extra": {"safetySettings": [], "topK": 4, "store": true},
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
                "systemInstruction": {"parts": [{"text": "be brief"}]},
                "contents": [
                    {"role": "user", "parts": [{"text": "what?"}, {"inlineData": {"mimeType": "image/png", "data": "AAAA"}}]},
                    {"role": "model", "parts": [{"functionCall": {"name": "f", "args": {"x": 1}}, "thoughtSignature": "SIG"}]},
                    {"role": "user", "parts": [{"functionResponse": {"name": "f", "response": {"result": "42"}}}]}],
                "tools": [{"functionDeclarations": [{"name": "f", "description": "d", "parametersJsonSchema": {"type": "object"}}]}],
                "toolConfig": {"functionCallingConfig": {"mode": "ANY"}},
                "generationConfig": {"topK": 4, "temperature": 0.5, "maxOutputTokens": 5, "stopSequences": ["x"], "seed": 3,
                    "responseMimeType": "application/json"},
                "safetySettings": [],
            })
        );
    }
}
