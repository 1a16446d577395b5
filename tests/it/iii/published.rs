//! The integration tests that the published packages carry, unmodified, against the engine.
//!
//! `cargo xtask test` unpacks them below `target/xtask/conformance`.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, ensure};

use super::{
    players::{installed, judge},
    setup::Setup,
};

/// Tests that talk to an engine; the other ones of the packages test the package alone.
const PYTHON_11: &[&str] = &[
    "test_api_triggers.py",
    "test_bridge.py",
    "test_data_channels.py",
    "test_healthcheck.py",
    "test_http_external_functions_integration.py",
    "test_middleware.py",
    "test_pubsub.py",
    "test_queue_integration.py",
    "test_rbac_workers.py",
    "test_state.py",
    "test_streams.py",
];
const PYTHON_25: &[&str] = &[
    "test_api_triggers.py",
    "test_bridge.py",
    "test_data_channels.py",
    "test_healthcheck.py",
    "test_http_external_functions_integration.py",
    "test_middleware.py",
    "test_observe_e2e_local.py",
    "test_observe_e2e_routed.py",
    "test_pubsub.py",
    "test_rbac_workers.py",
    "test_state.py",
    "test_streams.py",
    "test_trigger_type_lifecycle.py",
];

fn against(setup: &Setup, program: PathBuf, folder: PathBuf) -> Command {
    let mut command = Command::new(program);
    command
        .current_dir(folder)
        .env("III_URL", &setup.engine.url)
        .env("III_HTTP_URL", &setup.engine.http)
        .env("III_RBAC_WORKER_URL", &setup.rbac)
        .stdin(Stdio::null());
    command
}

/// `tests/test_x.py::test_y PASSED`, and what stands in its place.
fn pytest_outcomes(printed: &str) -> BTreeMap<String, Option<String>> {
    let mut outcomes = BTreeMap::new();
    for line in printed.lines() {
        let mut words = line.split_whitespace();
        let (Some(name), Some(outcome)) = (words.next(), words.next()) else {
            continue;
        };
        if !name.starts_with("tests/") || !name.contains("::") {
            continue;
        }
        match outcome {
            "PASSED" | "SKIPPED" => outcomes.insert(name.to_owned(), None),
            "FAILED" | "ERROR" => outcomes.insert(name.to_owned(), Some(outcome.to_owned())),
            _ => None,
        };
    }
    outcomes
}

#[expect(clippy::print_stdout, reason = "the suite's report")]
async fn pytest(player: &str, generation: &str, sources: &str, files: &[&str]) -> Result<()> {
    let setup = Setup::start().await?;
    let program = installed().join(format!("python-{generation}/bin/python"));
    let mut command = against(&setup, program, installed().join(sources));
    // Their settings ask for a coverage report of their own sources.
    command.args([
        "-m",
        "pytest",
        "-v",
        "--tb=short",
        "-p",
        "no:cacheprovider",
        "-o",
        "addopts=",
        "-o",
        "asyncio_mode=auto",
    ]);
    command.args(files.iter().map(|file| format!("tests/{file}")));
    let output = tokio::task::spawn_blocking(move || command.output())
        .await?
        .context("cannot run it; `cargo xtask test` installs it")?;
    let printed = String::from_utf8_lossy(&output.stdout);
    println!(
        "━━ {player}\n{printed}\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let outcomes = pytest_outcomes(&printed);
    ensure!(
        outcomes.len() >= files.len(),
        "{player} ran {} tests only",
        outcomes.len()
    );
    judge(player, &outcomes)
}

#[tokio::test]
async fn python_11_integration_tests() -> Result<()> {
    pytest("published-python-11", "11", "iii_sdk-0.11.6", PYTHON_11).await
}

#[tokio::test]
async fn python_25_integration_tests() -> Result<()> {
    pytest("published-python-25", "25", "iii_sdk-0.25.0", PYTHON_25).await
}
