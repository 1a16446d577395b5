//! `agentos logs`: what a worker process printed, and prints.

use std::{
    fs::File,
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Duration,
};

use agentos_engine::config::logs_dir;

use crate::{
    args::{Common, Logs},
    failure::{FAILED, Failure},
    place::Place,
    screen::Screen,
};

/// How often a followed log is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Most of the past that is read to find its last lines.
const PAST_BYTES_MAX: u64 = 4 << 20;

pub(crate) async fn run(logs: Logs, common: &Common, screen: &Screen) -> Result<(), Failure> {
    let folder = logs_dir(&Place::data_dir(common)?);
    let ending = if logs.prepare { ".prepare.log" } else { ".log" };
    let path = folder.join(format!("{}{ending}", logs.name));
    if logs.name.contains('/') || !path.exists() {
        return Err(no_log(&logs.name, &folder));
    }
    let mut tail = Tail::open(path)?;
    screen.bytes(&last_lines(&tail.past()?, logs.lines));
    if !logs.follow {
        return Ok(());
    }
    loop {
        tokio::time::sleep(LOOK_AGAIN).await;
        screen.bytes(&tail.news()?);
    }
}

fn no_log(name: &str, folder: &Path) -> Failure {
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|file| {
            file.file_name()
                .to_str()?
                .strip_suffix(".log")
                .map(str::to_owned)
        })
        .filter(|name| !name.ends_with(".prepare"))
        .collect();
    names.sort();
    let failure = Failure::new(
        FAILED,
        format!("{} has no log of `{name}`", folder.display()),
    );
    match names.is_empty() {
        true => failure.remedy("say where the engine's data is with --data-dir"),
        false => failure.remedy(format!("ask for one of: {}", names.join(", "))),
    }
}

fn last_lines(text: &[u8], count: usize) -> Vec<u8> {
    let lines: Vec<&[u8]> = text.split_inclusive(|byte| *byte == b'\n').collect();
    lines[lines.len().saturating_sub(count)..].concat()
}

/// A log that is read as it grows, over rotations.
struct Tail {
    path: PathBuf,
    file: File,
}

impl Tail {
    fn open(path: PathBuf) -> io::Result<Tail> {
        let file = File::open(&path)?;
        Ok(Tail { path, file })
    }

    fn past(&mut self) -> io::Result<Vec<u8>> {
        let length = self.file.metadata()?.len();
        self.file
            .seek(SeekFrom::Start(length.saturating_sub(PAST_BYTES_MAX)))?;
        self.news_of_file()
    }

    fn news_of_file(&mut self) -> io::Result<Vec<u8>> {
        let mut news = Vec::new();
        self.file.read_to_end(&mut news)?;
        Ok(news)
    }

    /// What was added since; the rest of the old file and the new one after a rotation.
    fn news(&mut self) -> io::Result<Vec<u8>> {
        let mut news = self.news_of_file()?;
        // Between two renames there may be no file for a moment.
        if let Ok(now) = File::open(&self.path)
            && now.metadata()?.ino() != self.file.metadata()?.ino()
        {
            self.file = now;
            news.extend(self.news_of_file()?);
        }
        Ok(news)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn shows_the_last_lines_and_follows_a_rotation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("w.log");
        std::fs::write(&path, "1\n2\n3\n").unwrap();
        let mut tail = Tail::open(path.clone()).unwrap();
        assert_eq!(last_lines(&tail.past().unwrap(), 2), b"2\n3\n");
        File::options()
            .append(true)
            .open(&path)
            .unwrap()
            .write_all(b"4\n")
            .unwrap();
        std::fs::rename(&path, folder.path().join("w.log.1")).unwrap();
        std::fs::write(&path, "5\n").unwrap();
        assert_eq!(tail.news().unwrap(), b"4\n5\n");
        assert_eq!(tail.news().unwrap(), b"");
    }
}
