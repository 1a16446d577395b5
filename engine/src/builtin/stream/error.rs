//! Errors of `stream::*` as callers see them.

use agentos_sdk::{Code, Error};

use crate::storage;

/// Gives `error` the name that workers of iii know.
pub(super) fn named(error: Error, reason: &str) -> Error {
    match error.reason {
        Some(_) => error,
        None => error.reason(reason),
    }
}

pub(super) fn from_storage(error: storage::Error) -> Error {
    let message = error.to_string();
    match error {
        storage::Error::Conflict { .. } => {
            Error::engine(Code::Overloaded, "other engines write this item too often")
        }
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

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn unsayable(error: serde_json::Error) -> Error {
    Error::engine(Code::Internal, format!("this has no JSON form: {error}"))
}

/// What a provider says went wrong, under our name for it.
pub(super) fn of_provider(error: Error) -> Error {
    Error {
        reason: None,
        ..error
    }
}

pub(super) fn nothing_from(provider: &str) -> Error {
    Error::worker(Code::Failed, format!("`{provider}` returned nothing"))
}

pub(super) fn odd_from(provider: &str, why: &serde_json::Error) -> Error {
    let message = format!("what `{provider}` returned cannot be used: {why}");
    Error::worker(Code::Failed, message)
}

pub(super) fn value_too_large(bytes: usize, bytes_max: usize) -> Error {
    let message = format!("the data has {bytes} bytes; at most {bytes_max} are possible");
    Error::caller(Code::PayloadTooLarge, message)
}

pub(super) fn list_too_large(bytes_max: usize) -> Error {
    let message = format!("there are more than {bytes_max} bytes to list; use smaller groups");
    Error::caller(Code::PayloadTooLarge, message)
}
