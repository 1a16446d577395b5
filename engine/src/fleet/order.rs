//! Workers that start after others: when those have registered and are well.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::{Fleet, Seat, Source, What, Worker, step::ms};

/// How long a worker waits for those it depends on; then it is started without them, and may wait for
/// them by itself.
const DEPENDENCIES: Duration = Duration::from_mins(1);

/// Between two looks at a worker that is asked whether it is well.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

impl Fleet {
    /// Lets `go` go once every worker in `names` serves, or after [`DEPENDENCIES`].
    pub(super) async fn start_after(
        &self,
        worker: Arc<Worker>,
        names: Vec<String>,
        go: CancellationToken,
    ) {
        let everybody_is_known = self.0.furnished.cancelled();
        tokio::select! {
            () = everybody_is_known => {}
            () = self.0.stop.cancelled() => return,
        }
        let began = Instant::now();
        let until = began + DEPENDENCIES;
        for name in names {
            let is_there = tokio::select! {
                waited = tokio::time::timeout_at(until.into(), self.until_it_serves(&name)) => waited,
                () = self.0.stop.cancelled() => return,
            };
            if is_there.is_err() {
                let waited_ms = ms(began.elapsed());
                let dependency = name;
                self.tell(
                    &worker,
                    What::DependencyMissing {
                        dependency,
                        waited_ms,
                    },
                );
            }
        }
        go.cancel();
    }

    /// Returns when an instance of the worker offers functions and is well. One that does not run here,
    /// because it was left out, is not waited for.
    async fn until_it_serves(&self, name: &str) {
        let mut events = self.0.traffic.events();
        let Ok(worker) = self.worker(name) else {
            return;
        };
        loop {
            for seat in worker.seats() {
                if self.serves(seat) && self.says_it_is_well(&worker, seat).await {
                    return;
                }
            }
            let next = async {
                match events.recv().await {
                    // It is looked at anew.
                    Ok(_) | Err(RecvError::Lagged(_)) => {}
                    Err(RecvError::Closed) => std::future::pending().await,
                }
            };
            match worker.seats().iter().any(|seat| self.serves(*seat)) {
                // It has registered and is not well: that is heard of by asking.
                true => tokio::time::sleep(LOOK_AGAIN).await,
                false => next.await,
            }
        }
    }

    async fn says_it_is_well(&self, worker: &Worker, seat: Seat) -> bool {
        let Source::Process(manifest) = worker.source() else {
            return true;
        };
        let Some(health) = &manifest.health else {
            return true;
        };
        for session in self.sessions_of(seat) {
            if self.is_well(&session, health).await.is_ok() {
                return true;
            }
        }
        false
    }
}
