//! A chat request of an OpenAI client, read strictly where we act on it and passed on where not.

use agentos_contract::{
    chat::{Extra, Message, Tool},
    llm::CompleteRequest,
};
use serde_json::{Map, Value, json};

use crate::{
    error::Failure,
    fields::{Fields, model},
};

/// Answers to one request, each of which is a call of a model.
pub(crate) const CHOICES_MAX: u64 = 16;

/// What is asked for, and how it is to be answered.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ChatRequest {
    pub(crate) ask: CompleteRequest,
    /// Answers wanted, 1 or more.
    pub(crate) choices: usize,
    pub(crate) stream: bool,
    pub(crate) include_usage: bool,
    /// Ours: a conversation that an agent keeps.
    pub(crate) session_id: Option<String>,
}

/// Reads the body of `POST /v1/chat/completions`.
///
/// # Errors
/// 400 with the name of the field that does not fit.
pub(crate) fn read(body: Map<String, Value>) -> Result<ChatRequest, Failure> {
    let mut fields = Fields(body);
    fields.refuse()?;
    let choices = fields.choices()?;
    let stream = fields.take("stream")?.unwrap_or(false);
    let ask = CompleteRequest {
        model: model(&mut fields)?,
        messages: fields
            .required::<Vec<Message>>("messages")
            .and_then(some_messages)?,
        tools: fields.tools()?,
        tool_choice: fields.tool_choice()?,
        temperature: fields.within("temperature", 0.0, 2.0)?,
        max_tokens: fields.max_tokens()?,
        top_p: fields.within("top_p", 0.0, 1.0)?,
        stop: fields.stop()?,
        response_format: fields
            .take::<Map<_, _>>("response_format")?
            .map(Value::Object),
        seed: fields.take("seed")?,
        user: fields.take("user")?,
        ..CompleteRequest::default()
    };
    let include_usage = fields.include_usage(stream)?;
    let session_id = fields.take("session_id")?;
    let extra = fields.rest();
    Ok(ChatRequest {
        ask: CompleteRequest { extra, ..ask },
        choices,
        stream,
        include_usage,
        session_id,
    })
}

fn some_messages(messages: Vec<Message>) -> Result<Vec<Message>, Failure> {
    if messages.is_empty() {
        return Err(Failure::invalid(
            "messages",
            "messages must have at least one message",
        ));
    }
    Ok(messages)
}

impl Fields {
    /// What would change the answer's shape and cannot be given: better refused than ignored.
    fn refuse(&mut self) -> Result<(), Failure> {
        if self.take::<bool>("logprobs")? == Some(true) {
            return Err(Failure::invalid("logprobs", "logprobs are not available"));
        }
        let modalities: Vec<String> = self.take("modalities")?.unwrap_or_default();
        if modalities.iter().any(|modality| modality != "text") {
            return Err(Failure::invalid("modalities", "answers are text only"));
        }
        Ok(())
    }

    /// How many answers are wanted.
    pub(crate) fn choices(&mut self) -> Result<usize, Failure> {
        match self.take::<u64>("n")?.unwrap_or(1) {
            n @ 1..=CHOICES_MAX => Ok(n as usize),
            n => Err(Failure::invalid(
                "n",
                format!("n is {n}, not between 1 and {CHOICES_MAX}"),
            )),
        }
    }

    /// The newer and the older name.
    pub(crate) fn max_tokens(&mut self) -> Result<Option<u64>, Failure> {
        let (new, old) = (
            self.take::<u64>("max_completion_tokens")?,
            self.take::<u64>("max_tokens")?,
        );
        match new.or(old) {
            Some(0) => Err(Failure::invalid(
                if new.is_some() {
                    "max_completion_tokens"
                } else {
                    "max_tokens"
                },
                "the limit of tokens must be at least 1",
            )),
            limit => Ok(limit),
        }
    }

    pub(crate) fn stop(&mut self) -> Result<Vec<String>, Failure> {
        let stop: Vec<String> = match self.0.get("stop") {
            Some(Value::String(_)) => self.take::<String>("stop")?.into_iter().collect(),
            _ => self.take("stop")?.unwrap_or_default(),
        };
        if stop.len() > 4 {
            return Err(Failure::invalid("stop", "at most 4 texts to stop at"));
        }
        Ok(stop)
    }

    /// Tools, and the deprecated `functions`.
    fn tools(&mut self) -> Result<Vec<Tool>, Failure> {
        let mut tools: Vec<Tool> = self.take("tools")?.unwrap_or_default();
        if let Some(nameless) = tools
            .iter()
            .position(|tool| tool.kind == "function" && tool.function.is_none())
        {
            let param = format!("tools[{nameless}].function");
            return Err(Failure::invalid(
                &param,
                format!("the required field `{param}` is missing"),
            ));
        }
        let functions: Vec<Map<String, Value>> = self.take("functions")?.unwrap_or_default();
        for (index, function) in functions.into_iter().enumerate() {
            let function = serde_json::from_value(Value::Object(function)).map_err(|error| {
                Failure::invalid(&format!("functions[{index}]"), error.to_string())
            })?;
            tools.push(Tool {
                kind: "function".to_owned(),
                function: Some(function),
                extra: Extra::new(),
            });
        }
        Ok(tools)
    }

    fn tool_choice(&mut self) -> Result<Option<Value>, Failure> {
        let choice = self.take::<Value>("tool_choice")?;
        let function: Option<Value> = self.take("function_call")?;
        let choice = choice.or_else(|| {
            function.map(|function| match function {
                Value::String(word) => Value::String(word),
                named => json!({ "type": "function", "function": named }),
            })
        });
        match &choice {
            Some(Value::String(word)) if !["none", "auto", "required"].contains(&word.as_str()) => {
                Err(Failure::invalid(
                    "tool_choice",
                    format!("tool_choice `{word}` is none of none, auto, required"),
                ))
            }
            Some(Value::String(_) | Value::Object(_)) | None => Ok(choice),
            Some(_) => Err(Failure::invalid(
                "tool_choice",
                "tool_choice must be a string or an object",
            )),
        }
    }

    pub(crate) fn include_usage(&mut self, stream: bool) -> Result<bool, Failure> {
        let Some(options) = self.take::<Map<String, Value>>("stream_options")? else {
            return Ok(false);
        };
        if !stream {
            return Err(Failure::invalid(
                "stream_options",
                "stream_options is only allowed with stream: true",
            ));
        }
        match options.get("include_usage") {
            None | Some(Value::Null) => Ok(false),
            Some(Value::Bool(wanted)) => Ok(*wanted),
            Some(_) => Err(Failure::invalid(
                "stream_options.include_usage",
                "include_usage must be true or false",
            )),
        }
    }
}

#[cfg(test)]
mod tests;
