//! `agentos dev`: a save is a swap.

use std::fs;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::shop::{Shop, WORKER};
use crate::harness::Engine;

/// `agentos dev`, with what it prints.
struct Dev {
    child: std::process::Child,
    lines: std::sync::mpsc::Receiver<String>,
}

impl Dev {
    fn start(engine: &Engine) -> Result<Self> {
        let mut child = std::process::Command::new(crate::harness::binary())
            .arg("dev")
            .env("AGENTOS_URL", &engine.url)
            .env("AGENTOS_TOKEN", &engine.token)
            .stdout(std::process::Stdio::piped())
            .spawn()?;
        let (tell, lines) = std::sync::mpsc::sync_channel(100);
        let out = child.stdout.take().expect("it is piped");
        std::thread::spawn(move || {
            for line in std::io::BufRead::lines(std::io::BufReader::new(out)).map_while(Result::ok)
            {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Dev { child, lines })
    }

    /// Waits until it prints a line with `text`.
    fn says(&self, text: &str) -> Result<()> {
        let mut said = String::new();
        loop {
            let line = self.lines.recv_timeout(crate::harness::PATIENCE);
            let line = line.map_err(|_| anyhow::anyhow!("it does not say `{text}`: {said}"))?;
            if line.contains(text) {
                return Ok(());
            }
            said.push_str(&line);
        }
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Ended already is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_save_is_live_and_a_mistake_is_not() -> Result<()> {
    let shop = Shop::open().await?;
    let load = shop.load(2);
    let dev = Dev::start(&shop.engine)?;
    dev.says("watching")?;
    let save = |build: &Value| fs::write(shop.folder.join("build.json"), build.to_string());
    save(&json!({ "version": 2 }))?;
    dev.says("is live")?;
    assert_eq!(shop.version().await, Some(2));
    fs::write(shop.folder.join("worker.py"), "def")?;
    dev.says("it crashed at start: exit code 1")?;
    dev.says("SyntaxError")?;
    assert_eq!(shop.version().await, Some(2));
    fs::write(shop.folder.join("worker.py"), WORKER)?;
    dev.says("is live")?;
    save(&json!({ "version": 3 }))?;
    dev.says("is live")?;
    assert_eq!(shop.version().await, Some(3));
    ensure!(load.end().await? > 0, "there was a load");
    Ok(())
}
