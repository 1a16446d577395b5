//! What must have run before a worker can: installing, building. Runs only when its inputs
//! changed, and in one engine at a time per folder.

use std::{
    collections::BTreeSet,
    ffi::OsString,
    fs::{File, TryLockError},
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use tokio::time::Instant;

use super::{
    Manifest, Resources, What, environment, fingerprint,
    output::Output,
    process::{Launch, Process},
};

/// Where a worker's folder keeps what the supervisor knows about it.
const FOLDER: &str = ".agentos";

/// How often a lock that another engine holds is tried again.
const LOCK_RETRY: Duration = Duration::from_millis(200);

/// The log of one preparation; an npm or cargo build is far smaller.
const LOG_BYTES_MAX: u64 = 16 << 20;

/// Why a worker is not ready.
pub(super) struct Fault {
    pub(super) message: String,
    /// The last lines of the step that failed.
    pub(super) output: Vec<String>,
}

impl From<String> for Fault {
    fn from(message: String) -> Self {
        Fault {
            message,
            output: Vec::new(),
        }
    }
}

/// One worker's preparation.
pub(super) struct Preparation<'a, R> {
    pub(super) manifest: &'a Manifest,
    pub(super) guard: &'a [OsString],
    pub(super) log: &'a Path,
    /// Told of steps and of what they print.
    pub(super) report: R,
}

impl<R: Fn(What) + Clone + Send + 'static> Preparation<'_, R> {
    /// Brings the folder to where the worker can start.
    ///
    /// # Errors
    /// What failed, the last it said, and the way out.
    pub(super) async fn run(&self) -> Result<(), Fault> {
        if self.manifest.prepare.is_empty() || self.is_fresh(&self.fingerprint().await?) {
            return Ok(());
        }
        let _locks = self.lock().await.map_err(|error| self.no_folder(&error))?;
        // Whoever held the lock may have done the work.
        let fingerprint = self.fingerprint().await?;
        if self.is_fresh(&fingerprint) {
            return Ok(());
        }
        let began = Instant::now();
        self.run_steps().await?;
        std::fs::write(self.stamp(), fingerprint).map_err(|error| self.no_folder(&error))?;
        (self.report)(What::Prepared {
            took: began.elapsed(),
        });
        Ok(())
    }

    async fn fingerprint(&self) -> Result<String, String> {
        let manifest = self.manifest.clone();
        let hashed = tokio::task::spawn_blocking(move || fingerprint::of(&manifest)).await;
        hashed
            .map_err(io::Error::other)
            .flatten()
            .map_err(|error| format!("its inputs cannot be read: {error}"))
    }

    fn stamp(&self) -> PathBuf {
        self.manifest.folder.join(FOLDER).join("prepared")
    }

    fn is_fresh(&self, fingerprint: &str) -> bool {
        let has_output = |output: &String| self.manifest.folder.join(output).exists();
        std::fs::read_to_string(self.stamp()).is_ok_and(|stamp| stamp == fingerprint)
            && self.manifest.outputs.iter().all(has_output)
    }

    fn no_folder(&self, error: &io::Error) -> String {
        format!(
            "{} cannot be prepared: {error}",
            self.manifest.folder.display()
        )
    }

    /// Waits until nobody else prepares this folder, or writes to one that it shares.
    async fn lock(&self) -> io::Result<Vec<File>> {
        let shared = self
            .manifest
            .shares
            .iter()
            .map(|folder| self.manifest.folder.join(folder));
        let folders = shared
            .chain([self.manifest.folder.clone()])
            .map(|folder| folder.canonicalize());
        // In one order for everybody, or two could wait for each other.
        let folders: BTreeSet<PathBuf> = folders.collect::<Result<_, _>>()?;
        let mut locks = Vec::new();
        for folder in folders {
            locks.push(lock(&folder.join(FOLDER)).await?);
        }
        Ok(locks)
    }

    async fn run_steps(&self) -> Result<(), Fault> {
        // A log of an earlier preparation would only confuse.
        let _ = std::fs::remove_file(self.log);
        let output = Output::open(self.log, LOG_BYTES_MAX)
            .map_err(|error| format!("{}: {error}", self.log.display()))?;
        let report = self.report.clone();
        output.listen(move |line| report(What::Output(line.to_owned())));
        for (index, command) in self.manifest.prepare.iter().enumerate() {
            let (step, of) = (index + 1, self.manifest.prepare.len());
            (self.report)(What::Preparing {
                step,
                of,
                command: command.join(" "),
            });
            output.clear_tail();
            self.run_step(command, &output).await?;
        }
        Ok(())
    }

    async fn run_step(&self, command: &[String], output: &Output) -> Result<(), Fault> {
        let env = environment::read(&self.manifest.env, &self.manifest.folder)?;
        let env = env
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let launch = Launch {
            guard: self.guard,
            command,
            // They are for the worker, not for its compiler.
            resources: Resources::default(),
            folder: &self.manifest.folder,
            env,
            instance: None,
        };
        let how = match Process::start(launch, output).await {
            Ok(mut process) => match process.wait().await {
                exit if exit.success() => return Ok(()),
                exit => exit.how,
            },
            Err(error) => error.to_string(),
        };
        let message = format!(
            "`{}` failed in {} ({how}); all it said is in {}; correct it, then start again",
            command.join(" "),
            self.manifest.folder.display(),
            self.log.display(),
        );
        Err(Fault {
            message,
            output: output.tail(),
        })
    }
}

async fn lock(folder: &Path) -> io::Result<File> {
    std::fs::create_dir_all(folder)?;
    // What is in it is of this machine.
    std::fs::write(folder.join(".gitignore"), "*\n")?;
    let file = File::create(folder.join("lock"))?;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => tokio::time::sleep(LOCK_RETRY).await,
            Err(TryLockError::Error(error)) => return Err(error),
        }
    }
}
