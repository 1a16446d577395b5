//! Is there room to write again? Asked before a store is opened anew.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::Path,
};

/// As much as the largest group commit, so that the first one after does not fail again.
const PROBE_BYTES: usize = 1 << 20;

/// Writes and removes a file beside the store's own.
///
/// # Errors
/// What the system says to it.
pub(super) fn room(folder: &Path) -> io::Result<()> {
    let path = folder.join("room.probe");
    let tried = File::create(&path).and_then(|mut file| {
        file.write_all(&vec![0; PROBE_BYTES])?;
        file.sync_all()
    });
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => tried.and(Err(error)),
        _ => tried,
    }
}
