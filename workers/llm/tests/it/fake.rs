//! A provider that says exactly the bytes it is told, and knows when its client leaves.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// What to do on a connection after a request has been read.
#[derive(Clone, Debug)]
pub(crate) enum Say {
    Bytes(Vec<u8>),
    Pause(Duration),
    /// Waits for the client to leave, and notes it.
    Linger,
}

/// A listening fake. Every connection gets the same answer.
pub(crate) struct Fake {
    pub(crate) base: String,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    requests: Mutex<Vec<(String, Value)>>,
    left: Mutex<bool>,
}

impl Fake {
    pub(crate) async fn start(says: Vec<Say>) -> Fake {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let seen = Arc::new(Seen::default());
        let witness = Arc::clone(&seen);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, says.clone(), Arc::clone(&witness)));
            }
        });
        Fake { base, seen }
    }

    /// Answers 200 with a stream of these bytes, whole.
    pub(crate) async fn streaming(body: &str) -> Fake {
        Fake::start(vec![head(200, "text/event-stream", ""), chunk(body), end()]).await
    }

    /// Answers with JSON.
    pub(crate) async fn answering(status: u16, headers: &str, body: &Value) -> Fake {
        Fake::start(vec![
            head(status, "application/json", headers),
            chunk(body.to_string()),
            end(),
        ])
        .await
    }

    /// Head and body of the last request.
    pub(crate) fn request(&self) -> (String, Value) {
        self.seen
            .requests
            .lock()
            .last()
            .cloned()
            .expect("nobody asked")
    }

    pub(crate) fn asked(&self) -> usize {
        self.seen.requests.lock().len()
    }

    pub(crate) fn left(&self) -> bool {
        *self.seen.left.lock()
    }
}

pub(crate) fn head(status: u16, kind: &str, headers: &str) -> Say {
    let text = format!(
        "HTTP/1.1 {status} X\r\ncontent-type: {kind}\r\n{headers}connection: close\r\ntransfer-encoding: chunked\r\n\r\n"
    );
    Say::Bytes(text.into_bytes())
}

pub(crate) fn chunk(text: impl AsRef<[u8]>) -> Say {
    let bytes = text.as_ref();
    Say::Bytes([format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat())
}

/// The proper end of a body; without it the connection is cut.
pub(crate) fn end() -> Say {
    Say::Bytes(b"0\r\n\r\n".to_vec())
}

pub(crate) fn pause(ms: u64) -> Say {
    Say::Pause(Duration::from_millis(ms))
}

async fn serve(mut stream: TcpStream, says: Vec<Say>, seen: Arc<Seen>) -> Option<()> {
    let request = read_request(&mut stream).await?;
    seen.requests.lock().push(request);
    for say in says {
        match say {
            Say::Bytes(bytes) => stream.write_all(&bytes).await.ok()?,
            Say::Pause(time) => tokio::time::sleep(time).await,
            Say::Linger => {
                let read = stream.read(&mut [0; 1]).await;
                *seen.left.lock() = matches!(read, Ok(0) | Err(_));
            }
        }
    }
    Some(())
}

async fn read_request(stream: &mut TcpStream) -> Option<(String, Value)> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes);
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        if let Ok(body) = serde_json::from_str(body) {
            return Some((head.to_lowercase(), body));
        }
    }
}
