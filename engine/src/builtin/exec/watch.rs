//! Globs of files, and the folders that must be watched for them.

use std::path::{Component, Path, PathBuf};

use globset::{Glob, GlobBuilder, GlobSet, GlobSetBuilder};

use crate::watching::Root;

/// What a glob may stand for, `{ts,js}` and `**` included.
pub(super) struct Globs {
    folder: PathBuf,
    set: GlobSet,
    roots: Vec<Root>,
}

/// Finds what is wrong with a glob.
pub(super) fn check(glob: &str) -> Result<(), String> {
    glob_of(glob).map(|_| ())
}

fn glob_of(glob: &str) -> Result<Glob, String> {
    let glob = glob.strip_prefix("./").unwrap_or(glob);
    let leaves = Path::new(glob)
        .components()
        .any(|part| !matches!(part, Component::Normal(_)));
    if glob.is_empty() || leaves {
        return Err("it leads out of the folder".to_owned());
    }
    // `*` is a name, `**` is any way down.
    let mut builder = GlobBuilder::new(glob);
    builder.literal_separator(true);
    builder.build().map_err(|error| error.kind().to_string())
}

impl Globs {
    pub(super) fn new(folder: &Path, globs: &[String]) -> Result<Globs, String> {
        let mut set = GlobSetBuilder::new();
        // For folders that are not there yet.
        let mut roots = vec![Root::flat(folder.to_owned())];
        for glob in globs {
            set.add(glob_of(glob)?);
            roots.push(root_of(folder, glob));
        }
        let set = set.build().map_err(|error| error.kind().to_string())?;
        let folder = folder.to_owned();
        Ok(Globs { folder, set, roots })
    }

    pub(super) fn roots(&self) -> Vec<Root> {
        self.roots.clone()
    }

    pub(super) fn want(&self, file: &Path) -> bool {
        let inside = file.strip_prefix(&self.folder);
        inside.is_ok_and(|inside| self.set.is_match(inside))
    }
}

/// The folder in which everything is that `glob` may match; deep if more than its own files are.
fn root_of(folder: &Path, glob: &str) -> Root {
    let glob = glob.strip_prefix("./").unwrap_or(glob);
    let steps: Vec<&str> = glob.split('/').collect();
    let folders = &steps[..steps.len() - 1];
    let plain = folders
        .iter()
        .take_while(|step| !step.contains(['*', '?', '[', '{']));
    let plain: Vec<&str> = plain.copied().collect();
    let root = plain
        .iter()
        .fold(folder.to_owned(), |path, step| path.join(step));
    match plain.len() == folders.len() && !glob.contains("**") {
        true => Root::flat(root),
        false => Root::deep(root),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_people_expect() {
        let check = |glob: &str, right: &[&str], wrong: &[&str]| {
            let globs = Globs::new(Path::new("/app"), &[glob.to_owned()]).unwrap();
            for (paths, expect) in [(right, true), (wrong, false)] {
                for path in paths {
                    let full = Path::new("/app").join(path);
                    assert_eq!(globs.want(&full), expect, "{glob} {path}");
                }
            }
        };
        check(
            "steps/**/*.{ts,js}",
            &["steps/a.ts", "steps/b/c/a.js"],
            &["a.ts", "steps/a.tsx"],
        );
        check("config/*.json", &["config/a.json"], &["config/b/a.json"]);
        check("./main.py", &["main.py"], &["src/main.py", "main.pyc"]);
        let globs = Globs::new(Path::new("/app"), &["**/*.py".to_owned()]).unwrap();
        assert!(!globs.want(Path::new("/other/a.py")));
    }

    #[test]
    fn only_the_folders_that_matter_are_watched() {
        let check = |glob: &str, expect: Root| {
            assert_eq!(root_of(Path::new("/app"), glob), expect, "{glob}");
        };
        check("steps/**/*.ts", Root::deep("/app/steps".into()));
        check("config/*.json", Root::flat("/app/config".into()));
        check("a/*/b/*.json", Root::deep("/app/a".into()));
        check("*.py", Root::flat("/app".into()));
        check("**/*.py", Root::deep("/app".into()));
        check("src/{a,b}.ts", Root::flat("/app/src".into()));
    }

    #[test]
    fn globs_stay_in_their_folder() {
        for glob in ["../a/*.ts", "/etc/*", "", "a/../../b", "a{b"] {
            assert!(check(glob).is_err(), "{glob}");
        }
    }
}
