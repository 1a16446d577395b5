//! Responses that are made while nobody waits for them.

use std::{collections::HashMap, sync::Arc};

use agentos_sdk::Stop;
use parking_lot::Mutex;

use crate::error::Failure;

/// At a time; further ones are refused.
const RUNNING_MAX: usize = 256;

/// Responses being made, and how to stop them.
#[derive(Clone, Default)]
pub(crate) struct Background(Arc<Mutex<HashMap<String, Signals>>>);

#[derive(Clone, Default)]
struct Signals {
    stop: Stop,
    ended: Stop,
}

/// A response being made; dropped when it is done and kept.
pub(super) struct Running {
    background: Background,
    id: String,
    signals: Signals,
}

impl Background {
    /// # Errors
    /// When too many are being made.
    pub(super) fn start(&self, id: &str) -> Result<Running, Failure> {
        let mut running = self.0.lock();
        if running.len() >= RUNNING_MAX {
            return Err(Failure::busy(format!(
                "{RUNNING_MAX} responses are being made in the background already"
            )));
        }
        let signals = Signals::default();
        running.insert(id.to_owned(), signals.clone());
        Ok(Running {
            background: self.clone(),
            id: id.to_owned(),
            signals,
        })
    }

    /// Whether it is being made here.
    pub(super) fn has(&self, id: &str) -> bool {
        self.0.lock().contains_key(id)
    }

    /// Stops it, if it is being made, and returns when it is kept as far as it got.
    pub(super) async fn stop(&self, id: &str) {
        let signals = self.0.lock().get(id).cloned();
        if let Some(signals) = signals {
            signals.stop.cancel();
            signals.ended.cancelled().await;
        }
    }
}

impl Running {
    /// Returns when it is to be stopped.
    pub(super) async fn stopped(&self) {
        self.signals.stop.cancelled().await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.background.0.lock().remove(&self.id);
        self.signals.ended.cancel();
    }
}
