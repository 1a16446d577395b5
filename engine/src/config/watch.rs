//! Watches the settings file, and hands out what it says when that changes and is right. What is
//! wrong is logged with file, line and key, and the settings stay as they are.

use std::{path::PathBuf, sync::Arc, time::Duration};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::{Env, Error, Overrides, Settings, diff, load};
use crate::watching::{Root, Watching};

/// A file is read when nothing has happened to it for so long; editors write in several steps.
const QUIET: Duration = Duration::from_millis(500);
/// At the latest so long after the first step.
const QUIET_AT_MOST: Duration = Duration::from_secs(3);

/// The service: [`Watch::run`] it, and read [`Reloads`].
pub struct Watch {
    file: PathBuf,
    overrides: Overrides,
    env: Arc<dyn Env>,
    text: String,
    watching: Watching,
    tell: watch::Sender<News>,
}

/// What the file said last; `None` while nothing has been said since the start.
type News = Option<Result<Arc<Settings>, Error>>;

/// New settings, one after the other. Only the newest waits: what it replaces need not be applied.
pub struct Reloads {
    news: watch::Receiver<News>,
}

impl Watch {
    /// Watches the file that `settings` came from; `None` when they came from none.
    ///
    /// # Errors
    /// When the system cannot watch its folder.
    pub fn start(
        settings: &Settings,
        overrides: Overrides,
        env: Arc<dyn Env>,
    ) -> std::io::Result<Option<(Watch, Reloads)>> {
        let Some(file) = settings.file.clone() else {
            return Ok(None);
        };
        let folder = match file.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder.to_owned(),
            _ => PathBuf::from("."),
        };
        let name = file.file_name().map(std::ffi::OsStr::to_owned);
        // Editors put a new file in its place, and Kubernetes turns a link, `..data`, beside it;
        // so it is the folder that is watched.
        let is_ours = move |path: &std::path::Path| {
            let changed = path.file_name();
            changed == name.as_deref()
                || changed.is_some_and(|name| name.as_encoded_bytes().starts_with(b".."))
        };
        let watching = Watching::start(vec![Root::flat(folder)], is_ours)?;
        let (tell, news) = watch::channel(None);
        let mut watch = Watch {
            file,
            overrides,
            env,
            text: String::new(),
            watching,
            tell,
        };
        // What happened between the reading of `settings` and the beginning of the watch.
        if let Some(now) = watch.read()
            && !now.as_ref().is_ok_and(|now| diff(settings, now).is_empty())
        {
            watch.tell(now);
        }
        Ok(Some((watch, Reloads { news })))
    }

    /// Lives until `stop`, or until nobody wants to hear of it.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.tell.closed() => return,
                () = self.watching.changed(QUIET, QUIET_AT_MOST) => {
                    if let Some(settings) = self.read() {
                        self.tell(settings);
                    }
                }
            }
        }
    }

    /// What the file says, if it says something else than before.
    fn read(&mut self) -> Option<Result<Settings, Error>> {
        // Between two steps of an editor there may be no file.
        let text = std::fs::read_to_string(&self.file).ok()?;
        if text == self.text {
            return None;
        }
        self.text = text;
        Some(load(Some(&self.file), &self.overrides, &*self.env))
    }

    fn tell(&self, settings: Result<Settings, Error>) {
        if let Err(error) = &settings {
            tracing::error!(%error, "the settings file cannot be used as it is now; the settings stay");
        }
        self.tell.send_replace(Some(settings.map(Arc::new)));
    }
}

impl Reloads {
    /// What the file says now, or its fault; `None` when the watch has ended.
    pub async fn next(&mut self) -> Option<Result<Arc<Settings>, Error>> {
        loop {
            self.news.changed().await.ok()?;
            let news = self.news.borrow_and_update().clone();
            if news.is_some() {
                return news;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, fs};

    use super::*;
    use crate::config::{Change, How, Module, Part};

    /// Generous: machines are busy.
    const PATIENCE: Duration = Duration::from_secs(20);

    #[tokio::test]
    async fn hands_out_what_is_right_and_tells_what_is_wrong() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        fs::write(&file, "workers: [{ name: iii-state }]\n").unwrap();
        let env: BTreeMap<String, String> = BTreeMap::new();
        let settings = load(Some(&file), &Overrides::default(), &env).unwrap();
        let (watch, mut reloads) = Watch::start(&settings, Overrides::default(), Arc::new(env))
            .unwrap()
            .unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn(watch.run(stop.clone()));
        let mut next = async || {
            tokio::time::timeout(PATIENCE, reloads.next())
                .await
                .unwrap()
        };

        fs::write(&file, "workers: [{ name: iii-state, cofnig: {} }]\n").unwrap();
        let error = next().await.unwrap().unwrap_err();
        assert_eq!(error.key, "workers.0.cofnig");

        // As editors do: a new file in the place of the old one.
        let new = folder.path().join("config.yaml.new");
        fs::write(&new, "workers: [{ name: iii-state }, { name: iii-cron }]\n").unwrap();
        fs::rename(&new, &file).unwrap();
        let reloaded = next().await.unwrap().unwrap();
        assert!(reloaded.modules.runs(Module::Cron));
        let expect = Change {
            part: Part::Module(Module::Cron),
            how: How::Added,
        };
        assert_eq!(diff(&settings, &reloaded), [expect]);

        stop.cancel();
        running.await.unwrap();
        assert!(next().await.is_none());
    }

    #[tokio::test]
    async fn what_changed_before_the_watch_began_is_not_missed() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("config.yaml");
        let env: BTreeMap<String, String> = BTreeMap::new();
        for (text, is_news) in [("", false), ("# nothing\n", false), ("data_dir: x\n", true)] {
            fs::write(&file, "").unwrap();
            let settings = load(Some(&file), &Overrides::default(), &env).unwrap();
            fs::write(&file, text).unwrap();
            let watch = Watch::start(&settings, Overrides::default(), Arc::new(env.clone()));
            let (_watch, reloads) = watch.unwrap().unwrap();
            assert_eq!(reloads.news.has_changed().unwrap(), is_news, "{text}");
        }
    }
}
