//! Where workers in the engine's own process come from.

use agentos_protocol::SessionId;
use agentos_sdk::async_trait;

/// Makes in-process workers and lets them go. The fleet decides when.
#[async_trait]
pub(crate) trait House: Send + Sync {
    /// Puts one more worker `name` on the bus.
    ///
    /// # Errors
    /// When the settings know no such worker, or it cannot be made.
    async fn bring(&self, name: &str) -> anyhow::Result<SessionId>;

    /// Lets the one of this session go.
    async fn dismiss(&self, session: SessionId);
}
