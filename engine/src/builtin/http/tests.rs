//! The listener with settings that are not the default, on a bus of its own.

use std::{sync::Arc, time::Duration};

use agentos_core::policy::Trust;
use agentos_sdk::{Context, Registrar, Worker};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};

use super::*;
use crate::{
    channel,
    config::{Auth, Listener},
    session::LocalSession,
};

const PATIENCE: Duration = Duration::from_secs(20);

/// A page, two guards before it, and what they saw.
#[derive(Default)]
struct Pages {
    asked: Mutex<Vec<String>>,
    hanging: Notify,
}

impl Worker for Pages {
    fn register(self: Arc<Self>, registrar: &mut Registrar) {
        for guard in ["guard::late", "guard::early"] {
            let pages = Arc::clone(&self);
            registrar.function(guard, move |_: Context, asked: Value| {
                let pages = Arc::clone(&pages);
                async move {
                    pages.asked.lock().push(guard.to_owned());
                    let stop = asked["request"]["headers"]["x-stop"] == guard;
                    Ok(if stop {
                        json!({ "action": "respond", "response": { "status_code": 403 } })
                    } else {
                        json!({ "action": "continue" })
                    })
                }
            });
        }
        for method in ["GET", "POST", "DELETE"] {
            registrar
                .function("pages::page", |_: Context, _: Value| async {
                    Ok(json!({ "body": "page" }))
                })
                .http(method, "/page");
        }
        let pages = Arc::clone(&self);
        registrar
            .function("pages::hangs", move |_: Context, _: Value| {
                let pages = Arc::clone(&pages);
                async move {
                    pages.hanging.notify_one();
                    std::future::pending::<()>().await;
                    Ok(())
                }
            })
            .http("GET", "/hangs");
    }
}

struct Rig {
    pages: Arc<Pages>,
    address: SocketAddr,
    _sessions: [LocalSession; 2],
}

async fn rig(config: Config) -> Rig {
    let listener = Listener {
        address: "127.0.0.1:0".parse().expect("an address"),
        auth: Auth::None,
        origins: vec!["https://listed.example".to_owned()],
        hosts: Vec::new(),
    };
    let bus = crate::Bus::new(agentos_core::Limits::default());
    let around = Surroundings {
        channels: Channels::new(channel::Config::default()),
        ready: Arc::new(|| Readiness {
            ready: true,
            waiting: Vec::new(),
        }),
        speaks_json: Arc::new(|_, _| false),
    };
    let gate = Gate::new(&listener, "", 1 << 20);
    let (http, address) = Http::bind(listener.address, gate, config, around)
        .await
        .expect("a free port");
    let pages = Arc::<Pages>::default();
    let http = LocalSession::open(&bus, "http", Trust::Engine, http);
    let http = http.await.expect("registered");
    let worker = LocalSession::open(&bus, "pages", Trust::Worker, Arc::clone(&pages) as _);
    let worker = worker.await.expect("registered");
    Rig {
        pages,
        address,
        _sessions: [http, worker],
    }
}

impl Rig {
    async fn connect(&self, text: &str) -> TcpStream {
        let mut socket = TcpStream::connect(self.address).await.expect("listening");
        socket.write_all(text.as_bytes()).await.expect("accepted");
        socket
    }

    /// Status and head of the answer to a request with these lines.
    async fn ask(&self, method: &str, path: &str, lines: &str) -> (u16, String) {
        let text = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n{lines}\r\n"
        );
        heard(self.connect(&text).await).await
    }
}

async fn heard(mut socket: TcpStream) -> (u16, String) {
    let mut said = Vec::new();
    // A reset after the answer is as good as a close.
    let _ = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut said))
        .await
        .expect("an answer in time");
    let said = String::from_utf8_lossy(&said).to_ascii_lowercase();
    let status = said.get(9..12).and_then(|status| status.parse().ok());
    (status.unwrap_or_default(), said)
}

#[tokio::test]
async fn the_engines_middleware_is_asked_by_priority() {
    let middleware = |function_id: &str, priority| Middleware {
        function_id: function_id.into(),
        phase: Phase::PreHandler,
        priority,
    };
    let rig = rig(Config {
        middleware: vec![middleware("guard::late", 5), middleware("guard::early", -5)],
        ..Config::default()
    })
    .await;
    let rows: [(&str, u16, &[&str]); 3] = [
        ("", 200, &["guard::early", "guard::late"]),
        ("x-stop: guard::early\r\n", 403, &["guard::early"]),
        (
            "x-stop: guard::late\r\n",
            403,
            &["guard::early", "guard::late"],
        ),
    ];
    for (lines, status, asked) in rows {
        assert_eq!(rig.ask("GET", "/page", lines).await.0, status, "{lines}");
        assert_eq!(
            std::mem::take(&mut *rig.pages.asked.lock()),
            asked,
            "{lines}"
        );
    }
}

#[tokio::test]
async fn pages_of_other_origins() {
    let all = "access-control-allow-origin: *\r\n";
    let one = "access-control-allow-origin: https://one.example\r\n";
    let listed = "access-control-allow-origin: https://listed.example\r\n";
    let cors = |origins: &[&str], methods: &[&str]| {
        let list = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        Some(Cors {
            allowed_origins: list(origins),
            allowed_methods: list(methods),
        })
    };
    let some = cors(&["https://one.example"], &["GET"]);
    let rows = [
        (None, "one", "GET", 403, ""),
        (None, "listed", "GET", 200, listed),
        (cors(&[], &[]), "one", "DELETE", 200, all),
        (some.clone(), "one", "GET", 200, one),
        (some.clone(), "one", "DELETE", 403, ""),
        (some.clone(), "two", "GET", 403, ""),
        (some.clone(), "listed", "DELETE", 200, listed),
    ];
    for (cors, origin, method, status, head) in rows {
        let rig = rig(Config {
            cors: cors.clone(),
            ..Config::default()
        })
        .await;
        let origin = format!("origin: https://{origin}.example\r\n");
        let (got, said) = rig.ask(method, "/page", &origin).await;
        assert_eq!(got, status, "{cors:?} {origin} {method}");
        assert!(said.contains(head), "{cors:?} {origin}: {said}");
    }
    let rig = rig(Config {
        cors: some,
        ..Config::default()
    })
    .await;
    let asks = "origin: https://one.example\r\naccess-control-request-method: GET\r\n\
        access-control-request-headers: x-a\r\n";
    let (status, said) = rig.ask("OPTIONS", "/page", asks).await;
    assert_eq!(status, 200);
    for line in [one, "allow-methods: get\r\n", "allow-headers: x-a\r\n"] {
        assert!(said.contains(line), "{line}: {said}");
    }
}

#[tokio::test]
async fn connections_have_a_number() {
    let rig = rig(Config {
        connections_max: 1,
        ..Config::default()
    })
    .await;
    let first = rig
        .connect("GET /hangs HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    rig.pages.hanging.notified().await;
    let second = rig.connect("").await;
    assert_eq!(heard(second).await.0, 503);
    drop(first);
    let again = async {
        while rig.ask("GET", "/page", "").await.0 != 200 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, again)
        .await
        .expect("room when the first has gone");
}

#[tokio::test]
async fn requests_have_a_number_and_few_may_wait() {
    let rig = rig(Config {
        requests_max: 1,
        requests_waiting_max: 0,
        ..Config::default()
    })
    .await;
    let first = rig
        .connect("GET /hangs HTTP/1.1\r\nhost: localhost\r\n\r\n")
        .await;
    rig.pages.hanging.notified().await;
    let (status, said) = rig.ask("GET", "/page", "").await;
    assert_eq!(status, 429);
    assert!(said.contains("retry-after: "), "{said}");
    drop(first);
}

#[tokio::test]
async fn waiting_for_room_ends_with_the_time_out() {
    let rig = rig(Config {
        requests_max: 1,
        timeout_ms: 300,
        ..Config::default()
    })
    .await;
    let hang = "GET /hangs HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    let (first, second) = tokio::join!(async { heard(rig.connect(hang).await).await }, async {
        heard(rig.connect(hang).await).await
    });
    assert_eq!((first.0, second.0), (504, 504));
}

#[tokio::test]
async fn a_body_may_pause_only_so_long() {
    let rig = rig(Config {
        body_idle_ms: 200,
        ..Config::default()
    })
    .await;
    let head = "POST /page HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n\
        content-length: 10\r\n\r\n{";
    assert_eq!(heard(rig.connect(head).await).await.0, 408);
}
