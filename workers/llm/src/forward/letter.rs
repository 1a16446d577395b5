//! A body whose model is to be another: read as far as needed, changed where needed.

use agentos_contract::llm::Dialect;
use agentos_sdk::{Code, Error};
use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

/// Asks for usage in a stream of chat completions.
const ASK_USAGE: &str = r#"{"include_usage":true}"#;

/// What is looked at of a body, where it stands.
#[derive(Deserialize)]
struct Top<'b> {
    #[serde(borrow)]
    model: Option<&'b RawValue>,
    #[serde(default, borrow)]
    stream: Option<&'b RawValue>,
    #[serde(default, borrow)]
    stream_options: Option<&'b RawValue>,
}

/// See the module.
pub(super) struct Draft<'b> {
    text: &'b str,
    top: Top<'b>,
}

impl<'b> Draft<'b> {
    /// # Errors
    /// `invalid_input` for what is no object, or names no model.
    pub(super) fn read(text: &'b str) -> Result<Self, Error> {
        let top: Top<'b> = serde_json::from_str(text).map_err(|error| {
            let message = format!("the body is not of the dialect's shape: {error}");
            Error::caller(Code::InvalidInput, message)
        })?;
        Ok(Draft { text, top })
    }

    pub(super) fn model(&self) -> Option<String> {
        serde_json::from_str(self.top.model?.get()).ok()
    }

    fn streams(&self) -> bool {
        self.top.stream.is_some_and(|stream| stream.get() == "true")
    }

    /// Whether usage comes only because we ask for it.
    pub(super) fn hides_usage(&self, dialect: Dialect) -> bool {
        let asked = |options: &RawValue| {
            serde_json::from_str::<serde_json::Value>(options.get())
                .is_ok_and(|options| options["include_usage"] == true)
        };
        matches!(dialect, Dialect::OpenAiChat | Dialect::OpenAiCompletions)
            && self.streams()
            && !self.top.stream_options.is_some_and(asked)
    }

    /// The body for a provider that calls the model `model`.
    pub(super) fn address(&self, model: &str, dialect: Dialect) -> Bytes {
        let name = serde_json::to_string(model).expect("texts have a JSON form");
        let mut changes: Vec<(std::ops::Range<usize>, String)> = Vec::new();
        let after_brace = self.text.find('{').map_or(0, |at| at + 1);
        let empty = self.text[after_brace..].trim_start().starts_with('}');
        let mut added = String::new();
        match self.top.model {
            Some(model) => changes.push((self.place(model), name)),
            None => added = format!("\"model\":{name}"),
        }
        if self.hides_usage(dialect) {
            match self.top.stream_options {
                Some(options) => changes.push((self.place(options), ASK_USAGE.to_owned())),
                None => {
                    let comma = if added.is_empty() { "" } else { "," };
                    added = format!("{added}{comma}\"stream_options\":{ASK_USAGE}");
                }
            }
        }
        if !added.is_empty() {
            let comma = if empty { "" } else { "," };
            changes.push((after_brace..after_brace, format!("{added}{comma}")));
        }
        changes.sort_by_key(|(place, _)| place.start);
        let mut body = Vec::with_capacity(self.text.len() + 128);
        let mut at = 0;
        for (place, text) in changes {
            body.extend_from_slice(&self.text.as_bytes()[at..place.start]);
            body.extend_from_slice(text.as_bytes());
            at = place.end;
        }
        body.extend_from_slice(&self.text.as_bytes()[at..]);
        body.into()
    }

    /// Where a value stands in the text that it was read from.
    fn place(&self, value: &RawValue) -> std::ops::Range<usize> {
        let start = value.get().as_ptr().addr() - self.text.as_ptr().addr();
        start..start + value.get().len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addressed(text: &str) -> String {
        let draft = Draft::read(text).unwrap();
        let body = draft.address("org/m", Dialect::OpenAiChat);
        String::from_utf8(body.to_vec()).unwrap()
    }

    #[test]
    fn only_the_model_changes() {
        let text = "{ \"n\": 9007199254740993,\t\"model\" : \"p\\/m\" , \"z\": {\"model\": 1}, \"a\": \"\\u2028\" }";
        assert_eq!(Draft::read(text).unwrap().model().unwrap(), "p/m");
        assert_eq!(addressed(text), text.replace("\"p\\/m\"", "\"org/m\""));
        assert_eq!(addressed("{}"), r#"{"model":"org/m"}"#);
    }

    #[test]
    fn streams_are_asked_for_usage() {
        assert_eq!(
            addressed(r#"{"model":"m","stream":true}"#),
            r#"{"stream_options":{"include_usage":true},"model":"org/m","stream":true}"#
        );
        let own = r#"{"stream":true,"stream_options":{"include_usage":true},"model":"m"}"#;
        assert_eq!(addressed(own), own.replace("\"m\"", "\"org/m\""));
        let none = r#"{"stream_options":{"include_usage":false},"stream":true,"model":"m"}"#;
        assert_eq!(
            addressed(none),
            own.replace("\"m\"", "\"org/m\"").replace(
                r#""stream":true,"stream_options":{"include_usage":true}"#,
                r#""stream_options":{"include_usage":true},"stream":true"#
            )
        );
        let draft = Draft::read(own).unwrap();
        assert!(!draft.hides_usage(Dialect::OpenAiChat));
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["[]", "1", r#"{"model":"a","model":"b"}"#] {
            assert!(Draft::read(text).is_err(), "{text}");
        }
    }
}
