//! A listener that may be moved: the new place is served at once, and the old one lets those who are
//! there come to their end.

use agentos_sdk::{Code, Error, Stop};
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

/// Places that wait to be served; one is asked for at a time.
const PLACES_MAX: usize = 4;

/// Where one worker listens.
pub(crate) struct Moving {
    places: mpsc::Sender<TcpListener>,
    /// Taken by `serve`.
    inbox: Mutex<Option<mpsc::Receiver<TcpListener>>>,
}

impl Moving {
    /// Listens nowhere yet.
    pub(crate) fn new() -> Self {
        let (places, inbox) = mpsc::channel(PLACES_MAX);
        Moving {
            places,
            inbox: Mutex::new(Some(inbox)),
        }
    }

    /// Listens there from now on, and nowhere else.
    ///
    /// # Errors
    /// `unavailable` when nobody serves any more.
    pub(crate) fn to(&self, place: TcpListener) -> Result<(), Error> {
        let closed = |_| Error::engine(Code::Unavailable, "the listener is closed");
        self.places.try_send(place).map_err(closed)
    }

    /// Serves until `stop`, one place after the other. `serve` is told by its second argument when
    /// it is to take in nobody more.
    ///
    /// # Errors
    /// `internal` the second time.
    pub(crate) async fn serve<F>(
        &self,
        stop: &Stop,
        serve: impl Fn(TcpListener, CancellationToken) -> F,
    ) -> Result<(), Error>
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let inbox = self.inbox.lock().take();
        let mut inbox =
            inbox.ok_or_else(|| Error::engine(Code::Internal, "the listener runs already"))?;
        let mut served = JoinSet::new();
        let mut leave = stop.child_token();
        loop {
            tokio::select! {
                place = inbox.recv() => {
                    let Some(place) = place else { break };
                    leave.cancel();
                    leave = stop.child_token();
                    served.spawn(serve(place, leave.clone()));
                }
                Some(_) = served.join_next() => {}
                () = stop.cancelled() => break,
            }
        }
        while served.join_next().await.is_some() {}
        Ok(())
    }
}
