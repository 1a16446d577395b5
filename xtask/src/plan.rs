//! The stages of `cargo xtask test`, in the order in which they share the most building.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    process::Stdio,
    time::{Duration, Instant},
};

use crate::{
    count::Count,
    run::{agentos, cargo, command, npm, own, pip, python, root, run},
};

struct Stage {
    name: &'static str,
    about: &'static str,
    work: fn() -> Result<Count, String>,
    /// Later stages make no sense when it fails.
    essential: bool,
}

const STAGES: [Stage; 10] = [
    Stage {
        name: "fmt",
        about: "rustfmt",
        work: fmt,
        essential: false,
    },
    Stage {
        name: "lint",
        about: "clippy, and cargo deny where it is installed",
        work: lint,
        essential: false,
    },
    Stage {
        name: "build",
        about: "the binary and every Rust test",
        work: build,
        essential: true,
    },
    Stage {
        name: "sdk-ts",
        about: "TypeScript SDK: install, build, test",
        work: sdk_ts,
        essential: false,
    },
    Stage {
        name: "sdk-python",
        about: "Python SDK: install, test, type check",
        work: sdk_python,
        essential: false,
    },
    Stage {
        name: "workers",
        about: "prepare the TypeScript and Python workers as `agentos start` does",
        work: workers,
        essential: false,
    },
    Stage {
        name: "tools",
        about: "the TypeScript worker's tests",
        work: tools,
        essential: false,
    },
    Stage {
        name: "embedding",
        about: "the Python worker's tests",
        work: embedding,
        essential: false,
    },
    Stage {
        name: "clients",
        about: "install the examples and the clients of the end-to-end tests",
        work: clients,
        essential: false,
    },
    Stage {
        name: "rust",
        about: "every Rust test, the end-to-end tests among them",
        work: rust,
        essential: false,
    },
];

/// What all builds and tests of Rust select, so that each dependency is compiled once. The two
/// native SDKs are libraries of other languages' programs and have their tests there.
const SELECTION: [&str; 6] = [
    "--release",
    "--workspace",
    "--exclude",
    "agentos-python",
    "--exclude",
    "agentos-node",
];

pub(crate) fn list() {
    for stage in &STAGES {
        println!("{:<12}{}", stage.name, stage.about);
    }
}

/// How a stage went.
struct Row {
    name: &'static str,
    took: Duration,
    outcome: Result<Count, String>,
}

/// Runs the stages named, or all.
pub(crate) fn test(names: &[&str]) -> Result<(), String> {
    if let Some(name) = names
        .iter()
        .find(|name| STAGES.iter().all(|stage| stage.name != **name))
    {
        return Err(format!(
            "there is no stage `{name}`; see `cargo xtask stages`"
        ));
    }
    fs::create_dir_all(own()).map_err(|error| format!("{}: {error}", own().display()))?;
    let mut rows = Vec::new();
    for stage in STAGES
        .iter()
        .filter(|stage| names.is_empty() || names.contains(&stage.name))
    {
        println!("\n━━ {}: {}", stage.name, stage.about);
        let began = Instant::now();
        let outcome = (stage.work)();
        if let Err(message) = &outcome {
            println!("\nfailed: {message}");
        }
        let stop = stage.essential && outcome.is_err();
        rows.push(Row {
            name: stage.name,
            took: began.elapsed(),
            outcome,
        });
        if stop {
            break;
        }
    }
    summary(&rows)
}

fn summary(rows: &[Row]) -> Result<(), String> {
    let mut total = Count::default();
    let mut took = Duration::ZERO;
    println!("\n{:<12}{:>8}  outcome", "stage", "seconds");
    for row in rows {
        let outcome = match &row.outcome {
            Ok(count) if *count == Count::default() => "ok".to_owned(),
            Ok(count) => count.to_string(),
            Err(message) => format!("FAILED: {message}"),
        };
        println!("{:<12}{:>8.1}  {outcome}", row.name, row.took.as_secs_f64());
        total += row.outcome.as_ref().copied().unwrap_or(Count {
            passed: 0,
            failed: 0,
        });
        took += row.took;
    }
    let failed: Vec<&str> = rows
        .iter()
        .filter(|row| row.outcome.is_err())
        .map(|row| row.name)
        .collect();
    println!("{:<12}{:>8.1}  {total}", "all", took.as_secs_f64());
    if failed.is_empty() {
        Ok(())
    } else {
        Err(format!("failed: {}", failed.join(", ")))
    }
}

fn fmt() -> Result<Count, String> {
    cargo(&["fmt", "--all", "--check"])
}

fn lint() -> Result<Count, String> {
    cargo(&[
        "clippy",
        "--release",
        "--workspace",
        "--all-targets",
        "--quiet",
        "--",
        "-D",
        "warnings",
    ])?;
    let has_deny = command(".", "cargo", &["deny", "--version"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if has_deny.is_ok_and(|status| status.success()) {
        cargo(&["deny", "check", "bans", "licenses", "sources"])?;
    }
    Ok(Count::default())
}

fn build() -> Result<Count, String> {
    cargo(&[&["test", "--no-run"], &SELECTION[..]].concat())
}

fn rust() -> Result<Count, String> {
    cargo(&[&["test", "--no-fail-fast"], &SELECTION[..]].concat())
}

/// As `npm ci`, save that it forgives a lock file that lacks packages of other platforms.
const INSTALL: [&str; 4] = ["install", "--no-save", "--no-audit", "--no-fund"];

fn sdk_ts() -> Result<Count, String> {
    npm("sdk-ts", &INSTALL)?;
    npm("sdk-ts", &["run", "build"])?;
    npm("sdk-ts", &["test"])
}

fn sdk_python() -> Result<Count, String> {
    let venv = own().join("venv");
    if !python().exists() {
        run(command(
            ".",
            "python3",
            &["-m", "venv", &venv.to_string_lossy()],
        ))?;
    }
    pip(&["--force-reinstall", "--no-deps", "./sdk-python"])?;
    pip(&["./sdk-python[test]"])?;
    let count = run(command("sdk-python", python(), &["-m", "pytest"]))?;
    run(command("sdk-python", python(), &["-m", "mypy"]))?;
    Ok(count)
}

/// Starts everything once, as a user would, and waits until all of it is connected.
fn workers() -> Result<Count, String> {
    let data = own().join("data");
    let words = [
        "start",
        "--json",
        "--bus-port",
        "0",
        "--http-port",
        "0",
        "--data-dir",
        &data.to_string_lossy(),
    ];
    let mut engine = command(".", agentos(), &words);
    let mut engine = engine
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", agentos().display()))?;
    let out = engine.stdout.take().ok_or("the engine has no output")?;
    let mut ready = None;
    for line in BufReader::new(out).lines().map_while(Result::ok) {
        print!(
            "{}",
            if line.contains(r#""event":"output""#) {
                "."
            } else {
                "\n"
            }
        );
        if !line.contains(r#""event":"output""#) {
            print!("{}", line.chars().take(400).collect::<String>());
        }
        // Nothing is lost if it shows later.
        let _ = std::io::stdout().flush();
        if line.starts_with(r#"{"event":"ready""#) {
            ready = Some(line);
            break;
        }
    }
    println!();
    let _ = run(command(
        ".",
        agentos(),
        &["stop", "--data-dir", &data.to_string_lossy()],
    ));
    let _ = engine.wait();
    let ready = ready.ok_or("the engine ended before it was ready")?;
    for worker in [
        r#""name":"tools","language":"typescript","functions":null"#,
        r#""name":"embedding","language":"python","functions":null"#,
    ] {
        if ready.contains(worker) {
            return Err(format!("a worker did not come up: {worker}"));
        }
    }
    Ok(Count::default())
}

fn tools() -> Result<Count, String> {
    npm("workers/tools", &["test"])
}

fn embedding() -> Result<Count, String> {
    let python = root().join("workers/embedding/.venv/bin/python");
    let pip = [
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "-r",
        "requirements-test.txt",
    ];
    run(command("workers/embedding", &python, &pip))?;
    run(command("workers/embedding", &python, &["-m", "pytest"]))
}

fn clients() -> Result<Count, String> {
    for folder in [
        "examples/hello-ts",
        "examples/hello-websocket",
        "examples/polyglot-sum/typescript",
        "tests/clients/node",
    ] {
        npm(folder, &INSTALL)?;
    }
    pip(&["-r", "tests/clients/python/requirements.txt"])
}
