//! Are the programs there that a worker needs, and new enough.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::{Language, Manifest};

/// A program that some workers need.
struct Known {
    name: &'static str,
    /// Oldest version that works.
    min: Option<(u32, u32)>,
    remedy: &'static str,
}

const KNOWN: [Known; 4] = [
    Known {
        name: "node",
        min: Some((20, 0)),
        remedy: "install Node.js 20 or newer from https://nodejs.org",
    },
    Known {
        name: "npm",
        min: None,
        remedy: "install Node.js 20 or newer from https://nodejs.org; npm comes with it",
    },
    Known {
        name: "python3",
        min: Some((3, 11)),
        remedy: "install Python 3.11 or newer from https://www.python.org",
    },
    Known {
        name: "cargo",
        min: None,
        remedy: "install Rust from https://rustup.rs",
    },
];

/// What keeps `manifest` from running here, with the way out; `None` when nothing does.
pub(super) fn missing(manifest: &Manifest, search_path: &str) -> Option<String> {
    needed(manifest)
        .into_iter()
        .find_map(|program| fault(program, search_path))
}

fn needed(manifest: &Manifest) -> BTreeSet<&str> {
    let by_language = match manifest.language {
        Language::TypeScript => Some("node"),
        Language::Python => Some("python3"),
        Language::Rust | Language::Other => None,
    };
    let commands = manifest
        .prepare
        .iter()
        .chain([&manifest.command])
        .filter_map(|command| command.first());
    // A path is relative to the worker's folder, and may be what preparation makes.
    let commands = commands
        .map(String::as_str)
        .filter(|program| !program.contains('/'));
    by_language
        .into_iter()
        .chain(commands)
        .chain(manifest.requires.iter().map(String::as_str))
        .collect()
}

fn fault(program: &str, search_path: &str) -> Option<String> {
    let known = KNOWN.iter().find(|known| known.name == program);
    let remedy = known.map_or_else(
        || format!("install {program}"),
        |known| known.remedy.to_owned(),
    );
    let Some(path) = find(program, search_path) else {
        return Some(format!("`{program}` was not found; {remedy}"));
    };
    let min = known.and_then(|known| known.min)?;
    match version_of(&path) {
        Some(version) if version >= min => None,
        Some((major, minor)) => Some(format!(
            "`{program}` is {major}.{minor}, and {}.{} is the oldest that works; {remedy}",
            min.0, min.1
        )),
        None => Some(format!(
            "`{program} --version` says nothing sensible; {remedy}"
        )),
    }
}

/// The first `program` on the path.
fn find(program: &str, search_path: &str) -> Option<PathBuf> {
    std::env::split_paths(search_path)
        .map(|folder| folder.join(program))
        .find(|path| is_executable(path))
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    path.metadata()
        .is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn version_of(program: &Path) -> Option<(u32, u32)> {
    let output = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()
        .ok()?;
    parse_version(&String::from_utf8_lossy(&output.stdout))
}

/// Reads `v20.20.2` and `Python 3.11.7`.
fn parse_version(text: &str) -> Option<(u32, u32)> {
    let start = text.find(|letter: char| letter.is_ascii_digit())?;
    let mut numbers = text[start..]
        .split(|letter: char| !letter.is_ascii_digit())
        .map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_versions() {
        let check = |text, expect| assert_eq!(parse_version(text), expect, "{text}");
        check("v20.20.2\n", Some((20, 20)));
        check("Python 3.11.7", Some((3, 11)));
        check("cargo 1.95.0 (f2d3ce0bd 2026-03-21)", Some((1, 95)));
        check("none", None);
    }

    #[test]
    fn names_what_is_missing_and_the_way_out() {
        let fault = fault("node", "/nowhere").expect("an empty path has no node");
        assert_eq!(
            fault,
            "`node` was not found; install Node.js 20 or newer from https://nodejs.org"
        );
    }
}
