//! Where engines of this account are, by the notes that they leave.

use std::{
    fs::{self, File, TryLockError},
    path::{Path, PathBuf},
};

use agentos_engine::{
    boot,
    config::{Env, ProcessEnv},
};
use rustix::process::{Pid, test_kill_process};
use serde::Deserialize;

use crate::{args::Common, failure::Failure};

/// What a running engine says about itself, to programs on the same account.
#[derive(Clone, Debug, Deserialize)]
pub(crate) struct Note {
    pub(crate) url: String,
    pub(crate) token_file: PathBuf,
    pub(crate) data_dir: PathBuf,
    pub(crate) pid: u32,
}

impl Note {
    fn read(file: &Path) -> Option<Note> {
        serde_json::from_slice(&fs::read(file).ok()?).ok()
    }

    /// The note of the engine at `data_dir`, if one runs.
    pub(crate) fn of_data_dir(data_dir: &Path) -> Option<Note> {
        Note::read(&in_data_dir(data_dir)).filter(Note::is_alive)
    }

    /// The notes of every engine that runs on this account.
    fn all() -> Vec<Note> {
        let files = engines_dir()
            .and_then(|dir| fs::read_dir(dir).ok())
            .into_iter()
            .flatten()
            .flatten();
        files
            .filter_map(|file| Note::read(&file.path()))
            .filter(Note::is_alive)
            .collect()
    }

    /// An engine that was killed could not take its note away. The lock is tried only when the
    /// process is there: trying takes it for a moment, and an engine may want to start.
    fn is_alive(&self) -> bool {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        pid.is_some_and(|pid| test_kill_process(pid).is_ok()) && is_in_use(&self.data_dir)
    }
}

fn in_data_dir(data_dir: &Path) -> PathBuf {
    data_dir.join("engine.json")
}

/// Whether an engine holds the directory.
pub(crate) fn is_in_use(data_dir: &Path) -> bool {
    let lock = File::open(data_dir.join("lock"));
    lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
}

/// Where engines of this account leave their notes.
pub(crate) fn engines_dir() -> Option<PathBuf> {
    let set = |name| ProcessEnv.var(name);
    boot::engines_dir(set("AGENTOS_HOME").as_deref(), set("HOME").as_deref())
}

/// The engine that `common` speaks of.
#[derive(Debug, Default)]
pub(crate) struct Place {
    pub(crate) url: Option<String>,
    pub(crate) token: Option<String>,
    pub(crate) note: Option<Note>,
}

/// The bus's default port; the engine there is the one meant when several run.
const PORT_DEFAULT: &str = ":49134";

impl Place {
    /// Flags and environment first, then the data directory, then what runs on this account.
    ///
    /// # Errors
    /// When several engines run and none of them is the obvious one.
    pub(crate) fn find(common: &Common) -> Result<Place, Failure> {
        let note = match (&common.data_dir, &common.url) {
            (Some(data_dir), _) => Note::of_data_dir(data_dir),
            (None, Some(url)) => Note::all()
                .into_iter()
                .find(|note| same_place(&note.url, url)),
            (None, None) => the_one(Note::all())?,
        };
        let url = common
            .url
            .clone()
            .or_else(|| note.as_ref().map(|note| note.url.clone()));
        let token = common
            .token
            .clone()
            .or_else(|| read_token(common.data_dir.as_deref(), note.as_ref()));
        Ok(Place { url, token, note })
    }

    /// The data directory, also of an engine that does not run.
    pub(crate) fn data_dir(common: &Common) -> Result<PathBuf, Failure> {
        if let Some(data_dir) = &common.data_dir {
            return Ok(data_dir.clone());
        }
        let note = Place::find(common)?.note;
        Ok(note.map_or_else(|| PathBuf::from("data"), |note| note.data_dir))
    }
}

fn the_one(mut notes: Vec<Note>) -> Result<Option<Note>, Failure> {
    if let Some(index) = notes
        .iter()
        .position(|note| note.url.ends_with(PORT_DEFAULT))
    {
        return Ok(Some(notes.swap_remove(index)));
    }
    if notes.len() > 1 {
        let urls: Vec<&str> = notes.iter().map(|note| note.url.as_str()).collect();
        let what = format!(
            "{} engines run on this account: {}",
            urls.len(),
            urls.join(", ")
        );
        return Err(Failure::usage(what).remedy("say which one with --url or --data-dir"));
    }
    Ok(notes.pop())
}

fn same_place(one: &str, other: &str) -> bool {
    one.trim_end_matches('/')
        == other
            .trim_end_matches('/')
            .replace("//localhost:", "//127.0.0.1:")
}

fn read_token(data_dir: Option<&Path>, note: Option<&Note>) -> Option<String> {
    let file = data_dir
        .map(|dir| dir.join("token"))
        .or_else(|| Some(note?.token_file.clone()))?;
    let token = fs::read_to_string(file).ok()?;
    Some(token.trim().to_owned()).filter(|token| !token.is_empty())
}
