//! Tells the program which commit it was built from, when there is a checkout to ask.

use std::{path::Path, process::Command};

fn main() {
    // Moves with every commit and checkout; absent in a source archive.
    let log = "../../.git/logs/HEAD";
    if Path::new(log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    let commit = Command::new("git")
        .args(["rev-parse", "--short=12", "HEAD"])
        .output();
    let commit = commit
        .ok()
        .filter(|output| output.status.success())
        .map(|output| output.stdout);
    let commit = commit
        .and_then(|text| String::from_utf8(text).ok())
        .unwrap_or_default();
    let version = match commit.trim() {
        "" => env!("CARGO_PKG_VERSION").to_owned(),
        commit => format!("{} ({commit})", env!("CARGO_PKG_VERSION")),
    };
    println!("cargo::rustc-env=AGENTOS_VERSION={version}");
}
