//! Which worker starts after which: those it names must be there, and none may wait for itself.

use crate::supervisor::Manifest;

/// What is wrong with what `processes` depend on, if something is. `others` are workers that are no
/// processes.
pub(super) fn fault(others: &[&str], processes: &[Manifest]) -> Option<String> {
    let find = |name: &str| processes.iter().find(|process| process.name == name);
    for process in processes {
        let is_there = |name: &str| others.contains(&name) || find(name).is_some();
        if let Some(name) = process.depends_on.iter().find(|name| !is_there(name)) {
            let known = processes.iter().map(|process| process.name.as_str());
            let mut known: Vec<&str> = known.chain(others.iter().copied()).collect();
            known.retain(|name| *name != process.name);
            return Some(format!(
                "{}: `depends_on` names `{name}`, and there is no such worker; expected any of {}",
                process.folder.join(Manifest::FILE).display(),
                known.join(", ")
            ));
        }
        let mut way = vec![process.name.as_str()];
        if let Some(round) = round(&mut way, &find) {
            return Some(format!(
                "{}: `depends_on` goes round in a circle: {round}",
                process.folder.join(Manifest::FILE).display()
            ));
        }
    }
    None
}

/// The way from the first of `way` back to it.
fn round<'a>(
    way: &mut Vec<&'a str>,
    find: &impl Fn(&str) -> Option<&'a Manifest>,
) -> Option<String> {
    let (first, last) = (way.first().copied()?, way.last().copied()?);
    for next in &find(last)?.depends_on {
        if next == first {
            return Some(format!("{} -> {first}", way.join(" -> ")));
        }
        // Another circle, told of where it begins.
        if way.contains(&next.as_str()) {
            continue;
        }
        way.push(next);
        let found = round(way, find);
        if found.is_some() {
            return found;
        }
        way.pop();
    }
    None
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn who_is_missing_and_who_waits_for_itself_is_told() {
        let check = |all: &[(&str, &[&str])], expect: Option<&str>| {
            let one = |(name, on): &(&str, &[&str])| Manifest {
                depends_on: on.iter().map(ToString::to_string).collect(),
                ..Manifest::program(name, PathBuf::from("/w").join(name), vec!["sh".into()])
            };
            let processes: Vec<Manifest> = all.iter().map(one).collect();
            let fault = fault(&["memory"], &processes);
            assert_eq!(fault.as_deref(), expect);
        };
        check(&[("a", &["b", "memory"]), ("b", &["memory"])], None);
        check(&[("a", &["b", "c"]), ("b", &["c"]), ("c", &[])], None);
        check(
            &[("a", &["z"]), ("b", &[])],
            Some(
                "/w/a/worker.yaml: `depends_on` names `z`, and there is no such worker; expected any of b, memory",
            ),
        );
        check(
            &[("a", &["a"])],
            Some("/w/a/worker.yaml: `depends_on` goes round in a circle: a -> a"),
        );
        check(
            &[("a", &["b"]), ("b", &["c"]), ("c", &["b"])],
            Some("/w/b/worker.yaml: `depends_on` goes round in a circle: b -> c -> b"),
        );
    }
}
