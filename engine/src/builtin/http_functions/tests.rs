//! Calls of HTTP functions, against an endpoint on this machine.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::atomic::{AtomicUsize, Ordering},
};

use agentos_sdk::{Link, Peer, Trace, protocol::Frame};
use axum::{
    Router,
    body::Body,
    extract::State,
    http::{HeaderMap, Request as HttpRequest, StatusCode},
    response::{IntoResponse, Response},
};
use base64::{Engine as _, prelude::BASE64_STANDARD};
use serde_json::{Value, json};

use super::*;

/// Hands every frame to the other end; registrations are confirmed at once.
struct Wire {
    own: Peer,
    other: Peer,
}

impl Link for Wire {
    fn send(&self, frame: Frame) -> Result<(), Error> {
        match frame {
            Frame::Register(register) => self.own.on_frame(Frame::Registered {
                request: register.request,
                rejected: Vec::new(),
            }),
            frame => self.other.on_frame(frame),
        }
        Ok(())
    }
}

/// What the endpoint was sent.
struct Got {
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
}

#[derive(Clone, Default)]
struct Endpoint {
    got: Arc<Mutex<Vec<Got>>>,
    /// Requests whose client went away before the answer.
    dropped: Arc<AtomicUsize>,
}

struct CountsDrop(Option<Arc<AtomicUsize>>);

impl Drop for CountsDrop {
    fn drop(&mut self) {
        if let Some(count) = self.0.take() {
            count.fetch_add(1, Ordering::SeqCst);
        }
    }
}

async fn answer(State(endpoint): State<Endpoint>, request: HttpRequest<Body>) -> Response {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let path = head.uri.path().to_owned();
    endpoint.got.lock().push(Got {
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        body: body.clone(),
    });
    match path.as_str() {
        "/echo" => body.into_response(),
        "/empty" => StatusCode::NO_CONTENT.into_response(),
        "/text" => "hello".into_response(),
        "/moved" => (StatusCode::FOUND, [("location", "/echo")]).into_response(),
        "/broken" => StatusCode::BAD_GATEWAY.into_response(),
        "/refuse" => (
            StatusCode::PAYMENT_REQUIRED,
            r#"{"error":{"code":"card_declined","message":"no money"}}"#,
        )
            .into_response(),
        "/large" => "5".repeat(5_000).into_response(),
        _ => {
            let mut gone = CountsDrop(Some(Arc::clone(&endpoint.dropped)));
            tokio::time::sleep(Duration::from_secs(20)).await;
            gone.0 = None;
            StatusCode::OK.into_response()
        }
    }
}

struct Rig {
    bus: Bus,
    functions: Arc<HttpFunctions>,
    specs: Arc<Mutex<BTreeMap<String, HttpInvocation>>>,
    address: SocketAddr,
    endpoint: Endpoint,
}

fn open() -> Config {
    Config {
        security: Security {
            block_private_ips: false,
            require_https: false,
            ..Security::default()
        },
        response_bytes_max: 4_096,
        ..Config::default()
    }
}

impl Rig {
    async fn new(config: Config) -> Rig {
        let endpoint = Endpoint::default();
        let app = Router::new().fallback(answer).with_state(endpoint.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move { axum::serve(listener, app).await });
        let specs: Arc<Mutex<BTreeMap<String, HttpInvocation>>> = Arc::default();
        let table = Arc::clone(&specs);
        let lookup: Lookup = Arc::new(move |id, _| table.lock().get(id).cloned());
        let env: Env = Arc::new(|name| (name == "KEY").then(|| "s3cret".to_owned()));
        let functions = HttpFunctions::open(config, env, lookup, None).unwrap();
        let (caller, worker) = (Peer::new(), Peer::new());
        for (own, other) in [(&caller, &worker), (&worker, &caller)] {
            own.attach(Arc::new(Wire {
                own: own.clone(),
                other: other.clone(),
            }));
        }
        let mut registrar = Registrar::new();
        Arc::clone(&functions).register(&mut registrar);
        worker.register(registrar).await.unwrap();
        Rig {
            bus: Bus::new(caller),
            functions,
            specs,
            address,
            endpoint,
        }
    }

    /// Registers `x::f` at `path`, with more keys of `invocation`.
    fn at(&self, path: &str, more: Value) -> HttpInvocation {
        let mut written = json!({ "url": format!("http://{}{path}", self.address) });
        for (key, value) in more.as_object().unwrap() {
            written[key] = value.clone();
        }
        let spec: HttpInvocation = serde_json::from_value(written).unwrap();
        self.specs.lock().insert("x::f".to_owned(), spec.clone());
        spec
    }

    async fn call(&self, data: Value) -> Result<Value, Error> {
        self.bus.trigger("x::f", &data).await
    }

    async fn refused(&self, code: Code, reason: &str, message: &str) {
        let error = self.call(json!({})).await.unwrap_err();
        assert_eq!(
            (error.code, error.reason.as_deref()),
            (code, Some(reason)),
            "{error}"
        );
        assert!(error.message.contains(message), "{error}");
    }
}

#[tokio::test]
async fn a_call_is_a_request() {
    let rig = Rig::new(open()).await;
    rig.at(
        "/echo?a=1",
        json!({"method": "put", "headers": {"x-app": "demo", "content-length": "1"}}),
    );
    let trace = Trace {
        parent: Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        baggage: None,
    };
    let bus = rig.bus.with_trace(trace);
    let result: Value = bus.trigger("x::f", &json!({"n": 5})).await.unwrap();
    assert_eq!(result, json!({"n": 5}));
    let got = rig.endpoint.got.lock().pop().unwrap();
    assert_eq!(
        (got.method, got.uri.to_string()),
        (Method::PUT, "/echo?a=1".to_owned())
    );
    assert_eq!(got.body, r#"{"n":5}"#);
    for (name, value) in [
        ("content-type", "application/json"),
        ("x-iii-function-path", "x::f"),
        ("x-iii-trace-id", "0af7651916cd43dd8448eb211c80319c"),
        ("x-app", "demo"),
        ("content-length", "7"),
    ] {
        assert_eq!(got.headers[name], value, "{name}");
    }
    let id = got.headers["x-iii-invocation-id"].to_str().unwrap();
    assert!(Uuid::parse_str(id).is_ok(), "{id}");
    let stamp: u64 = got.headers["x-iii-timestamp"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert!(now.abs_diff(stamp) < 60);
    assert_eq!(
        rig.bus
            .call("x::f")
            .send_payload(Payload::json(""))
            .await
            .unwrap(),
        Payload::json("null")
    );
}

#[tokio::test]
async fn each_kind_of_proof() {
    let rig = Rig::new(open()).await;
    let header = async |auth: Value, name: &str| {
        rig.at("/echo", json!({ "auth": auth }));
        rig.call(json!({"a": 1})).await.unwrap();
        let got = rig.endpoint.got.lock().pop().unwrap();
        let value = got.headers[name].to_str().unwrap().to_owned();
        (value, got)
    };
    let (value, _) = header(
        json!({"type": "bearer", "token_key": "KEY"}),
        "authorization",
    )
    .await;
    assert_eq!(value, "Bearer s3cret");
    let (value, _) = header(
        json!({"type": "api_key", "header": "X-Key", "value_key": "KEY"}),
        "x-key",
    )
    .await;
    assert_eq!(value, "s3cret");
    let (value, got) = header(
        json!({"type": "hmac", "secret_key": "KEY"}),
        "x-iii-signature",
    )
    .await;
    let stamp = got.headers["x-iii-timestamp"].to_str().unwrap();
    assert_eq!(value, sign::signature(b"s3cret", stamp, &got.body));
    assert_eq!(BASE64_STANDARD.encode(&got.body), "eyJhIjoxfQ==");
    rig.at(
        "/echo",
        json!({"auth": {"type": "bearer", "token_key": "GONE"}}),
    );
    rig.refused(Code::Failed, "token_not_found", "`GONE` is not set")
        .await;
    assert!(rig.endpoint.got.lock().is_empty());
}

#[tokio::test]
async fn what_endpoints_answer() {
    let rig = Rig::new(open()).await;
    rig.at("/empty", json!({}));
    assert_eq!(rig.call(json!({})).await.unwrap(), json!(null));
    rig.at("/text", json!({}));
    rig.refused(Code::Failed, "invalid_response", "not JSON")
        .await;
    rig.at("/moved", json!({}));
    rig.refused(Code::Failed, "http_error", "HTTP 302 Found")
        .await;
    rig.at("/broken", json!({}));
    rig.refused(Code::Failed, "http_error", "HTTP 502 Bad Gateway")
        .await;
    rig.at("/refuse", json!({}));
    rig.refused(Code::Failed, "card_declined", "no money").await;
    rig.at("/large", json!({}));
    rig.refused(Code::PayloadTooLarge, "http_response_failed", "4096 bytes")
        .await;
    rig.at("/slow", json!({"timeout_ms": 100}));
    rig.refused(Code::Timeout, "http_request_failed", "within 100 ms")
        .await;
    rig.at("/echo", json!({"method": "TRACE"}));
    rig.refused(Code::InvalidInput, "http_request_failed", "`TRACE`")
        .await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = listener.local_addr().unwrap();
    drop(listener);
    rig.at("/", json!({"url": format!("http://{nobody}/")}));
    rig.refused(
        Code::Unavailable,
        "http_request_failed",
        "cannot be reached",
    )
    .await;
    rig.specs.lock().clear();
    assert_eq!(rig.call(json!({})).await.unwrap_err().code, Code::NotFound);
}

#[tokio::test]
async fn a_caller_that_goes_takes_its_request_along() {
    let rig = Rig::new(open()).await;
    rig.at("/slow", json!({}));
    let call = tokio::time::timeout(Duration::from_millis(300), rig.call(json!({}))).await;
    assert!(call.is_err());
    let gone = async {
        while rig.endpoint.dropped.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone)
        .await
        .unwrap();
}

#[tokio::test]
async fn addresses_that_may_not_be_called() {
    let policy = |block_private_ips, require_https, allow: &str| Config {
        security: Security {
            url_allowlist: vec![allow.to_owned()],
            block_private_ips,
            require_https,
        },
        ..Config::default()
    };
    let cases = [
        (Config::default(), "http://127.0.0.1/", "HTTPS is required"),
        (
            Config::default(),
            "https://127.0.0.1/",
            "Private IP blocked",
        ),
        (
            Config::default(),
            "https://localhost/",
            "Private IP blocked",
        ),
        // Names that only the look-up shows to be what they are.
        (
            policy(true, false, "*"),
            "http://2130706433/",
            "Private IP blocked",
        ),
        (
            policy(true, false, "*"),
            "http://0x7f.1/",
            "Private IP blocked",
        ),
        (
            policy(false, false, "*.example.com"),
            "http://127.0.0.1/",
            "URL not in allowlist",
        ),
        (
            policy(true, false, "*"),
            "http://nobody.invalid/",
            "DNS lookup failed",
        ),
        (Config::default(), "nonsense", "Invalid URL"),
    ];
    for (config, url, message) in cases {
        let rig = Rig::new(config).await;
        let spec = rig.at("/", json!({ "url": url }));
        let checked = rig.functions.check(&spec).await.unwrap_err();
        let called = rig.call(json!({})).await.unwrap_err();
        for error in [checked, called] {
            assert_eq!(
                error.reason.as_deref(),
                Some("url_validation_failed"),
                "{url}: {error}"
            );
            assert_eq!(error.message, message, "{url}");
        }
        assert!(rig.endpoint.got.lock().is_empty());
    }
}

#[tokio::test]
async fn calls_are_bounded() {
    let rig = Rig::new(Config {
        calls_max: 1,
        ..open()
    })
    .await;
    rig.at("/slow", json!({}));
    let bus = rig.bus.clone();
    let first = tokio::spawn(async move { bus.trigger::<Value>("x::f", &json!({})).await });
    while rig.endpoint.got.lock().is_empty() {
        tokio::task::yield_now().await;
    }
    let error = rig.call(json!({})).await.unwrap_err();
    assert_eq!(error.code, Code::Overloaded);
    first.abort();
}
