//! A disk that is full, and then is not any more.

use std::{fs, path::PathBuf, process::Command};

use agentos_sdk::Code;
use anyhow::Result;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::harness::eventually;

/// A file system in memory; its room is given back when this is dropped.
struct Small(PathBuf);

impl Small {
    /// `None` when this account may not mount.
    fn mount(at: PathBuf) -> Result<Option<Self>> {
        fs::create_dir_all(&at)?;
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=6m", "tmpfs"])
            .arg(&at)
            .output();
        let is_mounted = mounted.is_ok_and(|output| output.status.success());
        Ok(is_mounted.then_some(Small(at)))
    }

    /// Takes all the room that is left.
    fn fill(&self) -> PathBuf {
        let path = self.0.join("filler");
        let mut bytes = 8 << 20;
        let mut all = Vec::new();
        // What fits is written before the error.
        while bytes >= 1 {
            all.resize(bytes, 0_u8);
            if let Ok(mut file) = fs::File::options().create(true).append(true).open(&path) {
                let _ = std::io::Write::write_all(&mut file, &all);
            }
            bytes /= 4;
        }
        path
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[expect(clippy::print_stdout, reason = "why a test has tested nothing")]
fn skipped() {
    println!("skipped: a file system of a known size takes the right to mount one");
}

#[tokio::test]
async fn a_full_disk_refuses_writes_and_recovers_without_a_restart() -> Result<()> {
    // sled's reads fail, too, once a write has: docs/storage.md.
    for adapter in ["fjall", "sqlite"] {
        let folder = TempDir::new()?;
        let Some(disk) = Small::mount(folder.path().join("data"))? else {
            skipped();
            return Ok(());
        };
        let engine = super::start(folder, adapter).await?;
        let worker = engine.worker("writer").await?;
        let write = async |number: u64| {
            let value =
                json!({ "scope": "full", "key": number.to_string(), "value": "v".repeat(20_000) });
            worker.trigger::<Value>("state::set", &value).await
        };
        for number in 0..20 {
            write(number).await?;
        }
        let filler = disk.fill();
        let mut acknowledged = 20;
        let refused = loop {
            match write(acknowledged).await {
                Ok(_) => acknowledged += 1,
                Err(error) => break error,
            }
            assert!(acknowledged < 10_000, "{adapter}: the disk does not fill");
        };
        assert_eq!(refused.code, Code::Unavailable, "{adapter}: {refused}");
        assert!(
            refused.message.contains("read-only"),
            "{adapter}: {refused}"
        );
        let status: Value = worker.trigger("engine::status", &json!({})).await?;
        assert!(status["storage_trouble"].is_string(), "{adapter}: {status}");
        let read = json!({ "scope": "full", "key": "0" });
        let value: String = worker.trigger("state::get", &read).await?;
        assert_eq!(value.len(), 20_000, "{adapter}: reads go on");

        fs::remove_file(filler)?;
        eventually("writes are taken again", async || {
            write(acknowledged).await.ok()
        })
        .await?;
        let status: Value = worker.trigger("engine::status", &json!({})).await?;
        assert!(status["storage_trouble"].is_null(), "{adapter}: {status}");
        let folder = engine.kill()?;
        let engine = super::start(folder, adapter).await?;
        let worker = engine.worker("reader").await?;
        for number in 0..=acknowledged {
            let read = json!({ "scope": "full", "key": number.to_string() });
            let value: Value = worker.trigger("state::get", &read).await?;
            assert!(
                value.is_string(),
                "{adapter}: {number} of {acknowledged} is lost"
            );
        }
        drop(engine);
        drop(disk);
    }
    Ok(())
}
