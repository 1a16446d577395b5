//! Settings files: ours and the three generations of iii's, given to the built binary.

use std::{fs, path::Path, process::Command};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::harness::{Engine, Heard, Iii, PATIENCE, binary, eventually};

const CLASSES: &str = "
modules:
  - class: modules::api::RestApiModule
    config: { host: 127.0.0.1, port: ${HTTP_PORT:3111}, default_timeout: 30000 }
  - class: modules::state::StateModule
    config:
      adapter:
        class: modules::state::adapters::KvStore
        config: { store_method: file_based, file_path: ./data/state }
";

const NAMES_UNDER_MODULES: &str = "
modules:
  - name: iii-http
    config: { host: 127.0.0.1, port: 3111 }
  - name: iii-state
    config:
      adapter: { name: kv, config: { store_method: file_based, file_path: ./data/state.db } }
";

const WORKERS: &str = "
workers:
  - name: iii-worker-manager
    config: { host: 127.0.0.1, port: 49134 }
  - name: iii-http
    config: { host: 127.0.0.1, port: 3111 }
  - name: iii-state
";

/// A client that shows no token.
async fn connect(engine: &Engine) -> Result<Iii> {
    let mut client = Iii::open(engine, "").await?;
    let first = client.hear_text().await?;
    anyhow::ensure!(first["type"] == "workerregistered", "{first}");
    Ok(client)
}

async fn result_of(client: &mut Iii, function: &str, data: Value) -> Result<Value> {
    let answer = client.call(function, data).await?;
    anyhow::ensure!(answer["error"].is_null(), "{answer}");
    Ok(answer["result"].clone())
}

#[tokio::test]
async fn every_form_of_iii_starts_an_engine_for_clients_without_a_token() -> Result<()> {
    for (config, warns) in [
        (CLASSES, true),
        (NAMES_UNDER_MODULES, true),
        (WORKERS, false),
    ] {
        let engine = Engine::start(config, &[]).await?;
        let mut client = connect(&engine).await?;
        let set = json!({ "scope": "s", "key": "k", "value": 1 });
        result_of(&mut client, "state::set", set).await?;
        let get = json!({ "scope": "s", "key": "k" });
        assert_eq!(result_of(&mut client, "state::get", get).await?, json!(1));
        // The listener that the file does not name would be open to all in iii.
        let told = engine
            .log()
            .contains("iii-worker-manager listens on 127.0.0.1");
        assert_eq!(told, warns, "{config}\n{}", engine.log());
    }
    Ok(())
}

#[tokio::test]
async fn what_a_list_leaves_out_does_not_run() -> Result<()> {
    let engine = Engine::start("workers: [{ name: iii-http }]", &[]).await?;
    let mut client = connect(&engine).await?;
    let answer = client
        .call("state::get", json!({ "scope": "s", "key": "k" }))
        .await?;
    assert_eq!(answer["error"]["code"], "function_not_found", "{answer}");
    Ok(())
}

#[tokio::test]
async fn http_is_not_served_where_a_list_leaves_it_out() -> Result<()> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port()
        .to_string();
    let folder = tempfile::tempdir()?;
    let ports = ["--bus-port", "0", "--http-port", &port];
    let engine = Engine::start_as(folder, "workers: [{ name: iii-state }]", &ports, &[]).await?;
    assert_eq!(engine.http, "");
    std::net::TcpListener::bind(format!("127.0.0.1:{port}")).context("nobody has the port")?;
    let mut client = connect(&engine).await?;
    let status = result_of(&mut client, "engine::status", json!({})).await?;
    assert_eq!(status["http"], json!(null), "{status}");
    Ok(())
}

#[tokio::test]
async fn a_token_can_be_asked_for() -> Result<()> {
    let engine = Engine::start(WORKERS, &["--auth", "token"]).await?;
    assert!(connect(&engine).await.is_err());
    Iii::connect(&engine).await?;
    Ok(())
}

#[tokio::test]
async fn in_memory_forgets_and_the_rest_keeps() -> Result<()> {
    let memory = "
workers:
  - { name: iii-state, config: { adapter: { name: kv, config: { store_method: in_memory } } } }
";
    for (config, kept) in [(memory, json!(null)), (WORKERS, json!(1))] {
        let engine = Engine::start(config, &[]).await?;
        let mut client = connect(&engine).await?;
        let set = json!({ "scope": "s", "key": "k", "value": 1 });
        result_of(&mut client, "state::set", set).await?;
        let engine = Engine::start_in(engine.kill()?, config, &[]).await?;
        let mut client = connect(&engine).await?;
        let get = json!({ "scope": "s", "key": "k" });
        assert_eq!(
            result_of(&mut client, "state::get", get).await?,
            kept,
            "{config}"
        );
    }
    Ok(())
}

#[tokio::test]
async fn configurations_are_kept_over_a_restart() -> Result<()> {
    let engine = Engine::start(WORKERS, &[]).await?;
    let mut client = connect(&engine).await?;
    let register = json!({ "id": "shop", "name": "Shop", "description": "", "schema": { "type": "integer" }, "initial_value": 1 });
    result_of(&mut client, "configuration::register", register).await?;
    let set = json!({ "id": "shop", "value": "${SHOP_NOT_SET:7}" });
    assert_eq!(
        result_of(&mut client, "configuration::set", set).await?,
        json!({ "old_value": 1, "new_value": 7 })
    );
    let wrong = json!({ "id": "shop", "value": "many" });
    let answer = client.call("configuration::set", wrong).await?;
    assert_eq!(answer["error"]["code"], "CONFIGURATION_INVALID", "{answer}");
    let engine = Engine::start_in(engine.kill()?, WORKERS, &[]).await?;
    let mut client = connect(&engine).await?;
    let get = json!({ "id": "shop" });
    assert_eq!(
        result_of(&mut client, "configuration::get", get).await?,
        json!({ "id": "shop", "value": 7 })
    );
    Ok(())
}

#[tokio::test]
async fn programs_of_the_project_run_and_run_again_when_files_change() -> Result<()> {
    let folder = tempfile::tempdir()?;
    fs::create_dir(folder.path().join("steps"))?;
    let config = "
workers:
  - name: iii-exec
    config:
      watch: ['steps/**/*.{ts,js}']
      exec:
        - echo prepared >> ran
        - echo $III_URL >> ran; exec sleep 600
";
    let engine = Engine::start_in(folder, config, &[]).await?;
    let ran = |count: usize| {
        let file = engine.folder.path().join("ran");
        async move {
            let lines = fs::read_to_string(file).ok()?;
            let lines: Vec<String> = lines.lines().map(str::to_owned).collect();
            (lines.len() >= count).then_some(lines)
        }
    };
    let lines = eventually("the programs run", || ran(2)).await?;
    assert_eq!(lines, ["prepared".to_owned(), engine.url.clone()]);
    fs::create_dir(engine.folder.path().join("steps/new"))?;
    fs::write(engine.folder.path().join("steps/new/a.ts"), "1")?;
    let lines = eventually("they run again", || ran(4)).await?;
    assert_eq!(lines[2], "prepared");
    Ok(())
}

/// Offers `functions` and answers their calls by `answer`.
async fn serve(
    mut client: Iii,
    functions: &[&str],
    answer: fn(&str, &Value) -> Value,
) -> Result<()> {
    for function in functions {
        client
            .say(&json!({ "type": "registerfunction", "id": function }))
            .await?;
    }
    tokio::spawn(async move {
        while let Ok(call) = client.hear_text().await {
            if call["type"] != "invokefunction" {
                continue;
            }
            let function = call["function_id"].as_str().unwrap_or_default();
            let result = answer(function, &call["data"]);
            let reply = json!({
                "type": "invocationresult", "invocation_id": call["invocation_id"], "function_id": function, "result": result,
            });
            if client.say(&reply).await.is_err() {
                return;
            }
        }
    });
    Ok(())
}

#[tokio::test]
async fn a_second_listener_asks_and_hides() -> Result<()> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let config = format!(
        "
workers:
  - name: iii-worker-manager
    config: {{ host: 127.0.0.1 }}
  - name: iii-worker-manager
    config:
      host: 127.0.0.1
      port: {port}
      rbac:
        auth_function_id: shop::auth
        expose_functions: [match(\"api::*\")]
"
    );
    let engine = Engine::start(&config, &[]).await?;
    let answer = |function: &str, data: &Value| match function {
        "shop::auth" if data["query_params"]["key"] == json!(["right"]) => json!({ "context": {} }),
        // No session is made of this.
        "shop::auth" => json!("no"),
        other => json!(other),
    };
    let functions = ["shop::auth", "api::hello", "shop::secret"];
    serve(connect(&engine).await?, &functions, answer).await?;
    let mut inside = connect(&engine).await?;
    // Until the last of the three is registered, it is not found.
    let until = std::time::Instant::now() + PATIENCE;
    while result_of(&mut inside, "shop::secret", json!({}))
        .await
        .is_err()
    {
        anyhow::ensure!(std::time::Instant::now() < until, "nobody offers it");
    }

    let outside = |key: &str| {
        let url = format!("ws://127.0.0.1:{port}/?key={key}");
        async { anyhow::Ok(Iii(tokio_tungstenite::connect_async(url).await?.0)) }
    };
    let mut client = outside("right").await?;
    assert_eq!(client.hear_text().await?["type"], "workerregistered");
    assert_eq!(
        result_of(&mut client, "api::hello", json!({})).await?,
        json!("api::hello")
    );
    let denied = client.call("shop::secret", json!({})).await?;
    assert_eq!(denied["error"]["code"], "FORBIDDEN", "{denied}");

    let mut stranger = outside("wrong").await?;
    let mut heard = stranger.hear().await?;
    while let Heard::Text(text) = &heard {
        assert_ne!(text["type"], "workerregistered");
        heard = stranger.hear().await?;
    }
    assert!(matches!(heard, Heard::Closed(_)), "{heard:?}");
    Ok(())
}

/// Runs `agentos config check`; gives exit code, output, errors.
fn check(folder: &Path, arguments: &[&str]) -> Result<(Option<i32>, String, String)> {
    let output = Command::new(binary())
        .args(["config", "check"])
        .args(arguments)
        .current_dir(folder)
        .output()?;
    Ok((
        output.status.code(),
        String::from_utf8(output.stdout)?,
        String::from_utf8(output.stderr)?,
    ))
}

#[test]
fn config_check_says_what_was_understood_or_what_is_wrong() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text);
    write("iii.yaml", &format!("{WORKERS}  - name: mailer\n"))?;
    write("own.yaml", "listen: { more: [{ port: 5 }] }\n")?;
    write(
        "wrong.yaml",
        "workers:\n  - name: iii-http\n    config: { prot: 1 }\n",
    )?;

    let (code, out, _) = check(folder.path(), &["iii.yaml"])?;
    assert_eq!(code, Some(0));
    assert!(out.contains("iii.yaml is right: a file of iii"), "{out}");
    assert!(out.contains("anybody on this machine"), "{out}");
    assert!(out.contains("`mailer` is not built in"), "{out}");
    let (code, out, _) = check(folder.path(), &["iii.yaml", "--json"])?;
    assert_eq!(code, Some(0));
    let report: Value = serde_json::from_str(&out).context("one value")?;
    assert_eq!(report["form"], "iii");
    assert_eq!(report["listeners"][0]["address"], "127.0.0.1:49134");
    assert_eq!(
        report["modules"],
        json!(["http", "state", "observe", "configuration"])
    );
    let (_, out, _) = check(folder.path(), &["own.yaml", "--json"])?;
    let report: Value = serde_json::from_str(&out)?;
    assert_eq!(report["form"], "agentos");
    assert_eq!(report["listeners"][1]["auth"], "token");

    let (code, _, error) = check(folder.path(), &["wrong.yaml"])?;
    assert_eq!(code, Some(2));
    assert!(
        error.contains("wrong.yaml:3: `workers.0.config.prot`: unknown field `prot`"),
        "{error}"
    );
    assert_eq!(
        check(folder.path(), &[])?.0,
        Some(2),
        "there is no config.yaml"
    );
    Ok(())
}
