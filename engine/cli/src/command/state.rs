//! `agentos state`: values of the state, one by one and as JSON lines.

use std::{
    collections::BTreeMap,
    fs::File,
    io::{self, BufRead, BufReader},
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use agentos_engine::builtin::state::api;
use agentos_sdk::Client;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::{
    args::{Common, State},
    client,
    failure::{FAILED, Failure},
    screen::{Cell, Screen},
};

/// Values that an import has on their way at once: as many as share a trip to the disk well.
const IN_FLIGHT: usize = 64;

/// Entries per page of a listing; the most there can be.
const PAGE: usize = 1000;

/// A value as a line of an export.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    scope: String,
    key: String,
    value: Value,
    /// When it is to be forgotten, in milliseconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_ms: Option<u64>,
}

/// One page of `state::entries`.
#[derive(Deserialize)]
struct Page {
    entries: Vec<Entry>,
    cursor: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    key: String,
    value: Value,
    version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    due_ms: Option<u64>,
}

pub(crate) async fn run(verb: State, common: &Common, screen: &Screen) -> Result<(), Failure> {
    let client = client::connect(common).await?;
    match verb {
        State::Get { scope, key } => get(&client, scope, key, screen).await,
        State::Set {
            scope,
            key,
            value,
            expect,
            ttl_ms,
        } => {
            let value = serde_json::from_str(&value).unwrap_or(Value::String(value));
            let input = json!({ "scope": scope, "key": key, "value": value,
                "expected_version": expect, "ttl_ms": ttl_ms, "versioned": true });
            let written: Value = client.trigger(api::SET, &input).await?;
            match screen.json {
                true => screen.value(&written),
                false => screen.line(format!("version {}", written["version"])),
            }
            Ok(())
        }
        State::Rm { scope, key, expect } => {
            let input = json!({ "scope": scope, "key": key, "expected_version": expect });
            let old: Value = client.trigger(api::DELETE, &input).await?;
            if old.is_null() {
                return Err(absent(&scope, &key));
            }
            if screen.json {
                screen.value(&json!({ "old_value": old }));
            }
            Ok(())
        }
        State::Ls { scope: None, .. } => scopes(&client, screen).await,
        State::Ls {
            scope: Some(scope),
            prefix,
        } => list(&client, &scope, prefix.as_deref(), screen).await,
        State::Export { scope } => export(&client, scope, screen).await,
        State::Import { file } => import(&client, &file, screen).await,
    }
}

async fn get(client: &Client, scope: String, key: String, screen: &Screen) -> Result<(), Failure> {
    let input = json!({ "scope": scope, "key": key });
    let value: Value = client.trigger(api::GET, &input).await?;
    if value.is_null() {
        return Err(absent(&scope, &key));
    }
    screen.value(&value);
    Ok(())
}

fn absent(scope: &str, key: &str) -> Failure {
    Failure::new(
        FAILED,
        format!("the scope {scope} has no value under {key}"),
    )
    .remedy(format!("see what there is with `agentos state ls {scope}`"))
}

async fn all_scopes(client: &Client) -> Result<Vec<String>, Failure> {
    let mut groups: BTreeMap<String, Vec<String>> =
        client.trigger(api::LIST_GROUPS, &json!({})).await?;
    Ok(groups.remove("groups").unwrap_or_default())
}

async fn scopes(client: &Client, screen: &Screen) -> Result<(), Failure> {
    let scopes = all_scopes(client).await?;
    match screen.json {
        true => screen.value(&json!({ "scopes": scopes })),
        false => scopes.iter().for_each(|scope| screen.line(scope)),
    }
    Ok(())
}

/// Calls `each` with every entry of a scope, page by page.
async fn walk(
    client: &Client,
    scope: &str,
    prefix: Option<&str>,
    mut each: impl FnMut(Entry),
) -> Result<(), Failure> {
    let mut cursor = None;
    loop {
        let input = json!({ "scope": scope, "prefix": prefix, "cursor": cursor, "limit": PAGE });
        let page: Page = client.trigger(api::ENTRIES, &input).await?;
        page.entries.into_iter().for_each(&mut each);
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(());
        }
    }
}

async fn list(
    client: &Client,
    scope: &str,
    prefix: Option<&str>,
    screen: &Screen,
) -> Result<(), Failure> {
    let mut entries = Vec::new();
    walk(client, scope, prefix, |entry| entries.push(entry)).await?;
    if screen.json {
        screen.value(&json!({ "entries": entries }));
        return Ok(());
    }
    let rows: Vec<Vec<Cell>> = entries
        .iter()
        .map(|entry| {
            vec![
                Cell::new(&entry.key),
                Cell::new(entry.version),
                Cell::new(&entry.value),
            ]
        })
        .collect();
    screen.table(&["KEY", "VERSION", "VALUE"], &rows);
    Ok(())
}

async fn export(client: &Client, scope: Option<String>, screen: &Screen) -> Result<(), Failure> {
    let scopes = match scope {
        Some(scope) => vec![scope],
        None => all_scopes(client).await?,
    };
    for scope in scopes {
        walk(client, &scope, None, |entry| {
            let line = Line {
                scope: scope.clone(),
                key: entry.key,
                value: entry.value,
                due_ms: entry.due_ms,
            };
            // One line each, also for people.
            let text = serde_json::to_string(&line).expect("texts and values have a JSON form");
            screen.line(text);
        })
        .await?;
    }
    Ok(())
}

async fn import(client: &Client, file: &Path, screen: &Screen) -> Result<(), Failure> {
    let lines: Box<dyn BufRead + Send> = match file.to_str() {
        Some("-") => Box::new(BufReader::new(io::stdin())),
        _ => Box::new(BufReader::new(File::open(file)?)),
    };
    let mut writes = JoinSet::new();
    let mut imported = 0_u64;
    let now_ms = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_millis() as u64);
    for (number, line) in lines.lines().enumerate() {
        let line = line?;
        if line.trim().is_empty() {
            continue;
        }
        let line: Line = serde_json::from_str(&line).map_err(|error| {
            Failure::usage(format!("line {}: {error}", number + 1)).remedy(
                "give lines as `agentos state export` writes them; the lines before are imported",
            )
        })?;
        let ttl_ms = line.due_ms.map(|due| due.saturating_sub(now_ms));
        if ttl_ms == Some(0) {
            continue;
        }
        if writes.len() == IN_FLIGHT {
            done(writes.join_next().await)?;
        }
        let client = client.clone();
        let input =
            json!({ "scope": line.scope, "key": line.key, "value": line.value, "ttl_ms": ttl_ms });
        writes.spawn(async move { client.trigger::<Value>(api::SET, &input).await });
        imported += 1;
    }
    while let Some(write) = writes.join_next().await {
        done(Some(write))?;
    }
    match screen.json {
        true => screen.value(&json!({ "imported": imported })),
        false => screen.line(format!("{imported} values imported")),
    }
    Ok(())
}

type Written = Result<Result<Value, agentos_sdk::Error>, tokio::task::JoinError>;

fn done(write: Option<Written>) -> Result<(), Failure> {
    match write {
        Some(Ok(Err(error))) => Err(error.into()),
        Some(Err(error)) => Err(Failure::new(FAILED, error.to_string())),
        _ => Ok(()),
    }
}
