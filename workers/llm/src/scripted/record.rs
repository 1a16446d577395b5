//! The records: one line when a scripted model is asked, one when the answer ends, however it ends.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::Arc,
    time::Instant,
};

use agentos_contract::llm::Event;
use agentos_sdk::{Code, Error};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::Stage;
use crate::provider::Ask;

/// A file of JSON lines that only grows.
pub(super) struct RecordFile(Mutex<File>);

impl RecordFile {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        Ok(RecordFile(Mutex::new(
            OpenOptions::new().create(true).append(true).open(path)?,
        )))
    }

    fn append(&self, record: &Value) -> io::Result<()> {
        // One write, so that lines of two processes do not mix.
        self.0.lock().write_all(format!("{record}\n").as_bytes())
    }
}

/// One call of a script under record. Dropped before its end, it records a cancellation.
pub(super) struct Take {
    stage: Arc<Stage>,
    file: Option<Arc<RecordFile>>,
    call: u64,
    script: String,
    turn: usize,
    began: Instant,
    events: u64,
    text: String,
    ended: bool,
}

impl Take {
    /// Records the request.
    ///
    /// # Errors
    /// When the record file cannot be written.
    pub(super) fn begin(
        stage: Arc<Stage>,
        file: Option<Arc<RecordFile>>,
        script: &str,
        turn: usize,
        ask: Ask<'_>,
    ) -> Result<Self, Error> {
        let call = stage.next_call();
        let record = json!({
            "event": "request", "call": call, "script": script, "turn": turn,
            "model": ask.model, "stream": ask.stream, "request": ask.request,
        });
        let take = Take {
            stage,
            file,
            call,
            script: script.to_owned(),
            turn,
            began: Instant::now(),
            events: 0,
            text: String::new(),
            ended: false,
        };
        match take.write(record) {
            Ok(()) => Ok(take),
            Err(error) => Err(Error::worker(
                Code::Unavailable,
                format!("the record cannot be written: {error}"),
            )),
        }
    }

    /// Notes an event that was handed out; `finish` is the end.
    pub(super) fn sent(&mut self, event: &Event) {
        self.events += 1;
        match event {
            Event::Text { text } => self.text.push_str(text),
            Event::Finish { .. } => self.end("finished", None),
            _ => {}
        }
    }

    /// Records that the turn ended with `error`.
    pub(super) fn failed(&mut self, error: &Error) {
        self.end("error", Some(error));
    }

    fn end(&mut self, outcome: &str, error: Option<&Error>) {
        self.ended = true;
        let mut record = json!({
            "event": "end", "call": self.call, "script": self.script, "turn": self.turn, "outcome": outcome,
            "events": self.events, "text": self.text, "elapsed_ms": self.began.elapsed().as_millis() as u64,
        });
        if let Some(error) = error {
            record["error"] = json!({ "code": error.code, "message": error.message });
        }
        // Nobody waits for this word any more; the record in memory has it in any case.
        let _ = self.write(record);
    }

    fn write(&self, record: Value) -> io::Result<()> {
        let written = self
            .file
            .as_ref()
            .map_or(Ok(()), |file| file.append(&record));
        self.stage.keep(record);
        written
    }
}

impl Drop for Take {
    fn drop(&mut self) {
        if !self.ended {
            self.end("cancelled", None);
        }
    }
}
