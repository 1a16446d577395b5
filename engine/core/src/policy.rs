//! May this session do this. Decided here and nowhere else.

mod rules;

use agentos_protocol::{Code, ErrorBody};

pub use rules::{Exposure, MetadataRule, Rules, like};

/// How far a session is trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trust {
    /// A built-in: may own reserved ids.
    Engine,
    /// A worker whose token was right.
    Worker,
}

/// Longest id of a function, trigger or trigger type, in bytes. Ids are names, not documents.
pub const ID_BYTES_MAX: usize = 256;

/// Ids that only built-ins may own.
const RESERVED_PREFIX: &str = "engine::";

/// May a session of this trust offer `id`, given that a built-in offers it already?
///
/// # Errors
/// `invalid_input` for an id that cannot be one, `forbidden` for one that is reserved.
pub fn may_offer(trust: Trust, id: &str, offered_by_engine: bool) -> Result<(), ErrorBody> {
    well_formed("function id", id)?;
    match trust {
        Trust::Engine => Ok(()),
        Trust::Worker if id.starts_with(RESERVED_PREFIX) => Err(forbidden(format!(
            "`{id}`: ids that start with `{RESERVED_PREFIX}` belong to the engine"
        ))),
        Trust::Worker if offered_by_engine => Err(forbidden(format!(
            "`{id}` is built in and cannot be replaced"
        ))),
        Trust::Worker => Ok(()),
    }
}

/// May a session of this trust provide the trigger type `id`?
///
/// # Errors
/// As [`may_offer`].
pub fn may_provide(trust: Trust, id: &str, provided_by_engine: bool) -> Result<(), ErrorBody> {
    well_formed("trigger type", id)?;
    match trust {
        Trust::Worker if id.starts_with(RESERVED_PREFIX) => Err(forbidden(format!(
            "`{id}`: types that start with `{RESERVED_PREFIX}` belong to the engine"
        ))),
        Trust::Worker if provided_by_engine => {
            Err(forbidden(format!("trigger type `{id}` is built in")))
        }
        Trust::Engine | Trust::Worker => Ok(()),
    }
}

/// Is `id` usable as one?
///
/// # Errors
/// `invalid_input` that says what is wrong with it.
pub fn well_formed(what: &str, id: &str) -> Result<(), ErrorBody> {
    let problem = match id {
        "" => "is empty".to_owned(),
        id if id.len() > ID_BYTES_MAX => {
            format!("has {} bytes, at most {ID_BYTES_MAX} are allowed", id.len())
        }
        id if id.chars().any(char::is_control) => {
            format!("`{}` has control characters", id.escape_debug())
        }
        _ => return Ok(()),
    };
    Err(ErrorBody::caller(
        Code::InvalidInput,
        format!("{what} {problem}"),
    ))
}

fn forbidden(message: String) -> ErrorBody {
    ErrorBody::caller(Code::Forbidden, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_ids_belong_to_the_engine() {
        let code = |trust, id, engine| may_offer(trust, id, engine).err().map(|error| error.code);
        assert_eq!(code(Trust::Worker, "math::add", false), None);
        assert_eq!(
            code(Trust::Worker, "engine::stop", false),
            Some(Code::Forbidden)
        );
        assert_eq!(
            code(Trust::Worker, "state::set", true),
            Some(Code::Forbidden)
        );
        assert_eq!(code(Trust::Engine, "engine::stop", true), None);
        assert_eq!(code(Trust::Worker, "", false), Some(Code::InvalidInput));
        assert_eq!(code(Trust::Worker, "a\nb", false), Some(Code::InvalidInput));
        assert_eq!(
            code(Trust::Worker, &"x".repeat(257), false),
            Some(Code::InvalidInput)
        );
    }
}
