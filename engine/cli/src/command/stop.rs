//! `agentos stop`: asks the engine to end, and waits until it has.

use std::{path::Path, time::Duration};

use agentos_sdk::Error;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    args::Common,
    client,
    failure::{FAILED, Failure},
    place::{Note, Place, is_in_use},
    screen::Screen,
};

/// An engine ends within ten seconds; a little more for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(15);

pub(crate) async fn run(common: &Common, screen: &Screen) -> Result<(), Failure> {
    let note = Place::find(common)?.note;
    ask(common, note.as_ref()).await?;
    if let Some(note) = &note {
        wait_for_end(&note.data_dir).await?;
    }
    if screen.json {
        screen.value(&json!({ "stopped": true }));
    } else {
        screen.line("stopped");
    }
    Ok(())
}

/// Over the bus; an engine of this account that does not answer there gets a signal.
async fn ask(common: &Common, note: Option<&Note>) -> Result<(), Failure> {
    let refused = match client::connect(common).await {
        Ok(client) => {
            // The engine may be gone before its answer is here.
            let _: Result<Value, Error> = client.trigger("engine::shutdown", &json!({})).await;
            return Ok(());
        }
        Err(failure) => failure,
    };
    let pid = note
        .and_then(|note| i32::try_from(note.pid).ok())
        .and_then(Pid::from_raw);
    match pid.map(|pid| kill_process(pid, Signal::TERM)) {
        Some(Ok(())) => Ok(()),
        _ => Err(refused),
    }
}

async fn wait_for_end(data_dir: &Path) -> Result<(), Failure> {
    let deadline = Instant::now() + PATIENCE;
    while is_in_use(data_dir) {
        if Instant::now() > deadline {
            let what = format!(
                "the engine at {} has not ended in {} s",
                data_dir.display(),
                PATIENCE.as_secs()
            );
            return Err(Failure::new(FAILED, what).remedy("look at its output, or kill it"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}
