//! The limit: a file to which whatever has come is appended, synced once, and then acknowledged.
//! Nothing can be taken off it.

use std::{
    fs::File,
    io::Write,
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use anyhow::{Result, bail};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::oneshot,
};

use super::broker::{Broker, Hear, Heard};
use crate::{
    link::Link,
    role::{announce, end_with_parent},
};

/// As many as the engine's committer takes.
const TOGETHER_MAX: usize = 512;

#[derive(Clone, Copy)]
pub(crate) struct Log;

impl Broker for Log {
    async fn open(&self, address: &str, consume: bool) -> Result<Link> {
        if consume {
            bail!("nothing can be taken off a log");
        }
        Ok(Link::connect(address).await?)
    }

    fn producer(&self, _index: usize) -> Self {
        Log
    }

    async fn connect(&self, address: &str, _index: usize) -> Result<Link> {
        Ok(Link::connect(address).await?)
    }

    fn message(&self, payload: &[u8]) -> Result<Vec<u8>> {
        let length = u32::try_from(payload.len())?;
        Ok([&length.to_be_bytes(), payload].concat())
    }

    fn read(&self, input: &[u8], out: &mut Vec<u8>, hear: Hear<'_>) -> Result<Option<usize>> {
        Ok(input.first().map(|_| {
            hear(Heard::Receipt { good: true }, out);
            1
        }))
    }

    fn acknowledge(&self, _message: &[u8], _out: &mut Vec<u8>) {}
}

struct Job {
    record: Vec<u8>,
    done: oneshot::Sender<()>,
}

/// The server.
pub(crate) async fn serve(file: &std::path::Path) -> Result<()> {
    end_with_parent();
    let file = File::create(file)?;
    let (jobs, queue) = sync_channel(1024);
    std::thread::spawn(move || write(file, &queue));
    let jobs = Arc::new(jobs);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    announce(&listener.local_addr()?.to_string());
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let jobs = Arc::clone(&jobs);
        tokio::spawn(async move {
            // Who leaves ends its connection; there is nobody to tell.
            let _ = accept(stream, &jobs).await;
        });
    }
}

async fn accept(mut stream: TcpStream, jobs: &SyncSender<Job>) -> Result<()> {
    loop {
        let length = stream.read_u32().await?;
        let mut record = vec![0; length as usize];
        stream.read_exact(&mut record).await?;
        let (done, written) = oneshot::channel();
        jobs.send(Job { record, done })?;
        written.await?;
        stream.write_all(b"+").await?;
    }
}

fn write(mut file: File, queue: &Receiver<Job>) {
    let mut bytes = Vec::new();
    while let Ok(first) = queue.recv() {
        let mut together = vec![first];
        together.extend(queue.try_iter().take(TOGETHER_MAX - 1));
        bytes.clear();
        for job in &together {
            bytes.extend_from_slice(&job.record);
        }
        if file
            .write_all(&bytes)
            .and_then(|()| file.sync_data())
            .is_err()
        {
            return;
        }
        for job in together {
            let _ = job.done.send(());
        }
    }
}
