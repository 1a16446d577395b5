//! Which form a file has: ours, or one of iii's.
//!
//! In ours `workers` has keys; in iii's it is a list, and so is `modules`, which ours does not know.

use crate::config::{
    Document, Error,
    node::{Node, Value},
};

/// The keys that iii's files have at the top.
const KEYS: [&str; 3] = ["workers", "modules", "registration_namespace_grace_ms"];

/// Does this look like a file of iii?
pub(in crate::config) fn is_iii(root: &Node) -> bool {
    let workers = root.get("workers");
    root.get("modules").is_some()
        || workers.is_some_and(|workers| matches!(workers.value, Value::List(_)))
}

/// Refuses a file of iii that is also one of ours.
pub(in crate::config) fn check(document: &Document) -> Result<(), Error> {
    let root = document.root();
    let Value::Map(entries) = &root.value else {
        return Ok(());
    };
    if let Some(workers) = root.get("workers")
        && matches!(workers.value, Value::Map(_))
    {
        let message = format!(
            "is written with keys, as in AgentOS' own form, beside `modules` in line {}, which only iii's files have; \
             write `workers` as a list of name and config, or take `modules` away",
            root.get("modules").map_or(1, |modules| modules.line),
        );
        return Err(document.error("workers", message));
    }
    let sign = ["workers", "modules"]
        .into_iter()
        .find_map(|key| Some((key, root.get(key)?.line)));
    let foreign = entries
        .iter()
        .find(|(key, _)| !KEYS.contains(&key.as_str()));
    match (foreign, sign) {
        (Some((key, _)), Some((list, line))) => {
            let message = format!(
                "does not belong in a file of iii, and the list `{list}` in line {line} makes this one; \
                 expected `workers`, `modules` or `registration_namespace_grace_ms`, \
                 or `workers` with keys as in docs/settings.md"
            );
            Err(document.error(key, message))
        }
        _ => Ok(()),
    }
}
