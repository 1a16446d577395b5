//! The token of a data directory: made once, readable by this account only.

use std::{
    fs,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};

/// Where the token of `data_dir` is.
pub(super) fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("token")
}

/// 244 random bits as text that needs no quoting anywhere.
fn make() -> String {
    format!(
        "agt_{}{}",
        uuid::Uuid::new_v4().simple(),
        uuid::Uuid::new_v4().simple()
    )
}

pub(super) fn read_or_make(data_dir: &Path) -> anyhow::Result<String> {
    let path = path(data_dir);
    let file = path.display();
    match fs::read_to_string(&path) {
        Ok(token) => {
            let token = token.trim();
            ensure!(
                !token.is_empty(),
                "{file} is empty; delete it and a new token is made"
            );
            let mode = fs::metadata(&path)?.permissions().mode();
            if mode & 0o077 != 0 {
                tracing::warn!(%file, "the token could be read by others; its mode is now 0600");
                fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
            }
            Ok(token.to_owned())
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let token = make();
            let mut new = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)
                .with_context(|| format!("cannot write {file}"))?;
            writeln!(new, "{token}")?;
            new.sync_all()?;
            Ok(token)
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {file}")),
    }
}
