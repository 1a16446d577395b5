//! What is right but should be known.

use std::fmt;

use serde::Serialize;

use super::Error;

/// Something about the settings that a person should know, on one line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Remark {
    pub weight: Weight,
    /// File, line, key, and what there is to know.
    pub text: String,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Told at every start: something is not as the file says.
    Warning,
    /// Told by `agentos config check`: nothing is lost.
    Note,
}

impl Remark {
    pub(super) fn warning(at: &Error) -> Self {
        Remark {
            weight: Weight::Warning,
            text: at.to_string(),
        }
    }

    pub(super) fn note(at: &Error) -> Self {
        Remark {
            weight: Weight::Note,
            text: at.to_string(),
        }
    }
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
