//! The shapes of every function that our workers call on each other: ids, requests, results.
//!
//! Plain data and no behaviour beyond reading and writing it; camelCase where the contract is
//! ours, OpenAI's own spelling where the shape is OpenAI's.

pub mod chat;
pub mod llm;
pub mod tools;
