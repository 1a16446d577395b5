//! Function calls as a user writes them: `file::list {"path": "."}` at the start of a line.

use serde_json::{Deserializer, Map, Value};

/// One written call.
#[derive(Debug, PartialEq)]
pub(super) struct Command {
    /// As written: a function id, or the name of another tool.
    pub(super) function: String,
    /// JSON text of an object.
    pub(super) arguments: String,
}

/// All calls in `text`; lines that are none are prose.
///
/// # Errors
/// What is wrong with a call, for the user: nothing is run then.
pub(super) fn read(text: &str, offered: &[String]) -> Result<Vec<Command>, String> {
    let mut commands = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let (command, after) = read_line(rest, offered)?;
        commands.extend(command);
        rest = after;
    }
    Ok(commands)
}

/// The call that `text` begins with, if any, and what follows its last line.
fn read_line<'t>(text: &'t str, offered: &[String]) -> Result<(Option<Command>, &'t str), String> {
    let line = text.trim_start_matches([' ', '\t', '`']);
    let (function, after) = line.split_at(
        line.find(|char: char| char.is_whitespace() || char == '{')
            .unwrap_or(line.len()),
    );
    let object = after.trim_start_matches([' ', '\t']);
    let known = offered.iter().any(|id| id == function);
    if !object.starts_with('{') || !(known || function.contains("::")) {
        return Ok((None, next_line(text)));
    }
    if !known {
        let offers = if offered.is_empty() {
            "nothing".to_owned()
        } else {
            offered.join(", ")
        };
        return Err(format!(
            "`{function}` is not offered in this conversation, which offers: {offers}."
        ));
    }
    let mut values = Deserializer::from_str(object).into_iter::<Map<String, Value>>();
    let arguments = match values.next() {
        Some(Ok(arguments)) => Value::Object(arguments).to_string(),
        Some(Err(error)) => {
            return Err(format!(
                "The arguments of `{function}` are not a JSON object: {error}."
            ));
        }
        None => return Ok((None, next_line(text))),
    };
    let command = Command {
        function: function.to_owned(),
        arguments,
    };
    Ok((Some(command), next_line(&object[values.byte_offset()..])))
}

fn next_line(text: &str) -> &str {
    text.split_once('\n').map_or("", |(_, after)| after)
}
