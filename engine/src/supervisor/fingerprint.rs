//! One hash over everything that a worker's preparation depends on.

use std::{
    fmt::Write,
    io,
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::Manifest;

/// Folders that preparation makes.
pub(crate) const DERIVED: [&str; 5] =
    ["node_modules", "target", ".venv", "__pycache__", ".agentos"];

/// The hash of the manifest and of each input's path and content.
///
/// # Errors
/// When an input cannot be read.
pub(super) fn of(manifest: &Manifest) -> io::Result<String> {
    let mut hash = Sha256::new();
    hash.update(std::fs::read(manifest.folder.join(Manifest::FILE))?);
    for input in inputs(manifest)? {
        let name = input.strip_prefix(&manifest.folder).unwrap_or(&input);
        hash.update(name.as_os_str().as_encoded_bytes());
        hash.update([0]);
        hash.update(std::fs::read(&input)?);
        hash.update([0]);
    }
    Ok(hex(hash))
}

/// The hash as text.
pub(super) fn hex(hash: Sha256) -> String {
    let mut text = String::new();
    for byte in hash.finalize() {
        // Writing to a text cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// The files that the globs match, each once, in a stable order.
pub(super) fn inputs(manifest: &Manifest) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for glob in &manifest.inputs {
        let pattern = format!(
            "{}/{glob}",
            glob::Pattern::escape(&manifest.folder.to_string_lossy())
        );
        let matches = glob::glob(&pattern).map_err(io::Error::other)?;
        for path in matches {
            let path = path.map_err(io::Error::from)?;
            if path.is_file() && !is_derived(&path) {
                files.push(path);
            }
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

/// What preparation itself makes, wherever a wide glob finds it.
fn is_derived(path: &Path) -> bool {
    path.components()
        .any(|part| DERIVED.iter().any(|folder| part.as_os_str() == *folder))
}
