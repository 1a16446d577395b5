//! The builds of a worker that have served, newest first.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::{Value, json};

use crate::supervisor::Manifest;

/// Builds of one worker that are remembered.
const VERSIONS_MAX: usize = 10;

/// Builds of one worker whose files are kept.
const KEPT_MAX: usize = 3;

/// What a worker runs.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// The engine's own process.
    InProcess,
    Process(Box<Manifest>),
}

impl Source {
    pub(super) fn describe(&self) -> String {
        match self {
            Source::InProcess => "in-process".to_owned(),
            Source::Process(manifest) => match manifest.folder.join(Manifest::FILE).is_file() {
                true => manifest.folder.display().to_string(),
                false => manifest.command.join(" "),
            },
        }
    }
}

/// How it is with a build.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Standing {
    Serving,
    /// It has served, and may again.
    Replaced,
    /// It was tried and never served alone.
    Failed,
}

/// One build.
#[derive(Clone, Debug)]
pub(super) struct Version {
    pub(super) build: Option<String>,
    pub(super) source: Source,
    pub(super) standing: Standing,
    pub(super) since_ms: u64,
    /// Where its files are kept.
    pub(super) kept: Option<PathBuf>,
    pub(super) error: Option<String>,
}

/// All of one worker.
#[derive(Default, Debug)]
pub(super) struct Versions(Vec<Version>);

impl Versions {
    /// Adds what was tried. What is forgotten with it comes back: its files are not wanted any more.
    #[must_use]
    pub(super) fn add(&mut self, version: Version) -> Vec<PathBuf> {
        if version.standing == Standing::Serving {
            for earlier in &mut self.0 {
                if earlier.standing == Standing::Serving {
                    earlier.standing = Standing::Replaced;
                }
            }
        }
        self.0.insert(0, version);
        let forgotten = self.0.split_off(VERSIONS_MAX.min(self.0.len()));
        let mut unwanted: Vec<PathBuf> = forgotten
            .into_iter()
            .filter_map(|version| version.kept)
            .collect();
        let kept = self.0.iter_mut().filter(|version| version.kept.is_some());
        for version in kept.skip(KEPT_MAX) {
            unwanted.extend(version.kept.take());
        }
        unwanted.retain(|folder| !self.keeps(folder));
        unwanted
    }

    fn keeps(&self, folder: &PathBuf) -> bool {
        self.0
            .iter()
            .any(|version| version.kept.as_ref() == Some(folder))
    }

    pub(super) fn serving(&mut self) -> Option<&mut Version> {
        self.0
            .iter_mut()
            .find(|version| version.standing == Standing::Serving)
    }

    /// What served before what serves now.
    pub(super) fn previous(&self) -> Option<&Version> {
        let serving = self
            .0
            .iter()
            .position(|version| version.standing == Standing::Serving);
        let earlier = self.0.get(serving.map_or(0, |at| at + 1)..)?;
        earlier
            .iter()
            .find(|version| version.standing == Standing::Replaced)
    }

    pub(super) fn to_json(&self) -> Value {
        let one = |version: &Version| {
            json!({
                "build": version.build,
                "source": version.source.describe(),
                "standing": version.standing,
                "since_ms": version.since_ms,
                "kept": version.kept.is_some(),
                "error": version.error,
            })
        };
        self.0.iter().map(one).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(build: &str, standing: Standing) -> Version {
        Version {
            build: Some(build.to_owned()),
            source: Source::InProcess,
            standing,
            since_ms: 0,
            kept: Some(PathBuf::from(build)),
            error: None,
        }
    }

    #[test]
    fn the_previous_is_the_last_that_served_before() {
        let mut versions = Versions::default();
        assert!(versions.previous().is_none());
        let _ = versions.add(version("a", Standing::Serving));
        assert!(versions.previous().is_none());
        let _ = versions.add(version("b", Standing::Serving));
        let _ = versions.add(version("c", Standing::Failed));
        assert_eq!(versions.previous().unwrap().build.as_deref(), Some("a"));
        assert_eq!(versions.serving().unwrap().build.as_deref(), Some("b"));
    }

    #[test]
    fn files_of_old_builds_are_given_up_unless_another_has_the_same() {
        let mut versions = Versions::default();
        for build in ["a", "b", "a"] {
            assert!(versions.add(version(build, Standing::Serving)).is_empty());
        }
        assert!(versions.add(version("c", Standing::Serving)).is_empty());
        assert_eq!(
            versions.add(version("d", Standing::Serving)),
            [PathBuf::from("b")]
        );
    }
}
