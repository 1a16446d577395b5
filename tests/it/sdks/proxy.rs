//! A way to the engine that can be cut.

use anyhow::Result;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

pub(super) struct Proxy {
    pub(super) port: u16,
    cuts: watch::Sender<u64>,
}

impl Proxy {
    /// Passes on to `target`, `host:port`, for as long as the runtime lives.
    pub(super) async fn to(target: String) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let port = listener.local_addr()?.port();
        let (cuts, cut) = watch::channel(0);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(pass(client, target.clone(), cut.clone()));
            }
        });
        Ok(Proxy { port, cuts })
    }

    /// Breaks every connection of now; the next ones are passed on again.
    pub(super) fn cut(&self) {
        self.cuts.send_modify(|times| *times += 1);
    }
}

async fn pass(mut client: TcpStream, target: String, mut cut: watch::Receiver<u64>) {
    cut.mark_unchanged();
    // Whichever end goes first, the other hears of it when its stream is dropped.
    if let Ok(mut engine) = TcpStream::connect(target).await {
        tokio::select! {
            _ = copy_bidirectional(&mut client, &mut engine) => {}
            _ = cut.changed() => {}
        }
    }
}
