//! `agentos key`: API keys for the gateway.

use agentos_contract::keys::{
    CREATE_KEY, KEYS, Key as ApiKey, KeyRef, MadeKey, NewKey, REVOKE_KEY, Scope,
};
use agentos_sdk::Client;
use serde_json::json;

use crate::{
    args::{Common, Key, KeyScope},
    client,
    failure::Failure,
    screen::{BOLD, Cell, DIM, Screen, plain, styled},
};

pub(crate) async fn run(verb: Key, common: &Common, screen: &Screen) -> Result<(), Failure> {
    let client = client::connect(common).await?;
    match verb {
        Key::New {
            name,
            scope,
            models,
            requests_per_minute,
            tokens_per_day,
        } => {
            let wanted = NewKey {
                name,
                scopes: if scope.is_empty() {
                    vec![Scope::Chat]
                } else {
                    scope.into_iter().map(Scope::from).collect()
                },
                models: if models.is_empty() {
                    vec!["*".to_owned()]
                } else {
                    models
                },
                requests_per_minute,
                tokens_per_day,
            };
            make(&client, &wanted, screen).await
        }
        Key::Ls => list(&client, screen).await,
        Key::Revoke { key } => {
            let revoked: ApiKey = client.trigger(REVOKE_KEY, &KeyRef { key }).await?;
            if screen.json {
                screen.value(&revoked);
            } else {
                screen.line(format!("{} is refused from now on", revoked.name));
            }
            Ok(())
        }
    }
}

impl From<KeyScope> for Scope {
    fn from(scope: KeyScope) -> Self {
        match scope {
            KeyScope::Chat => Scope::Chat,
            KeyScope::Agents => Scope::Agents,
        }
    }
}

/// The secret alone on a line, so that it can be taken into a variable.
async fn make(client: &Client, wanted: &NewKey, screen: &Screen) -> Result<(), Failure> {
    let made: MadeKey = client.trigger(CREATE_KEY, wanted).await?;
    if screen.json {
        screen.value(&made);
    } else {
        screen.line(&made.secret);
        screen.remark(styled(DIM, "this is the only time that it is shown"));
    }
    Ok(())
}

async fn list(client: &Client, screen: &Screen) -> Result<(), Failure> {
    let keys: Vec<ApiKey> = client.trigger(KEYS, &json!({})).await?;
    if screen.json {
        screen.value(&keys);
        return Ok(());
    }
    let limit = |limit: Option<u64>| limit.map(|limit| limit.to_string()).unwrap_or_default();
    let row = |key: &ApiKey| {
        let scopes: Vec<String> = key
            .scopes
            .iter()
            .map(|scope| plain(&json!(scope)))
            .collect();
        let state = if key.revoked_at.is_some() {
            "revoked"
        } else {
            "good"
        };
        vec![
            Cell::new(&key.name).style(BOLD),
            Cell::new(&key.id),
            Cell::new(format!("…{}", key.ends_with)),
            Cell::new(state),
            Cell::new(scopes.join(" ")),
            Cell::new(key.models.join(" ")),
            Cell::new(limit(key.requests_per_minute.map(u64::from))),
            Cell::new(limit(key.tokens_per_day)),
        ]
    };
    let rows: Vec<_> = keys.iter().map(row).collect();
    let heads = [
        "NAME",
        "ID",
        "KEY",
        "STATE",
        "MAY",
        "MODELS",
        "REQUESTS/MIN",
        "TOKENS/DAY",
    ];
    screen.table(&heads, &rows);
    Ok(())
}
