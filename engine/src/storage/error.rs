//! What can go wrong in a store, by what the caller can do about it.

use std::{io, path::PathBuf, sync::Arc};

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
    /// The first failed write ends writing: until there is room again, if that is what it was, else
    /// until the engine is started again.
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
    /// The folder holds what another adapter has written.
    #[error("{} holds a store of adapter `{found}`, and the settings ask for `{wanted}`; take `agentos backup` with the old settings and `agentos restore` with the new ones, or change `storage.adapter`", path.display())]
    Adapter {
        path: PathBuf,
        found: String,
        wanted: &'static str,
    },
    #[error("input or output failed: {0}")]
    Io(Arc<str>),
    /// The disk is full, or something else has run out that may come back.
    #[error("the machine has run out of something: {0}")]
    Short(Arc<str>),
    /// The store cannot be reached now.
    #[error("the store is unavailable: {0}")]
    Unavailable(Arc<str>),
}

impl Error {
    pub(super) fn damaged(what: impl Into<Arc<str>>) -> Self {
        Error::Damaged { what: what.into() }
    }
}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        (&error).into()
    }
}

impl From<&io::Error> for Error {
    fn from(error: &io::Error) -> Self {
        let what = error.to_string().into();
        match is_passing(error) {
            true => Error::Short(what),
            false => Error::Io(what),
        }
    }
}

/// Nothing reached the disk, and nothing is wrong with it: there was no room, no right to write, or
/// no file descriptor left.
fn is_passing(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let none_left = [Errno::MFILE, Errno::NFILE].map(Errno::raw_os_error);
    let kinds = [
        io::ErrorKind::StorageFull,
        io::ErrorKind::QuotaExceeded,
        io::ErrorKind::ReadOnlyFilesystem,
        io::ErrorKind::OutOfMemory,
    ];
    let code = error.raw_os_error();
    kinds.contains(&error.kind()) || code.is_some_and(|code| none_left.contains(&code))
}
