//! Follows the settings file: what it says is applied when it changes, or refused as a whole.

use std::sync::Arc;

use tokio::{sync::Mutex, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::parts::{Parts, Relog};
use crate::config::{
    Env, Overrides,
    watch::{Reloads, Watch},
};

/// What following takes.
pub struct Follow {
    /// What the command line says goes on winning over the file.
    pub overrides: Overrides,
    pub env: Arc<dyn Env>,
    /// `None`: settings of the log take a start.
    pub relog: Option<Relog>,
}

/// The task that follows.
pub(super) struct Following {
    stop: CancellationToken,
    watching: JoinHandle<()>,
    applying: JoinHandle<()>,
}

impl Following {
    /// `None` when the settings came from no file.
    pub(super) async fn start(
        parts: Arc<Mutex<Option<Parts>>>,
        follow: Follow,
    ) -> std::io::Result<Option<Following>> {
        let Some(settings) = parts
            .lock()
            .await
            .as_ref()
            .map(|parts| Arc::clone(&parts.in_force))
        else {
            return Ok(None);
        };
        let Some((watch, reloads)) = Watch::start(&settings, follow.overrides, follow.env)? else {
            return Ok(None);
        };
        let stop = CancellationToken::new();
        Ok(Some(Following {
            watching: tokio::spawn(watch.run(stop.clone())),
            applying: tokio::spawn(apply(parts, reloads, follow.relog)),
            stop,
        }))
    }

    /// Applies nothing more; what is being applied is brought to its end.
    pub(super) async fn stop(self) {
        self.stop.cancel();
        for task in [self.watching, self.applying] {
            if let Err(error) = task.await {
                tracing::error!(%error, "the settings file was not followed to the end");
            }
        }
    }
}

/// Ends with the watch.
async fn apply(parts: Arc<Mutex<Option<Parts>>>, mut reloads: Reloads, relog: Option<Relog>) {
    let mut is_wrong = false;
    while let Some(news) = reloads.next().await {
        let was_wrong = std::mem::replace(&mut is_wrong, news.is_err());
        // What is wrong with the file itself the watch has said.
        let Ok(settings) = news else { continue };
        if was_wrong {
            tracing::info!("the settings file can be used again");
        }
        let mut parts = parts.lock().await;
        let Some(parts) = parts.as_mut() else { return };
        if let Err(error) = parts.apply(&settings, relog.as_ref()).await {
            tracing::error!(
                error = format!("{error:#}"),
                "the settings file asks for what cannot be done; the settings stay"
            );
        }
    }
}
