//! Errors of HTTP functions, under the names that workers of iii know.

use std::{error::Error as StdError, fmt};

use agentos_sdk::{Code, Error};

/// Why an address may not be called. The texts are part of the contract.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Refused {
    InvalidUrl,
    NotHttps,
    NotListed,
    PrivateIp,
    DnsFailed,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::InvalidUrl => "Invalid URL",
            Refused::NotHttps => "HTTPS is required",
            Refused::NotListed => "URL not in allowlist",
            Refused::PrivateIp => "Private IP blocked",
            Refused::DnsFailed => "DNS lookup failed",
        })
    }
}

impl StdError for Refused {}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        let code = match refused {
            Refused::InvalidUrl => Code::InvalidInput,
            Refused::DnsFailed => Code::Unavailable,
            Refused::NotHttps | Refused::NotListed | Refused::PrivateIp => Code::Forbidden,
        };
        Error::engine(code, refused.to_string()).reason("url_validation_failed")
    }
}

/// The request could not be sent, or nothing came back.
pub(super) fn request_failed(message: impl Into<String>) -> Error {
    Error::engine(Code::Unavailable, message).reason("http_request_failed")
}

/// The answer broke off.
pub(super) fn response_failed(message: impl Into<String>) -> Error {
    Error::engine(Code::Unavailable, message).reason("http_response_failed")
}

/// The registration cannot be used.
pub(super) fn unusable(message: impl Into<String>) -> Error {
    Error::engine(Code::InvalidInput, message).reason("http_request_failed")
}

/// Goes through `error` and what caused it.
pub(super) fn chain<'e>(
    error: &'e (dyn StdError + 'static),
) -> impl Iterator<Item = &'e (dyn StdError + 'static)> {
    std::iter::successors(Some(error), |error: &&'e (dyn StdError + 'static)| {
        (*error).source()
    })
}
