//! Errors of the queues as callers see them.

use agentos_sdk::{Code, Error};

use crate::storage;

/// What an enqueue action fails with, whatever the cause.
pub(super) const ENQUEUE: &str = "enqueue_error";

/// Gives `error` the name that workers of iii know, unless it has one already.
pub(super) fn named(error: Error, reason: &str) -> Error {
    match error.reason {
        Some(_) => error,
        None => error.reason(reason),
    }
}

pub(super) fn from_storage(error: storage::Error) -> Error {
    let message = error.to_string();
    match error {
        storage::Error::KeySize { .. } => Error::caller(Code::InvalidInput, message),
        storage::Error::Unavailable(_) => Error::engine(Code::Unavailable, message),
        // Trying again does not help: somebody must look at the disk.
        storage::Error::ReadOnly { .. } => Error {
            retryable: false,
            ..Error::engine(Code::Unavailable, message)
        },
        _ => Error::engine(Code::Internal, message),
    }
}

/// An input without the field that it needs.
pub(super) fn not_set(field: &str, reason: &str) -> Error {
    Error::caller(Code::InvalidInput, format!("{field} is not set")).reason(reason)
}

/// Nothing goes by the name `queue`.
pub(super) fn no_queue(queue: &str) -> Error {
    let message = format!("there is no queue or topic '{queue}'; see `queue::list`");
    Error::caller(Code::NotFound, message)
}

/// `field` of an input, unless it is missing or empty.
pub(super) fn required<'a>(
    text: Option<&'a str>,
    field: &str,
    reason: &str,
) -> Result<&'a str, Error> {
    text.filter(|text| !text.is_empty())
        .ok_or_else(|| not_set(field, reason))
}
