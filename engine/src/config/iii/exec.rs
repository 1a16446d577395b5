//! `iii-exec`.

use serde::{Deserialize, Serialize};

use crate::config::{Error, place::Place};

/// What one `iii-exec` is asked for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Deserialize, Serialize)]
#[serde(default, deny_unknown_fields)]
pub struct Exec {
    /// Run one after the other; the last goes on.
    pub exec: Vec<String>,
    /// Globs of files; when one changes, all is run again.
    pub watch: Vec<String>,
}

pub(super) fn read(place: &Place<'_>) -> Result<Exec, Error> {
    let exec: Exec = place.read()?;
    crate::builtin::exec::check(&exec.exec, &exec.watch)
        .map_err(|(key, message)| place.at(key).error(message))?;
    Ok(exec)
}
