//! What `agentos worker new` makes is a worker; that it runs is shown where its language is at hand.

use std::{fs, process::Command};

use serde_json::Value;

use crate::engine::{Engine, Place};

#[test]
fn refuses_bad_names_and_folders_that_are_there() {
    let place = Place::new();
    assert_eq!(
        place
            .run(&["worker", "new", "Bad/Name", "--lang", "ts"])
            .exit,
        Some(2)
    );
    place.run(&["worker", "new", "a-ts", "--lang", "ts"]).ok();
    assert_eq!(
        place.run(&["worker", "new", "a-ts", "--lang", "ts"]).exit,
        Some(2)
    );
}

#[test]
fn the_python_template_passes_its_test() {
    let place = Place::new();
    place
        .run(&["worker", "new", "a-python", "--lang", "python"])
        .ok();
    let folder = place.path().join("a-python");
    let ran = Command::new("python3")
        .args(["-m", "unittest"])
        .current_dir(&folder)
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stderr)
    );
    assert!(
        fs::read_to_string(folder.join("requirements.txt"))
            .unwrap()
            .trim()
            .ends_with("/sdk-python")
    );
}

/// The longest test here, a minute on two cores: npm installs, and the SDK is built if need be.
#[test]
fn the_typescript_template_runs_in_an_engine() {
    let place = Place::new();
    place.run(&["worker", "new", "a-ts", "--lang", "ts"]).ok();
    place.configure(&["a-ts"]);
    let engine = Engine::start(&place, &[]);
    let ready = engine.wait_long_for("ready");
    let worker = ready["workers"]
        .as_array()
        .unwrap()
        .iter()
        .find(|worker| worker["name"] == "a-ts")
        .unwrap()
        .clone();
    assert_eq!(worker["functions"], 1, "{worker}");
    let said: Value =
        serde_json::from_str(&place.run(&["call", "a-ts::greet", "name=Ada"]).ok()).unwrap();
    assert_eq!(said, "hello Ada");
    let ran = Command::new("npm")
        .arg("test")
        .current_dir(place.path().join("a-ts"))
        .output()
        .unwrap();
    assert!(
        ran.status.success(),
        "{}",
        String::from_utf8_lossy(&ran.stdout)
    );
}
