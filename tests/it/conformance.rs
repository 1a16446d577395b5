//! Scenarios as data, and what players tell of them. Used for the iii dialect and for the SDKs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// All scenarios of `suite` in one list, as players read them.
pub(crate) fn scenarios(suite: &Path) -> Result<Vec<Value>> {
    let mut files: Vec<PathBuf> = fs::read_dir(suite.join("scenarios"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.sort();
    let mut all = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file)?;
        let some: Vec<Value> =
            serde_saphyr::from_str(&text).with_context(|| format!("{}", file.display()))?;
        all.extend(some);
    }
    Ok(all)
}

/// Fails when two checks could not be told apart in a report.
pub(crate) fn names_are_different(scenarios: &[Value]) -> Result<()> {
    let mut names = BTreeSet::new();
    for scenario in scenarios {
        let checks = scenario["steps"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|step| step["check"].as_str());
        for name in scenario["name"].as_str().into_iter().chain(checks) {
            ensure!(
                !name.contains(": "),
                "{name}: the report cuts a name at a colon"
            );
            ensure!(names.insert(name.to_owned()), "{name} is there twice");
        }
    }
    Ok(())
}

/// What a player has printed, by name of the check; `None` is a pass.
pub(crate) fn outcomes(printed: &str) -> BTreeMap<String, Option<String>> {
    let mut outcomes = BTreeMap::new();
    for line in printed.lines() {
        if let Some(name) = line.strip_prefix("ok ") {
            outcomes.insert(name.to_owned(), None);
        } else if let Some(rest) = line.strip_prefix("not ok ") {
            let (name, why) = rest.split_once(": ").unwrap_or((rest, ""));
            outcomes.insert(name.to_owned(), Some(why.to_owned()));
        }
    }
    outcomes
}
