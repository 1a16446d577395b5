//! What a process prints: into a file of bounded size, with the last lines at hand.

use std::{
    collections::VecDeque,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};

/// Longest line kept whole; a longer one is cut into several.
const LINE_BYTES_MAX: usize = 64 << 10;

/// Lines kept at hand for reports.
const TAIL_LINES: usize = 20;

/// The file that all instances of a worker write to. Cheap to clone.
#[derive(Clone)]
pub(super) struct Log(Arc<Mutex<Rotating>>);

impl Log {
    /// Appends to the log at `path`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(super) fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        let file = Rotating::open(path, bytes_max)?;
        Ok(Log(Arc::new(Mutex::new(file))))
    }

    fn write_line(&self, line: &str) -> io::Result<()> {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write_line(line)
    }
}

/// What one process prints. Cheap to clone.
#[derive(Clone)]
pub(super) struct Output(Arc<Mutex<Inner>>);

/// Hears each line.
type Listener = Box<dyn Fn(&str) + Send>;

struct Inner {
    log: Log,
    tail: VecDeque<String>,
    listener: Option<Listener>,
}

impl Output {
    /// Appends to the log at `path`.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub(super) fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        Ok(Output::on(Log::open(path, bytes_max)?))
    }

    /// Writes into `log`, beside others.
    pub(super) fn on(log: Log) -> Self {
        Output(Arc::new(Mutex::new(Inner {
            log,
            tail: VecDeque::new(),
            listener: None,
        })))
    }

    /// Also hands each line to `listener`.
    pub(super) fn listen(&self, listener: impl Fn(&str) + Send + 'static) {
        self.lock().listener = Some(Box::new(listener));
    }

    /// Adds a line; of the process, or a remark of the supervisor.
    pub(super) fn line(&self, line: &str) {
        let mut inner = self.lock();
        // A full disk must not end the worker; the tail still shows the line.
        let _ = inner.log.write_line(line);
        if inner.tail.len() == TAIL_LINES {
            inner.tail.pop_front();
        }
        inner.tail.push_back(line.to_owned());
        if let Some(listener) = &inner.listener {
            listener(line);
        }
    }

    /// The last lines, oldest first.
    pub(super) fn tail(&self) -> Vec<String> {
        self.lock().tail.iter().cloned().collect()
    }

    /// Forgets the last lines: a new process starts.
    pub(super) fn clear_tail(&self) {
        self.lock().tail.clear();
    }

    /// Takes every line of `pipe` until it closes.
    pub(super) async fn drain(self, pipe: impl AsyncRead + Unpin) {
        let mut pipe = BufReader::new(pipe);
        let mut line = Vec::new();
        // A pipe that fails to be read is as good as closed.
        while let Ok(Some(end)) = next_piece(&mut pipe, &mut line).await {
            if end || line.len() >= LINE_BYTES_MAX {
                self.line(&String::from_utf8_lossy(&line));
                line.clear();
            }
        }
        if !line.is_empty() {
            self.line(&String::from_utf8_lossy(&line));
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Adds what has come to `line`: `Some(true)` at a line's end, `None` at the end of the pipe.
async fn next_piece(
    pipe: &mut BufReader<impl AsyncRead + Unpin>,
    line: &mut Vec<u8>,
) -> io::Result<Option<bool>> {
    let bytes = pipe.fill_buf().await?;
    if bytes.is_empty() {
        return Ok(None);
    }
    let end = bytes.iter().position(|byte| *byte == b'\n');
    let piece = &bytes[..end.unwrap_or(bytes.len())];
    line.extend_from_slice(piece.strip_suffix(b"\r").unwrap_or(piece));
    let used = end.map_or(bytes.len(), |end| end + 1);
    pipe.consume(used);
    Ok(Some(end.is_some()))
}

/// A file that becomes `<name>.1` when it is full.
struct Rotating {
    path: PathBuf,
    file: File,
    bytes: u64,
    bytes_max: u64,
}

impl Rotating {
    fn open(path: &Path, bytes_max: u64) -> io::Result<Self> {
        // Workers may print what nobody else should read.
        let file = OpenOptions::new()
            .append(true)
            .create(true)
            .mode(0o600)
            .open(path)?;
        let bytes = file.metadata()?.len();
        Ok(Rotating {
            path: path.to_owned(),
            file,
            bytes,
            bytes_max,
        })
    }

    fn write_line(&mut self, line: &str) -> io::Result<()> {
        if self.bytes > 0 && self.bytes + line.len() as u64 > self.bytes_max {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            std::fs::rename(&self.path, old)?;
            *self = Rotating::open(&self.path, self.bytes_max)?;
        }
        self.bytes += line.len() as u64 + 1;
        self.file.write_all(format!("{line}\n").as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_lines_a_tail_and_a_bounded_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.log");
        let output = Output::open(&path, 100).unwrap();
        let text: String = (0..40).map(|number| format!("line {number}\r\n")).collect();
        output.clone().drain(text.as_bytes()).await;
        output.clone().drain(&b"unfinished"[..]).await;
        assert_eq!(output.tail().len(), TAIL_LINES);
        assert_eq!(output.tail().last().map(String::as_str), Some("unfinished"));
        let now = std::fs::read_to_string(&path).unwrap();
        assert!(
            now.len() <= 100 && now.ends_with("line 39\nunfinished\n"),
            "{now}"
        );
        assert!(
            std::fs::metadata(folder.path().join("w.log.1"))
                .unwrap()
                .len()
                <= 110
        );
    }

    #[tokio::test]
    async fn cuts_a_line_without_end() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::open(&folder.path().join("w.log"), 1 << 20).unwrap();
        output
            .clone()
            .drain(&vec![b'x'; 3 * LINE_BYTES_MAX][..])
            .await;
        assert!(output.tail().len() >= 3);
    }
}
