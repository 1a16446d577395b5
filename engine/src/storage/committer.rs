//! The one thread that writes: gathers the batches that wait, writes once, answers all.
//!
//! Nobody waits for company: while one group is on its way to the disk the next one gathers by
//! itself. Knows a [`Disk`], not which.

use std::{io, thread, time::Duration};

use tokio::{
    runtime::Runtime,
    sync::{mpsc, oneshot},
    time::{Instant, timeout_at},
};

use super::{Batch, Committed, Durability, Error, Space, Version, group::Group, group::Write};

/// Batches per trip to the disk, and bytes of them: beyond, latency grows and throughput does not.
const GROUP_BATCHES_MAX: usize = 512;
const GROUP_BYTES_MAX: usize = 1 << 20;

/// Batches that wait in the queue; who comes then waits before it.
const QUEUE_MAX: usize = 1024;

/// How long a relaxed write may wait for its sync, when no durable one comes along: what a power cut
/// may take at most, with what one more trip to the disk lasts.
const RELAXED_FOR: Duration = Duration::from_millis(500);

/// How long a store that ran out of room waits until a write may find out whether there is some.
const RECOVER_AFTER: Duration = Duration::from_secs(1);

/// What a committer needs of an adapter.
pub(super) trait Disk: Send + 'static {
    /// Version of the newest record under `key`, 0 when there is none.
    fn version(&self, space: Space, key: &[u8]) -> Result<Version, Error>;

    /// Writes all or nothing, and returns when it would survive what `durability` says. No version
    /// from `next` on has been given out yet.
    fn write(
        &mut self,
        writes: &mut dyn Iterator<Item = Write>,
        next: Version,
        durability: Durability,
    ) -> Result<(), Error>;

    /// Returns when everything written before would survive a power cut.
    fn sync(&mut self) -> Result<(), Error>;

    /// Starts anew from what lies on the disk, after a write that failed for want of room.
    fn reopen(&mut self) -> Result<(), Error>;

    /// Says to those who look why nothing is written, or that all is well.
    fn tell(&self, trouble: Option<&Error>);
}

/// Handle to the thread. Dropping it finishes what waits and ends the thread.
pub(super) struct Committer {
    jobs: Option<mpsc::Sender<Job>>,
    thread: Option<thread::JoinHandle<()>>,
}

struct Job {
    batch: Batch,
    answer: oneshot::Sender<Result<Committed, Error>>,
}

impl Committer {
    /// Starts the thread; the first operation gets version `next`.
    pub(super) fn start(disk: impl Disk, next: Version) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel(QUEUE_MAX);
        // For the one time there is to keep: when relaxed writes are to be on disk.
        let timer = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()?;
        let run = move || run(disk, next, queue, &timer);
        let thread = thread::Builder::new()
            .name("storage".to_owned())
            .spawn(run)?;
        Ok(Committer {
            jobs: Some(jobs),
            thread: Some(thread),
        })
    }

    pub(super) async fn commit(&self, batch: Batch) -> Result<Committed, Error> {
        let (answer, outcome) = oneshot::channel();
        let jobs = self.jobs.as_ref().expect("the queue is only taken by drop");
        let gone = || Error::Unavailable("the committer stopped".into());
        jobs.send(Job { batch, answer }).await.map_err(|_| gone())?;
        outcome.await.unwrap_or_else(|_| Err(gone()))
    }
}

impl Drop for Committer {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            // A panic was reported by the panic hook; there is nothing to add.
            let _ = thread.join();
        }
    }
}

fn run<D: Disk>(disk: D, next: Version, mut queue: mpsc::Receiver<Job>, timer: &Runtime) {
    let mut writer = Writer {
        disk,
        next,
        unsynced_since: None,
        failure: None,
    };
    let mut jobs = Vec::with_capacity(GROUP_BATCHES_MAX);
    loop {
        let first = match writer.unsynced_since {
            None => queue.blocking_recv(),
            Some(since) => {
                let received = async { timeout_at(since + RELAXED_FOR, queue.recv()).await };
                match timer.block_on(received) {
                    Ok(first) => first,
                    Err(_) => {
                        writer.sync();
                        continue;
                    }
                }
            }
        };
        let Some(first) = first else { break };
        gather(first, &mut queue, &mut jobs);
        writer.handle(&mut jobs);
    }
    if writer.unsynced_since.is_some() {
        writer.sync();
    }
}

/// What the thread knows between groups.
struct Writer<D> {
    disk: D,
    next: Version,
    /// Since when something is written that a power cut would take.
    unsynced_since: Option<Instant>,
    failure: Option<Failure>,
}

/// Why nothing is written.
struct Failure {
    error: Error,
    /// When it may be looked at again whether it has passed.
    again: Option<Instant>,
}

impl<D: Disk> Writer<D> {
    fn handle(&mut self, jobs: &mut Vec<Job>) {
        self.recover();
        if let Some(failure) = &self.failure {
            return refuse(jobs, &failure.error);
        }
        let mut group = Group::new(self.next);
        let decided: Vec<_> = jobs
            .drain(..)
            .map(|job| {
                let outcome = group.admit(job.batch, |space, key| self.disk.version(space, key));
                (job.answer, outcome)
            })
            .collect();
        // Also when it fails: its versions may be on disk all the same.
        self.next = group.next();
        let written = self.write(group);
        for (answer, outcome) in decided {
            let outcome = match &written {
                Err(error) => outcome.and(Err(error.clone())),
                Ok(()) => outcome,
            };
            // Whoever stopped waiting does not want the outcome; the write stands all the same.
            let _ = answer.send(outcome);
        }
    }

    fn write(&mut self, group: Group) -> Result<(), Error> {
        if group.is_empty() {
            return Ok(());
        }
        let (next, durability) = (group.next(), group.durability());
        let writes = &mut group.into_writes();
        let written = self.disk.write(writes, next, durability);
        written.map_err(|cause| self.fail(cause))?;
        match durability {
            // One sync is for everything before it.
            Durability::Durable => self.unsynced_since = None,
            Durability::Relaxed => {
                self.unsynced_since.get_or_insert_with(Instant::now);
            }
        }
        Ok(())
    }

    fn sync(&mut self) {
        self.unsynced_since = None;
        if let Err(cause) = self.disk.sync() {
            self.fail(cause);
        }
    }

    /// Ends writing. Returns what everybody hears from now on.
    fn fail(&mut self, cause: Error) -> Error {
        let again = matches!(cause, Error::Short(_)).then(|| Instant::now() + RECOVER_AFTER);
        match again {
            Some(_) => {
                tracing::error!(error = %cause, "a write to disk failed; the store is read-only until there is room");
            }
            None => {
                tracing::error!(error = %cause, "a write to disk failed; the store is read-only until the engine is started again");
            }
        }
        let error = Error::ReadOnly {
            cause: cause.to_string().into(),
        };
        self.disk.tell(Some(&error));
        self.unsynced_since = None;
        self.failure = Some(Failure {
            error: error.clone(),
            again,
        });
        error
    }

    /// Goes on after a failure that has passed. A write asks; nobody else looks.
    fn recover(&mut self) {
        let Some(failure) = &mut self.failure else {
            return;
        };
        match &mut failure.again {
            Some(again) if *again <= Instant::now() => match self.disk.reopen() {
                Ok(()) => {
                    tracing::info!("the store was opened anew and writes again");
                    self.disk.tell(None);
                    self.failure = None;
                }
                Err(error) => {
                    tracing::debug!(%error, "the store cannot write yet");
                    *again = Instant::now() + RECOVER_AFTER;
                }
            },
            _ => {}
        }
    }
}

/// `first` and whatever else waits, up to a group's size.
fn gather(first: Job, queue: &mut mpsc::Receiver<Job>, jobs: &mut Vec<Job>) {
    let mut bytes = first.batch.bytes();
    jobs.push(first);
    while jobs.len() < GROUP_BATCHES_MAX && bytes < GROUP_BYTES_MAX {
        let Ok(job) = queue.try_recv() else { break };
        bytes += job.batch.bytes();
        jobs.push(job);
    }
}

fn refuse(jobs: &mut Vec<Job>, error: &Error) {
    for job in jobs.drain(..) {
        let _ = job.answer.send(Err(error.clone()));
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, sync::Arc};

    use parking_lot::Mutex;

    use super::*;

    const SPACE: Space = Space::new("test");

    /// Says what it was asked for, and fails as told.
    struct Scripted {
        fails: VecDeque<Option<Error>>,
        log: Arc<Mutex<Vec<&'static str>>>,
    }

    impl Scripted {
        fn note(&self, what: &'static str) {
            self.log.lock().push(what);
        }
    }

    impl Disk for Scripted {
        fn version(&self, _: Space, _: &[u8]) -> Result<Version, Error> {
            Ok(0)
        }

        fn write(
            &mut self,
            _: &mut dyn Iterator<Item = Write>,
            _: Version,
            durability: Durability,
        ) -> Result<(), Error> {
            self.note(match durability {
                Durability::Durable => "durable",
                Durability::Relaxed => "relaxed",
            });
            self.fails.pop_front().flatten().map_or(Ok(()), Err)
        }

        fn sync(&mut self) -> Result<(), Error> {
            self.note("sync");
            Ok(())
        }

        fn reopen(&mut self) -> Result<(), Error> {
            self.note("reopen");
            self.fails.pop_front().flatten().map_or(Ok(()), Err)
        }

        fn tell(&self, trouble: Option<&Error>) {
            self.note(if trouble.is_some() { "trouble" } else { "well" });
        }
    }

    fn committer(
        fails: impl Into<VecDeque<Option<Error>>>,
    ) -> (Committer, Arc<Mutex<Vec<&'static str>>>) {
        let log = Arc::default();
        let disk = Scripted {
            fails: fails.into(),
            log: Arc::clone(&log),
        };
        (Committer::start(disk, 1).unwrap(), log)
    }

    fn put(durability: Durability) -> Batch {
        let mut batch = Batch::new();
        batch.put(SPACE, "key", "value");
        batch.durability(durability);
        batch
    }

    #[tokio::test]
    async fn the_first_failed_write_ends_writing() {
        let broken = Error::Io("the disk is broken".into());
        let (committer, log) = committer([None, Some(broken)]);
        let read_only = Error::ReadOnly {
            cause: "input or output failed: the disk is broken".into(),
        };
        let commit = || committer.commit(put(Durability::Durable));
        assert_eq!(commit().await, Ok(Committed { first: 1 }));
        assert_eq!(commit().await, Err(read_only.clone()));
        assert_eq!(commit().await, Err(read_only));
        assert_eq!(*log.lock(), ["durable", "durable", "trouble"]);
    }

    #[tokio::test]
    async fn a_store_without_room_is_opened_anew_when_there_is_some() {
        let full = || Some(Error::Short("no space left".into()));
        let (committer, log) = committer([full(), full(), None]);
        let commit = || committer.commit(put(Durability::Durable));
        let mut refused = 0;
        let committed = loop {
            match commit().await {
                Ok(committed) => break committed,
                Err(Error::ReadOnly { .. }) => refused += 1,
                Err(other) => panic!("{other}"),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert!(refused >= 2, "{refused}");
        // The failed write may turn up, so its version is not given again.
        assert_eq!(committed, Committed { first: 2 });
        let expected = ["durable", "trouble", "reopen", "reopen", "well", "durable"];
        assert_eq!(*log.lock(), expected);
    }

    #[tokio::test]
    async fn relaxed_writes_are_synced_by_the_next_durable_one_or_by_themselves() {
        let (committer, log) = committer(VecDeque::new());
        committer.commit(put(Durability::Relaxed)).await.unwrap();
        committer.commit(put(Durability::Durable)).await.unwrap();
        committer.commit(put(Durability::Relaxed)).await.unwrap();
        assert_eq!(*log.lock(), ["relaxed", "durable", "relaxed"]);
        while log.lock().last() != Some(&"sync") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        committer.commit(put(Durability::Relaxed)).await.unwrap();
        drop(committer);
        let expected = ["relaxed", "durable", "relaxed", "sync", "relaxed", "sync"];
        assert_eq!(*log.lock(), expected);
    }
}
