//! The body of `POST /v1/responses`.

use agentos_contract::{
    chat::{Message, Tool},
    llm::CompleteRequest,
};
use serde_json::{Map, Value, json};

use super::items;
use crate::{
    error::Failure,
    fields::{Fields, model},
};

/// What is asked for, and how it is to be answered.
#[derive(Debug)]
pub(super) struct Wanted {
    /// Without its messages, which also depend on what was said before.
    pub(super) ask: CompleteRequest,
    pub(super) instructions: Option<String>,
    /// Items of this request alone.
    pub(super) input: Vec<Value>,
    pub(super) previous: Option<String>,
    pub(super) stream: bool,
    pub(super) store: bool,
    pub(super) background: bool,
    /// Fields of the request that the response repeats.
    pub(super) echo: Map<String, Value>,
}

/// What a response says of its request, and what it says when that said nothing.
fn echoed() -> [(&'static str, Value); 17] {
    [
        ("background", false.into()),
        ("instructions", Value::Null),
        ("max_output_tokens", Value::Null),
        ("max_tool_calls", Value::Null),
        ("metadata", json!({})),
        ("parallel_tool_calls", true.into()),
        ("previous_response_id", Value::Null),
        ("reasoning", json!({ "effort": null, "summary": null })),
        ("service_tier", "default".into()),
        ("store", true.into()),
        ("temperature", json!(1.0)),
        ("text", json!({ "format": { "type": "text" } })),
        ("tool_choice", "auto".into()),
        ("tools", json!([])),
        ("top_p", json!(1.0)),
        ("truncation", "disabled".into()),
        ("user", Value::Null),
    ]
}

/// # Errors
/// 400 with the name of the field that does not fit.
pub(super) fn read(body: Map<String, Value>) -> Result<Wanted, Failure> {
    let said = |name: &str| body.get(name).filter(|value| !value.is_null()).cloned();
    let echo = echoed()
        .into_iter()
        .map(|(name, default)| (name.to_owned(), said(name).unwrap_or(default)));
    let echo = echo.collect();
    let mut fields = Fields(body);
    refuse(&mut fields)?;
    let (response_format, verbosity) = text(&mut fields)?;
    let reasoning: Map<String, Value> = fields.take("reasoning")?.unwrap_or_default();
    let ask = CompleteRequest {
        model: model(&mut fields)?,
        tools: tools(&mut fields)?,
        tool_choice: tool_choice(&mut fields)?,
        temperature: fields.within("temperature", 0.0, 2.0)?,
        max_tokens: fields.take("max_output_tokens")?,
        top_p: fields.within("top_p", 0.0, 1.0)?,
        response_format,
        user: fields.take("user")?,
        ..CompleteRequest::default()
    };
    let input = items::items(fields.required("input")?)?;
    let stream = fields.take("stream")?.unwrap_or(false);
    let background = fields.take("background")?.unwrap_or(false);
    let store = fields.take("store")?.unwrap_or(true);
    if background && (stream || !store) {
        let message = "a response in the background is stored and fetched with GET, not streamed";
        return Err(Failure::invalid("background", message));
    }
    let (instructions, previous) = (
        fields.take("instructions")?,
        fields.take("previous_response_id")?,
    );
    // About the response and not about the model.
    for name in [
        "include",
        "metadata",
        "truncation",
        "stream_options",
        "max_tool_calls",
        "top_logprobs",
        "store",
        "context_management",
    ] {
        fields.0.shift_remove(name);
    }
    let mut extra = fields.rest();
    extra.extend(verbosity.map(|verbosity| ("verbosity".to_owned(), verbosity)));
    let effort = reasoning.get("effort").filter(|effort| !effort.is_null());
    extra.extend(effort.map(|effort| ("reasoning_effort".to_owned(), effort.clone())));
    Ok(Wanted {
        ask: CompleteRequest { extra, ..ask },
        instructions,
        input,
        previous,
        stream,
        store,
        background,
        echo,
    })
}

impl Wanted {
    /// The request, after `earlier` items. Instructions are those of this request only.
    pub(super) fn ask(&self, earlier: &[Value]) -> Result<CompleteRequest, Failure> {
        let instructions = self.instructions.as_deref().map(Message::system);
        let mut messages: Vec<Message> = instructions.into_iter().collect();
        messages.extend(items::messages(&[earlier, &self.input].concat())?);
        if messages.is_empty() {
            return Err(Failure::invalid("input", "input is empty"));
        }
        Ok(CompleteRequest {
            messages,
            ..self.ask.clone()
        })
    }
}

/// What cannot be done here: better refused than ignored.
fn refuse(fields: &mut Fields) -> Result<(), Failure> {
    for (name, why) in [
        (
            "conversation",
            "conversations are not kept here: use previous_response_id",
        ),
        (
            "prompt",
            "prompts are not kept here: send instructions and input",
        ),
    ] {
        if fields.take::<Value>(name)?.is_some() {
            return Err(Failure::invalid(name, why));
        }
    }
    if fields
        .0
        .get("top_logprobs")
        .and_then(Value::as_u64)
        .is_some_and(|count| count > 0)
    {
        return Err(Failure::invalid(
            "top_logprobs",
            "logprobs are not available",
        ));
    }
    Ok(())
}

/// The format of answers in the shape of chat completions, and how wordy they are.
fn text(fields: &mut Fields) -> Result<(Option<Value>, Option<Value>), Failure> {
    let mut text: Map<String, Value> = fields.take("text")?.unwrap_or_default();
    let verbosity = text
        .shift_remove("verbosity")
        .filter(|word| !word.is_null());
    let format = match text.shift_remove("format") {
        Some(Value::Object(mut format)) => match format.shift_remove("type") {
            Some(kind) if kind == "text" => None,
            Some(kind) if kind == "json_schema" => {
                Some(json!({ "type": kind, "json_schema": format }))
            }
            Some(kind) if kind == "json_object" => Some(json!({ "type": kind })),
            _ => {
                let message = "the type of text.format is text, json_object or json_schema";
                return Err(Failure::invalid("text.format.type", message));
            }
        },
        _ => None,
    };
    Ok((format, verbosity))
}

/// Tools are flat here, and nested in chat completions.
fn tools(fields: &mut Fields) -> Result<Vec<Tool>, Failure> {
    let written: Vec<Map<String, Value>> = fields.take("tools")?.unwrap_or_default();
    let tool = |(index, mut tool): (usize, Map<String, Value>)| {
        let kind = tool.shift_remove("type");
        let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default();
        if kind != "function" && kind != "custom" {
            let param = format!("tools[{index}].type");
            let message = format!("tools of the type `{kind}` are not offered here: functions are");
            return Err(Failure::invalid(&param, message));
        }
        let nested = json!({ "type": kind, kind: tool });
        serde_json::from_value(nested)
            .map_err(|error| Failure::invalid(&format!("tools[{index}]"), error.to_string()))
    };
    written.into_iter().enumerate().map(tool).collect()
}

fn tool_choice(fields: &mut Fields) -> Result<Option<Value>, Failure> {
    let choice = fields.take::<Value>("tool_choice")?;
    let nested = |written: &Value| match written["type"].as_str() {
        Some(kind @ ("function" | "custom")) => {
            json!({ "type": kind, kind: { "name": written["name"] } })
        }
        _ => written.clone(),
    };
    match choice {
        Some(Value::Object(choice))
            if choice
                .get("type")
                .is_some_and(|kind| kind == "allowed_tools") =>
        {
            let tools = choice.get("tools").and_then(Value::as_array);
            let tools: Vec<Value> = tools.into_iter().flatten().map(nested).collect();
            let allowed = json!({ "mode": choice.get("mode"), "tools": tools });
            Ok(Some(
                json!({ "type": "allowed_tools", "allowed_tools": allowed }),
            ))
        }
        Some(choice @ Value::Object(_)) => Ok(Some(nested(&choice))),
        Some(Value::String(word)) if ["none", "auto", "required"].contains(&word.as_str()) => {
            Ok(Some(word.into()))
        }
        None => Ok(None),
        Some(_) => Err(Failure::invalid(
            "tool_choice",
            "tool_choice is none, auto, required, or names a tool",
        )),
    }
}
