use std::{
    io::{Read, Write},
    net::TcpListener,
};

use super::*;
use crate::builtin::observe::otlp;

#[test]
fn endpoints_are_http_and_say_so() {
    let rows = [
        ("http://localhost:4318", Ok("http://localhost:4318/v1/logs")),
        (
            "https://collector.example/otlp/",
            Ok("https://collector.example/otlp/v1/logs"),
        ),
        ("http://localhost:4317", Err("gRPC")),
        ("https://collector:4317/", Err("gRPC")),
        ("localhost:4318", Err("OTLP/HTTP")),
        ("grpc://localhost:4318", Err("not an http")),
        ("", Err("no address")),
    ];
    for (text, expected) in rows {
        match (Endpoint::parse(text), expected) {
            (Ok(endpoint), Ok(url)) => assert_eq!(endpoint.0[2].to_string(), url),
            (Err(why), Err(part)) => assert!(why.contains(part), "{text}: {why}"),
            (outcome, _) => panic!("{text}: {}", outcome.is_ok()),
        }
    }
}

#[test]
fn what_is_written_is_read_again() {
    let body = json!({"resource_spans":[{"resource":{"attributes":[{"key":"service.name","value":{"string_value":"a_b"}}]},
        "scope_spans":[{"scope":{"name":"agentos"},"spans":[{"trace_id":"0af7651916cd43dd8448eb211c80319c","span_id":"b7ad6b7169203331",
            "parent_span_id":"b7ad6b7169203332","name":"some_name","start_time_unix_nano":"5","end_time_unix_nano":"7",
            "status":{"code":2,"message":"no"},"attributes":[{"key":"some_key","value":{"string_value":"v"}}]}]}]}]});
    let read = otlp::spans(&body);
    assert_eq!(otlp::spans(&camel(body.clone())), read);
    assert!(!camel(body).to_string().contains("resource_spans"));
    let written = json!({ "resourceSpans": [of_spans(&read, &json!({"service.name":"a_b"}))] });
    assert_eq!(otlp::spans(&written), read);
    let logs = json!({"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"a"}}]},"scopeLogs":[{"scope":{"name":"s"},"logRecords":[
        {"timeUnixNano":"5","observedTimeUnixNano":"6","severityNumber":17,"severityText":"ERROR","body":{"stringValue":"b"},
         "attributes":[{"key":"k","value":{"kvlistValue":{"values":[{"key":"n","value":{"intValue":"1"}}]}}},{"key":"l","value":{"arrayValue":{"values":[{"boolValue":true},{"doubleValue":1.5}]}}}],
         "traceId":"0af7651916cd43dd8448eb211c80319c","spanId":"b7ad6b7169203331"}]}]}]});
    let records = otlp::logs(&logs, 1);
    let written = json!({ "resourceLogs": [of_records(&records[0])] });
    assert_eq!(otlp::logs(&written, 1), records);
}

/// Answers requests with one status after the other, and gives what it got.
fn receiver(answers: Vec<u16>) -> (String, std::thread::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let thread = std::thread::spawn(move || {
        let mut got = Vec::new();
        for answer in answers {
            let (mut socket, _) = listener.accept().unwrap();
            let mut text = Vec::new();
            let mut buffer = [0; 8192];
            let body = loop {
                let count = socket.read(&mut buffer).unwrap();
                text.extend_from_slice(&buffer[..count]);
                let whole = String::from_utf8_lossy(&text).into_owned();
                let Some((head, body)) = whole.split_once("\r\n\r\n") else {
                    continue;
                };
                let length = head
                    .lines()
                    .find_map(|line| line.strip_prefix("content-length: "))
                    .unwrap();
                if body.len() >= length.parse().unwrap() {
                    break format!("{} {body}", head.lines().next().unwrap());
                }
            };
            got.push(body);
            write!(
                socket,
                "HTTP/1.1 {answer} X\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )
            .unwrap();
        }
        got
    });
    (url, thread)
}

fn item(records: usize) -> Item {
    Item {
        signal: Signal::Logs,
        groups: vec![json!({"n": records})],
        records,
        bytes: 10,
    }
}

#[tokio::test]
async fn batches_are_sent_and_tried_again() {
    let (endpoint, receiver) = receiver(vec![503, 200, 400]);
    let config = Config {
        endpoint,
        logs_batch_size: 2,
        logs_flush_interval_ms: 100,
        ..Config::default()
    };
    let (export, items) = Export::open(&config).unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(run(Arc::clone(&export), items, stop.clone()));
    export.send(item(1));
    export.send(item(1));
    // Refused for good, by the timer.
    while export.sent.load(Ordering::Relaxed) < 2 {
        tokio::task::yield_now().await;
    }
    export.send(item(1));
    let got = tokio::task::spawn_blocking(move || receiver.join().unwrap())
        .await
        .unwrap();
    assert_eq!(got[0], got[1]);
    assert!(
        got[1].starts_with(r#"POST /v1/logs HTTP/1.1 {"resourceLogs":[{"n":1},{"n":1}]}"#),
        "{}",
        got[1]
    );
    while export.dropped.load(Ordering::Relaxed) < 1 {
        tokio::task::yield_now().await;
    }
    stop.cancel();
    running.await.unwrap();
}

#[tokio::test]
async fn what_waits_is_sent_at_the_end() {
    let (endpoint, receiver) = receiver(vec![200]);
    let config = Config {
        endpoint,
        logs_flush_interval_ms: 3_600_000,
        ..Config::default()
    };
    let (export, items) = Export::open(&config).unwrap();
    let stop = CancellationToken::new();
    export.send(item(3));
    stop.cancel();
    run(Arc::clone(&export), items, stop).await;
    assert_eq!(receiver.join().unwrap().len(), 1);
    assert_eq!(export.sent.load(Ordering::Relaxed), 3);
}

#[test]
fn a_full_queue_drops_and_counts() {
    let config = Config {
        endpoint: "http://localhost:4318".to_owned(),
        inbox_bytes_max: 25,
        ..Config::default()
    };
    let (export, _items) = Export::open(&config).unwrap();
    (0..4).for_each(|_| export.send(item(1)));
    assert_eq!(export.dropped.load(Ordering::Relaxed), 2);
}
