//! A session between our pump and a client of tungstenite's, over real sockets.

use std::{sync::Arc, time::Duration};

use agentos_protocol::{Frame, codec::Draft};
use agentos_wire::{
    Close, Ended, Hooks, Incoming, Keepalive, Kind, Limits, Outbox, Refusal, Share, Socket,
    Unwritten, connect, pump,
};
use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};
use tokio_tungstenite::{
    WebSocketStream, accept_async,
    tungstenite::{
        Message,
        client::IntoClientRequest,
        protocol::{Role, WebSocketConfig},
    },
};

const PATIENCE: Duration = Duration::from_secs(20);

/// Says back what it hears, as the engine's sessions say things.
struct Echo(Arc<Outbox>);

impl Hooks for Echo {
    fn received(&mut self, message: Incoming<'_>) {
        let bytes = message.to_bytes();
        let _ = self.0.write(Share::All, message.kind, |out| {
            out.put_body(bytes);
            Ok(true)
        });
    }

    fn ended(&mut self, _: &Ended) {
        self.0.abandon();
    }
}

/// Says back what it hears, as clients say things: frames that are encoded later.
struct Client(Vec<Bytes>, Arc<Outbox>);

impl Hooks for Client {
    fn received(&mut self, message: Incoming<'_>) {
        self.0.push(message.to_bytes());
        self.1.push(Frame::Pong).expect("room");
    }

    fn encode(&mut self, frame: Frame, out: &mut Draft) -> Option<Kind> {
        match frame {
            Frame::Ping => out.put("ping"),
            Frame::Pong => out.put(vec![b'x'; 100_000]),
            _ => return None,
        }
        Some(Kind::Text)
    }

    fn ended(&mut self, _: &Ended) {}
}

async fn listen() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("ws://{}/", listener.local_addr().expect("bound"));
    (listener, url)
}

/// An engine's session, and a client of it.
async fn session(limits: Limits) -> (Arc<Outbox>, JoinHandle<Ended>, WebSocketStream<TcpStream>) {
    let (listener, url) = listen().await;
    let outbox = Arc::new(Outbox::new(limits));
    let theirs = Arc::clone(&outbox);
    let running = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.expect("a client");
        stream.set_nodelay(true).expect("a socket");
        let socket = accept_async(stream).await.expect("a handshake");
        let socket = Socket::server(socket.into_inner(), 1 << 20);
        pump(
            socket,
            Arc::clone(&theirs),
            Keepalive::default(),
            &mut Echo(theirs),
        )
        .await
    });
    let stream = TcpStream::connect(url.trim_start_matches("ws://").trim_end_matches('/'))
        .await
        .expect("it listens");
    let config = WebSocketConfig::default()
        .max_message_size(None)
        .max_frame_size(None);
    let (client, _) = tokio_tungstenite::client_async_with_config(url, stream, Some(config))
        .await
        .expect("a handshake");
    (outbox, running, client)
}

async fn in_time<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, Box::pin(what))
        .await
        .expect("in time")
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_comes_back_in_order_small_and_large() {
    let (_, running, client) = session(Limits::default()).await;
    let (mut say, mut hear) = client.split();
    let messages: Vec<Message> = (0..2_000_usize)
        .map(|at| match at % 500 {
            0 => Message::binary(vec![at as u8; 900_000]),
            1 => Message::text("y".repeat(40_000)),
            _ => Message::text(at.to_string()),
        })
        .collect();
    let sent = messages.clone();
    let saying = tokio::spawn(async move {
        for message in sent {
            say.feed(message).await.expect("it reads");
        }
        say.flush().await.expect("it reads");
        say
    });
    for expected in messages {
        let message = in_time(hear.next()).await.expect("more").expect("whole");
        assert!(message == expected, "{} bytes", expected.len());
    }
    let mut say = in_time(saying).await.expect("said");
    say.close().await.expect("open");
    assert_eq!(
        in_time(running).await.expect("no panic"),
        Ended::ByPeer(None)
    );
}

#[tokio::test]
async fn pings_are_answered_and_closes_echoed() {
    let (_, running, mut client) = session(Limits::default()).await;
    client.send(Message::Ping("p".into())).await.expect("open");
    let pong = in_time(client.next()).await.expect("more").expect("whole");
    assert_eq!(pong, Message::Pong("p".into()));
    let close = tokio_tungstenite::tungstenite::protocol::CloseFrame {
        code: 4001.into(),
        reason: "enough".into(),
    };
    client.close(Some(close)).await.expect("open");
    let Message::Close(Some(echo)) = in_time(client.next()).await.expect("more").expect("whole")
    else {
        panic!("a close");
    };
    assert_eq!(u16::from(echo.code), 4001);
    assert_eq!(
        in_time(running).await.expect("no panic"),
        Ended::ByPeer(Some(4001))
    );
}

#[tokio::test]
async fn what_was_accepted_is_said_before_the_close() {
    let (outbox, running, mut client) = session(Limits::default()).await;
    for at in 0..100 {
        let said = outbox.write(Share::All, Kind::Text, |out| {
            out.put(at.to_string());
            Ok(true)
        });
        said.expect("room");
    }
    let close = Close {
        code: 1012,
        reason: "restart".into(),
    };
    outbox.close(close.clone());
    let refused = outbox.write(Share::All, Kind::Text, |_| Ok(true));
    assert!(matches!(refused, Err(Unwritten::Refused(Refusal::Closed))));
    for at in 0..100 {
        let message = in_time(client.next()).await.expect("more").expect("whole");
        assert_eq!(message, Message::text(at.to_string()));
    }
    let Message::Close(Some(said)) = in_time(client.next()).await.expect("more").expect("whole")
    else {
        panic!("a close");
    };
    assert_eq!(
        (u16::from(said.code), said.reason.as_str()),
        (1012, "restart")
    );
    drop(client);
    assert_eq!(
        in_time(running).await.expect("no panic"),
        Ended::ByUs(close)
    );
}

#[tokio::test]
async fn a_peer_that_does_not_read_fills_the_outbox_and_no_more() {
    let limits = Limits {
        frames_max: 1 << 20,
        bytes_max: 1 << 20,
    };
    let (outbox, running, client) = session(limits).await;
    let body = Bytes::from(vec![0; 100_000]);
    let write = || {
        outbox.write(Share::All, Kind::Binary, |out| {
            out.put_body(body.clone());
            Ok(true)
        })
    };
    let mut written: u64 = 0;
    let full = in_time(async {
        loop {
            match write() {
                Ok(()) => written += 1,
                Err(why) => return why,
            }
            tokio::task::yield_now().await;
        }
    })
    .await;
    assert!(matches!(full, Unwritten::Refused(Refusal::Full)));
    // Two buffers of ours and two of the system's.
    assert!(written < 1_000, "{written} messages were taken");
    assert!(outbox.len() <= 11, "{} wait", outbox.len());
    drop(client);
    assert!(matches!(
        in_time(running).await.expect("no panic"),
        Ended::ByPeer(None) | Ended::Broken(_)
    ));
}

#[tokio::test]
async fn what_a_server_says_with_its_handshake_is_heard() {
    let (listener, url) = listen().await;
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut request = vec![0; 4096];
        let count = tokio::io::AsyncReadExt::read(&mut stream, &mut request)
            .await
            .expect("a request");
        let request = String::from_utf8_lossy(&request[..count]).into_owned();
        let key = request
            .lines()
            .find_map(|line| line.strip_prefix("Sec-WebSocket-Key: "))
            .expect("a key");
        let accept = tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes());
        // One write: the answer, a message, and half of another.
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n\u{1}"
        );
        let mut bytes = answer.into_bytes();
        bytes.pop();
        bytes.extend_from_slice(b"\x81\x05hello\x81\x05wo");
        tokio::io::AsyncWriteExt::write_all(&mut stream, &bytes)
            .await
            .expect("it reads");
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"rld")
            .await
            .expect("it reads");
        let mut socket = WebSocketStream::from_raw_socket(stream, Role::Server, None).await;
        let mut lengths = Vec::new();
        for _ in 0..4 {
            lengths.push(socket.next().await.expect("more").expect("whole").len());
        }
        socket.close(None).await.expect("open");
        lengths
    });
    let request = url.into_client_request().expect("an address");
    let mut socket = in_time(Box::pin(connect(request, 1 << 20)))
        .await
        .expect("a connection");
    socket.say_first("first of all");
    let outbox = Arc::new(Outbox::new(Limits::default()));
    outbox.push(Frame::Ping).expect("room");
    let mut client = Client(Vec::new(), Arc::clone(&outbox));
    in_time(Box::pin(pump(
        socket,
        outbox,
        Keepalive::default(),
        &mut client,
    )))
    .await;
    assert_eq!(client.0, [Bytes::from("hello"), Bytes::from("world")]);
    let mut lengths = in_time(server).await.expect("no panic");
    assert_eq!(lengths.remove(0), "first of all".len());
    lengths.sort_unstable();
    assert_eq!(lengths, [4, 100_000, 100_000]);
}

#[tokio::test]
async fn another_answer_is_told_with_its_body() {
    let (listener, url) = listen().await;
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("a client");
        let mut request = [0; 4096];
        let _ = tokio::io::AsyncReadExt::read(&mut stream, &mut request).await;
        let answer = b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 5\r\n\r\nno no";
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer)
            .await
            .expect("it reads");
    });
    let request = url.into_client_request().expect("an address");
    match in_time(Box::pin(connect(request, 1 << 20))).await {
        Err(tokio_tungstenite::tungstenite::Error::Http(response)) => {
            assert_eq!(response.status(), 401);
            assert_eq!(response.body().as_deref(), Some(&b"no no"[..]));
        }
        other => panic!("{:?}", other.err()),
    }
}
