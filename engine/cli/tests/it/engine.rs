//! A running `agentos start`, and commands against it.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::{AGENTOS, PATIENCE};

/// A place of its own for one engine: nothing of the account is seen or touched.
pub(crate) struct Place {
    pub(crate) folder: tempfile::TempDir,
    /// Where engines leave their notes.
    home: PathBuf,
}

impl Place {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().join("home");
        Place { folder, home }
    }

    /// Another place on the same account.
    pub(crate) fn beside(other: &Place) -> Self {
        Place {
            folder: tempfile::tempdir().unwrap(),
            home: other.home.clone(),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    /// Writes a config.yaml that runs the workers in `dirs`.
    pub(crate) fn configure(&self, dirs: &[&str]) {
        let text = format!(
            "listen: {{ bus: {{ port: 0 }}, http: {{ port: 0 }} }}\nworkers:\n  builtin: [llm, memory]\n  dirs: [{}]\n",
            dirs.join(", ")
        );
        std::fs::write(self.path().join("config.yaml"), text).unwrap();
    }

    pub(crate) fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(AGENTOS);
        command
            .args(words)
            .current_dir(self.path())
            .stdin(Stdio::null());
        command.env("AGENTOS_HOME", &self.home);
        for name in [
            "AGENTOS_URL",
            "AGENTOS_TOKEN",
            "AGENTOS_TOKEN_FILE",
            "OPENAI_API_KEY",
            "ANTHROPIC_API_KEY",
            "AGENTOS_LOG",
        ] {
            command.env_remove(name);
        }
        command
    }

    pub(crate) fn run(&self, words: &[&str]) -> Ran {
        Ran::of(&self.command(words).output().unwrap())
    }
}

/// What a command said.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Ran {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ran {
            exit: output.status.code(),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    pub(crate) fn ok(self) -> String {
        assert_eq!(self.exit, Some(0), "{self:?}");
        self.out
    }
}

/// A started engine. Killed at the end, if it has not ended.
pub(crate) struct Engine {
    pub(crate) child: Child,
    events: Receiver<Value>,
}

impl Engine {
    /// Starts one and waits until everything in its process is up.
    pub(crate) fn start(place: &Place, words: &[&str]) -> Self {
        let mut command = place.command(&["start", "--json"]);
        let mut child = command.args(words).stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (tell, events) = sync_channel(1024);
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                // A test that is over does not listen.
                let _ = tell.send(serde_json::from_str(&line).unwrap());
            }
        });
        let engine = Engine { child, events };
        engine.wait_for("started");
        engine
    }

    /// The next event of this kind; others are passed over.
    pub(crate) fn wait_for(&self, kind: &str) -> Value {
        self.wait_up_to(PATIENCE, kind)
    }

    /// As [`Engine::wait_for`], while something is installed and built.
    pub(crate) fn wait_long_for(&self, kind: &str) -> Value {
        self.wait_up_to(Duration::from_secs(600), kind)
    }

    fn wait_up_to(&self, patience: Duration, kind: &str) -> Value {
        loop {
            let event = self
                .events
                .recv_timeout(patience)
                .unwrap_or_else(|error| panic!("no `{kind}`: {error}"));
            if event["event"] == kind {
                return event;
            }
        }
    }

    pub(crate) fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([signal, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(sent.success());
    }

    pub(crate) fn wait(&mut self) -> Option<i32> {
        self.child.wait().unwrap().code()
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
