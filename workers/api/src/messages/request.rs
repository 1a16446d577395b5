//! A request of an Anthropic client as one to our models.

use agentos_contract::{chat::Tool, llm::CompleteRequest};
use serde_json::{Map, Value, json};

use super::history;
use crate::{
    error::Failure,
    fields::{Fields, model},
};

/// What is asked for, and how it is to be answered.
pub(super) struct Wanted {
    pub(super) ask: CompleteRequest,
    pub(super) stream: bool,
}

/// Budgets of thinking from which on it counts as medium and as high effort.
const MEDIUM_TOKENS: u64 = 4_096;
const HIGH_TOKENS: u64 = 16_384;

/// Reads the body of `POST /v1/messages`; of `count_tokens` where it is not to be answered.
pub(super) fn read(body: Map<String, Value>, to_answer: bool) -> Result<Wanted, Failure> {
    let mut fields = Fields(body);
    let model = model(&mut fields)?;
    let max_tokens = if to_answer {
        Some(fields.required::<u64>("max_tokens")?)
    } else {
        fields.take("max_tokens")?
    };
    if max_tokens == Some(0) {
        return Err(Failure::invalid(
            "max_tokens",
            "max_tokens must be at least 1",
        ));
    }
    let system = fields.take::<Value>("system")?;
    let said: Vec<Value> = fields.required("messages")?;
    let messages = history::messages(system, said)?;
    let (tool_choice, in_parallel) = tool_choice(&mut fields)?;
    let metadata: Map<String, Value> = fields.take("metadata")?.unwrap_or_default();
    let ask = CompleteRequest {
        model,
        messages,
        tools: tools(&mut fields)?,
        tool_choice,
        temperature: fields.within("temperature", 0.0, 1.0)?,
        max_tokens,
        top_p: fields.within("top_p", 0.0, 1.0)?,
        stop: fields.take("stop_sequences")?.unwrap_or_default(),
        user: metadata
            .get("user_id")
            .and_then(Value::as_str)
            .map(str::to_owned),
        ..CompleteRequest::default()
    };
    let stream = fields.take("stream")?.unwrap_or(false);
    let effort = effort(&mut fields)?;
    // Anthropic's housekeeping, which no other provider knows.
    for name in [
        "cache_control",
        "container",
        "context_management",
        "mcp_servers",
        "service_tier",
        "betas",
    ] {
        fields.0.shift_remove(name);
    }
    let mut extra = fields.rest();
    extra.extend(effort.map(|effort| ("reasoning_effort".to_owned(), effort.into())));
    extra.extend(in_parallel.map(|parallel| ("parallel_tool_calls".to_owned(), parallel.into())));
    Ok(Wanted {
        ask: CompleteRequest { extra, ..ask },
        stream,
    })
}

fn tools(fields: &mut Fields) -> Result<Vec<Tool>, Failure> {
    let written: Vec<Map<String, Value>> = fields.take("tools")?.unwrap_or_default();
    let tool = |(index, mut tool): (usize, Map<String, Value>)| {
        let kind = tool.get("type").and_then(Value::as_str).unwrap_or("custom");
        if kind != "custom" {
            let message = format!("tools of the type `{kind}` run at Anthropic only");
            return Err(Failure::invalid(&format!("tools[{index}].type"), message));
        }
        let mut text = |name: &str| match tool.shift_remove(name) {
            Some(Value::String(text)) => Some(text),
            _ => None,
        };
        let (name, description) = (text("name"), text("description"));
        let missing = || {
            let param = format!("tools[{index}].name");
            Failure::invalid(&param, format!("the required field `{param}` is missing"))
        };
        let schema = tool.shift_remove("input_schema");
        Ok(Tool::function(
            name.ok_or_else(missing)?,
            description,
            schema,
        ))
    };
    written.into_iter().enumerate().map(tool).collect()
}

/// The choice in OpenAI's shape, and whether several tools may be called at a time.
fn tool_choice(fields: &mut Fields) -> Result<(Option<Value>, Option<bool>), Failure> {
    let Some(choice) = fields.take::<Map<String, Value>>("tool_choice")? else {
        return Ok((None, None));
    };
    let alone = choice
        .get("disable_parallel_tool_use")
        .and_then(Value::as_bool);
    let kind = choice.get("type").and_then(Value::as_str);
    let chosen = match (kind, choice.get("name").and_then(Value::as_str)) {
        (Some("auto"), _) => "auto".into(),
        (Some("any"), _) => "required".into(),
        (Some("none"), _) => "none".into(),
        (Some("tool"), Some(name)) => {
            json!({ "type": "function", "function": { "name": name } })
        }
        _ => {
            return Err(Failure::invalid(
                "tool_choice",
                "the type of tool_choice is auto, any, none, or tool with a name",
            ));
        }
    };
    Ok((Some(chosen), alone.map(|alone| !alone)))
}

/// How much thinking is wanted, in the word that other providers have for it.
fn effort(fields: &mut Fields) -> Result<Option<&'static str>, Failure> {
    let Some(thinking) = fields.take::<Map<String, Value>>("thinking")? else {
        return Ok(None);
    };
    if thinking.get("type").and_then(Value::as_str) != Some("enabled") {
        return Ok(None);
    }
    let budget = thinking.get("budget_tokens").and_then(Value::as_u64);
    Ok(Some(match budget.unwrap_or_default() {
        ..MEDIUM_TOKENS => "low",
        MEDIUM_TOKENS..HIGH_TOKENS => "medium",
        _ => "high",
    }))
}
