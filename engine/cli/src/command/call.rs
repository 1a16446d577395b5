//! `agentos call`: any function, from the shell.

use std::{fs, io::Read};

use agentos_sdk::{Encoding, Payload};
use serde_json::{Map, Value};

use crate::{
    args::{Call, Common},
    client,
    failure::Failure,
    screen::Screen,
};

pub(crate) async fn run(call: Call, common: &Common, screen: &Screen) -> Result<(), Failure> {
    // Before connecting: a typing error needs no engine.
    let input = read_input(&call.input)?;
    let client = client::connect(common).await?;
    let builder = client.bus().call(&call.function).timeout(call.timeout);
    if call.stream {
        let mut chunks = builder.stream(&input)?;
        while let Some(chunk) = chunks.next().await {
            show_chunk(&chunk, screen);
        }
        let last = chunks.finish().await?;
        if !last.is_null() {
            show_chunk(&last, screen);
        }
    } else {
        show(
            &builder
                .send_payload(Payload::encode(&input).map_err(std::io::Error::other)?)
                .await?,
            screen,
        );
    }
    client.close().await;
    Ok(())
}

fn show(result: &Payload, screen: &Screen) {
    match result.decode::<Value>() {
        Ok(value) if result.encoding == Encoding::Json => screen.value(&value),
        _ => screen.bytes(&result.bytes),
    }
}

/// One line per chunk, so that a reader can tell them apart; bytes as they are.
fn show_chunk(chunk: &Payload, screen: &Screen) {
    match chunk.encoding {
        Encoding::Json => screen.line(String::from_utf8_lossy(chunk.text())),
        Encoding::Binary => screen.bytes(&chunk.bytes),
    }
}

/// What `words` say: JSON, a file, standard input, or pairs.
pub(super) fn read_input(words: &[String]) -> Result<Value, Failure> {
    match words {
        [] => Ok(Value::Object(Map::new())),
        [word] if word == "-" => {
            let mut text = String::new();
            std::io::stdin().read_to_string(&mut text)?;
            parse("standard input", &text)
        }
        [word] if word.starts_with('@') => {
            let text = fs::read_to_string(&word[1..])
                .map_err(|error| Failure::usage(format!("{}: {error}", &word[1..])))?;
            parse(&word[1..], &text)
        }
        [word] if !is_pair(word) => parse("the input", word),
        words => pairs(words),
    }
}

fn parse(what: &str, text: &str) -> Result<Value, Failure> {
    serde_json::from_str(text).map_err(|error| {
        Failure::usage(format!("{what} is not JSON: {error}"))
            .remedy("quote it for the shell: '{\"query\": \"tea\"}', or write query=tea")
    })
}

/// `key=value`, and not JSON that happens to hold an equals sign.
fn is_pair(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(key, _)| !key.is_empty() && !key.contains(['{', '[', '"', ' ']))
}

/// `KEY=VALUE`: the value as JSON if it is JSON, else as text.
fn pairs(words: &[String]) -> Result<Value, Failure> {
    let mut object = Map::new();
    for word in words {
        if !is_pair(word) {
            return Err(Failure::usage(format!("`{word}` is not KEY=VALUE"))
                .remedy("give one JSON value, or only KEY=VALUE pairs"));
        }
        if let Some((key, value)) = word.split_once('=') {
            let value =
                serde_json::from_str(value).unwrap_or_else(|_| Value::String(value.to_owned()));
            object.insert(key.to_owned(), value);
        }
    }
    Ok(Value::Object(object))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check(words: &[&str], expect: Option<Value>) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        assert_eq!(read_input(&words).ok(), expect, "{words:?}");
    }

    #[test]
    fn reads_every_form_of_input() {
        check(&[], Some(json!({})));
        check(&["null"], Some(json!(null)));
        check(&["{\"a\": \"b=c\"}"], Some(json!({ "a": "b=c" })));
        check(&["\"a=b\""], Some(json!("a=b")));
        check(
            &["a=1", "b=two", "c=[1]", "d=x=y", "e="],
            Some(json!({ "a": 1, "b": "two", "c": [1], "d": "x=y", "e": "" })),
        );
        check(&["{oops"], None);
        check(&["word"], None);
        check(&["a=1", "b"], None);
        check(&["@/nowhere"], None);
    }
}
