//! How a command fails: one line what, one line what to do, and an exit code.

use agentos_sdk::{Code, Error};

/// The command or the call failed.
pub(crate) const FAILED: u8 = 1;
/// Wrong usage, or wrong settings.
pub(crate) const USAGE: u8 = 2;
/// No engine answers.
pub(crate) const UNREACHABLE: u8 = 3;
/// The engine refuses the token.
pub(crate) const REFUSED: u8 = 4;

/// Why a command ends early.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: u8,
    pub(crate) what: String,
    pub(crate) remedy: Option<String>,
    /// The engine's or a function's error, for `--json`.
    pub(crate) error: Option<Box<Error>>,
}

impl Failure {
    pub(crate) fn new(exit: u8, what: impl Into<String>) -> Self {
        Failure {
            exit,
            what: what.into(),
            remedy: None,
            error: None,
        }
    }

    pub(crate) fn usage(what: impl Into<String>) -> Self {
        Failure::new(USAGE, what)
    }

    pub(crate) fn remedy(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(remedy.into());
        self
    }

    /// A connection that did not come about.
    pub(crate) fn of_connect(error: Error) -> Self {
        let (exit, remedy) = match error.code {
            Code::Unauthenticated | Code::Forbidden => (
                REFUSED,
                "give the engine's token with --token or AGENTOS_TOKEN, or its data directory with --data-dir",
            ),
            _ => (
                UNREACHABLE,
                "start one with `agentos start`, or say where it is with --url or AGENTOS_URL",
            ),
        };
        Failure {
            exit,
            what: error.message.clone(),
            remedy: Some(remedy.to_owned()),
            error: Some(Box::new(error)),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let remedy = match error.code {
            Code::NotFound => Some("see what there is with `agentos functions`"),
            Code::InvalidInput => Some("see what it takes with `agentos functions ID`"),
            Code::Timeout => Some("allow more time with --timeout"),
            Code::WorkerLost | Code::Overloaded | Code::Unavailable => {
                Some("try again; see `agentos workers`")
            }
            _ => None,
        };
        Failure {
            exit: FAILED,
            what: format!("{}: {}", error.code, error.message),
            remedy: remedy.map(str::to_owned),
            error: Some(Box::new(error)),
        }
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Failure::new(FAILED, error.to_string())
    }
}
