//! The one thread that writes: gathers the batches that wait, writes once, answers all.
//!
//! Nobody waits for company: while one group is on its way to the disk the next one gathers by
//! itself. Knows a [`Disk`], not which.

use std::{io, thread};

use tokio::sync::{mpsc, oneshot};

use super::{Batch, Committed, Error, Space, Version, group::Group, group::Write};

/// Batches per trip to the disk, and bytes of them: beyond, latency grows and throughput does not.
const GROUP_BATCHES_MAX: usize = 512;
const GROUP_BYTES_MAX: usize = 1 << 20;

/// Batches that wait in the queue; who comes then waits before it.
const QUEUE_MAX: usize = 1024;

/// What a committer needs of an adapter.
pub(super) trait Disk: Send + 'static {
    /// Version of the newest record under `key`, 0 when there is none.
    fn version(&self, space: Space, key: &[u8]) -> Result<Version, Error>;

    /// Writes all or nothing, and returns when it would survive a power cut. No version from
    /// `next` on has been given out yet.
    fn write(
        &mut self,
        writes: &mut dyn Iterator<Item = Write>,
        next: Version,
    ) -> Result<(), Error>;
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
        let run = move || run(disk, next, queue);
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

fn run(mut disk: impl Disk, mut next: Version, mut queue: mpsc::Receiver<Job>) {
    let mut jobs = Vec::with_capacity(GROUP_BATCHES_MAX);
    let mut failed: Option<Error> = None;
    while let Some(first) = queue.blocking_recv() {
        gather(first, &mut queue, &mut jobs);
        if let Some(error) = &failed {
            refuse(&mut jobs, error);
            continue;
        }
        match write(&mut disk, next, &mut jobs) {
            Ok(after) => next = after,
            Err(cause) => failed = Some(read_only(&cause)),
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

/// Decides, writes and answers one group. Returns the next version, or why the disk failed.
fn write(disk: &mut impl Disk, next: Version, jobs: &mut Vec<Job>) -> Result<Version, Error> {
    let mut group = Group::new(next);
    let decided: Vec<_> = jobs
        .drain(..)
        .map(|job| {
            let outcome = group.admit(job.batch, |space, key| disk.version(space, key));
            (job.answer, outcome)
        })
        .collect();
    let next = group.next();
    let written = if group.is_empty() {
        Ok(())
    } else {
        disk.write(&mut group.into_writes(), next)
    };
    let refused = written.as_ref().err().map(|cause| {
        tracing::error!(error = %cause, "a write to disk failed; the store is read-only from now on");
        read_only(cause)
    });
    for (answer, outcome) in decided {
        let outcome = match &refused {
            Some(error) => outcome.and(Err(error.clone())),
            None => outcome,
        };
        // Whoever stopped waiting does not want the outcome; the write stands all the same.
        let _ = answer.send(outcome);
    }
    written.map(|()| next)
}

fn read_only(cause: &Error) -> Error {
    Error::ReadOnly {
        cause: cause.to_string().into(),
    }
}

fn refuse(jobs: &mut Vec<Job>, error: &Error) {
    for job in jobs.drain(..) {
        let _ = job.answer.send(Err(error.clone()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPACE: Space = Space::new("test");

    /// Fails every write but the first.
    struct FailsLater(u32);

    impl Disk for FailsLater {
        fn version(&self, _: Space, _: &[u8]) -> Result<Version, Error> {
            Ok(0)
        }

        fn write(&mut self, _: &mut dyn Iterator<Item = Write>, _: Version) -> Result<(), Error> {
            self.0 += 1;
            match self.0 {
                1 => Ok(()),
                2 => Err(Error::Io("no space left".into())),
                _ => panic!("written to after a failure"),
            }
        }
    }

    fn put() -> Batch {
        let mut batch = Batch::new();
        batch.put(SPACE, "key", "value");
        batch
    }

    #[tokio::test]
    async fn the_first_failed_write_ends_writing() {
        let committer = Committer::start(FailsLater(0), 1).unwrap();
        let read_only = Error::ReadOnly {
            cause: "input or output failed: no space left".into(),
        };
        assert_eq!(committer.commit(put()).await, Ok(Committed { first: 1 }));
        assert_eq!(committer.commit(put()).await, Err(read_only.clone()));
        assert_eq!(committer.commit(put()).await, Err(read_only));
    }
}
