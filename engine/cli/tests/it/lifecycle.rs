//! Start, use, stop, and being killed.

use std::{fs, os::unix::fs::PermissionsExt, time::Instant};

use serde_json::Value;

use crate::{
    FAMILY,
    engine::{Engine, Place},
    is_alive, pids, shell_worker, wait_for, wait_until_dead,
};

#[test]
fn starts_answers_and_stops() {
    let place = Place::new();
    place.configure(&[]);
    let mut engine = Engine::start(&place, &[]);
    let ready = engine.wait_for("ready");
    assert_eq!(ready["workers"][0]["name"], "llm");

    let token = place.run(&["token"]).ok();
    assert_eq!(token.trim(), ready["token"]);
    let mode = fs::metadata(place.data_dir().join("token"))
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
    let port = ready["url"].as_str().unwrap().rsplit_once(':').unwrap().1;
    let note = place
        .path()
        .join("home/engines")
        .join(format!("{port}.json"));
    assert!(note.exists() && place.data_dir().join("engine.json").exists());

    let status: Value = serde_json::from_str(&place.run(&["status", "--json"]).ok()).unwrap();
    assert_eq!(status["url"], ready["url"]);
    let functions: Value = serde_json::from_str(&place.run(&["functions", "--json"]).ok()).unwrap();
    assert!(
        functions
            .as_array()
            .unwrap()
            .iter()
            .any(|function| function["function_id"] == "llm::providers")
    );
    assert!(place.run(&["workers"]).ok().contains("memory"));
    let set = place.run(&[
        "call",
        "state::set",
        "scope=s",
        "key=k",
        "value={\"a\": [1, 2]}",
    ]);
    set.ok();
    assert_eq!(
        place
            .run(&[
                "call",
                "state::get",
                "--json",
                r#"{"scope": "s", "key": "k"}"#
            ])
            .ok(),
        "{\"a\":[1,2]}\n"
    );

    assert_eq!(place.run(&["stop"]).ok(), "stopped\n");
    assert_eq!(engine.wait(), Some(0));
    assert!(!note.exists() && !place.data_dir().join("engine.json").exists());
    let ran = place.run(&["status"]);
    assert_eq!(ran.exit, Some(3), "{ran:?}");
    assert!(ran.err.contains("agentos start"), "{ran:?}");
}

#[test]
fn a_failed_call_says_what_and_what_to_do() {
    let place = Place::new();
    place.configure(&[]);
    let _engine = Engine::start(&place, &[]);
    let ran = place.run(&["call", "nobody::here"]);
    assert_eq!(ran.exit, Some(1));
    assert_eq!(
        ran.err,
        "error: not_found: no worker offers `nobody::here`\n  try: see what there is with `agentos functions`\n"
    );
    let ran = place.run(&["call", "nobody::here", "--json"]);
    let said: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(said["error"]["code"], "not_found");
    let ran = place.run(&["call", "state::get", "--token", "wrong"]);
    assert_eq!(ran.exit, Some(4), "{ran:?}");
}

#[test]
fn a_data_directory_serves_one_engine() {
    let place = Place::new();
    place.configure(&[]);
    let _engine = Engine::start(&place, &[]);
    let ran = place.run(&["start"]);
    assert_eq!(ran.exit, Some(1));
    assert!(
        ran.err.contains("another engine uses the data directory")
            && ran.err.contains("--data-dir"),
        "{ran:?}"
    );
}

#[test]
fn a_signal_ends_everything_in_good_order() {
    for signal in ["-TERM", "-INT"] {
        let place = Place::new();
        shell_worker(place.path(), "family", FAMILY, "");
        place.configure(&["family"]);
        let mut engine = Engine::start(&place, &[]);
        let pids = pids(&place.path().join("family/pids"), 3);
        let began = Instant::now();
        engine.signal(signal);
        assert_eq!(engine.wait(), Some(0));
        assert!(began.elapsed().as_secs() < 10);
        wait_until_dead(&pids);
    }
}

#[test]
fn kill_9_leaves_no_worker_and_loses_no_state() {
    let place = Place::new();
    shell_worker(place.path(), "family", FAMILY, "");
    place.configure(&["family"]);
    let mut engine = Engine::start(&place, &[]);
    let pids = pids(&place.path().join("family/pids"), 3);
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    place
        .run(&["call", "state::set", "scope=s", "key=k", "value=kept"])
        .ok();

    engine.signal("-KILL");
    engine.wait();
    wait_until_dead(&pids);

    let _engine = Engine::start(&place, &[]);
    assert_eq!(
        place
            .run(&["call", "state::get", "--json", "scope=s", "key=k"])
            .ok(),
        "\"kept\"\n"
    );
}

#[test]
fn says_what_is_missing_and_runs_the_rest() {
    let place = Place::new();
    shell_worker(
        place.path(),
        "good",
        "while true; do echo alive; sleep 0.1; done",
        "",
    );
    shell_worker(
        place.path(),
        "gold",
        "exit 0",
        "description: Turns lead into gold.\nrequires: [alchemy]\n",
    );
    let broken = "prepare: [[sh, -c, 'echo first; echo last; exit 7']]\ninputs: [script.sh]\n";
    shell_worker(place.path(), "broken", "exit 0", broken);
    place.configure(&["good", "gold", "broken"]);
    let engine = Engine::start(&place, &["--only", "good", "gold", "broken"]);
    let mut said = [engine.wait_for("skipped"), Value::Null];
    said[1] = engine.wait_for("failed");
    assert_eq!(
        said[0]["message"],
        "`alchemy` was not found; install alchemy; it is needed for: Turns lead into gold."
    );
    assert_eq!(said[1]["output"], serde_json::json!(["first", "last"]));
    assert!(
        said[1]["message"].as_str().unwrap().contains("exit code 7"),
        "{said:?}"
    );
    wait_for("the log", || {
        place
            .run(&["logs", "good"])
            .out
            .contains("alive")
            .then_some(())
    });
    let prepare = place.run(&["logs", "--prepare", "broken"]).ok();
    assert_eq!(prepare, "first\nlast\n");
    let ran = place.run(&["logs", "nobody"]);
    assert!(
        ran.err.contains("ask for one of: broken, gold, good"),
        "{ran:?}"
    );
}

#[test]
fn an_engine_goes_on_when_nobody_reads_its_output() {
    let place = Place::new();
    place.configure(&[]);
    let mut command = place.command(&["start"]);
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    wait_for("the engine", || {
        (place.run(&["status"]).exit == Some(0)).then_some(())
    });
    place.run(&["stop"]).ok();
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

#[test]
fn a_killed_worker_comes_back() {
    let place = Place::new();
    shell_worker(place.path(), "family", FAMILY, "");
    place.configure(&["family"]);
    let engine = Engine::start(&place, &[]);
    let first = engine.wait_for("process_started")["pid"].as_u64().unwrap();
    let left = pids(&place.path().join("family/pids"), 3);
    std::process::Command::new("kill")
        .args(["-9", &first.to_string()])
        .status()
        .unwrap();
    assert_eq!(
        engine.wait_for("process_ended")["how"],
        "killed by signal 9"
    );
    // What it had started is gone with it.
    wait_until_dead(&left);
    assert_ne!(
        engine.wait_for("process_started")["pid"].as_u64().unwrap(),
        first
    );
    place.run(&["worker", "restart", "family"]).ok();
    engine.wait_for("process_started");
}
