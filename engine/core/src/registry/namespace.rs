//! Keys of rows that are unique per namespace.

use std::borrow::Cow;

/// Between namespace and id; neither can hold a control character.
const SEPARATOR: char = '\u{1f}';

/// The key of `id` in `namespace`, `None` being the default one. In that one it costs nothing.
pub(super) fn key<'a>(namespace: Option<&str>, id: &'a str) -> Cow<'a, str> {
    match namespace {
        None => Cow::Borrowed(id),
        Some(namespace) => Cow::Owned(format!("{namespace}{SEPARATOR}{id}")),
    }
}
