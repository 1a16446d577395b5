//! Names of tools: models accept only `^[a-zA-Z0-9_-]{1,64}$`, function ids are freer.
//!
//! `::` is written `__`. A letter, digit or `-` stands for itself, and so does a `_` before a
//! letter or digit or at the end. Everything else is written `_-HEX-`, its code point in
//! hexadecimal: `a__b` is `a_-5f-_b`, `fs.read` is `fs_-2e-read`.

use std::fmt::Write as _;

/// What models accept, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// An id that has no name: such a function cannot be offered to a model.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NameError {
    #[error("a function id must not be empty")]
    Empty,
    /// Shortening would not be reversible, so the answer is a shorter id.
    #[error(
        "as a tool name the function id has {bytes} characters and models take at most {NAME_BYTES_MAX}: shorten the id"
    )]
    TooLong { bytes: usize },
}

/// The name under which a model calls the function `id`.
///
/// # Errors
/// When the id is empty, or its name is longer than [`NAME_BYTES_MAX`].
pub fn name_of(id: &str) -> Result<String, NameError> {
    if id.is_empty() {
        return Err(NameError::Empty);
    }
    let name = escape(id);
    if name.len() > NAME_BYTES_MAX {
        return Err(NameError::TooLong { bytes: name.len() });
    }
    Ok(name)
}

/// The function id that `name` stands for; `None` when [`name_of`] makes no such name.
pub fn id_of(name: &str) -> Option<String> {
    let id = unescape(name)?;
    // Only the one way of writing an id counts, so two names never mean one function.
    (name_of(&id).ok()? == name).then_some(id)
}

fn escape(id: &str) -> String {
    let mut name = String::with_capacity(id.len());
    let mut rest = id.chars();
    while let Some(char) = rest.next() {
        let next = rest.clone().next();
        match char {
            ':' if next == Some(':') => {
                rest.next();
                name.push_str("__");
            }
            '_' if next.is_none_or(|next| next.is_ascii_alphanumeric()) => name.push('_'),
            '-' => name.push('-'),
            plain if plain.is_ascii_alphanumeric() => name.push(plain),
            other => {
                write!(name, "_-{:x}-", u32::from(other)).expect("writing to a string never fails");
            }
        }
    }
    name
}

fn unescape(name: &str) -> Option<String> {
    let mut id = String::with_capacity(name.len());
    let mut rest = name;
    while let Some(char) = rest.chars().next() {
        if let Some(after) = rest.strip_prefix("__") {
            id.push_str("::");
            rest = after;
        } else if let Some(after) = rest.strip_prefix("_-") {
            let (hex, after) = after.split_once('-')?;
            id.push(char::from_u32(u32::from_str_radix(hex, 16).ok()?)?);
            rest = after;
        } else {
            id.push(char);
            rest = &rest[char.len_utf8()..];
        }
    }
    Some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn common_ids_stay_readable() {
        let check = |id: &str, name: &str| {
            assert_eq!(name_of(id).unwrap(), name);
            assert_eq!(id_of(name).unwrap(), id);
        };
        check("file::read", "file__read");
        check("get_weather", "get_weather");
        check("my-worker::do_it", "my-worker__do_it");
        check("a::b::c", "a__b__c");
        check("a__b", "a_-5f-_b");
        check("a_::b", "a_-5f-__b");
        check("a::_b", "a___b");
        check("fs.read", "fs_-2e-read");
        check("trailing_", "trailing_");
        check("naïve", "na_-ef-ve");
    }

    #[test]
    fn ids_without_a_name_say_why() {
        assert_eq!(name_of(""), Err(NameError::Empty));
        assert_eq!(
            name_of(&"x".repeat(65)),
            Err(NameError::TooLong { bytes: 65 })
        );
        assert!(name_of(&"x".repeat(64)).is_ok());
    }

    #[test]
    fn foreign_names_are_refused() {
        for name in ["", "a b", "a_-5f", "a_-zz-b", "a_-05f-_b", "a_-61-b", "ä"] {
            assert_eq!(id_of(name), None, "{name}");
        }
    }

    proptest! {
        #[test]
        fn any_id_comes_back(id in "([a-c_:.-]|[^\\p{Cc}]){1,12}") {
            if let Ok(name) = name_of(&id) {
                prop_assert!(name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_-".contains(&byte)));
                prop_assert!((1..=NAME_BYTES_MAX).contains(&name.len()));
                prop_assert_eq!(id_of(&name), Some(id));
            }
        }

        #[test]
        fn any_name_is_one_ids_or_nobodys(name in "[a-c0-5_-]{1,16}") {
            if let Some(id) = id_of(&name) {
                prop_assert_eq!(name_of(&id), Ok(name));
            }
        }
    }
}
