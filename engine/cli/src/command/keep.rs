//! `agentos backup`, `restore` and `doctor`: copies of what is stored, and whether it is intact.

use std::{
    fs::{self, File},
    io::{BufReader, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use agentos_engine::{
    boot,
    builtin::keeper::{self, Verified},
    config::{self, Overrides, ProcessEnv},
    storage::{self, Adapter},
};
use agentos_sdk::Client;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::{
    args::{Common, Restore},
    client,
    failure::{FAILED, Failure},
    place::Place,
    screen::{RED, Screen, styled},
};

/// A store of a hundred gigabytes takes its time; nothing else ends a copy or a check.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// What of the settings matters to a store that no engine has open.
struct Store {
    data_dir: PathBuf,
    adapter: Adapter,
}

impl Store {
    fn of(config: Option<&Path>, common: &Common) -> Result<Self, Failure> {
        let overrides = Overrides {
            data_dir: common.data_dir.clone(),
            ..Overrides::default()
        };
        let settings = config::load(config, &overrides, &ProcessEnv)
            .map_err(|error| Failure::usage(error.to_string()))?;
        let adapter = settings.storage.adapter;
        if adapter == Adapter::Memory {
            return Err(Failure::usage(
                "the settings keep everything in memory: there is no store",
            ));
        }
        Ok(Store {
            data_dir: settings.data_dir,
            adapter,
        })
    }

    fn path(&self) -> PathBuf {
        self.data_dir.join("store")
    }
}

/// Copies what a running engine stores into `file`, which is there as a whole or not at all.
pub(crate) async fn backup(file: &Path, common: &Common, screen: &Screen) -> Result<(), Failure> {
    let client = client::connect(common).await?;
    let new = file.with_added_extension("new");
    let written = receive(&client, &new, screen).await;
    let report = match written {
        Ok(report) => report,
        Err(failure) => {
            // Half a copy is none.
            let _ = fs::remove_file(&new);
            return Err(failure);
        }
    };
    fs::rename(&new, file)?;
    if screen.json {
        screen.value(&report);
    } else {
        let file = file.display();
        screen.line(format!(
            "{file} has {} records, {} bytes; it holds what workers stored in the clear, and not the token",
            report["records"], report["bytes"]
        ));
    }
    Ok(())
}

async fn receive(client: &Client, new: &Path, screen: &Screen) -> Result<Value, Failure> {
    let mut file = private(new)?;
    let call = client.bus().call(keeper::BACKUP).timeout(LONG);
    let mut chunks = call.stream(&json!({}))?;
    let bar = progress(screen, "{spinner} {bytes} copied, {bytes_per_sec}");
    while let Some(chunk) = chunks.next().await {
        file.write_all(&chunk.bytes)?;
        bar.inc(chunk.len() as u64);
    }
    bar.finish_and_clear();
    let report = chunks.finish().await?;
    file.sync_all()?;
    Ok(report.decode().unwrap_or_default())
}

fn private(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    File::options()
        .create(true)
        .truncate(true)
        .write(true)
        .mode(0o600)
        .open(path)
}

fn progress(screen: &Screen, template: &str) -> ProgressBar {
    let bar = match screen.json {
        true => ProgressBar::hidden(),
        false => ProgressBar::new_spinner(),
    };
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Makes the store of a data directory from a backup. No engine may run there.
pub(crate) fn restore(given: &Restore, common: &Common, screen: &Screen) -> Result<(), Failure> {
    let store = Store::of(given.config.as_deref(), common)?;
    let failed = |error: storage::Error| Failure::new(FAILED, error.to_string());
    fs::create_dir_all(&store.data_dir)?;
    let _claim =
        boot::claim(&store.data_dir).map_err(|error| Failure::new(FAILED, format!("{error:#}")))?;
    let file = File::open(&given.file)
        .map_err(|error| Failure::usage(format!("{}: {error}", given.file.display())))?;
    let set_aside = set_aside(&store.path(), given.replace)?;
    let bar = progress(screen, "{spinner} {human_pos} records restored");
    let records = storage::restore(
        store.adapter,
        &store.path(),
        BufReader::new(file),
        &mut |records| bar.set_position(records),
    );
    bar.finish_and_clear();
    let records = match records {
        Ok(records) => records,
        Err(error) => {
            if let Some(old) = &set_aside {
                // Nothing was made in its place.
                fs::rename(old, store.path())?;
            }
            return Err(failed(error));
        }
    };
    if screen.json {
        screen.value(
            &json!({ "records": records, "data_dir": store.data_dir, "set_aside": set_aside }),
        );
        return Ok(());
    }
    screen.line(format!("{} has {records} records", store.path().display()));
    if let Some(old) = set_aside {
        screen.line(format!("what was there before is in {}", old.display()));
    }
    Ok(())
}

/// Moves the store that is there out of the way, if that is wanted.
fn set_aside(path: &Path, replace: bool) -> Result<Option<PathBuf>, Failure> {
    let is_there = fs::read_dir(path).is_ok_and(|mut entries| entries.next().is_some());
    if !is_there {
        return Ok(None);
    }
    if !replace {
        let what = format!("{} holds a store already", path.display());
        return Err(Failure::new(FAILED, what).remedy(
            "say another place with --data-dir, or --replace, which keeps the old one beside it",
        ));
    }
    let mut names = (1..).map(|number| path.with_file_name(format!("store.before-{number}")));
    let old = names.find(|old| !old.exists()).expect("numbers do not end");
    fs::rename(path, &old)?;
    Ok(Some(old))
}

/// Reads everything that is stored: in the running engine, or in the data directory of one that is
/// stopped, or does not start any more.
pub(crate) async fn doctor(
    config: Option<&Path>,
    common: &Common,
    screen: &Screen,
) -> Result<(), Failure> {
    let mut common = common.clone();
    if config.is_some() {
        common.data_dir = Some(Store::of(config, &common)?.data_dir);
    }
    let runs = Place::find(&common)?.url.is_some();
    let verified: Verified = if runs {
        let client = client::connect(&common).await?;
        let call = client.bus().call(keeper::VERIFY).timeout(LONG);
        call.send(&json!({})).await?
    } else {
        closed(&Store::of(config, &common)?).await?
    };
    if screen.json {
        screen.value(&verified);
    } else {
        show(&verified, *screen);
    }
    match verified.damaged {
        0 => Ok(()),
        damaged => Err(ways_out(format!("{damaged} records are damaged"))),
    }
}

async fn closed(store: &Store) -> Result<Verified, Failure> {
    let path = store.path();
    if !path.exists() {
        let what = format!("{} holds no store", store.data_dir.display());
        return Err(Failure::new(FAILED, what).remedy("say where it is with --data-dir"));
    }
    let failed = |error: storage::Error| match error {
        storage::Error::Damaged { .. } => ways_out(format!("{}: {error}", path.display())),
        error => Failure::new(FAILED, error.to_string()),
    };
    let opened = store.adapter.open(&path).map_err(failed)?;
    keeper::verify(&*opened).await.map_err(failed)
}

fn ways_out(what: String) -> Failure {
    Failure::new(FAILED, what).remedy(
        "stop the engine and put a backup in its place with `agentos restore FILE --replace`; the damaged store is kept beside it. Look at the disk before: docs/storage.md#when-it-is-damaged",
    )
}

fn show(verified: &Verified, screen: Screen) {
    for (space, records) in &verified.spaces {
        screen.line(format!("{space:<20}  {records} records"));
    }
    screen.line(format!(
        "{}: {} records, {} bytes, {} damaged",
        verified.adapter, verified.records, verified.bytes, verified.damaged
    ));
    for damage in &verified.damages {
        screen.line(styled(RED, damage));
    }
}
