//! The file of turns: its shape, and which turn a call gets.

use std::{collections::BTreeMap, fmt};

use agentos_contract::llm::{FinishReason, Usage};
use agentos_sdk::{Code, Error};
use serde::{
    Deserialize, Deserializer,
    de::{self, SeqAccess, Visitor},
};
use serde_json::Value;

/// Model of the script that stands at the top of the file.
const UNNAMED: &str = "default";

/// A whole file: one script for every model name, or several named ones, or both.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    turns: Vec<Turn>,
    repeat: bool,
    scripts: BTreeMap<String, Script>,
}

/// What one model says, call by call.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Script {
    turns: Vec<Turn>,
    /// Begin again after the last turn, for ever.
    #[serde(default)]
    repeat: bool,
}

/// One completion, step by step.
pub(super) type Turn = Vec<Step>;

/// See docs/scripted-models.md.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Step {
    /// What must be in the request.
    Expect(Value),
    Text(Pieces),
    Reasoning(Pieces),
    ToolCalls(Vec<Call>),
    DelayMs(u64),
    /// Waits until the hold of this name is released.
    Hold(String),
    Error(Failure),
    Usage(Usage),
    Finish(FinishReason),
}

/// One piece, or several that are sent one after the other.
#[derive(Clone, Debug)]
pub(super) struct Pieces(pub(super) Vec<String>);

impl<'de> Deserialize<'de> for Pieces {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Pieces(Vec::new()))
    }
}

impl<'de> Visitor<'de> for Pieces {
    type Value = Pieces;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_str<E: de::Error>(mut self, piece: &str) -> Result<Pieces, E> {
        self.0.push(piece.to_owned());
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut pieces: A) -> Result<Pieces, A::Error> {
        while let Some(piece) = pieces.next_element()? {
            self.0.push(piece);
        }
        Ok(self)
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Call {
    /// A function id, `file::read`.
    pub(super) name: String,
    /// An object; or a text, sent as it is, to be malformed.
    #[serde(default)]
    pub(super) arguments: Value,
    pub(super) id: Option<String>,
    /// In how many pieces the arguments are sent.
    #[serde(default = "one")]
    pub(super) pieces: usize,
}

fn one() -> usize {
    1
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Failure {
    /// One of ours (`unavailable`), or an upstream's (`context_length_exceeded`).
    pub(super) code: Option<String>,
    pub(super) message: String,
    /// Fails as an upstream does that answers with this status.
    pub(super) status: Option<u16>,
    pub(super) retry_after_ms: Option<u64>,
}

/// Reads YAML or JSON; the message names line and column.
pub(super) fn parse(text: &str) -> Result<File, String> {
    // Otherwise `text: y` is a boolean.
    let options = serde_saphyr::options! { with_snippet: false, strict_booleans: true };
    let mut file: File =
        serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())?;
    if !file.turns.is_empty() {
        let script = Script {
            turns: std::mem::take(&mut file.turns),
            repeat: file.repeat,
        };
        if file.scripts.insert(UNNAMED.to_owned(), script).is_some() {
            return Err(format!(
                "`turns` at the top is the script `{UNNAMED}`, and `scripts` has another"
            ));
        }
    }
    match file
        .scripts
        .iter()
        .find(|(_, script)| script.turns.is_empty())
    {
        Some((name, _)) => Err(format!("script `{name}` has no turns")),
        None if file.scripts.is_empty() => Err("there is neither `turns` nor `scripts`".to_owned()),
        None => Ok(file),
    }
}

impl File {
    pub(super) fn names(&self) -> Vec<String> {
        self.scripts.keys().cloned().collect()
    }

    /// The script called `model`, or the unnamed one.
    pub(super) fn script(&self, model: &str) -> Option<(&str, &Script)> {
        let found = self
            .scripts
            .get_key_value(model)
            .or_else(|| self.scripts.get_key_value(UNNAMED));
        found.map(|(name, script)| (name.as_str(), script))
    }
}

impl Script {
    /// The turn of call `number`, which counts from 1.
    pub(super) fn turn(&self, number: usize, name: &str) -> Result<&Turn, Error> {
        let index = if self.repeat {
            (number - 1) % self.turns.len()
        } else {
            number - 1
        };
        self.turns.get(index).ok_or_else(|| {
            let turns = self.turns.len();
            let message = format!("script `{name}` has {turns} turns and this is call {number}: add a turn, or `repeat: true`");
            Error::worker(Code::Failed, message).reason("script_exhausted")
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_yaml_or_json() {
        let yaml = "scripts:\n  a:\n    repeat: true\n    turns:\n      - [text: hi, {delay_ms: 5}]\n      - - tool_calls: [{name: f, arguments: {x: 1}}]\n";
        let json = r#"{"turns": [[{"text": ["a", "b"]}, {"finish": "length"}]]}"#;
        assert_eq!(parse(yaml).unwrap().names(), ["a"]);
        let file = parse(json).unwrap();
        assert_eq!(file.script("whatever").unwrap().0, UNNAMED);
        assert_eq!(file.script("x").unwrap().1.turn(1, "x").unwrap().len(), 2);
        assert!(
            file.script("x")
                .unwrap()
                .1
                .turn(2, "x")
                .unwrap_err()
                .message
                .contains("has 1 turns and this is call 2")
        );
        assert!(parse(yaml).unwrap().script("b").is_none());
        assert_eq!(
            parse(yaml)
                .unwrap()
                .script("a")
                .unwrap()
                .1
                .turn(3, "a")
                .unwrap()
                .len(),
            2
        );
    }

    #[test]
    fn short_words_are_texts() {
        let file = parse("turns: [[text: y], [text: [no, \"on\", \"5\"]]]").unwrap();
        assert_eq!(file.script("x").unwrap().1.turns.len(), 2);
    }

    #[test]
    fn faults_name_the_place() {
        let check = |text: &str, part: &str| {
            let message = parse(text).unwrap_err();
            assert!(message.contains(part), "{message}");
        };
        check("turns:\n  - - txt: hi\n", "line 2");
        check("turns:\n  - - txt: hi\n", "tool_calls");
        check(
            "turns:\n  - - text: 5\n",
            "expected a text or a list of texts",
        );
        check("turn: []", "turn");
        check("{}", "neither");
        check("scripts: {a: {turns: []}}", "script `a` has no turns");
    }
}
