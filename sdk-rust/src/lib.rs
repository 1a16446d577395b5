//! Write AgentOS workers in Rust.
//!
//! A worker offers functions and calls others through a [`Bus`]. The same [`Worker`] runs inside
//! the engine's process or, with the feature `remote` (on by default), as a program of its own:
//!
//! ```no_run
//! use agentos_sdk::prelude::*;
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Error> {
//!     let worker = Client::connect(Options::new("hello")).await?;
//!     worker.function("hello::greet", |_, name: String| async move { Ok(format!("hello {name}")) }).await?;
//!     let greeting: String = worker.trigger("hello::greet", "Ada").await?;
//!     println!("{greeting}");
//!     worker.serve().await
//! }
//! ```

mod bus;
mod context;
mod handler;
mod peer;
mod stream;
mod worker;

#[cfg(feature = "remote")]
pub mod mailbox;
#[cfg(feature = "remote")]
mod remote;

pub use agentos_protocol::{
    Call, Code, Delivery, Encoding, ErrorBody as Error, FunctionSpec, Hello, Origin, Payload,
    Trace, TriggerSpec, TriggerTypeSpec,
};
pub use bus::{Bus, CallBuilder};
pub use context::Context;
pub use handler::{Handler, Invocation};
pub use peer::{Link, Peer};
#[cfg(feature = "remote")]
pub use remote::{Client, Options, State, run};
pub use stream::{CallStream, STREAM_WINDOW_CHUNKS, Sink};
pub use worker::{FunctionBuilder, Registrar, Stop, TriggerProvider, Worker};

pub use agentos_protocol as protocol;
pub use async_trait::async_trait;
pub use schemars;

/// What most workers need.
pub mod prelude {
    pub use crate::{
        Bus, Code, Context, Error, Payload, Registrar, Sink, Stop, Worker, async_trait,
    };
    #[cfg(feature = "remote")]
    pub use crate::{Client, Options};
    pub use schemars::JsonSchema;
    pub use serde::{Deserialize, Serialize};
}
