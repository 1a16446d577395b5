//! Every record of one moment, page by page: what a backup writes, and a check looks at.

use std::sync::Arc;

use bytes::Bytes;
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{Error, Record};

/// Bytes of records per page, and pages that wait for a slow reader.
const PAGE_BYTES: usize = 1 << 20;
const PAGES_MAX: usize = 4;

/// A record, or what is wrong with it.
#[derive(Clone, Debug)]
pub struct Copied {
    pub space: Arc<str>,
    pub key: Bytes,
    pub record: Result<Record, Error>,
}

/// A walk over all spaces as they were when it began. Dropping it ends the walk.
pub struct Snapshot {
    pages: mpsc::Receiver<Result<Vec<Copied>, Error>>,
}

/// Where a store puts what it finds.
pub(super) struct Pages {
    to: mpsc::Sender<Result<Vec<Copied>, Error>>,
    page: Vec<Copied>,
    bytes: usize,
}

impl Snapshot {
    /// Runs `walk` beside the runtime, as far as somebody reads.
    pub(super) fn of(
        walk: impl FnOnce(&mut Pages) -> Result<(), Error> + Send + 'static,
    ) -> Snapshot {
        let (to, pages) = mpsc::channel(PAGES_MAX);
        spawn_blocking(move || {
            let mut found = Pages {
                to,
                page: Vec::new(),
                bytes: 0,
            };
            let outcome = walk(&mut found).and_then(|()| found.turn());
            if let Err(error) = outcome {
                // Who does not read any more does not want to hear it.
                let _ = found.to.blocking_send(Err(error));
            }
        });
        Snapshot { pages }
    }

    /// The next records; `None` when there are no more.
    pub async fn next(&mut self) -> Option<Result<Vec<Copied>, Error>> {
        self.pages.recv().await
    }
}

impl Pages {
    /// # Errors
    /// When nobody reads any more.
    pub(super) fn push(&mut self, copied: Copied) -> Result<(), Error> {
        let value = copied
            .record
            .as_ref()
            .map_or(0, |record| record.value.len());
        self.bytes += copied.key.len() + value;
        self.page.push(copied);
        match self.bytes >= PAGE_BYTES {
            true => self.turn(),
            false => Ok(()),
        }
    }

    fn turn(&mut self) -> Result<(), Error> {
        self.bytes = 0;
        let page = std::mem::take(&mut self.page);
        if page.is_empty() {
            return Ok(());
        }
        let sent = self.to.blocking_send(Ok(page));
        sent.map_err(|_| Error::Unavailable("nobody reads the copy any more".into()))
    }
}
