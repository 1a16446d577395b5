//! The engine's claim on its data directory, and the notes by which it is found.

use std::{
    fs::{self, File},
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail};
use serde_json::json;

use super::token;

/// Held for as long as the engine lives.
pub struct Note {
    data_dir: PathBuf,
    published: Vec<PathBuf>,
    _lock: File,
}

/// Where engines of this account leave their notes, given `AGENTOS_HOME` and `HOME`.
pub fn engines_dir(agentos_home: Option<&str>, home: Option<&str>) -> Option<PathBuf> {
    let base = agentos_home
        .filter(|dir| !dir.is_empty())
        .map(PathBuf::from);
    base.or_else(|| home.map(|home| PathBuf::from(home).join(".agentos")))
        .map(|base| base.join("engines"))
}

/// Takes the data directory, so that no engine starts there meanwhile.
///
/// # Errors
/// When an engine has it.
pub fn claim(data_dir: &Path) -> anyhow::Result<Note> {
    Note::claim(data_dir)
}

impl Note {
    /// Takes the data directory for this engine alone.
    pub(super) fn claim(data_dir: &Path) -> anyhow::Result<Self> {
        let path = data_dir.join("lock");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .read(true)
            .open(&path);
        let lock = lock.with_context(|| format!("cannot write {}", path.display()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => bail!(
                "another engine uses the data directory {}; stop it with `agentos stop`, or choose another directory with --data-dir",
                data_dir.display()
            ),
            Err(fs::TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        Ok(Note {
            data_dir: data_dir.to_owned(),
            published: Vec::new(),
            _lock: lock,
        })
    }

    /// Says where the engine is: in its data directory, and for this account by port. May be said
    /// again when it has changed.
    pub(super) fn publish(
        &mut self,
        engines_dir: Option<&Path>,
        url: &str,
        http: Option<&str>,
        stream: Option<&str>,
        port: u16,
    ) -> anyhow::Result<()> {
        let text = json!({
            "url": url,
            "http": http,
            "stream": stream,
            "token_file": token::path(&self.data_dir),
            "data_dir": self.data_dir,
            "pid": std::process::id(),
            "version": env!("CARGO_PKG_VERSION"),
        })
        .to_string();
        let in_data = self.data_dir.join("engine.json");
        write(&in_data, &text).with_context(|| format!("cannot write {}", in_data.display()))?;
        self.remember(in_data);
        if let Some(dir) = engines_dir {
            let path = dir.join(format!("{port}.json"));
            match fs::create_dir_all(dir).and_then(|()| write(&path, &text)) {
                Ok(()) => self.remember(path),
                // A convenience: a read-only home must not keep the engine from running.
                Err(error) => {
                    tracing::warn!(%error, path = %path.display(), "clients will not find this engine by themselves")
                }
            }
        }
        Ok(())
    }

    fn remember(&mut self, path: PathBuf) {
        if !self.published.contains(&path) {
            self.published.push(path);
        }
    }

    pub(super) fn withdraw(&self) {
        for path in &self.published {
            // Gone already is as good.
            let _ = fs::remove_file(path);
        }
    }
}

/// Replaces the file as a whole, so that no reader sees half of it.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    let new = path.with_extension(format!("{}.new", std::process::id()));
    let mut file = File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(&new)?;
    file.write_all(text.as_bytes())?;
    fs::rename(&new, path)
}
