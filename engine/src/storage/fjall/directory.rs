//! The store's folder: made whole or not at all, and marked with the format it has.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use crate::storage::Error;

/// Says which format the folder has; written last, before the folder gets its name.
const MARKER: &str = "FORMAT";

/// Raised when something in the folder changes its meaning; then a migration goes here.
const FORMAT: &str = "agentos-store 1";

/// Makes sure that `path` is a store of our format. A missing one is made by `create` under
/// another name and renamed when complete, so that a crash leaves no half of it.
pub(super) fn prepare(
    path: &Path,
    create: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    match fs::read_to_string(path.join(MARKER)) {
        Ok(found) if found.trim() == FORMAT => Ok(()),
        Ok(found) => Err(foreign(path, found.trim())),
        Err(error) if error.kind() != ErrorKind::NotFound => Err(error.into()),
        Err(_) if is_vacant(path)? => make(path, create),
        Err(_) => Err(foreign(path, "none")),
    }
}

fn make(path: &Path, create: impl FnOnce(&Path) -> Result<(), Error>) -> Result<(), Error> {
    let fresh = beside(path);
    match fs::remove_dir_all(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    create_private(&fresh)?;
    create(&fresh)?;
    let mut marker = File::create_new(fresh.join(MARKER))?;
    writeln!(marker, "{FORMAT}")?;
    marker.sync_all()?;
    sync_folder(&fresh)?;
    fs::rename(&fresh, path)?;
    Ok(sync_folder(path.parent().unwrap_or(path))?)
}

fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

/// True when there is nothing at `path`, or an empty folder, which a rename replaces.
fn is_vacant(path: &Path) -> io::Result<bool> {
    match fs::read_dir(path) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

/// What workers store is for the account that runs the engine.
fn create_private(path: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.create(path)
}

/// Makes names in the folder survive a power cut.
fn sync_folder(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(path)?.sync_all()?;
    Ok(())
}

fn foreign(path: &Path, found: &str) -> Error {
    Error::Format {
        path: path.to_owned(),
        found: found.to_owned(),
        supported: FORMAT,
    }
}
