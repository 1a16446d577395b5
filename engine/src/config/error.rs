//! What is wrong with a settings file: file, line, key, and what would be right.

use std::{fmt, path::PathBuf};

/// A fault in what was written. One line, ready to be shown.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Error {
    pub file: PathBuf,
    pub line: Option<u32>,
    /// The key as a path, `listen.bus.port`; empty when the fault has none.
    pub key: String,
    pub message: String,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(f, ":{line}")?;
        }
        if !self.key.is_empty() {
            write!(f, ": `{}`", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

impl std::error::Error for Error {}
