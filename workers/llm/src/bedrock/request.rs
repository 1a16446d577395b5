//! Our request as Bedrock's.

use agentos_sdk::Error;
use serde_json::{Map, Value, json};

use super::FORMAT;
use crate::{
    error::{invalid, one_choice},
    history::{Block, Conversation, Source, Speaker},
    parameters::{self, Choice, set},
    provider::Ask,
};

/// The body to post.
///
/// # Errors
/// `invalid_input` for what Bedrock has no counterpart of.
pub(super) fn encode(ask: Ask<'_>, options: &Map<String, Value>) -> Result<Vec<u8>, Error> {
    let request = ask.request;
    one_choice(request)?;
    let mut conversation = Conversation::of(&request.messages)?;
    let format = parameters::format_in_words(request).map(Block::text);
    conversation.system.extend(format);
    let messages = conversation
        .turns
        .iter()
        .map(|turn| -> Result<Value, Error> {
            let role = match turn.speaker {
                Speaker::User => "user",
                Speaker::Assistant => "assistant",
            };
            Ok(json!({ "role": role, "content": blocks(&turn.blocks)? }))
        });
    let messages: Vec<Value> = messages.collect::<Result<_, _>>()?;
    let mut body = Map::new();
    set(&mut body, "messages", Some(messages));
    if !conversation.system.is_empty() {
        set(&mut body, "system", Some(blocks(&conversation.system)?));
    }
    let mut inference = Map::new();
    set(&mut inference, "maxTokens", parameters::max_tokens(request));
    set(
        &mut inference,
        "temperature",
        request.temperature.map(|warm| warm.min(1.0)),
    );
    set(&mut inference, "topP", request.top_p);
    set(&mut inference, "stopSequences", parameters::stop(request));
    if !inference.is_empty() {
        set(&mut body, "inferenceConfig", Some(inference));
    }
    set(&mut body, "toolConfig", tools(ask, &conversation));
    let more = parameters::passed_on(request, options);
    if !more.is_empty() {
        set(&mut body, "additionalModelRequestFields", Some(more));
    }
    serde_json::to_vec(&body)
        .map_err(|error| invalid("messages", format!("the request has no JSON form: {error}")))
}

/// Bedrock wants tools declared as soon as the history holds a call, whatever may be called now.
fn tools(ask: Ask<'_>, conversation: &Conversation) -> Option<Value> {
    let spec = |name: &str, description: Option<&str>, schema: Value| {
        let mut spec = json!({ "name": name, "inputSchema": { "json": schema } });
        if let Some(description) = description.filter(|text| !text.is_empty()) {
            spec["description"] = description.into();
        }
        json!({ "toolSpec": spec })
    };
    let offered = parameters::functions(ask.request);
    let mut tools: Vec<Value> = offered
        .iter()
        .map(|function| {
            let schema = parameters::object_schema(function.parameters.as_ref());
            spec(&function.name, function.description.as_deref(), schema)
        })
        .collect();
    if tools.is_empty() {
        let called = conversation.called();
        tools = called
            .into_iter()
            .map(|name| spec(name, None, parameters::object_schema(None)))
            .collect();
    }
    if tools.is_empty() {
        return None;
    }
    let choice = match parameters::choice(ask.request) {
        _ if offered.is_empty() => None,
        Choice::Auto | Choice::None => None,
        Choice::Required => Some(json!({ "any": {} })),
        Choice::Function(name) => Some(json!({ "tool": { "name": name } })),
    };
    let mut config = json!({ "tools": tools });
    if let Some(choice) = choice {
        config["toolChoice"] = choice;
    }
    Some(config)
}

fn blocks(blocks: &[Block]) -> Result<Vec<Value>, Error> {
    blocks
        .iter()
        .filter_map(|part| block(part).transpose())
        .collect()
}

fn block(block: &Block) -> Result<Option<Value>, Error> {
    Ok(Some(match block {
        Block::Text { text, .. } => json!({ "text": text }),
        Block::Image {
            source: Source::Data { media_type, base64 },
            ..
        } => json!({ "image": { "format": suffix(media_type), "source": { "bytes": base64 } } }),
        Block::File {
            name,
            source: Source::Data { media_type, base64 },
            ..
        } => json!({ "document": {
            "format": suffix(media_type), "name": plain(name), "source": { "bytes": base64 } } }),
        Block::Call { id, name, input } => {
            json!({ "toolUse": { "toolUseId": id, "name": name, "input": input } })
        }
        Block::Result { id, content, .. } => {
            let mut content = blocks(content)?;
            if content.is_empty() {
                content.push(json!({ "text": "(no output)" }));
            }
            json!({ "toolResult": { "toolUseId": id, "content": content } })
        }
        Block::Thought(detail) => return Ok(thought(detail)),
        Block::Image { .. } | Block::File { .. } | Block::Other { .. } => {
            return Err(block.refused("this provider"));
        }
    }))
}

fn thought(detail: &Value) -> Option<Value> {
    if detail["format"] != FORMAT {
        return None;
    }
    Some(match detail["type"].as_str()? {
        "reasoning.text" => json!({ "reasoningContent": { "reasoningText": {
            "text": detail["text"], "signature": detail["signature"] } } }),
        "reasoning.encrypted" => {
            json!({ "reasoningContent": { "redactedContent": detail["data"] } })
        }
        _ => return None,
    })
}

/// `image/jpeg` is `jpeg`, and text is `txt`.
fn suffix(media_type: &str) -> &str {
    match media_type
        .rsplit_once('/')
        .map_or(media_type, |(_, kind)| kind)
    {
        "plain" => "txt",
        "markdown" => "md",
        "msword" => "doc",
        "vnd.openxmlformats-officedocument.wordprocessingml.document" => "docx",
        "vnd.openxmlformats-officedocument.spreadsheetml.sheet" => "xlsx",
        kind => kind,
    }
}

/// Names of documents hold letters, digits, blanks, hyphens and brackets, and no two blanks.
fn plain(name: &str) -> String {
    let allowed = |char: char| char.is_ascii_alphanumeric() || "-()[]".contains(char);
    let words: Vec<_> = name
        .split(|char| !allowed(char))
        .filter(|word| !word.is_empty())
        .collect();
    if words.is_empty() {
        return "document".to_owned();
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoded(request: Value) -> Value {
        let ask = Ask {
            model: "m",
            request: &serde_json::from_value(request).unwrap(),
            stream: true,
        };
        serde_json::from_slice(&encode(ask, &Map::new()).unwrap()).unwrap()
    }

    #[test]
    fn a_whole_request() {
        let body = encoded(json!({
            "messages": [
                {"role": "system", "content": "be brief"},
                {"role": "user", "content": [{"type": "text", "text": "what?"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}},
                    {"type": "file", "file": {"filename": "a_b.pdf", "file_data": "data:application/pdf;base64,BBBB"}}]},
                {"role": "assistant", "content": null, "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{\"x\":1}"}}],
                    "reasoning_details": [{"type": "reasoning.text", "format": FORMAT, "text": "hm", "signature": "SIG"}]},
                {"role": "tool", "tool_call_id": "c", "content": ""}],
            "tools": [{"type": "function", "function": {"name": "f"}}],
            "toolChoice": "required", "maxTokens": 5, "temperature": 1.5, "stop": "x", "extra": {"top_k": 4, "store": true},
        }));
        assert_eq!(
            body,
            json!({
                "system": [{"text": "be brief"}],
                "messages": [
                    {"role": "user", "content": [{"text": "what?"}, {"image": {"format": "png", "source": {"bytes": "AAAA"}}},
                        {"document": {"format": "pdf", "name": "a b pdf", "source": {"bytes": "BBBB"}}}]},
                    {"role": "assistant", "content": [{"reasoningContent": {"reasoningText": {"text": "hm", "signature": "SIG"}}},
                        {"toolUse": {"toolUseId": "c", "name": "f", "input": {"x": 1}}}]},
                    {"role": "user", "content": [{"toolResult": {"toolUseId": "c", "content": [{"text": "(no output)"}]}}]}],
                "inferenceConfig": {"maxTokens": 5, "temperature": 1.0, "stopSequences": ["x"]},
                "toolConfig": {"tools": [{"toolSpec": {"name": "f", "inputSchema": {"json": {"type": "object", "properties": {}}}}}],
                    "toolChoice": {"any": {}}},
                "additionalModelRequestFields": {"top_k": 4},
            })
        );
    }

    #[test]
    fn tools_of_the_past_are_declared() {
        let body = encoded(json!({"messages": [
            {"role": "assistant", "content": "x", "tool_calls": [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]},
            {"role": "tool", "tool_call_id": "c", "content": "1"}]}));
        assert_eq!(body["toolConfig"]["tools"][0]["toolSpec"]["name"], "f");
    }

    #[test]
    fn images_by_address_are_refused_with_a_remedy() {
        let request = json!({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://h/i.png"}}]}]});
        let ask = Ask {
            model: "m",
            request: &serde_json::from_value(request).unwrap(),
            stream: false,
        };
        let message = encode(ask, &Map::new()).unwrap_err().message;
        assert!(message.contains("send its data"), "{message}");
    }
}
