//! What settings files may say, and what they hear when they say something else.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc, time::Duration};

use super::*;

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

fn read(text: &str) -> Result<Settings, String> {
    let file = Path::new("/etc/agentos/config.yaml");
    let env = env(&[("PORT", "5000"), ("TOKEN_LIKE", "123")]);
    let document = Document::parse(file, text, &env).map_err(|error| error.to_string())?;
    settings_of(&Arc::new(document), Some(file), &Overrides::default(), &env)
        .map_err(|error| error.to_string())
}

/// The fault of `text`, without the file's name.
fn check(text: &str, expect: &str) {
    let error = read(text).expect_err(text);
    assert_eq!(
        error
            .strip_prefix("/etc/agentos/config.yaml:")
            .unwrap_or(&error),
        expect,
        "{text}"
    );
}

#[test]
fn nothing_written_gives_the_defaults() {
    for text in ["", "# only a comment\n", "listen:\n  bus:\nworkers:\n"] {
        let settings = read(text).unwrap();
        assert_eq!(settings.bus.address.to_string(), "127.0.0.1:49134");
        assert_eq!(settings.http.listener.address.to_string(), "127.0.0.1:3111");
        assert_eq!(settings.bus.auth, Auth::Token);
        assert_eq!(settings.data_dir, Path::new("/etc/agentos/data"));
        assert_eq!(settings.workers.builtin.len(), BUILTIN_WORKERS.len());
        assert_eq!(settings.workers.stop_timeout, Duration::from_secs(8));
    }
}

#[test]
fn variables_take_the_type_that_is_asked_for() {
    let settings = read(
        "listen: { bus: { port: \"${PORT}\" }, http: { host: '${HOST:0.0.0.0}' } }\n\
         data_dir: ../${TOKEN_LIKE}\n\
         log: { level: \"${LEVEL:debug}\" }\n\
         llm: { port: \"${PORT}\", key: '${KEY:}', both: 'a${PORT}' }\n",
    )
    .unwrap();
    assert_eq!(settings.bus.address.port(), 5000);
    assert_eq!(settings.http.listener.address.ip().to_string(), "0.0.0.0");
    assert_eq!(settings.data_dir, Path::new("/etc/123"));
    assert_eq!(settings.log.level, Level::Debug);
    let llm = settings
        .workers
        .builtin
        .iter()
        .find(|worker| worker.name == "llm")
        .unwrap();
    assert_eq!(
        llm.section.read::<serde_json::Value>().unwrap(),
        serde_json::json!({ "port": 5000, "key": null, "both": "a5000" })
    );
}

#[test]
fn faults_name_line_key_and_what_would_be_right() {
    check(
        "listen:\n  bus:\n    prot: 1\n",
        "3: `listen.bus.prot`: unknown field `prot`, expected one of `host`, `port`, `auth`, `origins`, `hosts`, `registration_conflicts`",
    );
    check(
        "listen:\n  bus:\n    auth: maybe\n",
        "3: `listen.bus.auth`: unknown variant `maybe`, expected `token` or `none`",
    );
    check(
        "\nlisten:\n  http: { port: 70000 }\n",
        "3: `listen.http.port`: invalid value: integer `70000`, expected a whole number from 0 to 65535",
    );
    check(
        "log:\n  level: loud\n",
        "2: `log.level`: unknown variant `loud`, expected one of `error`, `warn`, `info`, `debug`, `trace`",
    );
    check(
        "workers:\n  builtin: [api, agnet]\n",
        "2: `workers.builtin.1`: `agnet` is no in-process worker; expected any of api, agent, llm, memory",
    );
    check(
        "workers: [a]\n",
        "1: `workers.0`: expected an entry of a file of iii, for instance `- name: iii-http`; in AgentOS' own form `workers` is no list, it has keys such as `builtin` and `dirs`",
    );
    check(
        "listen:\n  http:\n    timeout_ms: 0\n",
        "3: `listen.http.timeout_ms`: 0 is out of range; expected 1 to 86400000",
    );
    check(
        "listen:\n  bus:\n    host: example.org\n",
        "3: `listen.bus.host`: `example.org` is no IP address; expected one such as 127.0.0.1, ::1 or 0.0.0.0, or localhost",
    );
    check(
        "listen:\n  http:\n    origins:\n      - https://a.example\n      - b.example\n",
        "5: `listen.http.origins.1`: `b.example` is no origin; expected scheme and host, for instance https://app.example.org or http://localhost:5173",
    );
    check(
        "workers:\n  dirs: [nowhere]\n",
        "2: `workers.dirs.0`: /etc/agentos/nowhere has no worker.yaml; expected the folder of a worker",
    );
    check(
        "listen:\n  more:\n    - { host: 0.0.0.0 }\n",
        "3: `listen.more.0`: missing field `port`",
    );
    check(
        "listen:\n  more:\n    - { port: 5, host: 0.0.0.0, auth: none }\n",
        "3: `listen.more.0.auth`: `none` lets anybody who can reach 0.0.0.0 run your functions, so it is accepted on loopback only; use `auth: token`, or `host: 127.0.0.1`",
    );
    check(
        "listen:\n  more:\n    - port: 3111\n",
        "3: `listen.more.0.port`: 3111 is the port of `listen.http` too; choose another",
    );
    check(
        "exec:\n  run: [a]\n  watch:\n    - ../b\n",
        "4: `exec.watch.0`: expected a glob below this folder, for instance src/**/*.ts: it leads out of the folder",
    );
    check(
        "state:\n  value_max: 5\n",
        "2: `state.value_max`: unknown field `value_max`, expected one of `scope_bytes_max`, `key_bytes_max`, `value_bytes_max`, `list_bytes_max`, `writes_per_key_max`, `events_per_trigger_max`, `triggers_enabled`, `relaxed_scopes`, `history`, `sweep_interval_ms`",
    );
    check(
        "data_dir: ${MISSING}\n",
        "1: the environment variable MISSING is not set; set it, or give a default: ${MISSING:default}",
    );
    check(
        "listen:\n  bus:\n    port: '${TOKEN_LIKE}x'\n",
        "3: `listen.bus.port`: invalid value: the text of a variable, expected a whole number from 0 to 65535",
    );
}

#[test]
fn more_listeners_have_rules_of_their_own() {
    let settings = read(
        "listen:\n  more:\n  - port: 5\n  - host: 0.0.0.0\n    port: 6\n    auth: none\n    middleware_function_id: m\n    \
         rbac: { auth_function_id: a, expose_functions: [match(\"api::*\")] }\n\
         exec: { run: [make], watch: ['**/*.c'] }\nregistration_namespace_grace_ms: 7\n",
    )
    .unwrap();
    let [one, other] = &settings.listeners[..] else {
        panic!("two listeners");
    };
    assert_eq!(one.listener.address.to_string(), "127.0.0.1:5");
    assert!(one.access.is_open() && one.listener.auth == Auth::Token);
    assert_eq!(other.listener.address.to_string(), "0.0.0.0:6");
    assert!(other.access.asks_who() && other.listener.auth == Auth::None);
    let rbac = other.access.rbac.as_ref().unwrap();
    let exposure = rbac.expose_functions[0].exposure();
    assert_eq!(exposure.pattern.as_deref(), Some("api::*"));
    assert_eq!(
        settings.registration_namespace_grace,
        Duration::from_millis(7)
    );
    assert_eq!(settings.workers.processes[0].name, "exec");
    assert_eq!(settings.watches[0].globs, ["**/*.c"]);
}

#[test]
fn differences_are_told_part_by_part() {
    let check = |old: &str, new: &str, expect: &[(&str, How)]| {
        let changes = diff(&read(old).unwrap(), &read(new).unwrap());
        let found: Vec<(String, How)> = changes
            .iter()
            .map(|change| (change.part.to_string(), change.how))
            .collect();
        let expect: Vec<(String, How)> = expect
            .iter()
            .map(|(part, how)| ((*part).to_owned(), *how))
            .collect();
        assert_eq!(found, expect, "{old} -> {new}");
    };
    use How::{Added, Changed, Removed};
    check("", "# remark\nqueue: {}\n", &[("queue", Changed)]);
    check("queue: { topics_max: 1 }", "queue:\n  topics_max: 1\n", &[]);
    check("", "state: { key_bytes_max: 5 }", &[("state", Changed)]);
    check("", "bridge: { url: ws://a }", &[("bridge", Added)]);
    check(
        "listen: { more: [{ port: 5 }, { port: 6 }] }",
        "listen: { more: [{ port: 7 }, { port: 6, rbac: {} }] }",
        &[
            ("the listener 127.0.0.1:5", Removed),
            ("the listener 127.0.0.1:6", Changed),
            ("the listener 127.0.0.1:7", Added),
        ],
    );
    check(
        "workers: { builtin: [api, llm] }",
        "workers: { builtin: [llm, agent] }\nllm: { a: 1 }",
        &[
            ("the worker api", Removed),
            ("the worker llm", Changed),
            ("the worker agent", Added),
        ],
    );
    check(
        "exec: { run: [a] }",
        "exec: { run: [b], watch: ['*.c'] }",
        &[("the worker exec", Changed), ("watched files", Changed)],
    );
    check(
        "",
        "listen: { http: { timeout_ms: 5 } }",
        &[("http", Changed)],
    );
    check("", "listen: { bus: { port: 5 } }", &[("the bus", Changed)]);
    check(
        "",
        "data_dir: x\nlog: { level: debug }\nregistration_namespace_grace_ms: 1\n",
        &[
            ("log", Changed),
            ("registration_namespace_grace_ms", Changed),
            ("data_dir", Changed),
        ],
    );
    check(
        "workers: [{ name: iii-state }, { name: iii-cron }]",
        "workers: [{ name: iii-state, config: { triggers_enabled: false } }, { name: iii-queue }]",
        &[("cron", Removed), ("state", Changed), ("queue", Added)],
    );
    let restarts = diff(&read("").unwrap(), &read("data_dir: x").unwrap());
    assert!(restarts.iter().all(Change::needs_restart));
}

#[test]
fn a_workers_section_is_as_strict() {
    #[derive(Debug, Default, serde::Deserialize)]
    #[serde(default, deny_unknown_fields)]
    struct Memory {
        #[serde(rename = "limit")]
        _limit: u32,
    }
    let memory = |text| {
        let workers = read(text).unwrap().workers.builtin;
        let memory = workers
            .into_iter()
            .find(|worker| worker.name == "memory")
            .unwrap();
        memory
            .section
            .read::<Memory>()
            .map_err(|error| error.to_string())
    };
    assert!(memory("").is_ok() && memory("memory:\n").is_ok());
    let error = memory("log: {}\nmemory:\n  limits: 1\n").unwrap_err();
    assert_eq!(
        error,
        "/etc/agentos/config.yaml:3: `memory.limits`: unknown field `limits`, expected `limit`"
    );
}

#[test]
fn faults_of_yaml_itself_name_the_line() {
    for (text, line) in [
        ("listen: [", "1"),
        ("a: 1\na: 2\n", "2"),
        ("listen:\n\tbus: 1\n", "2"),
        ("a: b: c\n", "1"),
    ] {
        let error = read(text).expect_err(text);
        assert!(
            error.starts_with(&format!(
                "/etc/agentos/config.yaml:{line}: not valid YAML: "
            )),
            "{text}: {error}"
        );
        assert!(!error.contains('\n'), "{error}");
    }
}

#[test]
fn no_authentication_is_for_loopback() {
    assert_eq!(
        read("listen: { bus: { auth: none } }").unwrap().bus.auth,
        Auth::None
    );
    let error = read("listen:\n  bus:\n    host: 0.0.0.0\n    auth: none\n").unwrap_err();
    assert!(
        error.contains("config.yaml:4: `listen.bus.auth`") && error.contains("loopback only"),
        "{error}"
    );
}

#[test]
fn the_command_line_wins() {
    let overrides = Overrides {
        bus_port: Some(0),
        auth: Some(Auth::None),
        only: vec!["llm".into()],
        ..Overrides::default()
    };
    let document = Document::parse(
        Path::new("c.yaml"),
        "listen: { bus: { port: 1 } }",
        &env(&[]),
    )
    .unwrap();
    let document = Arc::new(document);
    let settings = settings_of(&document, None, &overrides, &env(&[])).unwrap();
    assert_eq!(
        (settings.bus.address.port(), settings.http.listener.auth),
        (0, Auth::None)
    );
    assert_eq!(
        settings
            .workers
            .builtin
            .iter()
            .map(|worker| worker.name.as_str())
            .collect::<Vec<_>>(),
        ["llm"]
    );

    let overrides = Overrides {
        only: vec!["lmm".into()],
        ..Overrides::default()
    };
    let error = settings_of(&document, None, &overrides, &env(&[])).unwrap_err();
    assert_eq!(
        error.message,
        "--only lmm: there is no such worker; expected any of api, agent, llm, memory"
    );
}

#[test]
fn a_named_file_must_exist() {
    let error = load(
        Some(Path::new("/nowhere/config.yaml")),
        &Overrides::default(),
        &env(&[]),
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("/nowhere/config.yaml: cannot be read: "),
        "{error}"
    );
}

/// Reads a manifest and gives its fault, without the folder's name.
fn check_manifest(text: &str, expect: &str) {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("worker.yaml"), text).unwrap();
    let error = crate::supervisor::Manifest::open(folder.path(), &env(&[]))
        .expect_err(text)
        .to_string();
    assert_eq!(error.split_once("worker.yaml").unwrap().1, expect, "{text}");
}

#[test]
fn manifests_are_as_strict() {
    check_manifest("name: a\nlanguage: rust\n", ": missing field `command`");
    check_manifest(
        "name: a\nlanguage: cobol\ncommand: [a]\n",
        ":2: `language`: unknown variant `cobol`, expected one of `rust`, `typescript`, `python`, `other`",
    );
    check_manifest(
        "name: a/b\nlanguage: rust\ncommand: [a]\n",
        ":1: `name`: expected letters, digits, `-` and `_`, at most 64, for instance image-tools",
    );
    check_manifest(
        "name: a\nlanguage: rust\ncommand: []\n",
        ":3: `command`: expected a program and its arguments, for instance [node, dist/index.js]",
    );
    check_manifest(
        "name: a\nlanguage: rust\ncommand: [a]\nprepare:\n - [b]\n",
        ":4: `prepare`: `inputs` must say which files these steps depend on, for instance [package.json, src/**/*.ts]",
    );
    check_manifest(
        "name: a\nlanguage: rust\ncommand: [a]\nrestart: { backoff: 1 }\n",
        ":4: `restart.backoff`: unknown field `backoff`, expected one of `policy`, `backoff_ms`, `backoff_ms_max`, `stable_ms`",
    );
}

/// The blocks of docs/settings.md that are YAML.
fn documented() -> Vec<&'static str> {
    let page = include_str!("../../../docs/settings.md");
    page.split("```yaml\n")
        .skip(1)
        .map(|rest| rest.split("```").next().unwrap())
        .collect()
}

#[test]
fn the_page_of_settings_shows_the_defaults() {
    let (shown, unwritten) = (read(documented()[0]).unwrap(), read("").unwrap());
    let comparable = |settings: &Settings| {
        format!(
            "{:?}",
            (
                &settings.bus,
                &settings.http,
                &settings.data_dir,
                &settings.limits,
                &settings.log
            )
        )
    };
    assert_eq!(comparable(&shown), comparable(&unwritten));
    let workers = |settings: &Settings| {
        (
            settings.workers.builtin.len(),
            settings.workers.stop_timeout,
            settings.workers.log_bytes_max,
        )
    };
    assert_eq!(workers(&shown), workers(&unwritten));
}

/// The block of docs/settings.md that is a worker.yaml.
fn documented_manifest() -> &'static str {
    let mut blocks = documented().into_iter();
    blocks
        .find(|block| block.starts_with("name:"))
        .expect("the page shows one")
}

#[test]
fn the_page_of_settings_shows_a_manifest_that_is_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("worker.yaml"), documented_manifest()).unwrap();
    let manifest = crate::supervisor::Manifest::open(folder.path(), &env(&[])).unwrap();
    assert_eq!(manifest.restart, crate::supervisor::Restart::default());
}

#[test]
fn the_page_of_settings_shows_files_that_are_read() {
    let manifest = documented_manifest();
    for block in documented().into_iter().filter(|block| *block != manifest) {
        read(block).unwrap_or_else(|error| panic!("{error}:\n{block}"));
    }
}
