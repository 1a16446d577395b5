//! The name of a build: a hash of what a worker runs. And keeping a build, so that it can run again
//! when its folder has gone on.

use std::{
    ffi::OsStr,
    fs, io,
    os::unix::fs::symlink,
    path::{Component, Path, PathBuf},
};

use sha2::{Digest, Sha256};

use super::{
    Manifest,
    fingerprint::{DERIVED, hex},
};

/// Characters of the hash: 48 bits tell the builds of one worker apart.
const CHARACTERS: usize = 12;

/// Files of one worker that are looked at; more than a person writes.
const FILES_MAX: usize = 10_000;

/// Largest build that is kept. A worker that carries more than this carries data.
const KEPT_BYTES_MAX: u64 = 256 << 20;

/// The hash of the command and of every file of the worker's own, and of what its preparation makes.
///
/// Files that a tool has installed do not count: what is installed is said by files that do.
///
/// # Errors
/// When a file cannot be read.
pub(super) fn id(manifest: &Manifest) -> io::Result<String> {
    let mut hash = Sha256::new();
    for word in &manifest.command {
        hash.update(word);
        hash.update([0]);
    }
    for (name, value) in &manifest.env {
        // What is secret is named, not told.
        hash.update(format!("{name}={value:?}\0"));
    }
    for file in files(manifest)? {
        let name = file.strip_prefix(&manifest.folder).unwrap_or(&file);
        hash.update(name.as_os_str().as_encoded_bytes());
        hash.update([0]);
        io::copy(&mut fs::File::open(&file)?, &mut Sink(&mut hash))?;
        hash.update([0]);
    }
    let mut text = hex(hash);
    text.truncate(CHARACTERS);
    Ok(text)
}

struct Sink<'a>(&'a mut Sha256);

impl io::Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The files that make the build, each once, in a stable order. A program without a `worker.yaml` runs
/// in a folder that is not its own: then it is the program itself.
fn files(manifest: &Manifest) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    if manifest.folder.join(Manifest::FILE).is_file() {
        collect(&manifest.folder, &mut files)?;
    }
    let made = manifest.outputs.iter().chain(manifest.command.first());
    let made = made.map(|file| manifest.folder.join(file));
    files.extend(made.filter(|file| file.is_file()));
    files.sort();
    files.dedup();
    Ok(files)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let (name, kind) = (entry.file_name(), entry.file_type()?);
        if kind.is_dir() {
            let is_hidden = name.as_encoded_bytes().starts_with(b".");
            if !is_hidden && !DERIVED.iter().any(|derived| name == *derived) {
                collect(&entry.path(), files)?;
            }
        } else if kind.is_file() {
            if files.len() == FILES_MAX {
                return Err(io::Error::other(format!(
                    "{} has more than {FILES_MAX} files",
                    folder.display()
                )));
            }
            files.push(entry.path());
        }
    }
    Ok(())
}

/// Copies the build to `folder`, beside links to what was installed for it; false when it is too large
/// to be kept.
///
/// # Errors
/// When something cannot be read or written.
pub(super) fn keep(manifest: &Manifest, folder: &Path) -> io::Result<bool> {
    if folder.is_dir() {
        return Ok(true);
    }
    let files = files(manifest)?;
    let own = files
        .iter()
        .filter_map(|file| Some((file, file.strip_prefix(&manifest.folder).ok()?)));
    // Of what tools make only `target` is overwritten by the next build; the rest is linked to.
    let is_linked = |name: &Path| {
        let first = name.components().next().map(Component::as_os_str);
        DERIVED
            .iter()
            .any(|derived| *derived != "target" && first == Some(OsStr::new(derived)))
    };
    let own: Vec<_> = own.filter(|(_, name)| !is_linked(name)).collect();
    let mut bytes = 0;
    for (file, _) in &own {
        bytes += file.metadata()?.len();
    }
    if bytes > KEPT_BYTES_MAX {
        return Ok(false);
    }
    // As a whole or not at all: what is half copied has another name.
    let half = folder.with_extension("new");
    let _ = fs::remove_dir_all(&half);
    for (file, name) in own {
        let to = half.join(name);
        fs::create_dir_all(to.parent().unwrap_or(&half))?;
        fs::copy(file, to)?;
    }
    for derived in DERIVED {
        let (from, to) = (manifest.folder.join(derived), half.join(derived));
        if from.is_dir() && !to.exists() {
            symlink(from, to)?;
        }
    }
    fs::rename(half, folder)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn worker(folder: &Path) -> Manifest {
        let text = "name: one\nlanguage: other\ncommand: [sh, main.sh]\n";
        fs::write(folder.join(Manifest::FILE), text).unwrap();
        fs::write(folder.join("main.sh"), "echo 1").unwrap();
        Manifest::open(folder, &BTreeMap::new()).unwrap()
    }

    #[test]
    fn a_build_is_named_by_what_runs_and_by_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let manifest = worker(folder.path());
        let first = id(&manifest).unwrap();
        assert_eq!(first.len(), CHARACTERS);
        fs::create_dir(folder.path().join("node_modules")).unwrap();
        fs::write(folder.path().join("node_modules/a.js"), "1").unwrap();
        assert_eq!(
            id(&manifest).unwrap(),
            first,
            "what is installed is no part"
        );
        fs::write(folder.path().join("main.sh"), "echo 2").unwrap();
        let second = id(&manifest).unwrap();
        assert_ne!(second, first);
        let other = Manifest {
            command: vec!["sh".into(), "other.sh".into()],
            ..manifest
        };
        assert_ne!(id(&other).unwrap(), second);
    }

    #[test]
    fn a_kept_build_is_the_same_build() {
        let (folder, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let manifest = worker(folder.path());
        fs::create_dir(folder.path().join("node_modules")).unwrap();
        fs::write(folder.path().join("node_modules/a.js"), "1").unwrap();
        let (first, place) = (id(&manifest).unwrap(), kept.path().join("first"));
        assert!(keep(&manifest, &place).unwrap());
        fs::write(folder.path().join("main.sh"), "echo 2").unwrap();
        let again = Manifest {
            folder: place.clone(),
            ..manifest
        };
        assert_eq!(id(&again).unwrap(), first);
        assert_eq!(fs::read(place.join("node_modules/a.js")).unwrap(), b"1");
    }
}
