//! The words, the settings, and the exit codes.

use std::fs;

use crate::engine::{Engine, Place};

#[test]
fn help_names_every_verb_and_the_exit_codes() {
    let help = Place::new().run(&["--help"]).ok();
    for verb in [
        "start",
        "stop",
        "status",
        "call",
        "functions",
        "workers",
        "worker",
        "queue",
        "cron",
        "state",
        "backup",
        "restore",
        "doctor",
        "chat",
        "logs",
        "config",
        "token",
        "completions",
    ] {
        assert!(help.contains(&format!("\n  {verb} ")), "{verb}: {help}");
    }
    assert!(help.contains("Exit codes: 0 done"), "{help}");
    assert!(!help.contains("__guard"), "{help}");
}

#[test]
fn version_names_the_build() {
    let version = Place::new().run(&["--version"]).ok();
    assert!(
        version.starts_with(concat!("agentos ", env!("CARGO_PKG_VERSION"))),
        "{version}"
    );
}

#[test]
fn completions_are_made_for_shells() {
    for shell in ["bash", "zsh", "fish"] {
        assert!(
            Place::new()
                .run(&["completions", shell])
                .ok()
                .contains("agentos"),
            "{shell}"
        );
    }
}

#[test]
fn wrong_words_exit_with_2() {
    let place = Place::new();
    for words in [
        &["fly"][..],
        &["start", "--only", "x", "--no-workers"],
        &["call"],
        &["call", "a::b", "{oops"],
        &["call", "a::b", "--timeout", "soon"],
    ] {
        let ran = place.run(words);
        assert_eq!(ran.exit, Some(2), "{words:?} {ran:?}");
    }
}

#[test]
fn wrong_settings_exit_with_2_before_anything_starts() {
    let place = Place::new();
    let check = |text: &str, words: &[&str], expect: &str| {
        fs::write(place.path().join("config.yaml"), text).unwrap();
        let ran = place.run(&[&["start"], words].concat());
        assert_eq!(ran.exit, Some(2), "{ran:?}");
        assert_eq!(ran.err, format!("error: {expect}\n"));
        assert!(!place.data_dir().exists());
    };
    check(
        "listen:\n  bsu: {}\n",
        &[],
        "config.yaml:2: `listen.bsu`: unknown field `bsu`, expected one of `bus`, `http`, `stream`, `more`",
    );
    check(
        "memory:\n  limit_max: many\n",
        &[],
        "config.yaml:2: `memory.limit_max`: invalid value: string \"many\", expected a whole number from 0 to 18446744073709551615",
    );
    check(
        "",
        &["--only", "lmm"],
        "config.yaml: `workers`: --only lmm: there is no such worker; expected any of api, agent, llm, memory",
    );
    check(
        "",
        &["--config", "other.yaml"],
        "other.yaml: cannot be read: No such file or directory (os error 2)",
    );
    check(
        "listen: { http: { host: 0.0.0.0 } }\n",
        &["--auth", "none"],
        "config.yaml:1: `listen.http.auth`: `none` lets anybody who can reach 0.0.0.0 run your functions, so it is accepted on \
         loopback only; use `auth: token`, or `host: 127.0.0.1`",
    );
}

#[test]
fn nothing_is_coloured_outside_a_terminal() {
    let ran = Place::new().run(&["status"]);
    assert!(!ran.err.contains('\u{1b}'), "{ran:?}");
}

#[test]
fn several_engines_are_told_apart() {
    let one = Place::new();
    let other = Place::beside(&one);
    one.configure(&[]);
    other.configure(&[]);
    let _one = Engine::start(&one, &[]);
    let mut second = Engine::start(&other, &[]);
    let ran = one.run(&["status"]);
    assert_eq!(ran.exit, Some(2));
    assert!(
        ran.err.contains("2 engines run on this account") && ran.err.contains("--data-dir"),
        "{ran:?}"
    );
    one.run(&[
        "stop",
        "--data-dir",
        &other.data_dir().display().to_string(),
    ])
    .ok();
    assert_eq!(second.wait(), Some(0));
    one.run(&["status"]).ok();
}
