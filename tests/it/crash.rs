//! Crashes at random moments under load: what was acknowledged is there, and what was settled does
//! not come again.
//!
//! CI plays a few rounds; `cargo xtask crash` plays them all and prints figures. Everything is
//! seen from outside: workers on a socket, and a process that is killed.

mod check;
mod figures;
mod ledger;
mod load;
mod power;
mod worker;

use std::{
    env,
    time::{Duration, Instant},
};

use agentos_sdk::Client;
use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use self::{
    figures::Figures,
    ledger::{Kind, Ledger},
    power::Disk,
};
use crate::harness::Engine;

/// A poison message is to die after its attempts, and soon.
const SETTINGS: &str = "
queue:
  queue_configs:
    default: {}
    poison: { max_retries: 3, backoff_ms: 20 }
";

/// What a power cut may take, so that the harness is seen to see it.
const RELAXED: &str = "state: { relaxed_scopes: ['crash-*'] }\n";

/// What one crash loop does.
struct Plan {
    rounds: u32,
    seed: u64,
    /// More settings of the engine.
    settings: String,
    /// Write values of the state alone.
    only_state: bool,
    /// The control: writes count as acknowledged before they are made.
    is_weak: bool,
    /// Cut the power of the disk rather than kill the engine alone.
    disk: Option<Disk>,
}

impl Plan {
    fn new(rounds: u32) -> Self {
        Plan {
            rounds,
            seed: fastrand::u64(..),
            settings: String::new(),
            only_state: false,
            is_weak: false,
            disk: None,
        }
    }

    /// As `cargo xtask crash` asks.
    fn asked(rounds: u32) -> Result<Self> {
        let mut plan = Self::new(rounds);
        if let Some(rounds) = asked("ROUNDS") {
            plan.rounds = rounds.parse().context("rounds")?;
        }
        if let Some(seed) = asked("SEED") {
            plan.seed = seed.parse().context("seed")?;
        }
        if let Some(adapter) = asked("STORAGE") {
            plan.settings = format!("storage: {{ adapter: {adapter} }}\n");
        }
        Ok(plan)
    }

    fn settings(&self) -> String {
        format!("{}{SETTINGS}", self.settings)
    }

    async fn run(mut self) -> Result<Figures> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut figures = Figures::new(self.seed);
        let ledger = Ledger::new(self.is_weak);
        let mut folder = TempDir::new()?;
        if let Some(disk) = &mut self.disk {
            disk.attach(folder.path())?;
        }
        for round in 0..self.rounds {
            let moment = Duration::from_millis(random.u64(20..400));
            folder = self
                .round(round, moment, folder, &ledger, &mut figures)
                .await
                .with_context(|| format!("seed {} round {round}", self.seed))?;
            figures.rounds += 1;
        }
        let (engine, worker) = self.restart(folder, &ledger, &mut figures).await?;
        check::everything(&worker, &ledger, &mut figures).await?;
        figures.acknowledged = ledger.acknowledged();
        worker.close().await;
        drop(engine.kill()?);
        Ok(figures)
    }

    /// Starts, compares with what was acknowledged, writes until the crash.
    async fn round(
        &mut self,
        round: u32,
        moment: Duration,
        folder: TempDir,
        ledger: &Ledger,
        figures: &mut Figures,
    ) -> Result<TempDir> {
        let (engine, worker) = self.restart(folder, ledger, figures).await?;
        if let Some(before) = round.checked_sub(1) {
            check::round(&worker, before, ledger, figures).await?;
        }
        let load = load::start(&worker, round, ledger, self.only_state);
        tokio::time::sleep(moment).await;
        let folder = match &mut self.disk {
            None => engine.kill()?,
            Some(disk) => disk.cut(engine)?,
        };
        load.end().await;
        worker.close().await;
        Ok(folder)
    }

    /// An engine that serves again, and the worker that does everything in it.
    async fn restart(
        &self,
        folder: TempDir,
        ledger: &Ledger,
        figures: &mut Figures,
    ) -> Result<(Engine, Client)> {
        let began = Instant::now();
        let started = Engine::start_in(folder, &self.settings(), &["--no-workers"]).await;
        let engine = match started {
            Ok(engine) => engine,
            Err(error) => {
                figures.corrupt_opens += 1;
                bail!("the engine does not open what it left: {error:#}\n{figures}");
            }
        };
        let worker = worker::connect(&engine, ledger).await?;
        figures.recovery_ms.push(began.elapsed().as_millis());
        Ok((engine, worker))
    }
}

fn asked(what: &str) -> Option<String> {
    env::var(format!("AGENTOS_CRASH_{what}")).ok()
}

#[tokio::test]
async fn kill_9_loses_and_doubles_nothing() -> Result<()> {
    let figures = Plan::new(5).run().await?;
    assert!(figures.is_clean(), "{figures}");
    // A run that a crash cut off holds its lock for half a minute, so a short loop may see none.
    let mut written = figures.acknowledged.clone();
    written.remove(&Kind::Cron);
    assert!(
        written.values().all(|count| *count > 0),
        "too little load to tell: {figures}"
    );
    Ok(())
}

/// The control: if writes are believed that nobody acknowledged, the harness must see them lost.
#[tokio::test]
async fn the_harness_sees_loss() -> Result<()> {
    let mut plan = Plan::new(3);
    plan.is_weak = true;
    let figures = plan.run().await?;
    assert!(figures.lost.values().sum::<u64>() > 0, "{figures}");
    Ok(())
}

#[tokio::test]
#[ignore = "minutes; `cargo xtask crash` runs it"]
async fn whole() -> Result<()> {
    let figures = Plan::asked(200)?.run().await?;
    figures.show("kill -9");
    assert!(figures.is_clean(), "{figures}");
    Ok(())
}

#[tokio::test]
#[ignore = "needs root and loop devices; `cargo xtask crash --power-cut` runs it"]
async fn power_cut() -> Result<()> {
    if let Err(why) = Disk::is_possible() {
        figures::say(&format!("power cut skipped: {why:#}"));
        return Ok(());
    }
    let mut control = Plan::asked(3)?;
    control.rounds = 3;
    control.settings.push_str(RELAXED);
    control.only_state = true;
    control.disk = Some(Disk::new());
    let weak = control.run().await?;
    weak.show("power cut, state relaxed: the control");
    assert!(
        weak.lost.contains_key(&Kind::State),
        "nothing was lost that was not synced: the harness does not see loss"
    );
    let mut plan = Plan::asked(40)?;
    plan.disk = Some(Disk::new());
    let figures = plan.run().await?;
    figures.show("power cut");
    assert!(figures.is_clean(), "{figures}");
    Ok(())
}
