//! The store's folder: made whole or not at all, and marked with the format it has.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

use crate::storage::Error;

/// Says which format the folder has; written last, before the folder gets its name.
const MARKER: &str = "FORMAT";

/// The first line of the marker. Raised when something in the folder changes its meaning; then
/// [`migrate`] gets one more step.
const FORMAT: &str = "agentos-store 2";

/// What the first builds wrote: fjall was the only adapter, and not named.
const FORMAT_1: &str = "agentos-store 1";

/// Makes sure that `path` is a store of our format that `adapter` has written. A missing one is
/// made by `create` under another name and renamed when complete, so that a crash leaves no half
/// of it; an older one is brought up to date.
pub(in crate::storage) fn prepare(
    path: &Path,
    adapter: &'static str,
    create: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    let marker = match fs::read_to_string(path.join(MARKER)) {
        Ok(marker) => migrate(path, marker)?,
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        Err(_) if is_vacant(path)? => return make(path, adapter, create),
        Err(_) => return Err(foreign(path, "none")),
    };
    match marker.trim().split_once('\n') {
        Some((FORMAT, written_by)) if written_by == adapter => Ok(()),
        Some((FORMAT, written_by)) => Err(Error::Adapter {
            path: path.to_owned(),
            found: written_by.to_owned(),
            wanted: adapter,
        }),
        _ => Err(foreign(path, marker.lines().next().unwrap_or_default())),
    }
}

/// Brings an older store up to date, a step per format. What is newer comes back as it is.
fn migrate(path: &Path, mut marker: String) -> Result<String, Error> {
    if marker.trim() == FORMAT_1 {
        marker = marker_of("fjall");
        let fresh = path.join("FORMAT.new");
        write_marker(&fresh, &marker)?;
        fs::rename(&fresh, path.join(MARKER))?;
        sync_folder(path)?;
        tracing::info!(path = %path.display(), "the store now has format `{FORMAT}`");
    }
    Ok(marker)
}

fn marker_of(adapter: &str) -> String {
    format!("{FORMAT}\n{adapter}\n")
}

fn write_marker(path: &Path, marker: &str) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(marker.as_bytes())?;
    file.sync_all()
}

fn make(
    path: &Path,
    adapter: &str,
    create: impl FnOnce(&Path) -> Result<(), Error>,
) -> Result<(), Error> {
    let fresh = beside(path);
    match fs::remove_dir_all(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error.into()),
        _ => {}
    }
    create_private(&fresh)?;
    create(&fresh)?;
    write_marker(&fresh.join(MARKER), &marker_of(adapter))?;
    sync_folder(&fresh)?;
    fs::rename(&fresh, path)?;
    Ok(sync_folder(path.parent().unwrap_or(path))?)
}

/// Keeps other processes out of a store whose library does not.
pub(in crate::storage) fn lock(path: &Path) -> Result<File, Error> {
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path.join("lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => Err(Error::Locked {
            path: path.to_owned(),
        }),
        Err(fs::TryLockError::Error(error)) => Err(error.into()),
    }
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
