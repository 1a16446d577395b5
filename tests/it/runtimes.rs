//! Workers without an SDK of ours, in languages that Debian ships: `examples/hello-{perl,php,ruby}`.
//!
//! `cargo xtask test` installs the languages.

use std::{
    process::{Child, Command, ExitStatus, Stdio},
    sync::Arc,
    time::Instant,
};

use agentos_sdk::{Client, Code, Error};
use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::harness::{Engine, PATIENCE, eventually, root};

/// The language, and how its example is started.
const RUNTIMES: [(&str, [&str; 2]); 3] = [
    ("perl", ["perl", "worker.pl"]),
    ("php", ["php", "worker.php"]),
    ("ruby", ["ruby", "worker.rb"]),
];

/// A running example.
struct Example {
    language: &'static str,
    child: Child,
}

impl Example {
    fn start(engine: &Engine, language: &'static str, [program, file]: [&str; 2]) -> Result<Self> {
        let child = Command::new(program)
            .arg(file)
            .current_dir(root().join(format!("examples/hello-{language}")))
            .env("AGENTOS_URL", &engine.url)
            .env("AGENTOS_TOKEN", &engine.token)
            .stdin(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {program}; `cargo xtask test` installs it"))?;
        Ok(Example { language, child })
    }

    async fn call(&self, caller: &Client, verb: &str, input: Value) -> Result<Value, Error> {
        let id = format!("hello-{}::{verb}", self.language);
        caller.trigger(&id, &input).await
    }

    /// Waits until it greets.
    async fn greets(&self, caller: &Client) -> Result<()> {
        let what = format!("the worker in {} greets", self.language);
        let greeting = eventually(&what, || async {
            self.call(caller, "greet", json!({ "name": "Ada" }))
                .await
                .ok()
        })
        .await?;
        assert_eq!(greeting, "hello Ada", "{}", self.language);
        Ok(())
    }

    fn terminate(&self) -> Result<()> {
        let pid =
            Pid::from_raw(i32::try_from(self.child.id())?).context("a process has a number")?;
        Ok(kill_process(pid, Signal::TERM)?)
    }

    async fn ended(&mut self) -> Result<ExitStatus> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
        bail!("the worker in {} did not end", self.language)
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn examples(engine: &Engine) -> Result<Vec<Example>> {
    RUNTIMES
        .into_iter()
        .filter(|(_, [program, _])| may_be_expected(program))
        .map(|(language, command)| Example::start(engine, language, command))
        .collect()
}

/// Where `cargo xtask test` cannot install languages, those that are there will do.
#[expect(clippy::print_stdout, reason = "the test runner shows it")]
fn may_be_expected(program: &str) -> bool {
    let is_there = |program| Command::new(program).arg("--version").output().is_ok();
    let expected = is_there(program) || is_there("apt-get");
    if !expected {
        println!("skipped: there is no {program}, and no apt-get to install it");
    }
    expected
}

/// A function that tells when it is called, and answers when it is told to.
async fn held(worker: &Client, id: &str) -> Result<(Arc<Notify>, Arc<Notify>)> {
    let (called, go_on) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (tell, wait) = (Arc::clone(&called), Arc::clone(&go_on));
    let hold = move |_, input: Value| {
        let (tell, wait) = (Arc::clone(&tell), Arc::clone(&wait));
        async move {
            tell.notify_one();
            wait.notified().await;
            Ok(input)
        }
    };
    worker.function(id, hold).await?;
    Ok((called, go_on))
}

#[tokio::test]
async fn answer_fail_and_call_others() -> Result<()> {
    let engine = Engine::bare().await?;
    let caller = engine.worker("caller").await?;
    for example in examples(&engine)? {
        let language = example.language;
        example.greets(&caller).await?;
        let wrong = example
            .call(&caller, "greet", json!({ "title": "Ada" }))
            .await;
        let wrong = wrong.expect_err("nobody has a name");
        assert_eq!(wrong.code, Code::InvalidInput, "{language}: {wrong}");
        let broken = example.call(&caller, "ask", json!(5)).await;
        let broken = broken.expect_err("the handler breaks");
        assert_eq!(broken.code, Code::Failed, "{language}: {broken}");
        let own = format!("hello-{language}::greet");
        let name = "Ünï \u{1F600} \"q\" \\";
        let nested = json!({ "function": own, "payload": { "name": name } });
        let answer = example.call(&caller, "ask", nested).await?;
        assert_eq!(
            answer,
            json!({ "answer": format!("hello {name}") }),
            "{language}"
        );
        let nobody = example
            .call(
                &caller,
                "ask",
                json!({ "function": "no::such", "payload": null }),
            )
            .await;
        assert_eq!(
            nobody.expect_err("nobody is there").code,
            Code::NotFound,
            "{language}"
        );
        // More than one frame, one buffer and one length field hold.
        let long = "é".repeat(700_000);
        let greeting = example
            .call(&caller, "greet", json!({ "name": long }))
            .await?;
        assert!(greeting == format!("hello {long}"), "{language}");
    }
    Ok(())
}

/// Only `agentos.v2` has cancellation.
#[tokio::test]
async fn pass_a_cancellation_on() -> Result<()> {
    let engine = Engine::bare().await?;
    let caller = engine.worker("caller").await?;
    for example in examples(&engine)?
        .into_iter()
        .filter(|one| one.language != "php")
    {
        example.greets(&caller).await?;
        let id = format!("held::for-{}", example.language);
        let dropped = Arc::new(Notify::new());
        let called = Arc::new(Notify::new());
        let (tell, started) = (Arc::clone(&dropped), Arc::clone(&called));
        let hang = move |_, _: Value| {
            struct OnDrop(Arc<Notify>);
            impl Drop for OnDrop {
                fn drop(&mut self) {
                    self.0.notify_one();
                }
            }
            let (on_drop, started) = (OnDrop(Arc::clone(&tell)), Arc::clone(&started));
            async move {
                let _on_drop = on_drop;
                started.notify_one();
                std::future::pending::<Result<Value, Error>>().await
            }
        };
        caller.function(&id, hang).await?;
        let input = json!({ "function": id, "payload": null });
        tokio::select! {
            answer = example.call(&caller, "ask", input) => bail!("it answered {answer:?}"),
            () = called.notified() => {}
        }
        tokio::time::timeout(PATIENCE, dropped.notified())
            .await
            .with_context(|| format!("{} does not pass it on", example.language))?;
        example.greets(&caller).await?;
    }
    Ok(())
}

#[tokio::test]
async fn come_back_when_the_engine_does() -> Result<()> {
    let engine = Engine::bare().await?;
    let port = engine.url.rsplit(':').next().expect("a port").to_owned();
    let examples = examples(&engine)?;
    let caller = engine.worker("caller").await?;
    for example in &examples {
        example.greets(&caller).await?;
    }
    let folder = engine.kill()?;
    let _engine = Engine::start_in(folder, "", &["--no-workers", "--bus-port", &port]).await?;
    for example in &examples {
        example.greets(&caller).await?;
    }
    Ok(())
}

#[tokio::test]
async fn finish_what_runs_when_they_are_told_to_stop() -> Result<()> {
    let engine = Engine::bare().await?;
    let caller = engine.worker("caller").await?;
    for mut example in examples(&engine)? {
        let language = example.language;
        example.greets(&caller).await?;
        let id = format!("held::by-{language}");
        let (called, go_on) = held(&caller, &id).await?;
        let asking = caller.clone();
        let ask = format!("hello-{language}::ask");
        let input = json!({ "function": id, "payload": [1, 2.5, null] });
        let answer = tokio::spawn(async move { asking.trigger::<Value>(&ask, &input).await });
        tokio::time::timeout(PATIENCE, called.notified()).await?;
        example.terminate()?;
        eventually("it takes no new calls", || async {
            let refused = example
                .call(&caller, "greet", json!({ "name": "Ada" }))
                .await
                .err()?;
            (refused.code == Code::NotFound).then_some(())
        })
        .await?;
        go_on.notify_one();
        assert_eq!(
            answer.await??,
            json!({ "answer": [1, 2.5, null] }),
            "{language}"
        );
        assert_eq!(example.ended().await?.code(), Some(0), "{language}");
    }
    Ok(())
}
