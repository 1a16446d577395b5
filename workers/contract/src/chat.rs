//! Chat messages and tools in OpenAI's shape, which every model client of ours speaks.
//!
//! Only what somebody looks at is typed; the rest travels in `extra` and comes out as it went in.

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

/// Fields that we do not look at and pass on.
pub type Extra = Map<String, Value>;

/// Who speaks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// OpenAI's newer word for `system`.
    Developer,
    System,
    User,
    Assistant,
    Tool,
    /// The deprecated forerunner of `tool`.
    Function,
}

/// What is said: plain text, or parts (`text`, `image_url`, …) as OpenAI defines them.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Content {
    Text(String),
    Parts(Vec<Value>),
}

impl Content {
    /// The text in it; parts of other kinds are left out.
    pub fn text(&self) -> String {
        match self {
            Content::Text(text) => text.clone(),
            Content::Parts(parts) => parts
                .iter()
                .filter_map(|part| part.get("text")?.as_str())
                .collect(),
        }
    }
}

impl From<&str> for Content {
    fn from(text: &str) -> Self {
        Content::Text(text.to_owned())
    }
}

impl From<String> for Content {
    fn from(text: String) -> Self {
        Content::Text(text)
    }
}

/// One message of a conversation.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Message {
    pub role: Role,
    /// `null` when the assistant only calls tools.
    #[serde(default)]
    pub content: Option<Content>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Calls that the assistant asks for; each is answered by one `tool` message.
    #[serde(
        default,
        deserialize_with = "null_as_default",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub tool_calls: Vec<ToolCall>,
    /// On `tool` messages: the call that this answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
    #[serde(flatten)]
    pub extra: Extra,
}

impl Message {
    pub fn new(role: Role, content: impl Into<Content>) -> Self {
        Message {
            role,
            content: Some(content.into()),
            name: None,
            tool_calls: Vec::new(),
            tool_call_id: None,
            extra: Extra::new(),
        }
    }

    pub fn system(content: impl Into<Content>) -> Self {
        Self::new(Role::System, content)
    }

    pub fn user(content: impl Into<Content>) -> Self {
        Self::new(Role::User, content)
    }

    /// What the assistant said, and the calls it asked for. Empty text becomes `null`.
    pub fn assistant(content: impl Into<String>, tool_calls: Vec<ToolCall>) -> Self {
        let text: String = content.into();
        let content = (!text.is_empty() || tool_calls.is_empty()).then_some(Content::Text(text));
        Message {
            content,
            tool_calls,
            ..Self::new(Role::Assistant, "")
        }
    }

    /// The outcome of the call `tool_call_id`.
    pub fn tool(tool_call_id: impl Into<String>, content: impl Into<Content>) -> Self {
        Message {
            tool_call_id: Some(tool_call_id.into()),
            ..Self::new(Role::Tool, content)
        }
    }

    /// The text of the content, empty when there is none.
    pub fn text(&self) -> String {
        self.content.as_ref().map(Content::text).unwrap_or_default()
    }
}

/// A call that the model asks for, as it stands in an assistant message.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ToolCall {
    pub id: String,
    /// `function`; tools of other kinds live in `extra`.
    #[serde(rename = "type", default = "function")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionCall>,
    #[serde(flatten)]
    pub extra: Extra,
}

impl ToolCall {
    /// A call of a function; `arguments` is JSON text.
    pub fn function(
        id: impl Into<String>,
        name: impl Into<String>,
        arguments: impl Into<String>,
    ) -> Self {
        ToolCall {
            id: id.into(),
            kind: function(),
            function: Some(FunctionCall {
                name: name.into(),
                arguments: arguments.into(),
            }),
            extra: Extra::new(),
        }
    }
}

/// Name and arguments of a called function.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FunctionCall {
    pub name: String,
    /// JSON text. An object, which some clients send, is read as its text.
    #[serde(default, deserialize_with = "text_or_json")]
    pub arguments: String,
}

/// A tool offered to the model.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Tool {
    /// `function`; tools of other kinds live in `extra`.
    #[serde(rename = "type", default = "function")]
    pub kind: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub function: Option<FunctionTool>,
    #[serde(flatten)]
    pub extra: Extra,
}

impl Tool {
    /// A function with the JSON Schema of its arguments.
    pub fn function(
        name: impl Into<String>,
        description: Option<String>,
        parameters: Option<Value>,
    ) -> Self {
        Tool {
            kind: function(),
            function: Some(FunctionTool {
                name: name.into(),
                description,
                parameters,
                extra: Extra::new(),
            }),
            extra: Extra::new(),
        }
    }

    /// The name by which the model calls it; `None` for tools that are not functions.
    pub fn name(&self) -> Option<&str> {
        self.function
            .as_ref()
            .map(|function| function.name.as_str())
    }
}

/// A function offered to the model.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize, JsonSchema)]
pub struct FunctionTool {
    pub name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// JSON Schema of the arguments; the order of its keys is kept.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parameters: Option<Value>,
    #[serde(flatten)]
    pub extra: Extra,
}

fn function() -> String {
    "function".to_owned()
}

fn null_as_default<'de, D: Deserializer<'de>, T: Deserialize<'de> + Default>(
    deserializer: D,
) -> Result<T, D::Error> {
    Option::<T>::deserialize(deserializer).map(Option::unwrap_or_default)
}

fn text_or_json<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::String(text) => text,
        Value::Null => String::new(),
        other => other.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn check<T: Serialize + serde::de::DeserializeOwned>(sent: Value) {
        let read: T = serde_json::from_value(sent.clone()).unwrap();
        assert_eq!(serde_json::to_value(read).unwrap(), sent);
    }

    #[test]
    fn messages_come_out_as_they_went_in() {
        check::<Message>(json!({"role": "user", "content": "hi", "name": "ada"}));
        check::<Message>(
            json!({"role": "user", "content": [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]}),
        );
        check::<Message>(
            json!({"role": "assistant", "content": null, "refusal": null, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{\"a\": 9007199254740993}"}},
            {"id": "c2", "type": "custom", "custom": {"name": "g", "input": "x"}}]}),
        );
        check::<Message>(
            json!({"role": "tool", "content": "\u{2028}\u{0}\"", "tool_call_id": "c1"}),
        );
    }

    #[test]
    fn tools_keep_unknown_fields_and_the_order_of_keys() {
        let sent = r#"{"type":"function","function":{"name":"f","description":"d","parameters":{"z":1,"a":2},"strict":true}}"#;
        let tool: Tool = serde_json::from_str(sent).unwrap();
        assert_eq!(serde_json::to_string(&tool).unwrap(), sent);
    }

    #[test]
    fn arguments_given_as_an_object_are_read_as_text() {
        let call: ToolCall = serde_json::from_value(
            json!({"id": "c", "function": {"name": "f", "arguments": {"a": 1}}}),
        )
        .unwrap();
        assert_eq!(call, ToolCall::function("c", "f", "{\"a\":1}"));
    }

    #[test]
    fn tool_calls_may_be_null() {
        let message: Message = serde_json::from_value(
            json!({"role": "assistant", "content": "x", "tool_calls": null}),
        )
        .unwrap();
        assert_eq!(message, Message::assistant("x", vec![]));
    }
}
