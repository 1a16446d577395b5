//! Lines that a person types, with editing and a history, or that a pipe brings.

use std::{fs, path::PathBuf, sync::mpsc as blocking};

use rustyline::{Config, DefaultEditor, error::ReadlineError};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines, Stdin},
    sync::mpsc,
};

use crate::{failure::Failure, place};

/// Where lines come from.
pub(super) enum Prompt {
    Terminal(Terminal),
    Pipe(Lines<BufReader<Stdin>>),
}

/// What came.
pub(super) enum Typed {
    Line(String),
    /// Ctrl-C.
    Nothing,
    End,
}

/// A thread that reads a line when it is asked to: reading cannot be given up once it has begun.
pub(super) struct Terminal {
    ask: blocking::SyncSender<Ask>,
    typed: mpsc::Receiver<rustyline::Result<String>>,
    /// A line was asked for and has not come.
    reads: bool,
}

struct Ask {
    prompt: String,
    remember: bool,
}

impl Prompt {
    pub(super) fn new(on_terminal: bool) -> Self {
        if on_terminal {
            Prompt::Terminal(Terminal::open())
        } else {
            Prompt::Pipe(BufReader::new(tokio::io::stdin()).lines())
        }
    }

    /// The next line of the talk. Loses nothing when dropped.
    pub(super) async fn line(&mut self, prompt: &str) -> Result<Typed, Failure> {
        match self {
            Prompt::Terminal(terminal) => terminal.line(prompt, true).await,
            Prompt::Pipe(lines) => {
                let line = lines.next_line().await?;
                Ok(line.map_or(Typed::End, Typed::Line))
            }
        }
    }

    /// A word in the middle of an answer, of a person; a pipe has none. Loses nothing when dropped.
    pub(super) async fn word(&mut self, prompt: &str) -> Result<String, Failure> {
        match self {
            Prompt::Terminal(terminal) => match terminal.line(prompt, false).await? {
                Typed::Line(line) => Ok(line),
                Typed::Nothing | Typed::End => Ok(String::new()),
            },
            Prompt::Pipe(_) => std::future::pending().await,
        }
    }

    pub(super) fn is_terminal(&self) -> bool {
        matches!(self, Prompt::Terminal(_))
    }
}

impl Terminal {
    fn open() -> Self {
        let (ask, asked) = blocking::sync_channel(1);
        let (tell, typed) = mpsc::channel(1);
        // Ends when the asking side is gone; one that reads then ends with the process.
        std::thread::spawn(move || read(&asked, &tell));
        Terminal {
            ask,
            typed,
            reads: false,
        }
    }

    async fn line(&mut self, prompt: &str, remember: bool) -> Result<Typed, Failure> {
        if !self.reads {
            let prompt = prompt.to_owned();
            // Room is there: nothing else is asked while a line is being read.
            let _ = self.ask.try_send(Ask { prompt, remember });
            self.reads = true;
        }
        let typed = self.typed.recv().await;
        self.reads = false;
        match typed {
            Some(Ok(line)) => Ok(Typed::Line(line)),
            Some(Err(ReadlineError::Interrupted)) => Ok(Typed::Nothing),
            Some(Err(ReadlineError::Eof)) | None => Ok(Typed::End),
            Some(Err(ReadlineError::Io(error))) => Err(error.into()),
            Some(Err(error)) => Err(std::io::Error::other(error).into()),
        }
    }
}

fn read(asked: &blocking::Receiver<Ask>, tell: &mpsc::Sender<rustyline::Result<String>>) {
    let config = Config::builder().auto_add_history(false).build();
    let history = history();
    let mut editor = DefaultEditor::with_config(config);
    if let (Ok(editor), Some(file)) = (&mut editor, &history) {
        // The first talk has none yet.
        let _ = editor.load_history(file);
    }
    while let Ok(Ask { prompt, remember }) = asked.recv() {
        let line = match &mut editor {
            Ok(editor) => editor.readline(&prompt),
            Err(error) => Err(std::io::Error::other(error.to_string()).into()),
        };
        if let (Ok(editor), Ok(line), true) = (&mut editor, &line, remember)
            && !line.trim().is_empty()
            && editor.add_history_entry(line).is_ok_and(|added| added)
            && let Some(file) = &history
        {
            // A talk goes on without a history.
            let _ = editor.append_history(file);
        }
        if tell.blocking_send(line).is_err() {
            return;
        }
    }
}

/// Where the lines of earlier talks are kept: beside the notes of this account's engines.
fn history() -> Option<PathBuf> {
    let home = place::engines_dir()?.parent()?.to_owned();
    fs::create_dir_all(&home).ok()?;
    Some(home.join("chat_history"))
}
