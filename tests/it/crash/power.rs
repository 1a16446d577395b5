//! A disk whose power can be cut: a file system in a file, on a loop device.
//!
//! A cut stops the engine, copies the file as it is, and goes on from the copy. What the engine had
//! written and not synced is in the page cache of the old file system, and so is not in the copy.
//! The system is told not to write it back by itself for longer than a round takes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::Engine;

/// Room for the journals of a store, and copied in a moment.
const IMAGE_BYTES: u64 = 256 << 20;

/// Seconds between commits that the file system makes by itself; longer than any round.
const MOUNT_OPTIONS: &str = "loop,commit=600";

pub(super) struct Disk {
    folder: PathBuf,
    is_mounted: bool,
}

impl Disk {
    pub(super) fn new() -> Self {
        Disk {
            folder: PathBuf::new(),
            is_mounted: false,
        }
    }

    /// # Errors
    /// What this machine lacks.
    pub(super) fn is_possible() -> Result<()> {
        let folder = TempDir::new()?;
        let mut disk = Disk::new();
        disk.attach(folder.path())
            .context("no file system can be mounted from a file here; it takes root, mkfs.ext4 and loop devices")?;
        disk.detach()
    }

    /// Makes the folder `data` in `folder` a disk of its own.
    pub(super) fn attach(&mut self, folder: &Path) -> Result<()> {
        folder.clone_into(&mut self.folder);
        fs::create_dir_all(self.data())?;
        fs::File::create(self.image())?.set_len(IMAGE_BYTES)?;
        run(Command::new("mkfs.ext4").arg("-q").arg(self.image()))?;
        self.mount()
    }

    /// The power goes off under a running engine, and comes back.
    pub(super) fn cut(&mut self, engine: Engine) -> Result<TempDir> {
        engine.signal(Signal::STOP)?;
        let after = self.folder.join("after.img");
        run(Command::new("cp")
            .arg("--sparse=always")
            .arg(self.image())
            .arg(&after))?;
        let folder = engine.kill()?;
        self.detach()?;
        fs::rename(after, self.image())?;
        self.mount()?;
        Ok(folder)
    }

    fn mount(&mut self) -> Result<()> {
        let mut mount = Command::new("mount");
        mount.args(["-o", MOUNT_OPTIONS]);
        run(mount.arg(self.image()).arg(self.data()))?;
        self.is_mounted = true;
        Ok(())
    }

    fn detach(&mut self) -> Result<()> {
        run(Command::new("umount").arg(self.data()))?;
        self.is_mounted = false;
        Ok(())
    }

    fn image(&self) -> PathBuf {
        self.folder.join("disk.img")
    }

    fn data(&self) -> PathBuf {
        self.folder.join("data")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_mounted {
            // The engine that used it has ended, or is about to.
            let _ = Command::new("umount").arg("-l").arg(self.data()).status();
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    if !output.status.success() {
        let complaint = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{command:?}: {}", complaint.trim());
    }
    Ok(())
}
