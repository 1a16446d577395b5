//! Files as they are found on the web, and what people hear when something in them is wrong.

use std::{collections::BTreeMap, fmt::Write, path::Path, sync::Arc};

use insta::assert_snapshot;

use super::*;
use crate::config::{Auth, Document, Modules as Either, Overrides, Settings, Weight, report};

const CLASSES: &str = include_str!("tests/files/classes.yaml");
const WORKERS: &str = include_str!("tests/files/workers.yaml");
const LISTENERS: &str = include_str!("tests/files/listeners.yaml");

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    let own = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    pairs.iter().map(own).collect()
}

fn read_with(text: &str, overrides: &Overrides, vars: &[(&str, &str)]) -> Result<Settings, String> {
    let file = Path::new("/app/config.yaml");
    let env = env(vars);
    let document = Document::parse(file, text, &env).map_err(|error| error.to_string())?;
    crate::config::settings_of(&Arc::new(document), Some(file), overrides, &env)
        .map_err(|error| error.to_string())
}

fn read(text: &str) -> Result<Settings, String> {
    read_with(text, &Overrides::default(), &[])
}

fn modules(settings: &Settings) -> &Modules {
    match &settings.modules {
        Either::Iii(modules) => modules,
        Either::Native(_) => panic!("it was read as a file of our own"),
    }
}

/// Everything that was understood.
fn understood(text: &str) -> String {
    let settings = read(text).unwrap();
    let report = serde_json::to_string_pretty(&report(&settings)).unwrap();
    let modules = serde_json::to_string_pretty(modules(&settings)).unwrap();
    format!("{report}\n{modules}")
}

/// The warnings, each on a line.
fn warnings(text: &str, overrides: &Overrides) -> String {
    let settings = read_with(text, overrides, &[]).unwrap();
    let mut out = String::new();
    for remark in &settings.remarks {
        let weight = match remark.weight {
            Weight::Warning => "warning",
            Weight::Note => "note",
        };
        writeln!(out, "{weight}: {remark}").unwrap();
    }
    out
}

#[test]
fn files_with_classes() {
    assert_snapshot!(understood(CLASSES));
}

#[test]
fn files_with_workers() {
    assert_snapshot!(understood(WORKERS));
}

#[test]
fn files_with_both_lists() {
    assert_snapshot!(understood(LISTENERS));
}

#[test]
fn every_class_and_every_name_is_known() {
    for class in Kind::classes() {
        // The one that does not work without being told what to do.
        let config = match class {
            "modules::bridge_client::BridgeClientModule" => "{ url: ws://a:1 }",
            "modules::shell::ExecModule" => "{ exec: [a] }",
            _ => "{}",
        };
        let text = format!("modules: [{{ class: \"{class}\", config: {config} }}]");
        let settings = read(&text).unwrap_or_else(|error| panic!("{class}: {error}"));
        assert!(modules(&settings).external.is_empty(), "{class}");
    }
    let adapters = [
        ("api::RestApiModule", "", false),
        ("state::StateModule", "state::adapters::KvStore", true),
        ("state::StateModule", "state::adapters::Bridge", true),
        ("state::StateModule", "state::adapters::RedisAdapter", false),
        ("stream::StreamModule", "stream::adapters::KvStore", true),
        ("stream::StreamModule", "stream::adapters::Bridge", true),
        ("stream::StreamModule", "state::adapters::KvStore", false),
        ("queue::QueueModule", "queue::BuiltinQueueAdapter", true),
        ("queue::QueueModule", "queue::adapters::Bridge", true),
        ("queue::QueueModule", "queue::RabbitMQAdapter", false),
        ("queue::QueueModule", "queue::RedisAdapter", false),
        ("pubsub::PubSubModule", "pubsub::LocalAdapter", true),
        ("pubsub::PubSubModule", "pubsub::RedisAdapter", false),
        ("cron::CronModule", "cron::KvCronAdapter", true),
        ("cron::CronModule", "cron::RedisCronAdapter", false),
    ];
    for (module, adapter, expect) in adapters.into_iter().skip(1) {
        let text = format!(
            "modules: [{{ class: \"modules::{module}\", config: {{ adapter: {{ class: \"modules::{adapter}\" }} }} }}]"
        );
        assert_eq!(read(&text).is_ok(), expect, "{text}");
    }
}

#[test]
fn without_a_list_the_usual_modules_run() {
    let settings = read("modules:\n").unwrap();
    let modules = modules(&settings);
    assert!(modules.http.is_some() && modules.state.is_some() && modules.stream.is_some());
    assert!(modules.queue.is_some() && modules.pubsub.is_some() && modules.cron.is_some());
    assert!(modules.bridge.is_none() && modules.http_functions.is_none());
    let settings = read("workers: []\n").unwrap();
    let modules = self::modules(&settings);
    assert!(modules.http.is_none() && modules.state.is_none() && modules.queue.is_none());
    assert_eq!(modules.listeners.len(), 1);
}

#[test]
fn variables_may_stand_where_yaml_would_not_take_them() {
    let text = "workers: # ${NOT_SET} in a remark is none\n\
                - { name: iii-http, config: { port: ${PORT:3111}, cors: { allowed_origins: ${ORIGINS:[]} } } }\n\
                - { name: iii-state, config: { max_value_bytes: ${BYTES} } }\n\
                - { name: mine, image: \"a:${X:__III_ENGINE_VERSION__}\" }\n";
    let vars = [
        ("PORT", "4000"),
        ("BYTES", "77"),
        ("ORIGINS", "[\"http://a\", 'http://b']"),
    ];
    let settings = read_with(text, &Overrides::default(), &vars).unwrap();
    let modules = modules(&settings);
    assert_eq!(modules.http.as_ref().unwrap().port, 4000);
    assert_eq!(
        modules.http.as_ref().unwrap().origins(),
        ["http://a", "http://b"]
    );
    assert_eq!(modules.state.as_ref().unwrap().max_value_bytes, Some(77));
    let image = modules.external[0].image.as_deref().unwrap();
    assert_eq!(image, concat!("a:", env!("CARGO_PKG_VERSION")));
    let error = read(text).unwrap_err();
    assert_eq!(
        error,
        "/app/config.yaml:3: the environment variable BYTES is not set; set it, or give a default: ${BYTES:default}"
    );
}

#[test]
fn a_variable_cannot_become_more_than_a_value() {
    let text = "workers: [{ name: iii-bridge, config: { url: ${URL} } }]";
    let url = "ws://a\", secret: \"x\nname: y";
    let settings = read_with(text, &Overrides::default(), &[("URL", url)]).unwrap();
    assert_eq!(modules(&settings).bridge.as_ref().unwrap().url, url);
    let wrong = read_with(text, &Overrides::default(), &[("URL", "sk-secret")]).unwrap_err();
    assert!(!wrong.contains("sk-secret"), "{wrong}");
}

#[test]
fn what_open_telemetry_says_stands_in() {
    let read = |text: &str, vars: &[(&str, &str)]| {
        let settings = read_with(text, &Overrides::default(), vars).unwrap();
        modules(&settings).observability.clone()
    };
    let block = "workers: [{ name: iii-observability, config: { service_name: a } }]";
    let (without, with) = (read("workers: []", &[]), read(block, &[]));
    assert_eq!(
        (without.enabled, without.exporter),
        (true, Exporter::Memory)
    );
    assert_eq!((with.enabled, with.exporter), (false, Exporter::Otlp));
    let vars = [
        ("OTEL_ENABLED", "true"),
        ("OTEL_SERVICE_NAME", "b"),
        ("OTEL_EXPORTER_TYPE", "both"),
        ("OTEL_METRICS_EXPORTER", "none"),
        ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
    ];
    let with = read(block, &vars);
    assert_eq!((with.enabled, with.exporter), (true, Exporter::Both));
    assert_eq!(
        (with.service_name.as_str(), with.sampling_ratio),
        ("a", 0.5)
    );
    assert_eq!(with.metrics_exporter, MetricsExporter::Memory);
    assert_eq!(read("workers: []", &vars).service_name, "b");
}

#[test]
fn listeners_stay_on_this_machine_unless_somebody_is_asked() {
    let text = "workers:\n\
                - name: iii-worker-manager\n\
                - name: iii-worker-manager\n  config: { host: 0.0.0.0, port: 1, rbac: { auth_function_id: a } }\n\
                - name: iii-worker-manager\n  config: { host: 0.0.0.0, port: 2, rbac: { expose_functions: [match(\"a\")] } }\n\
                - name: iii-http\n  config: { host: \"::\" }\n\
                - name: iii-stream\n  config: { host: 0.0.0.0, auth_function: a }\n";
    let addresses = |overrides: &Overrides| {
        let settings = read_with(text, overrides, &[]).unwrap();
        let more = settings.listeners.iter();
        let more: Vec<String> = more.map(|more| more.listener.address.to_string()).collect();
        [
            settings.bus.address.to_string(),
            more.join(" "),
            settings.http.listener.address.to_string(),
            settings.stream.address.to_string(),
        ]
        .join(" ")
    };
    assert_eq!(
        addresses(&Overrides::default()),
        "127.0.0.1:49134 0.0.0.0:1 127.0.0.1:2 [::1]:3111 0.0.0.0:3112"
    );
    assert_snapshot!(warnings(text, &Overrides::default()));
    let overrides = Overrides {
        auth: Some(Auth::Token),
        bus_port: Some(0),
        http_port: Some(5),
        stream_port: None,
        ..Overrides::default()
    };
    assert_eq!(
        addresses(&overrides),
        "0.0.0.0:0 0.0.0.0:1 0.0.0.0:2 [::]:5 0.0.0.0:3112"
    );
    assert_eq!(warnings(text, &overrides), "");
}

#[test]
fn the_listener_of_worker_processes_lets_them_do_everything() {
    let text = "workers:\n\
                - { name: iii-worker-manager, config: { port: 1, rbac: { auth_function_id: a } } }\n\
                - { name: iii-worker-manager, config: { port: 2 } }\n";
    let settings = read(text).unwrap();
    assert_eq!(settings.bus.address.port(), 2);
    assert!(settings.bus_access.is_open());
    assert!(settings.listeners[0].access.asks_who());
    assert_eq!(settings.bus.auth, Auth::None);
}

#[test]
fn browsers_come_in_where_iii_lets_them() {
    let text = "workers: [{ name: iii-http, config: { cors: { allowed_origins: [\"https://a.example\"] } } }, { name: iii-stream }]";
    let settings = read(text).unwrap();
    assert_eq!(settings.http.listener.origins, ["https://a.example"]);
    assert_eq!(settings.stream.origins, ["*"]);
    assert!(
        settings.bus.origins.is_empty(),
        "any page could call everything"
    );
    let settings = read("workers: [{ name: iii-http }]").unwrap();
    assert_eq!(settings.http.listener.origins, ["*"]);
}

#[test]
fn what_is_not_built_in_is_told() {
    assert_snapshot!(warnings(WORKERS, &Overrides::default()));
}

#[test]
fn a_worker_with_a_manifest_is_started_and_old_data_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let worker = folder.path().join("workers/mailer");
    std::fs::create_dir_all(&worker).unwrap();
    std::fs::write(
        worker.join("worker.yaml"),
        "name: mailer\nlanguage: other\ncommand: [sh]\n",
    )
    .unwrap();
    std::fs::create_dir_all(folder.path().join("old")).unwrap();
    let file = folder.path().join("config.yaml");
    let text = "workers:\n- name: mailer\n- name: ../mailer\n- name: iii-state\n  config: { adapter: { name: kv, config: { file_path: ./old } } }\n";
    std::fs::write(&file, text).unwrap();
    let settings = crate::config::load(Some(&file), &Overrides::default(), &env(&[])).unwrap();
    let names: Vec<&str> = settings
        .workers
        .processes
        .iter()
        .map(|process| process.name.as_str())
        .collect();
    assert_eq!(names, ["mailer"]);
    let texts: Vec<&str> = settings
        .remarks
        .iter()
        .map(|remark| &*remark.text)
        .collect();
    assert_eq!(texts.len(), 3, "{texts:?}");
    assert!(texts[1].contains("config.yaml:3: `workers.1`: `../mailer` is not built in"));
    assert!(
        texts[2].ends_with("what iii has left there is not read"),
        "{texts:?}"
    );
}

#[test]
fn programs_of_the_project_run_under_the_supervisor() {
    let settings = read(CLASSES).unwrap();
    let processes = &settings.workers.processes;
    assert_eq!(processes.len(), 2);
    assert_eq!(
        (processes[0].name.as_str(), processes[1].name.as_str()),
        ("iii-exec", "iii-exec-2")
    );
    assert_eq!(processes[0].folder, Path::new("/app"));
    assert!(processes[0].command.ends_with(&[
        "npm run build".to_owned(),
        "node --enable-source-maps dist/index.js".to_owned()
    ]));
    assert_eq!(settings.watches.len(), 1);
    assert_eq!(settings.watches[0].worker, "iii-exec");
    let none = Overrides {
        no_workers: true,
        ..Overrides::default()
    };
    let settings = read_with(CLASSES, &none, &[]).unwrap();
    assert!(settings.workers.processes.is_empty() && settings.watches.is_empty());
}

#[test]
fn faults_name_line_key_and_what_would_be_right() {
    let faults = [
        // The form.
        "workers: []\nlisten: {}\n",
        "modules: []\nllm:\n",
        "modules: []\nworkers:\n  builtin: []\n",
        "workers: []\nmodule: []\n",
        "workers:\n  - iii-http\n",
        "workers:\n  - name: iii-http\n    cofnig: {}\n",
        "workers:\n  - config: {}\n",
        "modules:\n  - name: iii-http\n    class: modules::api::RestApiModule\n",
        "modules:\n  - class: modules::api::RestModule\n",
        "workers:\n  - name: iii-http\n  - name: iii-state\nmodules:\n  - class: modules::api::RestApiModule\n",
        // Modules.
        "workers:\n  - name: iii-http\n    config:\n      prot: 1\n",
        "workers:\n  - name: iii-http\n    config:\n      port: 70000\n",
        "workers:\n  - name: iii-http\n    config: { host: example.org }\n",
        "workers:\n  - name: iii-http\n    config:\n      default_timeout: soon\n",
        "workers:\n  - name: iii-http\n    config:\n      middleware:\n        - { function_id: a, phase: postHandler }\n",
        "workers:\n  - name: iii-http\n    config:\n      concurrency_request_limit: 0\n",
        "workers:\n  - name: iii-state\n    config:\n      adapter: kv\n",
        "workers:\n  - name: iii-state\n    config:\n      adapter:\n        name: redis\n        config: { redis_url: \"redis://localhost\" }\n",
        "workers:\n  - name: iii-state\n    config:\n      adapter: { name: kv, config: { store_method: disk } }\n",
        "workers:\n  - name: iii-state\n    config:\n      adapter: { name: bridge, config: { bridge_url: \"localhost:49134\" } }\n",
        "workers:\n  - name: iii-queue\n    config:\n      adapter:\n        name: rabbitmq\n",
        "modules:\n  - class: modules::queue::QueueModule\n    config:\n      adapter:\n        class: modules::queue::RabbitMQAdapter\n",
        "workers:\n  - name: iii-queue\n    config:\n      queue_configs:\n        orders.paid:\n          type: fifo\n",
        "workers:\n  - name: iii-queue\n    config:\n      queue_configs:\n        orders.paid: { concurency: 1 }\n",
        "workers:\n  - name: iii-pubsub\n    config: { adapter: { name: redis } }\n",
        "workers:\n  - name: iii-cron\n    config: { adapter: { name: kv, config: { lock_ttl: 1 } } }\n",
        "workers:\n  - name: iii-worker-manager\n    config:\n      rbac:\n        expose_functions:\n          - match(\"a\")\n          - api::*\n",
        "workers:\n  - name: iii-worker-manager\n    config:\n      rbac: { auth_function: a }\n",
        "workers:\n  - name: iii-worker-manager\n  - name: iii-worker-manager\n",
        "workers:\n  - name: iii-http\n    config: { port: 49134 }\n  - name: iii-worker-manager\n",
        "workers:\n  - name: iii-observability\n    config:\n      logs_flush_interval_ms: 1\n",
        "workers:\n  - name: iii-observability\n    config:\n      sampling: { rules: [{ rate: 2 }] }\n",
        "workers:\n  - name: iii-bridge\n    config: {}\n",
        "workers:\n  - name: iii-bridge\n    config:\n      url: ws://a\n      forward: [{ local_function: a }]\n",
        "workers:\n  - name: iii-exec\n    config: { exec: [] }\n",
        "workers:\n  - name: iii-exec\n    config: { exec: [a], watch: [a, ../b] }\n",
        "workers:\n  - name: iii-telemetry\n    config: { api_key: a }\n",
        "workers:\n  - name: iii-engine-functions\n    config: { a: 1 }\n",
        "workers: []\nregistration_namespace_grace_ms: -1\n",
        "workers: [\n",
        "workers:\n  - name: iii-http\n    config: { port: ${PORT }\n",
    ];
    let mut heard = String::new();
    for text in faults {
        let error = read(text).expect_err(text);
        writeln!(heard, "{}", error.trim_start_matches("/app/config.yaml")).unwrap();
    }
    assert_snapshot!(heard);
}
