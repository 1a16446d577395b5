//! The words of the command line.

use std::{path::PathBuf, time::Duration};

use clap::{Parser, Subcommand, ValueEnum};
use clap_complete::Shell;

/// One binary for workers in any language: a bus, an agent loop, and an OpenAI-compatible door.
#[derive(Debug, Parser)]
#[command(name = "agentos", version = env!("AGENTOS_VERSION"), propagate_version = true, after_help = EXIT_CODES)]
pub(crate) struct Args {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 the call or the command failed, 2 wrong usage or settings,
            3 no engine answers, 4 the engine refuses the token";

/// Where the engine is, and how to answer; for every verb.
#[derive(Clone, Debug, clap::Args)]
#[command(next_help_heading = "Global options")]
pub(crate) struct Common {
    /// Answer in JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The engine's bus [default: the engine that runs on this account, or ws://127.0.0.1:49134]
    #[arg(long, global = true, env = "AGENTOS_URL", value_name = "URL")]
    pub(crate) url: Option<String>,
    /// The engine's token [default: the one in its data directory]
    #[arg(
        long,
        global = true,
        env = "AGENTOS_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN"
    )]
    pub(crate) token: Option<String>,
    /// The engine's data directory
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) data_dir: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Start the engine and its workers
    Start(Start),
    /// Stop the engine
    Stop,
    /// Show how the engine is
    Status,
    /// Call a function
    Call(Call),
    /// List functions, or show one
    Functions(Functions),
    /// List workers
    Workers,
    /// Make a worker, replace it under traffic, scale it
    #[command(subcommand)]
    Worker(Worker),
    /// Look at queues and topics, and steer them
    #[command(subcommand)]
    Queue(Queue),
    /// Look at cron jobs, and run them by hand
    #[command(subcommand)]
    Cron(Cron),
    /// Watch workers' files, and swap a worker whenever one is saved
    Dev(Dev),
    /// Show what each worker does and uses
    Top(Top),
    /// Talk to an agent
    Chat(Chat),
    /// See what agents do, stop them, and answer what they ask
    #[command(subcommand)]
    Agent(Agent),
    /// Make, list and take back API keys
    #[command(subcommand)]
    Key(Key),
    /// Show what happens on the bus: who comes and goes, what is registered, what fails
    Events(Events),
    /// Show what a worker process prints
    Logs(Logs),
    /// Look at a settings file
    #[command(subcommand)]
    Config(Config),
    /// Look at values of the state, and change them
    #[command(subcommand)]
    State(State),
    /// Copy everything that the running engine stores into a file
    Backup {
        /// The file to write; it is there as a whole or not at all
        file: PathBuf,
    },
    /// Make a store of a backup, in the data directory of an engine that does not run
    Restore(Restore),
    /// Read everything that is stored and compare the checksums; the engine may run or not
    Doctor {
        /// Settings that say where the store is, when no engine runs [default: config.yaml, if there is one]
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Print the engine's token
    Token,
    /// Print completions for a shell
    Completions { shell: Shell },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Start {
    /// Settings, in AgentOS' own form or in one of iii's [default: config.yaml, if there is one]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Run only these workers
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',', conflicts_with = "no_workers")]
    pub(crate) only: Vec<String>,
    /// Run no workers, just the bus and its built-in functions
    #[arg(long)]
    pub(crate) no_workers: bool,
    /// Port of the bus; 0 picks a free one
    #[arg(long, value_name = "PORT")]
    pub(crate) bus_port: Option<u16>,
    /// Port of HTTP; 0 picks a free one
    #[arg(long, value_name = "PORT")]
    pub(crate) http_port: Option<u16>,
    /// Port for clients of streams; 0 picks a free one
    #[arg(long, value_name = "PORT")]
    pub(crate) stream_port: Option<u16>,
    /// Who may connect
    #[arg(long, value_name = "HOW")]
    pub(crate) auth: Option<Auth>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Auth {
    /// Whoever shows the token
    Token,
    /// Anybody on this machine; on loopback only
    None,
}

impl From<Auth> for agentos_engine::config::Auth {
    fn from(auth: Auth) -> Self {
        match auth {
            Auth::Token => Self::Token,
            Auth::None => Self::None,
        }
    }
}

#[derive(Debug, clap::Args)]
pub(crate) struct Call {
    /// Id of the function, for instance memory::recall
    pub(crate) function: String,
    /// JSON, @FILE, - for standard input, or KEY=VALUE pairs [default: {}]
    #[arg(value_name = "INPUT")]
    pub(crate) input: Vec<String>,
    /// Longest to wait, for instance 500ms, 30s, 5m
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    pub(crate) timeout: Duration,
    /// Print chunks as they come
    #[arg(long)]
    pub(crate) stream: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Functions {
    /// Show this one, with its schemas
    pub(crate) id: Option<String>,
    /// Show the engine's own too
    #[arg(long)]
    pub(crate) all: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Events {
    /// Only these, for instance trigger_refused,void_call_failed
    #[arg(long, value_name = "NAME", num_args = 1.., value_delimiter = ',')]
    pub(crate) only: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Dev {
    /// These workers [default: all that have a folder]
    pub(crate) names: Vec<String>,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Top {
    /// Between two looks
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1s")]
    pub(crate) every: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum State {
    /// Print a value
    Get { scope: String, key: String },
    /// Store a value
    Set {
        scope: String,
        key: String,
        /// JSON; what is none is taken as a text
        value: String,
        /// Only if this is the value's version; 0 means that there must be none
        #[arg(long, value_name = "VERSION")]
        expect: Option<u64>,
        /// Forget it after so many milliseconds
        #[arg(long, value_name = "MS")]
        ttl_ms: Option<u64>,
    },
    /// List scopes, or the values of one
    Ls {
        scope: Option<String>,
        /// Only keys that begin with it
        #[arg(long, value_name = "TEXT", requires = "scope")]
        prefix: Option<String>,
    },
    /// Remove a value
    Rm {
        scope: String,
        key: String,
        /// Only if this is the value's version
        #[arg(long, value_name = "VERSION")]
        expect: Option<u64>,
    },
    /// Print all values, or those of a scope, as JSON lines
    Export { scope: Option<String> },
    /// Store the values of JSON lines
    Import {
        /// A file that `export` has written; - is standard input
        file: PathBuf,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Restore {
    /// A file that `agentos backup` has written
    pub(crate) file: PathBuf,
    /// Put it in the place of a store that is there, and keep that one beside it
    #[arg(long)]
    pub(crate) replace: bool,
    /// Settings that say where the store is, and its adapter [default: config.yaml, if there is one]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Worker {
    /// Run one of the engine's own workers as a process of its own
    Run {
        /// For instance memory
        name: String,
        /// Settings with the worker's section [default: config.yaml, if there is one]
        #[arg(short, long, value_name = "FILE")]
        config: Option<PathBuf>,
    },
    /// Make a worker that runs
    New {
        name: String,
        /// Language to write it in
        #[arg(long)]
        lang: Lang,
        /// Folder to make [default: workers/NAME if there is a workers folder, else NAME]
        #[arg(long, value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// List the workers that the engine runs, with their builds and instances
    Ls,
    /// Replace a worker under traffic by a new build of it
    Swap(Swap),
    /// Put back the build that served before
    Rollback(OfWorker),
    /// Start a worker anew, without losing a call
    Restart(OfWorker),
    /// Start a worker that was stopped, or has given up
    Start { name: String },
    /// Let a worker finish its calls, and end it
    Stop(OfWorker),
    /// Run so many instances of a worker
    Scale {
        #[command(flatten)]
        of: OfWorker,
        /// Instances that are to run
        replicas: usize,
    },
    /// Give a worker no calls; it runs on
    Pause { name: String },
    /// Give a paused worker calls again
    Resume { name: String },
    /// List the builds of a worker that have served, or were tried
    Versions { name: String },
}

#[derive(Debug, clap::Args)]
pub(crate) struct OfWorker {
    pub(crate) name: String,
    /// How long calls and streams that run may go on
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "5m")]
    pub(crate) drain: Duration,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Swap {
    #[command(flatten)]
    pub(crate) of: OfWorker,
    /// The new build: a folder with a worker.yaml, a command, or in-process [default: the worker's
    /// own folder, as it is now]
    #[arg(long, value_name = "DIR|COMMAND")]
    pub(crate) to: Option<String>,
    /// Give it this share of the calls while it is tried, for instance 10%
    #[arg(long, value_name = "PERCENT", value_parser = percent)]
    pub(crate) canary: Option<u8>,
    /// Try it for so long before the old build is ended [default: 30s with --canary, else 0]
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) hold: Option<Duration>,
    /// Go back when its rate of failed calls is larger than the old build's by more than this, for
    /// instance 0.01 or 1%
    #[arg(long, value_name = "RATE", value_parser = rate, default_value = "1%")]
    pub(crate) max_error_rate: f64,
    /// How long it may run before it has registered
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "30s")]
    pub(crate) ready: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Queue {
    /// List queues and topics: how much waits, how long, and how fast it goes
    Ls,
    /// Show one, with its rules
    Show { queue: String },
    /// Show what waits or runs, oldest first
    Peek(Page),
    /// Show dead letters, in the order in which they died
    Dead(Page),
    /// Give dead letters another chance: one, or all
    Redrive {
        queue: String,
        /// This one only
        id: Option<String>,
    },
    /// Throw a dead letter away
    Discard { queue: String, id: String },
    /// Deliver nothing until it is resumed; what is in work goes on
    Pause { queue: String },
    /// Deliver again
    Resume { queue: String },
    /// Throw away what waits
    Purge {
        queue: String,
        /// The dead letters rather than what waits
        #[arg(long)]
        dead: bool,
    },
    /// Put a call on a queue
    Enqueue(Enqueue),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Page {
    pub(crate) queue: String,
    /// Messages to show
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 10)]
    pub(crate) limit: usize,
    /// Messages to leave out before
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    pub(crate) offset: usize,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Enqueue {
    /// Id of the function to call, for instance mail::send
    pub(crate) function: String,
    /// JSON, @FILE, - for standard input, or KEY=VALUE pairs [default: {}]
    #[arg(value_name = "INPUT")]
    pub(crate) input: Vec<String>,
    #[arg(long, value_name = "NAME", default_value = "default")]
    pub(crate) queue: String,
    /// Not before so much time has passed, for instance 500ms, 30s, 5m
    #[arg(long, value_name = "TIME", value_parser = duration)]
    pub(crate) delay: Option<Duration>,
    /// Higher ones go first
    #[arg(long, value_name = "0-255", default_value_t = 0)]
    pub(crate) priority: u8,
    /// Within the queue's window the same key is the same message
    #[arg(long, value_name = "TEXT")]
    pub(crate) key: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Cron {
    /// List jobs with their last and next runs
    Ls,
    /// Run a job now, besides its times, and wait for its end
    Run {
        /// The job's id, as in the list
        job: String,
        /// Longest to wait
        #[arg(long, value_name = "TIME", value_parser = duration, default_value = "1h")]
        timeout: Duration,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Config {
    /// Say what a settings file asks for, or what is wrong with it; starts nothing
    Check {
        /// The file, in AgentOS' own form or in one of iii's [default: config.yaml]
        file: Option<PathBuf>,
        /// As `start --auth`
        #[arg(long, value_name = "HOW")]
        auth: Option<Auth>,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Lang {
    Rust,
    #[value(alias = "typescript")]
    Ts,
    Python,
}

#[derive(Debug, clap::Args)]
pub(crate) struct Chat {
    /// Say this and leave after the answer; - reads it from standard input
    pub(crate) message: Option<String>,
    /// Id or name of the agent
    #[arg(long, value_name = "NAME")]
    pub(crate) agent: Option<String>,
    /// Model in place of the agent's own, as provider/model
    #[arg(long)]
    pub(crate) model: Option<String>,
    /// Go on with this conversation
    #[arg(long, value_name = "ID")]
    pub(crate) session: Option<String>,
    /// Longest to wait for one answer
    #[arg(long, value_name = "TIME", value_parser = duration, default_value = "10m")]
    pub(crate) timeout: Duration,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Key {
    /// Make a key, and print it this once
    New {
        name: String,
        /// What it may be used for [default: chat]
        #[arg(long, value_name = "SCOPE", num_args = 1.., value_delimiter = ',')]
        scope: Vec<KeyScope>,
        /// Models and agents it may ask, for instance agent/clerk,openai/* [default: all]
        #[arg(long, value_name = "PATTERN", num_args = 1.., value_delimiter = ',')]
        models: Vec<String>,
        /// Requests it may make
        #[arg(long, value_name = "COUNT")]
        requests_per_minute: Option<u32>,
        /// Tokens it may use
        #[arg(long, value_name = "COUNT")]
        tokens_per_day: Option<u64>,
    },
    /// List keys
    Ls,
    /// Take a key back
    Revoke {
        /// Its id or name
        key: String,
    },
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum KeyScope {
    /// Ask agents and models
    Chat,
    /// Make and remove agents, see their runs, answer what they ask
    Agents,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Agent {
    /// List agents
    Ls,
    /// Show an agent, or a run with what the guard against loops has seen
    Inspect {
        /// Name or id of an agent, or id of a run
        name: String,
    },
    /// List runs, newest first
    Runs {
        /// Only those of this agent
        #[arg(long, value_name = "ID")]
        agent: Option<String>,
        /// Only those under way
        #[arg(long)]
        active: bool,
    },
    /// End runs with what they have
    Stop {
        /// Id of a run
        #[arg(required_unless_present_any = ["agent", "all"])]
        run: Option<String>,
        /// All runs of this agent
        #[arg(long, value_name = "ID", conflicts_with = "run")]
        agent: Option<String>,
        /// All runs
        #[arg(long, conflicts_with_all = ["run", "agent"])]
        all: bool,
    },
    /// List tool calls that wait for a yes
    Approvals {
        /// Those that were answered too
        #[arg(long)]
        all: bool,
    },
    /// Say yes to a tool call
    Approve { id: String },
    /// Say no to a tool call
    Deny {
        id: String,
        /// Told to the agent
        #[arg(long)]
        reason: Option<String>,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Logs {
    /// The worker
    pub(crate) name: String,
    /// Go on as more is printed
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Lines of the past to show
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 100)]
    pub(crate) lines: usize,
    /// The log of its preparation instead
    #[arg(long)]
    pub(crate) prepare: bool,
}

/// Reads `500ms`, `30s`, `5m`, `1h`; a bare number is seconds.
fn duration(text: &str) -> Result<Duration, String> {
    let split = text
        .find(|letter: char| !letter.is_ascii_digit() && letter != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(split);
    let factor = match unit {
        "ms" => 0.001,
        "" | "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return Err("expected a time such as 500ms, 30s, 5m or 1h".to_owned()),
    };
    let seconds = number.parse::<f64>().map(|number| number * factor);
    match seconds {
        Ok(seconds) if seconds >= 0.001 => {
            Duration::try_from_secs_f64(seconds).map_err(|error| error.to_string())
        }
        _ => Err("expected a time such as 500ms, 30s, 5m or 1h".to_owned()),
    }
}

/// Reads `10%` and `10`.
fn percent(text: &str) -> Result<u8, String> {
    let number = text.strip_suffix('%').unwrap_or(text).parse();
    number
        .ok()
        .filter(|percent| (1..=99).contains(percent))
        .ok_or_else(|| "expected a share from 1% to 99%".to_owned())
}

/// Reads `0.01` and `1%`.
fn rate(text: &str) -> Result<f64, String> {
    let (number, factor) = match text.strip_suffix('%') {
        Some(number) => (number, 0.01),
        None => (text, 1.0),
    };
    let rate = number.parse::<f64>().map(|number| number * factor);
    rate.ok()
        .filter(|rate| (0.0..=1.0).contains(rate))
        .ok_or_else(|| "expected a rate such as 0.01 or 1%".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    #[test]
    fn reads_shares_and_rates() {
        let check = |text, expect| assert_eq!(percent(text).ok(), expect, "{text}");
        check("10%", Some(10));
        check("99", Some(99));
        check("0%", None);
        check("100%", None);
        check("ten", None);
        let check = |text, expect| assert_eq!(rate(text).ok(), expect, "{text}");
        check("0.5", Some(0.5));
        check("50%", Some(0.5));
        check("2", None);
        check("NaN", None);
    }

    #[test]
    fn reads_times() {
        let check = |text, expect| assert_eq!(duration(text).ok(), expect, "{text}");
        check("500ms", Some(Duration::from_millis(500)));
        check("1.5s", Some(Duration::from_millis(1500)));
        check("5m", Some(Duration::from_secs(300)));
        check("7", Some(Duration::from_secs(7)));
        check("0", None);
        check("soon", None);
        check("9999999999999999999999h", None);
    }
}
