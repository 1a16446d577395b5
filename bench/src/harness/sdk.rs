//! Echo through the engine with the SDKs of other languages, as a user writes it: ours, and the
//! unmodified `iii-sdk` packages. The programs are in `bench/sdk`; `cargo xtask test` installs what
//! they need.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use tempfile::TempDir;
use tokio::process::Command;

use super::child::Child;

/// One of the programs, which is both callee and caller.
pub(crate) struct Program {
    runtime: PathBuf,
    /// Where the program and, for Node, its packages are.
    folder: TempDir,
    file: &'static str,
}

const FILES: [(&str, &str); 6] = [
    ("measure.py", include_str!("../../sdk/measure.py")),
    ("agentos_echo.py", include_str!("../../sdk/agentos_echo.py")),
    ("iii_echo.py", include_str!("../../sdk/iii_echo.py")),
    ("measure.mjs", include_str!("../../sdk/measure.mjs")),
    (
        "agentos_echo.mjs",
        include_str!("../../sdk/agentos_echo.mjs"),
    ),
    ("iii_echo.mjs", include_str!("../../sdk/iii_echo.mjs")),
];

/// Names of the contenders and their programs, as far as they are installed in the workspace.
pub(crate) fn installed(root: &Path) -> Result<Vec<(&'static str, Program)>> {
    let python = root.join("target/xtask/venv/bin/python");
    let node = PathBuf::from("node");
    let ours = root.join("sdk-ts");
    let theirs = root.join("tests/clients/node/node_modules/iii-sdk");
    let mut programs = Vec::new();
    if python.exists() {
        programs.push((
            "python iii-sdk",
            Program::new(python.clone(), "iii_echo.py")?,
        ));
        programs.push(("python agentos", Program::new(python, "agentos_echo.py")?));
    }
    if theirs.exists() {
        let program = Program::new(node.clone(), "iii_echo.mjs")?;
        program.link("iii-sdk", &theirs)?;
        programs.push(("node iii-sdk", program));
    }
    if ours.join("dist").exists() {
        let program = Program::new(node, "agentos_echo.mjs")?;
        program.link("@agentos/sdk", &ours)?;
        programs.push(("node agentos", program));
    }
    if programs.len() < 4 {
        eprintln!(
            "without all SDKs: `cargo xtask test` installs them, or --sdk-root says where it did"
        );
    }
    Ok(programs)
}

impl Program {
    fn new(runtime: PathBuf, file: &'static str) -> Result<Self> {
        let folder = TempDir::new()?;
        for (name, text) in FILES {
            fs::write(folder.path().join(name), text)?;
        }
        Ok(Program {
            runtime,
            folder,
            file,
        })
    }

    /// Node looks for packages beside the program.
    fn link(&self, package: &str, at: &Path) -> Result<()> {
        let link = self.folder.path().join("node_modules").join(package);
        fs::create_dir_all(link.parent().context("a package has a folder")?)?;
        Ok(symlink(at.canonicalize()?, link)?)
    }

    pub(crate) fn start(&self, url: &str, words: &[String]) -> Result<Child> {
        let mut command = Command::new(&self.runtime);
        command
            .arg(self.folder.path().join(self.file))
            .args(words)
            .env("AGENTOS_URL", url)
            .env("AGENTOS_HOME", self.folder.path());
        Child::spawn(command)
    }
}
