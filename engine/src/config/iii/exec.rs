//! `iii-exec`.

use serde::{Deserialize, Serialize};

use crate::{
    builtin::exec::{self, Fault},
    config::{Error, place::Place},
};

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
    let written: Exec = place.read()?;
    exec::check(&written.exec, &written.watch).map_err(|fault| {
        let place = match fault {
            Fault::NoCommand => place.at("exec"),
            Fault::Glob(index, _) => place.at("watch").item(index),
        };
        place.error(fault.to_string())
    })?;
    Ok(written)
}
