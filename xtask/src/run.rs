//! Programs as stages run them: in a folder, shown as they print, counted, and refused when they
//! fail.

use std::{
    env,
    ffi::OsString,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::count::Count;

/// The root of the workspace.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is a folder of the workspace")
        .to_owned()
}

/// Where cargo builds.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Where this program keeps what it installs.
pub(crate) fn own() -> PathBuf {
    target().join("xtask")
}

pub(crate) fn agentos() -> PathBuf {
    target().join("release/agentos")
}

/// The Python with everything that Python tests need.
pub(crate) fn python() -> PathBuf {
    own().join("venv/bin/python")
}

/// `program` with `words`, in `folder` below the root.
pub(crate) fn command(folder: &str, program: impl Into<OsString>, words: &[&str]) -> Command {
    let mut command = Command::new(program.into());
    command
        .args(words)
        .current_dir(root().join(folder))
        .stdin(Stdio::null());
    command
        .env("AGENTOS_BIN", agentos())
        .env("AGENTOS_TEST_PYTHON", python());
    // No engine of this account is found, or disturbed.
    command.env("AGENTOS_HOME", own().join("home"));
    for name in [
        "AGENTOS_URL",
        "AGENTOS_TOKEN",
        "AGENTOS_TOKEN_FILE",
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
    ] {
        command.env_remove(name);
    }
    command
}

/// Runs to the end, showing all output, and counts the tests that it reports.
pub(crate) fn run(mut command: Command) -> Result<Count, String> {
    let said = format!("{} {}", command.get_program().display(), words(&command));
    println!("\n$ {said}");
    let mut child = command
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{said}: {error}"))?;
    let mut count = Count::default();
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).split(b'\n').map_while(Result::ok) {
            let line = String::from_utf8_lossy(&line);
            count.read(&line);
            println!("{line}");
        }
    }
    let status = child.wait().map_err(|error| format!("{said}: {error}"))?;
    if status.success() {
        Ok(count)
    } else {
        Err(format!("`{said}` failed: {status}; {count}"))
    }
}

fn words(command: &Command) -> String {
    command
        .get_args()
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}

pub(crate) fn cargo(words: &[&str]) -> Result<Count, String> {
    run(command(
        ".",
        env::var_os("CARGO").unwrap_or_else(|| "cargo".into()),
        words,
    ))
}

pub(crate) fn npm(folder: &str, words: &[&str]) -> Result<Count, String> {
    run(command(folder, "npm", words))
}

pub(crate) fn pip(words: &[&str]) -> Result<Count, String> {
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ];
    run(command(".", python(), &[&pip, words].concat()))
}
