//! Which library keeps the engine's records: chosen by the section `storage` of the settings.

use std::{io::Read, path::Path, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    Error, Storage, backup::Decoder, fjall::Fjall, local, memory, sled::Sled, sqlite::Sqlite,
};

/// Settings of the store.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    pub adapter: Adapter,
}

/// What they are good for: docs/storage.md.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Adapter {
    #[default]
    Fjall,
    Sqlite,
    Sled,
    /// Forgets everything when the engine ends.
    Memory,
}

impl Adapter {
    /// Opens the store in the folder `path`, or makes one.
    ///
    /// # Errors
    /// `Locked` when another process has it open, `Format` and `Adapter` when it is not a store of
    /// ours, `Damaged` when its files are broken, `Io` when the disk fails.
    pub fn open(self, path: &Path) -> Result<Arc<dyn Storage>, Error> {
        match self {
            Adapter::Fjall => local::open::<Fjall>(path),
            Adapter::Sqlite => local::open::<Sqlite>(path),
            Adapter::Sled => local::open::<Sled>(path),
            Adapter::Memory => Ok(memory::open()),
        }
    }
}

/// Makes a store of `adapter` in the folder `path` of the backup in `from`, whichever adapter made
/// it. Returns how many records it has, and tells `progress` on the way.
///
/// # Errors
/// When there is a store already, the backup is not whole, or the disk fails; then there is none.
pub fn restore(
    adapter: Adapter,
    path: &Path,
    from: impl Read,
    progress: &mut dyn FnMut(u64),
) -> Result<u64, Error> {
    let backup = &mut Decoder::new(from)?;
    match adapter {
        Adapter::Fjall => local::restore::<Fjall>(path, backup, progress),
        Adapter::Sqlite => local::restore::<Sqlite>(path, backup, progress),
        Adapter::Sled => local::restore::<Sled>(path, backup, progress),
        Adapter::Memory => Err(Error::Unavailable("memory keeps nothing".into())),
    }
}
