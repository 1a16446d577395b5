//! Which functions an agent may call, and how they look to its model.
//!
//! Nothing is offered that a capability does not name. Functions of the system itself, by which an
//! agent could widen its own rights, are offered only to an agent that names them outright.

use std::collections::HashMap;

use agentos_contract::{chat::Tool, tools::name_of};
use serde::Deserialize;
use serde_json::{Value, json};

/// A function as `engine::functions::list` tells of it.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Listed {
    #[serde(rename = "function_id")]
    pub(crate) id: String,
    #[serde(default)]
    pub(crate) description: Option<String>,
    /// JSON Schema of the input.
    #[serde(default)]
    pub(crate) request_format: Option<Value>,
}

/// Rooms of the system; `*` does not open them.
const PROTECTED: [&str; 5] = ["agent", "api", "engine", "llm", "state"];

/// Inputs of these are about one agent's memory: its own, whatever the model writes.
const OWN_AGENT_ID: [&str; 6] = [
    "memory::store",
    "memory::store_many",
    "memory::recall",
    "memory::list",
    "memory::forget",
    "memory::consolidate",
];

/// What a model may call in one answer.
#[derive(Default, Debug)]
pub(crate) struct Toolbox {
    pub(crate) tools: Vec<Tool>,
    functions: HashMap<String, Function>,
    pub(crate) notices: Vec<String>,
}

/// A function behind a tool.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    pub(crate) id: String,
    shape: Shape,
}

/// How a tool's arguments become a function's input.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Shape {
    AsIs,
    /// The input is no object, which models cannot write: it is the argument `input`.
    Wrapped,
    OwnAgentId,
}

impl Toolbox {
    /// The functions of `listed` that `capabilities` name, at most `tools_max`.
    pub(crate) fn new(listed: Vec<Listed>, capabilities: &[String], tools_max: usize) -> Self {
        let mut toolbox = Toolbox::default();
        let mut allowed: Vec<_> = listed
            .into_iter()
            .filter(|function| {
                capabilities
                    .iter()
                    .any(|pattern| allows(pattern, &function.id))
            })
            .collect();
        // The same order each time: providers cache what stays the same.
        allowed.sort_by(|a, b| a.id.cmp(&b.id));
        for pattern in capabilities {
            if !allowed.iter().any(|function| allows(pattern, &function.id)) {
                toolbox.notices.push(format!(
                    "no worker offers `{pattern}`, which this agent may call"
                ));
            }
        }
        if allowed.len() > tools_max {
            let message = format!(
                "{} functions are allowed and {tools_max} are offered: name fewer",
                allowed.len()
            );
            toolbox.notices.push(message);
            allowed.truncate(tools_max);
        }
        for function in allowed {
            toolbox.add(function);
        }
        toolbox
    }

    fn add(&mut self, function: Listed) {
        let name = match name_of(&function.id) {
            Ok(name) => name,
            Err(error) => {
                return self
                    .notices
                    .push(format!("`{}` is not offered: {error}", function.id));
            }
        };
        let (shape, parameters) = shape(&function.id, function.request_format);
        self.tools.push(Tool::function(
            &name,
            function.description,
            Some(parameters),
        ));
        self.functions.insert(
            name,
            Function {
                id: function.id,
                shape,
            },
        );
    }

    /// The function behind a tool's name.
    ///
    /// # Errors
    /// A text for the model that names what there is.
    pub(crate) fn find(&self, name: &str) -> Result<&Function, String> {
        self.functions.get(name).ok_or_else(|| {
            let names: Vec<_> = self.tools.iter().filter_map(Tool::name).collect();
            let what = if names.is_empty() {
                "there are none".to_owned()
            } else {
                format!("the tools are {}", names.join(", "))
            };
            format!("error: there is no tool `{name}`; {what}")
        })
    }
}

impl Function {
    /// The function's input for the arguments that the model wrote.
    ///
    /// # Errors
    /// A text for the model that says what is wrong with them.
    pub(crate) fn input(&self, arguments: &str, agent_id: &str) -> Result<Value, String> {
        let text = if arguments.trim().is_empty() {
            "{}"
        } else {
            arguments
        };
        let parsed = serde_json::from_str(text);
        let mut value: Value = parsed.map_err(|error| {
            format!("error: the arguments are not valid JSON: {error}; send one JSON object")
        })?;
        let Some(fields) = value.as_object_mut() else {
            return Err("error: the arguments must be one JSON object".to_owned());
        };
        match self.shape {
            Shape::AsIs => {}
            Shape::Wrapped => return Ok(fields.remove("input").unwrap_or_default()),
            Shape::OwnAgentId => {
                fields.insert("agentId".to_owned(), agent_id.into());
            }
        }
        Ok(value)
    }
}

/// How the input of `id` is shown to the model: always as an object.
fn shape(id: &str, schema: Option<Value>) -> (Shape, Value) {
    let mut schema = schema.unwrap_or(Value::Null);
    let Some(fields) = schema.as_object_mut() else {
        return (Shape::AsIs, json!({ "type": "object", "properties": {} }));
    };
    fields.shift_remove("$schema");
    fields.shift_remove("title");
    if OWN_AGENT_ID.contains(&id) {
        leave_out(fields, "agentId");
        return (Shape::OwnAgentId, schema);
    }
    let object = fields.contains_key("properties")
        || fields.get("type").is_some_and(|kind| kind == "object");
    // Anything goes, an object too.
    let open = !["type", "anyOf", "oneOf", "allOf", "enum", "const", "$ref"]
        .iter()
        .any(|key| fields.contains_key(*key));
    if object || open {
        fields.entry("type").or_insert_with(|| "object".into());
        fields.entry("properties").or_insert_with(|| json!({}));
        return (Shape::AsIs, schema);
    }
    let definitions = fields.shift_remove("$defs");
    let mut wrapped =
        json!({ "type": "object", "properties": { "input": schema }, "required": ["input"] });
    if let Some(definitions) = definitions {
        wrapped["$defs"] = definitions;
    }
    (Shape::Wrapped, wrapped)
}

fn leave_out(schema: &mut serde_json::Map<String, Value>, field: &str) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        properties.shift_remove(field);
    }
    if let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) {
        required.retain(|name| name != field);
    }
}

/// Whether a capability opens a function.
pub(crate) fn allows(pattern: &str, id: &str) -> bool {
    let room = |id: &str| id.split_once("::").map(|(room, _)| room.to_owned());
    let open = room(id)
        .is_none_or(|name| !PROTECTED.contains(&name.as_str()) || room(pattern) == Some(name));
    open && matches(pattern, id)
}

/// Whether `text` is `pattern`, where `*` stands for any text.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((start, rest)) => text.strip_prefix(start).is_some_and(|after| {
            after
                .char_indices()
                .map(|(index, _)| index)
                .chain([after.len()])
                .any(|index| matches(rest, &after[index..]))
        }),
    }
}

/// Whether a pattern is one that somebody can have meant.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn check_pattern(pattern: &str) -> Result<(), String> {
    if pattern.is_empty() || pattern.len() > 256 || pattern.matches('*').count() > 4 {
        return Err(format!(
            "`{pattern}` is not a pattern of function ids: 1 to 256 bytes with at most four `*`"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
