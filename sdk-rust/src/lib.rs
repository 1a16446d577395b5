//! Write AgentOS workers in Rust.
//!
//! A worker offers functions and calls others through a [`Bus`]. The same [`Worker`] runs inside
//! the engine's process or, with the feature `remote` (on by default), as a program of its own:
//!
//! ```no_run
//! use agentos_sdk::prelude::*;
//!
//! /// Greets somebody.
//! #[agentos_sdk::function("hello::greet")]
//! async fn greet(name: String) -> String {
//!     format!("hello {name}")
//! }
//!
//! #[tokio::main]
//! async fn main() -> Result<(), Error> {
//!     let worker = Client::connect(Options::new("hello")).await?;
//!     worker.offer::<greet>().await?;
//!     let greeting: String = worker.trigger("hello::greet", &serde_json::json!({ "name": "Ada" })).await?;
//!     println!("{greeting}");
//!     worker.serve().await
//! }
//! ```

mod bus;
mod context;
mod function;
mod handler;
mod json;
mod panics;
mod peer;
mod retry;
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
pub use function::Function;
pub use handler::{Handler, Invocation};
pub use peer::{Link, Peer};
#[cfg(feature = "remote")]
pub use remote::{Client, Options, State, run};
pub use stream::{CallStream, STREAM_WINDOW_CHUNKS, Sink};
pub use worker::{FunctionBuilder, Registrar, Stop, TriggerProvider, Worker};

pub use agentos_protocol as protocol;
pub use agentos_sdk_macros::function;
pub use async_trait::async_trait;
pub use schemars;

/// What a function gives, and why it does not.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the code that [`function`] writes needs, whatever its crate depends on.
#[doc(hidden)]
pub mod private {
    pub use schemars;
    pub use serde;
}

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
