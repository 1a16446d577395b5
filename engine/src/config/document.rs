//! One settings file: read as any type, with faults that name file, line and key.

use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;

use super::{
    Env, Error, iii,
    mask::Masked,
    node::{Node, Value},
};

/// A parsed file. What it means is for the types it is read as.
#[derive(Clone, Debug)]
pub struct Document {
    file: PathBuf,
    root: Node,
}

impl Document {
    /// Parses `text`, which was read from `file`, and replaces the variables in it.
    ///
    /// # Errors
    /// When it is no YAML, or a variable is missing.
    pub fn parse(file: &Path, text: &str, env: &dyn Env) -> Result<Document, Error> {
        let fault = |line, message| Error {
            file: file.to_owned(),
            line,
            key: String::new(),
            message,
        };
        let plain = node_of(text);
        let root = match plain {
            Ok(root) if !iii::is_iii(&root) => root,
            // In iii's files a variable may stand where YAML would not take it.
            plain => match masked(text).filter(iii::is_iii) {
                Some(root) => root,
                None => plain.map_err(|(line, message)| fault(line, message))?,
            },
        };
        let root = root
            .expanded(env)
            .map_err(|(line, message)| fault(Some(line), message))?;
        Ok(Document {
            file: file.to_owned(),
            root,
        })
    }

    /// Reads and parses `file`.
    ///
    /// # Errors
    /// When it cannot be read, and as [`Document::parse`].
    pub fn open(file: &Path, env: &dyn Env) -> Result<Document, Error> {
        let text = std::fs::read_to_string(file).map_err(|error| Error {
            file: file.to_owned(),
            line: None,
            key: String::new(),
            message: format!("cannot be read: {error}"),
        })?;
        Document::parse(file, &text, env)
    }

    /// A document that says nothing, so that everything has its default.
    pub fn empty(file: &Path) -> Document {
        Document {
            file: file.to_owned(),
            root: Node {
                line: 1,
                value: Value::Null,
            },
        }
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// The document as `T`.
    ///
    /// # Errors
    /// The first key that does not fit, with what would.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, Error> {
        self.read_node(&self.root, Vec::new())
    }

    /// What stands at the top-level `key` as `T`; what is absent reads like an empty section.
    ///
    /// # Errors
    /// As [`Document::read`].
    pub fn read_at<T: DeserializeOwned>(&self, key: &str) -> Result<T, Error> {
        self.read_keys(&[Key::parse(key)])
    }

    /// As [`Document::read_at`], for a place further in.
    pub(super) fn read_keys<T: DeserializeOwned>(&self, keys: &[Key]) -> Result<T, Error> {
        let absent = Node {
            line: self.root.line,
            value: Value::Null,
        };
        self.read_node(self.node(keys).unwrap_or(&absent), keys.to_vec())
    }

    /// What stands at `keys`, if anything does.
    pub(super) fn node(&self, keys: &[Key]) -> Option<&Node> {
        keys.iter().try_fold(&self.root, |node, key| key.find(node))
    }

    pub(super) fn root(&self) -> &Node {
        &self.root
    }

    fn read_node<T: DeserializeOwned>(&self, node: &Node, mut keys: Vec<Key>) -> Result<T, Error> {
        serde_path_to_error::deserialize(node.clone()).map_err(|error| {
            keys.extend(error.path().iter().filter_map(Key::of));
            self.fault(&keys, error.inner().to_string())
        })
    }

    /// A fault found by a later check at `key`, for instance `listen.bus.host` or `workers.dirs.0`.
    pub fn error(&self, key: &str, message: impl Into<String>) -> Error {
        let keys: Vec<Key> = key.split('.').map(Key::parse).collect();
        self.fault(&keys, message.into())
    }

    pub(super) fn fault(&self, keys: &[Key], message: String) -> Error {
        let mut line = None;
        let mut node = Some(&self.root);
        for key in keys {
            node = node.and_then(|node| key.find(node));
            line = node.map(|node| node.line).or(line);
        }
        let key = keys
            .iter()
            .map(Key::to_string)
            .collect::<Vec<_>>()
            .join(".");
        Error {
            file: self.file.clone(),
            line,
            key,
            message,
        }
    }
}

/// One step of the way to a value.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Key {
    Name(String),
    Index(usize),
}

impl Key {
    fn of(segment: &Segment) -> Option<Key> {
        match segment {
            Segment::Map { key } | Segment::Enum { variant: key } => Some(Key::Name(key.clone())),
            Segment::Seq { index } => Some(Key::Index(*index)),
            Segment::Unknown => None,
        }
    }

    fn parse(text: &str) -> Key {
        text.parse()
            .map_or_else(|_| Key::Name(text.to_owned()), Key::Index)
    }

    fn find<'a>(&self, node: &'a Node) -> Option<&'a Node> {
        match self {
            Key::Name(name) => node.get(name),
            Key::Index(index) => node.item(*index),
        }
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Key::Name(name) => f.write_str(name),
            Key::Index(index) => write!(f, "{index}"),
        }
    }
}

fn node_of(text: &str) -> Result<Node, (Option<u32>, String)> {
    let options = serde_saphyr::options! { with_snippet: false };
    let value: Value = serde_saphyr::from_str_with_options(text, options)
        .map_err(|error| (line_of(&error), sentence(&error)))?;
    Ok(Node { line: 1, value })
}

/// The document with its variables hidden from YAML; `None` when there are none, or that does not
/// help.
fn masked(text: &str) -> Option<Node> {
    let masked = Masked::of(text)?;
    let root = node_of(masked.text()).ok()?;
    Some(root.map_text(&|text| masked.unmasked(text)))
}

fn line_of(error: &serde_saphyr::Error) -> Option<u32> {
    error
        .location()
        .and_then(|location| u32::try_from(location.line()).ok())
}

/// The parser's words on one line, without the place, which [`Error`] tells itself.
fn sentence(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let first = text.lines().next().unwrap_or_default();
    let place = first.find(" at line ").unwrap_or(first.len());
    format!(
        "not valid YAML: {}",
        first[..place].trim_end_matches([',', ':', ' '])
    )
}
