//! The function `engine::channels::create`, and the sweeping of channels that nobody takes.

use std::sync::Arc;

use agentos_sdk::{Bus, Context, Error, Registrar, Stop, Worker, async_trait};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::channel::{self, Ref};

/// The id of the one function here.
pub const CREATE: &str = "engine::channels::create";

/// The built-in worker `channels`.
pub(crate) struct Channels(pub(crate) Arc<channel::Channels>);

#[derive(Deserialize, JsonSchema, Default)]
#[serde(default)]
struct Create {
    /// Items that may wait in the channel, 1 to 1024; what is out of range is moved into it.
    /// Default 64.
    buffer_size: Option<u64>,
}

#[derive(Serialize, JsonSchema)]
struct Created {
    writer: Ref,
    reader: Ref,
}

#[async_trait]
impl Worker for Channels {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        let channels = Arc::clone(&self.0);
        registrar
            .function(CREATE, move |_: Context, input: Option<Create>| {
                let channels = Arc::clone(&channels);
                async move {
                    let (reader, writer) =
                        channels.create(input.unwrap_or_default().buffer_size)?;
                    Ok(Created { writer, reader })
                }
            })
            .describe("Makes a pipe for bytes and text; each end is a WebSocket");
    }

    async fn run(self: Arc<Self>, _: Bus, stop: Stop) -> Result<(), Error> {
        self.0.sweep(stop).await;
        Ok(())
    }
}
