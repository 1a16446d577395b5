//! Watches folders of files, and tells that something in them has changed: once for many changes.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use notify::{EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::{sync::Notify, time::Instant};

/// Folders that are not looked into: what tools make, and what is hidden.
const SKIPPED: [&str; 3] = ["node_modules", "target", "__pycache__"];

/// Folders watched at most, over all roots: each is a resource of the system.
const FOLDERS_MAX: usize = 4096;

/// Where to watch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Root {
    folder: PathBuf,
    is_deep: bool,
}

impl Root {
    /// The files in `folder` itself.
    pub fn flat(folder: PathBuf) -> Self {
        let is_deep = false;
        Root { folder, is_deep }
    }

    /// The files in `folder` and all below it.
    pub fn deep(folder: PathBuf) -> Self {
        let is_deep = true;
        Root { folder, is_deep }
    }
}

/// Which files matter.
type Wants = Arc<dyn Fn(&Path) -> bool + Send + Sync>;

/// What the system has told and nobody has looked at. However much happens, it is this big.
#[derive(Default)]
struct Told {
    wanted: AtomicBool,
    /// A folder came or went.
    folders: AtomicBool,
    some: Notify,
}

/// A watch that is on.
pub struct Watching {
    watcher: RecommendedWatcher,
    roots: Vec<Root>,
    wants: Wants,
    told: Arc<Told>,
    known: HashSet<PathBuf>,
}

impl Watching {
    /// Watches `roots`, of which some may not be there, for files that `wants` wants.
    ///
    /// # Errors
    /// When the system cannot watch.
    pub fn start(
        roots: Vec<Root>,
        wants: impl Fn(&Path) -> bool + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let (wants, told): (Wants, _) = (Arc::new(wants), Arc::new(Told::default()));
        let watcher = watcher(Arc::clone(&wants), Arc::clone(&told)).map_err(io::Error::other)?;
        let mut watching = Watching {
            watcher,
            roots,
            wants,
            told,
            known: HashSet::new(),
        };
        watching.follow()?;
        Ok(watching)
    }

    /// Waits until something wanted has changed, and then for `quiet` without a further change, but
    /// not longer than `at_most`. May be dropped and called again.
    pub async fn changed(&mut self, quiet: Duration, at_most: Duration) {
        while !self.take() {
            self.told.some.notified().await;
        }
        let end = Instant::now() + at_most;
        loop {
            let until = end.min(Instant::now() + quiet);
            let more = tokio::time::timeout_at(until, self.told.some.notified()).await;
            if more.is_err() {
                return;
            }
            self.take();
        }
    }

    /// Takes what was told; true when it is about something wanted.
    fn take(&mut self) -> bool {
        let mut wanted = self.told.wanted.swap(false, Ordering::AcqRel);
        if self.told.folders.swap(false, Ordering::AcqRel) {
            match self.follow() {
                Ok(grown) => wanted |= grown,
                Err(error) => tracing::warn!(%error, "some folders are not watched"),
            }
        }
        wanted
    }

    /// Watches the folders there are now; true when a new one holds something wanted already.
    fn follow(&mut self) -> io::Result<bool> {
        let mut found = HashSet::new();
        for root in &self.roots {
            collect(&root.folder, root.is_deep, &mut found);
        }
        let mut grown = false;
        for folder in &found {
            // Again for those that are known: one may have gone and come back.
            self.watcher
                .watch(folder, RecursiveMode::NonRecursive)
                .map_err(io::Error::other)?;
            if !self.known.contains(folder) && !self.known.is_empty() {
                grown |= files(folder).any(|file| (self.wants)(&file));
            }
        }
        self.known = found;
        Ok(grown)
    }
}

fn watcher(wants: Wants, told: Arc<Told>) -> notify::Result<RecommendedWatcher> {
    notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // An event that got lost may have been a wanted one.
        let (wanted, folders) = match &event {
            Ok(event) if matches!(event.kind, EventKind::Access(_)) => return,
            Ok(event) if event.need_rescan() => (true, true),
            Ok(event) => (
                event.paths.iter().any(|path| wants(path)),
                is_about_folders(event),
            ),
            Err(_) => (true, true),
        };
        told.wanted.fetch_or(wanted, Ordering::AcqRel);
        told.folders.fetch_or(folders, Ordering::AcqRel);
        if wanted || folders {
            told.some.notify_one();
        }
    })
}

fn is_about_folders(event: &notify::Event) -> bool {
    match event.kind {
        EventKind::Create(_) | EventKind::Modify(notify::event::ModifyKind::Name(_)) => {
            event.paths.iter().any(|path| path.is_dir())
        }
        EventKind::Remove(notify::event::RemoveKind::Folder) => true,
        _ => false,
    }
}

fn collect(folder: &Path, is_deep: bool, found: &mut HashSet<PathBuf>) {
    if found.len() >= FOLDERS_MAX || !folder.is_dir() || !found.insert(folder.to_owned()) {
        return;
    }
    if !is_deep {
        return;
    }
    for entry in entries(folder) {
        // A link may lead in a circle.
        let is_folder = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if is_folder && !is_skipped(&entry.path()) {
            collect(&entry.path(), true, found);
        }
    }
}

fn is_skipped(folder: &Path) -> bool {
    let name = folder.file_name().unwrap_or_default();
    name.as_encoded_bytes().starts_with(b".") || SKIPPED.iter().any(|skipped| name == *skipped)
}

fn entries(folder: &Path) -> impl Iterator<Item = std::fs::DirEntry> {
    std::fs::read_dir(folder).into_iter().flatten().flatten()
}

fn files(folder: &Path) -> impl Iterator<Item = PathBuf> {
    entries(folder)
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    const QUIET: Duration = Duration::from_millis(20);
    const AT_MOST: Duration = Duration::from_secs(1);
    /// Generous: machines are busy.
    const PATIENCE: Duration = Duration::from_secs(20);
    const SILENCE: Duration = Duration::from_millis(300);

    async fn changes(watching: &mut Watching) {
        tokio::time::timeout(PATIENCE, watching.changed(QUIET, AT_MOST))
            .await
            .expect("a change is told");
    }

    async fn stays(watching: &mut Watching) {
        let told = tokio::time::timeout(SILENCE, watching.changed(QUIET, AT_MOST)).await;
        assert!(told.is_err(), "nothing wanted has changed");
    }

    #[tokio::test]
    async fn tells_of_wanted_files_in_old_and_new_folders() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("node_modules/a")).unwrap();
        let is_wanted = |path: &Path| path.extension().is_some_and(|kind| kind == "ts");
        let mut watching =
            Watching::start(vec![Root::deep(folder.path().to_owned())], is_wanted).unwrap();

        fs::write(path("a.ts"), "1").unwrap();
        changes(&mut watching).await;
        fs::write(path("a.js"), "1").unwrap();
        fs::write(path("node_modules/a/a.ts"), "1").unwrap();
        fs::create_dir(path("empty")).unwrap();
        stays(&mut watching).await;

        // In a folder that was not there, as one step and as two.
        fs::create_dir_all(path("src/deep")).unwrap();
        fs::write(path("src/deep/b.ts"), "1").unwrap();
        changes(&mut watching).await;
        stays(&mut watching).await;
        fs::write(path("src/deep/b.ts"), "2").unwrap();
        changes(&mut watching).await;
        fs::remove_file(path("src/deep/b.ts")).unwrap();
        changes(&mut watching).await;

        // One that goes and comes back.
        fs::remove_dir_all(path("src")).unwrap();
        stays(&mut watching).await;
        fs::create_dir(path("src")).unwrap();
        stays(&mut watching).await;
        fs::write(path("src/c.ts"), "1").unwrap();
        changes(&mut watching).await;
    }

    #[tokio::test]
    async fn a_flat_root_is_flat() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("below")).unwrap();
        let mut watching =
            Watching::start(vec![Root::flat(folder.path().to_owned())], |_| true).unwrap();
        fs::write(folder.path().join("below/a"), "1").unwrap();
        stays(&mut watching).await;
        fs::write(folder.path().join("a"), "1").unwrap();
        changes(&mut watching).await;
    }
}
