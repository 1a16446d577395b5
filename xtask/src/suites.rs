//! The suites. One release profile and one set of features for all Rust code, so that a clean
//! clone compiles each dependency once.

use std::path::PathBuf;

use anyhow::Result;

use crate::count::Count;
use crate::stage::{Report, Step, output, root, step};

/// Everything but the two native modules, which their own packages build.
const WORKSPACE: &str = "--release --workspace --exclude agentos-python --exclude agentos-node";

/// Programs that drive the product; they share its optimised libraries.
const INTEGRATION: &str = "--test *";

/// What is tested from inside is compiled a second time, and need not be fast: of the whole build the
/// two largest would be a quarter. All that they depend on is shared.
const UNITS: &str = "--lib --config profile.release.package.agentos-engine.opt-level=0 --config profile.release.package.agentos-llm.opt-level=0";

/// The Python that the suites run on.
fn venv() -> PathBuf {
    root().join("target/xtask/venv")
}

fn python(folder: &str, line: &str) -> Step {
    step(
        folder,
        &format!("{} {line}", venv().join("bin/python").display()),
    )
}

pub(crate) fn all() -> Result<()> {
    let mut report = Report::default();
    let ready = report.stage("format", &[step(".", "cargo fmt --all --check")])
        && report.stage("lint", &[clippy()])
        && report.stage(
            "build",
            &[step(
                ".",
                &format!("cargo build {WORKSPACE} --lib --bins --examples --benches {INTEGRATION}"),
            )],
        );
    if ready {
        report.stage("TypeScript", &typescript());
        report.stage("Python", &python_suite());
        if report.stage("languages without an SDK", &languages())
            && report.stage("clients and examples", &clients())
            && report.stage("iii packages", &iii_packages())
        {
            report.stage("end to end", &[rust(&format!("--bins {INTEGRATION}"))]);
        }
        report.stage("Rust", &[rust("--doc"), rust(UNITS)]);
        report.stage("embedding worker", &embedding());
    }
    report.finish()
}

fn clippy() -> Step {
    step(
        ".",
        "cargo clippy --release --workspace --all-targets -- -D warnings",
    )
}

fn rust(what: &str) -> Step {
    step(
        ".",
        &format!("cargo test {WORKSPACE} --no-fail-fast {what}"),
    )
    .env("AGENTOS_TEST_PYTHON", venv().join("bin/python"))
}

fn typescript() -> Vec<Step> {
    vec![
        step("sdk-ts", "npm ci --no-audit --no-fund"),
        step("sdk-ts", "npm run build"),
        step("sdk-ts", "npm test"),
        step("workers/tools", "npm ci --no-audit --no-fund"),
        step("workers/tools", "npm run build"),
        step("workers/tools", "npm test"),
    ]
}

fn python_suite() -> Vec<Step> {
    let pip = "-m pip install --quiet --disable-pip-version-check";
    vec![
        step(".", &format!("python3 -m venv {}", venv().display())),
        python(
            "sdk-python",
            &format!("{pip} --force-reinstall --no-deps ."),
        ),
        python("sdk-python", &format!("{pip} .[test]")),
        python("sdk-python", "-m pytest -q"),
        python("sdk-python", "-m mypy"),
    ]
}

fn clients() -> Vec<Step> {
    vec![
        python(
            ".",
            "-m pip install --quiet --disable-pip-version-check -r tests/clients/python/requirements.txt",
        ),
        step("tests/clients/node", "npm ci --no-audit --no-fund"),
        step("examples/hello-websocket", "npm ci --no-audit --no-fund"),
        step("examples/hello-ts", "npm ci --no-audit --no-fund"),
        step(
            "examples/polyglot-sum/typescript",
            "npm ci --no-audit --no-fund",
        ),
        step("examples/polyglot-sum/typescript", "npx tsc"),
    ]
}

/// What `examples/hello-{perl,php,ruby}` need, from Debian unless it is there.
fn languages() -> Vec<Step> {
    let there = [
        "perl -MProtocol::WebSocket -e 1",
        "php --version",
        "ruby -rwebsocket -e 1",
    ]
    .iter()
    .all(|line| output(line).is_some());
    if there {
        return Vec::new();
    }
    if output("apt-get --version").is_none() {
        println!(
            "no apt-get: the examples in Perl, PHP and Ruby are tested as far as these are installed"
        );
        return Vec::new();
    }
    let is_root = output("id -u").is_some_and(|id| id.trim() == "0");
    let apt = if is_root { "apt-get" } else { "sudo apt-get" };
    let packages = "libprotocol-websocket-perl perl php-cli ruby ruby-websocket";
    vec![
        step(".", &format!("{apt} update -q")),
        step(
            ".",
            &format!("{apt} install -q -y --no-install-recommends {packages}"),
        ),
    ]
}

/// The published iii packages of every generation that `tests/conformance/iii` plays.
fn iii_packages() -> Vec<Step> {
    let installed = root().join("target/xtask/conformance");
    let suite = "tests/conformance/iii";
    let mut steps = vec![step(
        &format!("{suite}/node"),
        "npm ci --no-audit --no-fund",
    )];
    for generation in ["11", "25"] {
        let venv = installed.join(format!("python-{generation}"));
        let python = venv.join("bin/python");
        steps.push(step(".", &format!("python3 -m venv {}", venv.display())));
        steps.push(step(
            ".",
            &format!(
                "{} -m pip install --quiet --disable-pip-version-check -r {suite}/python/requirements-{generation}.txt",
                python.display()
            ),
        ));
    }
    let python = installed.join("python-25/bin/python");
    steps.push(step(
        ".",
        &format!(
            "{} {suite}/python/unpack.py {}",
            python.display(),
            installed.display()
        ),
    ));
    // Not a member of the workspace: the package brings two hundred crates of its own.
    steps.push(
        step(&format!("{suite}/rust"), "cargo build --locked --release")
            .env("CARGO_TARGET_DIR", installed.join("rust-11")),
    );
    steps
}

/// In the environment that the end-to-end tests have had prepared.
fn embedding() -> Vec<Step> {
    vec![
        step(
            "workers/embedding",
            ".venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-test.txt",
        ),
        step("workers/embedding", ".venv/bin/python -m pytest -q"),
    ]
}

pub(crate) fn format() -> Result<()> {
    step(".", "cargo fmt --all").run(&mut Count::default())
}

pub(crate) fn lint() -> Result<()> {
    step(".", "cargo fmt --all --check").run(&mut Count::default())?;
    clippy().run(&mut Count::default())
}

pub(crate) fn fuzz(seconds: &str) -> Result<()> {
    for target in ["v2_decode", "v2_parts", "iii_decode"] {
        step(
            "engine/protocol",
            &format!("cargo +nightly fuzz run {target} -- -max_total_time={seconds}"),
        )
        .run(&mut Count::default())?;
    }
    Ok(())
}
