//! What can go wrong in a store, by what the caller can do about it.

use std::{path::PathBuf, sync::Arc};

use super::{KEY_BYTES_MAX, Version};

/// A failure of a store. Cheap to clone: everybody who waited for the same commit gets one.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// An expectation did not hold; read again and decide anew.
    #[error("the record has version {actual}, not {expected}")]
    Conflict { expected: Version, actual: Version },
    #[error("a key has {bytes} bytes; 1 to {KEY_BYTES_MAX} are possible")]
    KeySize { bytes: usize },
    /// The first failed write ends writing until the engine is started again.
    #[error("the store is read-only because a write to disk failed: {cause}")]
    ReadOnly { cause: Arc<str> },
    /// Bytes on disk are not what was written.
    #[error("the store is damaged: {what}")]
    Damaged { what: Arc<str> },
    #[error("{} is in use by another process", path.display())]
    Locked { path: PathBuf },
    /// Written by another version of AgentOS, or not by AgentOS at all.
    #[error("{} has store format `{found}`; this build reads `{supported}`", path.display())]
    Format {
        path: PathBuf,
        found: String,
        supported: &'static str,
    },
    #[error("input or output failed: {0}")]
    Io(Arc<str>),
    /// The store cannot be reached now.
    #[error("the store is unavailable: {0}")]
    Unavailable(Arc<str>),
}

impl Error {
    pub(super) fn damaged(what: impl Into<Arc<str>>) -> Self {
        Error::Damaged { what: what.into() }
    }
}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Error::Io(error.to_string().into())
    }
}
