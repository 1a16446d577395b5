//! The agents whose memories are held ready.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use agentos_sdk::{Bus, Error};
use parking_lot::Mutex;

use crate::{config::Config, shelf::Shelf};

/// See the module.
pub(crate) struct Shelves {
    agents_max: usize,
    exact_max: usize,
    open: Mutex<HashMap<String, Arc<Shelf>>>,
    clock: AtomicU64,
}

/// A shelf that was asked for.
pub(crate) struct Opened {
    pub(crate) shelf: Arc<Shelf>,
    /// Its index has just been made, or has learned what others wrote.
    pub(crate) is_new: bool,
}

impl Shelves {
    pub(crate) fn new(config: &Config) -> Self {
        Shelves {
            agents_max: config.agents_max.max(1),
            exact_max: config.exact_max,
            open: Mutex::default(),
            clock: AtomicU64::new(0),
        }
    }

    /// The memories of `agent`, read from the state if need be.
    pub(crate) async fn open(&self, bus: &Bus, agent: &str) -> Result<Opened, Error> {
        let shelf = self.shelf(agent);
        let is_new = shelf.refresh(bus).await?;
        Ok(Opened { shelf, is_new })
    }

    /// Those that are held ready now.
    pub(crate) fn all(&self) -> Vec<Arc<Shelf>> {
        self.open.lock().values().cloned().collect()
    }

    fn shelf(&self, agent: &str) -> Arc<Shelf> {
        let now = self.clock.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open.lock();
        if !open.contains_key(agent) {
            while open.len() >= self.agents_max {
                // A shelf in use must stay the only one of its agent.
                let idle = open
                    .iter()
                    .filter(|(_, shelf)| Arc::strong_count(shelf) == 1);
                let oldest = idle.min_by_key(|(_, shelf)| shelf.used.load(Ordering::Relaxed));
                let Some(agent) = oldest.map(|(agent, _)| agent.clone()) else {
                    break;
                };
                open.remove(&agent);
            }
        }
        let shelf = open
            .entry(agent.to_owned())
            .or_insert_with(|| Arc::new(Shelf::new(agent, self.exact_max)));
        shelf.used.store(now, Ordering::Relaxed);
        Arc::clone(shelf)
    }
}
