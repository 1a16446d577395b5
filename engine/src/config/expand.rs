//! `${NAME}` and `${NAME:default}` in text. Knows nothing of YAML.

use super::Env;

/// Replaces each `${NAME}` by the variable and each `${NAME:default}` by the variable or, when it
/// is unset or empty, by the default. `$${` stands for a plain `${`.
///
/// `None` when there was nothing to replace.
///
/// # Errors
/// A sentence, when a variable without default is unset, or a brace is missing.
pub(crate) fn expand(text: &str, env: &dyn Env) -> Result<Option<String>, String> {
    if !text.contains("${") {
        return Ok(None);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find("${") {
        let (before, after) = rest.split_at(start);
        if let Some(literal) = before.strip_suffix('$') {
            out.push_str(literal);
            out.push_str("${");
            rest = &after[2..];
            continue;
        }
        out.push_str(before);
        let end = after
            .find('}')
            .ok_or_else(|| format!("`{after}` has no closing brace"))?;
        out.push_str(&value_of(&after[2..end], env)?);
        rest = &after[end + 1..];
    }
    out.push_str(rest);
    Ok(Some(out))
}

/// What iii's files write where the version of the engine is meant.
const VERSION: &str = "__III_ENGINE_VERSION__";

/// `NAME`, `NAME:default`, and `NAME:-default`, which shells have made a habit.
fn value_of(inside: &str, env: &dyn Env) -> Result<String, String> {
    let (name, default) = match inside.split_once(':') {
        Some((name, VERSION)) => (name, Some(env!("CARGO_PKG_VERSION"))),
        Some((name, default)) => (name, Some(default.strip_prefix('-').unwrap_or(default))),
        None => (inside, None),
    };
    if !is_name(name) {
        return Err(format!(
            "`${{{inside}}}` names no variable; write ${{NAME}}, ${{NAME:default}}, or $${{ for a plain ${{"
        ));
    }
    match (env.var(name), default) {
        (Some(value), _) if !value.is_empty() => Ok(value),
        (_, Some(default)) => Ok(default.to_owned()),
        (Some(empty), None) => Ok(empty),
        (None, None) => Err(format!(
            "the environment variable {name} is not set; set it, or give a default: ${{{name}:default}}"
        )),
    }
}

fn is_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .chars()
            .all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn check(text: &str, expect: Result<Option<&str>, &str>) {
        let env: BTreeMap<String, String> = [("HOST", "example.org"), ("EMPTY", "")]
            .map(|(name, value)| (name.into(), value.into()))
            .into();
        let expanded = expand(text, &env);
        match expect {
            Ok(expect) => assert_eq!(
                expanded.as_ref().map(Option::as_deref),
                Ok(expect),
                "{text}"
            ),
            Err(part) => assert!(
                expanded.as_ref().is_err_and(|error| error.contains(part)),
                "{text}: {expanded:?}"
            ),
        }
    }

    #[test]
    fn replaces_variables() {
        check("plain", Ok(None));
        check("$HOST and $5", Ok(None));
        check("${HOST}", Ok(Some("example.org")));
        check(
            "http://${HOST}:${PORT:80}/x",
            Ok(Some("http://example.org:80/x")),
        );
        check("${EMPTY:default}${EMPTY}", Ok(Some("default")));
        check("${PORT:-80}", Ok(Some("80")));
        check("${URL:http://a:1/b}", Ok(Some("http://a:1/b")));
        check("$${HOST} is ${HOST}", Ok(Some("${HOST} is example.org")));
        check("${KEY:}", Ok(Some("")));
        check(
            "${X:__III_ENGINE_VERSION__}",
            Ok(Some(env!("CARGO_PKG_VERSION"))),
        );
    }

    #[test]
    fn says_what_is_wrong() {
        check("${PORT}", Err("PORT is not set"));
        check("a ${HOST", Err("no closing brace"));
        check("${}", Err("names no variable"));
        check("${a b}", Err("names no variable"));
    }
}
