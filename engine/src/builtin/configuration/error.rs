//! Errors of `configuration::*` as callers see them.

use agentos_sdk::{Code, Error};

use crate::storage;

pub(super) fn unknown(id: &str) -> Error {
    let message = format!("no configuration `{id}` is registered");
    Error::caller(Code::NotFound, message).reason("CONFIGURATION_NOT_FOUND")
}

/// The id, the schema or the value is not possible.
pub(super) fn invalid(message: impl Into<String>) -> Error {
    Error::caller(Code::InvalidInput, message).reason("CONFIGURATION_INVALID")
}

pub(super) fn too_large(what: &str, bytes: usize, bytes_max: usize) -> Error {
    let message = format!("the {what} has {bytes} bytes; at most {bytes_max} are possible");
    Error::caller(Code::PayloadTooLarge, message).reason("CONFIGURATION_INVALID")
}

pub(super) fn full(configurations_max: usize) -> Error {
    let message = format!("there are {configurations_max} configurations already");
    Error::caller(Code::Overloaded, message).reason("CONFIGURATION_ERROR")
}

pub(super) fn from_storage(error: storage::Error) -> Error {
    let message = error.to_string();
    let error = match error {
        storage::Error::Conflict { .. } => Error::engine(
            Code::Overloaded,
            "another engine has written this configuration",
        ),
        storage::Error::Unavailable(_) => Error::engine(Code::Unavailable, message),
        // Trying again does not help: somebody must look at the disk.
        storage::Error::ReadOnly { .. } => Error {
            retryable: false,
            ..Error::engine(Code::Unavailable, message)
        },
        _ => Error::engine(Code::Internal, message),
    };
    error.reason("CONFIGURATION_ERROR")
}
