//! Conversations made fit for the strictest provider, whatever happened to them on the way.
//!
//! [`repaired`] works on messages in OpenAI's shape: every call is answered once and at once, every
//! result has its call, nothing is empty. [`Conversation::of`] goes on from there for families that
//! want turns: two speakers who alternate, the user first and last, the system text apart.
//! Both keep every word that a user wrote, and repairing twice changes nothing more.

mod repair;

use agentos_contract::{
    chat::{Content, Message, Role},
    llm::REASONING_DETAILS,
};
use agentos_sdk::Error;
use serde_json::{Map, Value, json};

pub(crate) use self::repair::repaired;
use crate::error::invalid;

/// A conversation must begin with the user; this stands in when it does not.
pub(crate) const OPENING: &str = "(the conversation continues)";
/// It must end with the user, too: few providers still go on with an answer that was begun.
pub(crate) const CLOSING: &str = "(go on)";

/// System text and turns.
#[derive(Debug, Default)]
pub(crate) struct Conversation {
    pub(crate) system: Vec<Block>,
    pub(crate) turns: Vec<Turn>,
}

impl Conversation {
    /// As a list that `say` writes turn by turn, with the system's text before all others.
    pub(crate) fn written(
        messages: &[Message],
        say: impl Fn(Speaker, &[Block], &mut Vec<Value>) -> Result<(), Error>,
    ) -> Result<Vec<Value>, Error> {
        let Conversation { system, turns } = Conversation::of(messages)?;
        let mut written = Vec::new();
        let system = joined(&system);
        if !system.is_empty() {
            written.push(json!({ "role": "system", "content": system }));
        }
        for turn in &turns {
            say(turn.speaker, &turn.blocks, &mut written)?;
        }
        Ok(written)
    }
}

/// Everything one side says before the other answers.
#[derive(Debug)]
pub(crate) struct Turn {
    pub(crate) speaker: Speaker,
    pub(crate) blocks: Vec<Block>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Speaker {
    User,
    Assistant,
}

/// One thing that is said.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Block {
    /// Never blank.
    Text {
        text: String,
        /// Anthropic's mark of what to keep in its cache.
        cache: Option<Value>,
    },
    Image {
        source: Source,
        cache: Option<Value>,
    },
    File {
        name: String,
        source: Source,
        cache: Option<Value>,
    },
    /// The assistant calls a tool.
    Call {
        id: String,
        name: String,
        input: Map<String, Value>,
    },
    /// What the tool said; comes right after the turn with the call.
    Result {
        id: String,
        name: String,
        content: Vec<Block>,
    },
    /// A detail of the model's thinking that its provider wants back.
    Thought(Value),
    /// A part that only some family knows.
    Other { message: usize, part: Value },
}

/// Where the bytes of an image or file are.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Source {
    Data { media_type: String, base64: String },
    Url(String),
}

impl Block {
    pub(crate) fn text(text: impl Into<String>) -> Self {
        Block::Text {
            text: text.into(),
            cache: None,
        }
    }

    /// The error for a family that cannot take this block.
    pub(crate) fn refused(&self, family: &str) -> Error {
        let (place, kind) = match self {
            Block::Other { message, part } => (
                format!("messages[{message}]"),
                part["type"].as_str().unwrap_or("without a type").to_owned(),
            ),
            Block::Image { .. } => ("messages".to_owned(), "image_url".to_owned()),
            Block::File { .. } => ("messages".to_owned(), "file".to_owned()),
            _ => ("messages".to_owned(), "of this kind".to_owned()),
        };
        let hint = match self {
            Block::Image {
                source: Source::Url(_),
                ..
            } => " by address: send its data",
            _ => "",
        };
        let message = format!("{place} holds a part `{kind}` that {family} cannot take{hint}");
        invalid(&format!("{place}.content"), message)
    }
}

impl Conversation {
    /// # Errors
    /// `invalid_input` for a history that holds nothing to answer.
    pub(crate) fn of(messages: &[Message]) -> Result<Self, Error> {
        let mut conversation = Conversation::default();
        let mut names = Map::new();
        for (index, message) in repaired(messages).iter().enumerate() {
            conversation.add(index, message, &mut names);
        }
        let Some(last) = conversation.turns.last() else {
            return Err(invalid(
                "messages",
                "messages holds nothing that the model could answer",
            ));
        };
        if last.speaker == Speaker::Assistant {
            conversation.say(Speaker::User, vec![Block::text(CLOSING)]);
        }
        Ok(conversation)
    }

    fn add(&mut self, index: usize, message: &Message, names: &mut Map<String, Value>) {
        let mut content = blocks(index, message.content.as_ref());
        match message.role {
            Role::System | Role::Developer => self.system.append(&mut content),
            Role::User => self.say(Speaker::User, content),
            Role::Function => {
                let name = message.name.as_deref().unwrap_or("a function");
                content.insert(0, Block::text(format!("Result of {name}:")));
                self.say(Speaker::User, content);
            }
            Role::Assistant => {
                let mut said: Vec<_> = details(message).cloned().map(Block::Thought).collect();
                said.append(&mut content);
                for call in &message.tool_calls {
                    let Some(function) = &call.function else {
                        continue;
                    };
                    names.insert(call.id.clone(), function.name.clone().into());
                    said.push(Block::Call {
                        id: fit(&call.id),
                        name: fit(&function.name),
                        input: input(&function.arguments),
                    });
                }
                // What was only thought is no turn.
                if said.iter().any(|block| !matches!(block, Block::Thought(_))) {
                    self.say(Speaker::Assistant, said);
                }
            }
            Role::Tool => {
                let id = message.tool_call_id.as_deref().unwrap_or_default();
                let Some(name) = names.get(id).and_then(Value::as_str) else {
                    return;
                };
                let result = Block::Result {
                    id: fit(id),
                    name: fit(name),
                    content,
                };
                self.say(Speaker::User, vec![result]);
            }
        }
    }

    /// Adds to the turn of `speaker`, or begins it.
    fn say(&mut self, speaker: Speaker, mut blocks: Vec<Block>) {
        if blocks.is_empty() {
            return;
        }
        match self.turns.last_mut() {
            Some(turn) if turn.speaker == speaker => turn.blocks.append(&mut blocks),
            None if speaker == Speaker::Assistant => {
                self.say(Speaker::User, vec![Block::text(OPENING)]);
                self.turns.push(Turn { speaker, blocks });
            }
            _ => self.turns.push(Turn { speaker, blocks }),
        }
    }

    /// Every tool that was ever called, once: some providers want those declared.
    pub(crate) fn called(&self) -> Vec<&str> {
        let mut names: Vec<&str> = self
            .turns
            .iter()
            .flat_map(|turn| &turn.blocks)
            .filter_map(|block| match block {
                Block::Call { name, .. } => Some(name.as_str()),
                _ => None,
            })
            .collect();
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// What a provider wants back of an assistant's message.
pub(crate) fn details(message: &Message) -> impl Iterator<Item = &Value> {
    let details = message
        .extra
        .get(REASONING_DETAILS)
        .and_then(Value::as_array);
    details.into_iter().flatten()
}

/// The texts of `blocks` in a row.
pub(crate) fn joined(blocks: &[Block]) -> String {
    let texts: Vec<&str> = blocks
        .iter()
        .filter_map(|block| match block {
            Block::Text { text, .. } => Some(text.as_str()),
            _ => None,
        })
        .collect();
    texts.join("\n")
}

/// Content as blocks. Blank texts are left out: Anthropic refuses them.
fn blocks(index: usize, content: Option<&Content>) -> Vec<Block> {
    let blocks = match content {
        None => Vec::new(),
        Some(Content::Text(text)) => vec![Block::text(text)],
        Some(Content::Parts(parts)) => parts.iter().map(|part| block(index, part)).collect(),
    };
    let blank = |block: &Block| matches!(block, Block::Text { text, .. } if text.trim().is_empty());
    blocks.into_iter().filter(|block| !blank(block)).collect()
}

fn block(message: usize, part: &Value) -> Block {
    let text = |pointer: &str| part.pointer(pointer).and_then(Value::as_str);
    let owned = |pointer: &str| text(pointer).unwrap_or_default().to_owned();
    let cache = part.get("cache_control").cloned();
    match text("/type") {
        Some("text") => Block::Text {
            text: owned("/text"),
            cache,
        },
        Some("refusal") => Block::Text {
            text: owned("/refusal"),
            cache,
        },
        Some("image_url") => Block::Image {
            source: source(text("/image_url/url").unwrap_or_default()),
            cache,
        },
        Some("file") if text("/file/file_data").is_some() => Block::File {
            name: owned("/file/filename"),
            source: source(text("/file/file_data").unwrap_or_default()),
            cache,
        },
        _ => Block::Other {
            message,
            part: part.clone(),
        },
    }
}

/// Data of a `data:` URL, or an address to fetch from.
fn source(url: &str) -> Source {
    let data = url
        .strip_prefix("data:")
        .and_then(|rest| rest.split_once(";base64,"));
    match data {
        Some((media_type, base64)) => Source::Data {
            media_type: media_type.to_owned(),
            base64: base64.to_owned(),
        },
        None => Source::Url(url.to_owned()),
    }
}

/// Arguments must be an object: what the model wrote malformed is shown to it as text.
fn input(arguments: &str) -> Map<String, Value> {
    match serde_json::from_str(arguments) {
        Ok(Value::Object(input)) => input,
        _ if arguments.trim().is_empty() => Map::new(),
        _ => {
            let shown = ("malformed_arguments".to_owned(), json!(arguments));
            std::iter::once(shown).collect()
        }
    }
}

/// An id or name as all take it, `^[a-zA-Z0-9_-]{1,64}$`: one that is not so is replaced by another
/// that is always the same for it.
pub(crate) fn fit(id: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if (1..=64).contains(&id.len()) && id.bytes().all(plain) {
        return id.to_owned();
    }
    format!("id_{:016x}", fingerprint(id))
}

/// FNV-1a, 64 bits: the same on every machine and in every run.
pub(crate) fn fingerprint(text: &str) -> u64 {
    text.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests;
