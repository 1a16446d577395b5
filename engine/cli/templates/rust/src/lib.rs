//! What the worker thinks: plain functions, no bus.

/// A friendly sentence for `name`.
pub fn greet(name: &str) -> String {
    format!("hello {name}")
}
