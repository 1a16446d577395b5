//! `cargo xtask`: the verbs of every day.

mod bench;
mod count;
mod crash;
mod soak;
mod stage;
mod suites;

use std::process::ExitCode;

const HELP: &str = "\
cargo xtask VERB

  test         installs what the tests need, and runs every suite; what CI runs
  ci           the same
  fmt          formats the Rust code
  lint         rustfmt and clippy, as CI asks for
  bench boot   warm start and idle memory of the engine with its in-process workers
  bench ..     the engine against a relay and others (bench/README.md); `bench --help` says what can be given
  crash        kills the engine under load 200 times and counts what is lost; --rounds N, --seed N,
               --storage ADAPTER; --power-cut cuts the power of its disk instead (needs root)
  soak         swaps a worker of each language 20 times under 2,000 calls/s and streams, and prints calls/s,
               p99 and what leaks; --swaps N, --rate CALLS_PER_SECOND; --restarts N restarts one instead
  fuzz SECONDS runs each fuzz target so long (needs cargo-fuzz and a nightly toolchain)";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["test" | "ci"] => suites::all(),
        ["fmt"] => suites::format(),
        ["lint"] => suites::lint(),
        ["bench", "boot"] => bench::boot(),
        ["bench", ref given @ ..] => bench::against_others(given),
        ["crash", ref given @ ..] => crash::run(given),
        ["soak", ref given @ ..] => soak::run(given),
        ["fuzz", seconds] => suites::fuzz(seconds),
        [] | ["help" | "--help" | "-h"] => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        _ => {
            eprintln!("unknown verb: {}\n\n{HELP}", words.join(" "));
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
