//! The lists `workers` and `modules`: one list, whichever a file uses.

use serde::{Deserialize, de::IgnoredAny};

use super::kind::Kind;
use crate::config::{Error, place::Place};

/// What a file lists.
pub(super) enum Listed<'a> {
    /// There is no list, so everything that is on by default.
    Nothing,
    These(Vec<Entry<'a>>),
}

/// One entry.
pub(super) struct Entry<'a> {
    /// `None` for a worker that is not built in.
    pub(super) kind: Option<Kind>,
    pub(super) name: String,
    pub(super) image: Option<String>,
    pub(super) place: Place<'a>,
    pub(super) config: Place<'a>,
    /// The list, and the place in it.
    pub(super) at: (&'static str, usize),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    name: Option<String>,
    /// As files before 0.11 have it.
    #[serde(default)]
    class: Option<String>,
    #[serde(default)]
    image: Option<String>,
    // Read by the module's own type.
    #[serde(default, rename = "config")]
    _config: IgnoredAny,
}

/// Reads both lists, `workers` first.
pub(super) fn read<'a>(root: &Place<'a>) -> Result<Listed<'a>, Error> {
    let mut entries: Vec<Entry<'a>> = Vec::new();
    let mut is_listed = false;
    for list in ["workers", "modules"] {
        let place = root.at(list);
        is_listed |= place.says_something();
        for index in 0..place.read::<Vec<IgnoredAny>>()?.len() {
            let entry = entry(place.item(index), (list, index))?;
            refuse_twin(&entries, &entry)?;
            entries.push(entry);
        }
    }
    Ok(match is_listed {
        true => Listed::These(entries),
        false => Listed::Nothing,
    })
}

fn entry<'a>(place: Place<'a>, at: (&'static str, usize)) -> Result<Entry<'a>, Error> {
    if !place.has_keys() {
        return Err(place.error(
            "expected an entry of a file of iii, for instance `- name: iii-http`; in AgentOS' own form `workers` is no list, it has keys such as `builtin` and `dirs`",
        ));
    }
    let written: Written = place.read()?;
    let (kind, name) = match (written.name, written.class) {
        (Some(name), None) => (Kind::of_name(&name), name),
        (None, Some(class)) => {
            let kind = Kind::of_class(&class).ok_or_else(|| unknown_class(&place, &class))?;
            (Some(kind), kind.name().to_owned())
        }
        (Some(_), Some(_)) => {
            return Err(place.error("has a `name` and a `class`; one of them says what it is"));
        }
        (None, None) => return Err(place.error("expected a `name`, for instance iii-http")),
    };
    if name.trim().is_empty() {
        return Err(place
            .at("name")
            .error("is empty; expected for instance iii-http"));
    }
    let config = place.at("config");
    let image = written.image;
    Ok(Entry {
        kind,
        name,
        image,
        place,
        config,
        at,
    })
}

fn unknown_class(place: &Place<'_>, class: &str) -> Error {
    let known: Vec<&str> = Kind::classes().collect();
    place.at("class").error(format!(
        "`{class}` is no module; expected one of {}",
        known.join(", ")
    ))
}

fn refuse_twin(entries: &[Entry<'_>], new: &Entry<'_>) -> Result<(), Error> {
    let twin = entries.iter().find(|entry| entry.name == new.name);
    match twin {
        Some(twin) if !new.kind.is_some_and(Kind::may_repeat) => {
            let (list, index) = twin.at;
            Err(new.place.error(format!(
                "`{}` stands in line {} already, as `{list}.{index}`; only iii-worker-manager and iii-exec may be there more than once",
                new.name,
                twin.place.line(),
            )))
        }
        _ => Ok(()),
    }
}
