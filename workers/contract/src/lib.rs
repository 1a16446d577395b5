//! The shapes of every function that our workers call on each other: ids, requests, results.
//!
//! Plain data and no behaviour beyond reading and writing it; camelCase where the contract is
//! ours, OpenAI's own spelling where the shape is OpenAI's.

pub mod agent;
pub mod chat;
pub mod embedding;
pub mod keys;
pub mod llm;
pub mod memory;
pub mod state;
#[cfg(feature = "testing")]
pub mod testing;
pub mod tools;
