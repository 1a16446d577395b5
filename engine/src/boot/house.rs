//! The in-process workers, as the fleet has them come and go.

use std::sync::{Arc, Weak};

use agentos_protocol::SessionId;
use agentos_sdk::async_trait;
use anyhow::{Context, bail};
use tokio::sync::Mutex;

use super::parts::Parts;
use crate::fleet::House;

/// Knows the parts for as long as the engine runs.
pub(super) struct InHouse(pub(super) Weak<Mutex<Option<Parts>>>);

impl InHouse {
    fn parts(&self) -> anyhow::Result<Arc<Mutex<Option<Parts>>>> {
        self.0.upgrade().context("the engine is stopping")
    }
}

#[async_trait]
impl House for InHouse {
    async fn bring(&self, name: &str) -> anyhow::Result<SessionId> {
        let parts = self.parts()?;
        let mut parts = parts.lock().await;
        let parts = parts.as_mut().context("the engine is stopping")?;
        let settings = Arc::clone(&parts.in_force);
        let Some(recruit) = parts.crew.recruit(name, &settings)? else {
            bail!(
                "`{name}` is no worker of the engine's process: `workers.builtin` has none of this name"
            );
        };
        parts.crew.bring(recruit).await
    }

    async fn dismiss(&self, session: SessionId) {
        if let Ok(parts) = self.parts()
            && let Some(parts) = parts.lock().await.as_mut()
        {
            parts.crew.release(session);
        }
    }
}
