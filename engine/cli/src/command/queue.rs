//! `agentos queue`: what waits, what is dead, and what to do about it.

use agentos_sdk::{Client, Code, Error};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use super::{call::read_input, listing::age};
use crate::{
    args::{Common, Enqueue, Page, Queue},
    client,
    failure::{FAILED, Failure},
    screen::{BOLD, Cell, DIM, GREEN, RED, Screen, YELLOW, styled},
};

/// A queue or topic, as the engine tells of it.
#[derive(Debug, Deserialize)]
struct Stats {
    queue: String,
    kind: String,
    depth: u64,
    in_flight: u64,
    delayed: u64,
    dead: u64,
    consumers: u64,
    paused: bool,
    oldest_ms: Option<u64>,
    totals: Counts<u64>,
    rates: Counts<f64>,
}

#[derive(Debug, Deserialize)]
struct Counts<T> {
    enqueued: T,
    acknowledged: T,
    failed: T,
    died: T,
}

pub(crate) async fn run(verb: Queue, common: &Common, screen: &Screen) -> Result<(), Failure> {
    // Before connecting: a typing error needs no engine.
    let verb = match verb {
        Queue::Enqueue(enqueue) => {
            let input = read_input(&enqueue.input)?;
            let client = client::connect(common).await?;
            return put(&client, enqueue, &input, screen).await;
        }
        verb => verb,
    };
    let client = client::connect(common).await?;
    match verb {
        Queue::Ls => list(&client, screen).await,
        Queue::Show { queue } => show(&client, &queue, screen).await,
        Queue::Peek(page) => peek(&client, page, screen).await,
        Queue::Dead(page) => dead(&client, page, screen).await,
        Queue::Redrive { queue, id: None } => {
            let answer = ask(&client, "redrive", json!({ "queue": queue })).await?;
            let told = format!(
                "{} of {queue} will be delivered again",
                letters(&answer["redriven"])
            );
            tell(screen, &answer, &told);
            Ok(())
        }
        Queue::Redrive {
            queue,
            id: Some(id),
        } => {
            let input = json!({ "queue": queue, "message_id": id });
            let answer = ask(&client, "redrive_message", input).await?;
            tell(screen, &answer, &format!("{id} will be delivered again"));
            Ok(())
        }
        Queue::Discard { queue, id } => {
            let input = json!({ "queue": queue, "message_id": id });
            let answer = ask(&client, "discard_message", input).await?;
            tell(screen, &answer, &format!("{id} is gone"));
            Ok(())
        }
        Queue::Pause { queue } => steer(&client, "pause", &queue, screen).await,
        Queue::Resume { queue } => steer(&client, "resume", &queue, screen).await,
        Queue::Purge { queue, dead } => {
            let answer = ask(&client, "purge", json!({ "queue": queue, "dead": dead })).await?;
            let purged = &answer["purged"];
            let what = if dead {
                letters(purged)
            } else {
                messages(purged)
            };
            tell(screen, &answer, &format!("{what} of {queue} are gone"));
            Ok(())
        }
        Queue::Enqueue(_) => unreachable!("done before connecting"),
    }
}

async fn ask(client: &Client, verb: &str, input: Value) -> Result<Value, Failure> {
    let answer = client.trigger(&format!("queue::{verb}"), &input).await;
    answer.map_err(|error: Error| match error.code {
        Code::NotFound => Failure::from(error).remedy("see what there is with `agentos queue ls`"),
        _ => Failure::from(error),
    })
}

fn read<T: DeserializeOwned>(answer: Value) -> Result<T, Failure> {
    serde_json::from_value(answer).map_err(|error| {
        Failure::new(
            FAILED,
            format!("the engine's answer is not understood: {error}"),
        )
        .remedy("use the command line that came with the engine; see `agentos --version`")
    })
}

/// The answer to programs, `text` to people.
fn tell(screen: &Screen, answer: &Value, text: &str) {
    if screen.json {
        screen.value(answer);
    } else {
        screen.line(text);
    }
}

async fn put(
    client: &Client,
    enqueue: Enqueue,
    data: &Value,
    screen: &Screen,
) -> Result<(), Failure> {
    let mut input = json!({
        "queue": enqueue.queue,
        "function_id": enqueue.function,
        "data": data,
        "priority": enqueue.priority,
    });
    if let Some(delay) = enqueue.delay {
        input["delay_ms"] = json!(delay.as_millis());
    }
    if let Some(key) = enqueue.key {
        input["deduplication_key"] = json!(key);
    }
    let receipt = ask(client, "enqueue", input).await?;
    let id = receipt["messageReceiptId"].as_str().unwrap_or_default();
    let told = match receipt["duplicate"].as_bool() {
        Some(true) => format!("{id}  {}", styled(DIM, "enqueued before under this key")),
        _ => id.to_owned(),
    };
    tell(screen, &receipt, &told);
    Ok(())
}

async fn steer(client: &Client, verb: &str, queue: &str, screen: &Screen) -> Result<(), Failure> {
    let answer = ask(client, verb, json!({ "queue": queue })).await?;
    let told = match (verb, answer["paused"].as_bool()) {
        ("resume", Some(true)) => format!("{queue} is still paused: its topic is"),
        (_, Some(true)) => format!("{queue} is paused; `agentos queue resume {queue}` ends that"),
        _ => format!("{queue} delivers"),
    };
    tell(screen, &answer, &told);
    Ok(())
}

async fn list(client: &Client, screen: &Screen) -> Result<(), Failure> {
    let list = ask(client, "list", json!({})).await?;
    if screen.json {
        screen.value(&list["queues"]);
        return Ok(());
    }
    let queues: Vec<Stats> = read(list["queues"].clone())?;
    let heads = [
        "QUEUE", "KIND", "STATE", "DEPTH", "RUNNING", "DELAYED", "DEAD", "OLDEST", "IN/S", "OUT/S",
    ];
    let rows: Vec<Vec<Cell>> = queues.iter().map(row).collect();
    screen.table(&heads, &rows);
    Ok(())
}

fn row(stats: &Stats) -> Vec<Cell> {
    let (state, colour) = state(stats);
    let dead = Cell::new(stats.dead);
    vec![
        Cell::new(&stats.queue).style(BOLD),
        Cell::new(&stats.kind),
        Cell::new(state).style(colour),
        Cell::new(stats.depth),
        Cell::new(stats.in_flight),
        Cell::new(stats.delayed),
        if stats.dead > 0 {
            dead.style(RED)
        } else {
            dead
        },
        Cell::new(stats.oldest_ms.map_or_else(|| "-".to_owned(), age)),
        Cell::new(format!("{:.1}", stats.rates.enqueued)),
        Cell::new(format!("{:.1}", stats.rates.acknowledged)),
    ]
}

fn state(stats: &Stats) -> (&'static str, anstyle::Style) {
    match stats {
        Stats { paused: true, .. } => ("paused", YELLOW),
        Stats { consumers: 0, .. } => ("unheard", DIM),
        _ => ("delivers", GREEN),
    }
}

async fn show(client: &Client, queue: &str, screen: &Screen) -> Result<(), Failure> {
    let answer = ask(client, "stats", json!({ "queue": queue })).await?;
    let list = ask(client, "list", json!({})).await?;
    let known = list["queues"].as_array().into_iter().flatten();
    let is_known = known.map(|known| &known["queue"]).any(|name| name == queue);
    // One subscriber's queue is not in the list, and has a name of its own.
    if !is_known && !queue.contains("::") {
        return Err(
            Failure::new(FAILED, format!("there is no queue or topic `{queue}`"))
                .remedy("see what there is with `agentos queue ls`"),
        );
    }
    let about: Value = client
        .trigger("engine::queue::topic_stats", &json!({ "topic": queue }))
        .await?;
    if screen.json {
        let mut answer = answer;
        answer["rules"] = about["config"].clone();
        screen.value(&answer);
        return Ok(());
    }
    let stats: Stats = read(answer)?;
    let (state, colour) = state(&stats);
    screen.line(format!(
        "{}  {}",
        styled(BOLD, queue),
        styled(colour, state)
    ));
    let (totals, rates) = (&stats.totals, &stats.rates);
    for (count, now, total, event, rate) in [
        (
            stats.depth,
            "to deliver",
            totals.enqueued,
            "enqueued",
            rates.enqueued,
        ),
        (
            stats.in_flight,
            "running",
            totals.acknowledged,
            "acknowledged",
            rates.acknowledged,
        ),
        (
            stats.delayed,
            "delayed",
            totals.failed,
            "attempts failed",
            rates.failed,
        ),
        (stats.dead, "dead", totals.died, "died", rates.died),
    ] {
        let of_late = styled(DIM, format!("{total} {event}, {rate:.1}/s"));
        screen.line(format!("{count:>10}  {now:<10}  {of_late}"));
    }
    if let Some(oldest_ms) = stats.oldest_ms {
        screen.line(format!("{:>10}  oldest", age(oldest_ms)));
    }
    screen.line(format!("\n{}", styled(DIM, "rules")));
    screen.value(&about["config"]);
    Ok(())
}

async fn peek(client: &Client, page: Page, screen: &Screen) -> Result<(), Failure> {
    let row = |message: &Value| {
        vec![
            text(&message["id"]),
            text(&message["state"]),
            text(&message["attempts"]),
            text(&message["priority"]),
            Cell::new(message["age_ms"].as_u64().map(age).unwrap_or_default()),
            text(&message["function"]),
            Cell::new(cut(&message["payload"])),
        ]
    };
    let messages = ask(client, "peek", page.input()).await?["messages"].take();
    let heads = [
        "ID", "STATE", "FAILED", "PRIORITY", "AGE", "FUNCTION", "PAYLOAD",
    ];
    show_page(&messages, &heads, row, screen);
    Ok(())
}

async fn dead(client: &Client, page: Page, screen: &Screen) -> Result<(), Failure> {
    let row = |letter: &Value| {
        vec![
            text(&letter["id"]),
            text(&letter["retries"]),
            text(&letter["error"]).style(RED),
            Cell::new(cut(&letter["payload"])),
        ]
    };
    let letters = ask(client, "dead", page.input()).await?;
    show_page(
        &letters,
        &["ID", "ATTEMPTS", "ERROR", "PAYLOAD"],
        row,
        screen,
    );
    Ok(())
}

impl Page {
    fn input(self) -> Value {
        json!({ "queue": self.queue, "limit": self.limit, "offset": self.offset })
    }
}

fn show_page(page: &Value, heads: &[&str], row: impl Fn(&Value) -> Vec<Cell>, screen: &Screen) {
    if screen.json {
        screen.value(page);
        return;
    }
    let rows: Vec<Vec<Cell>> = page.as_array().into_iter().flatten().map(row).collect();
    screen.table(heads, &rows);
}

fn text(value: &Value) -> Cell {
    Cell::new(crate::screen::plain(value))
}

/// A payload on one line; `--json` has all of it.
fn cut(payload: &Value) -> String {
    const SHOWN: usize = 60;
    let text = payload.to_string();
    match text.char_indices().nth(SHOWN) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text,
    }
}

fn messages(count: &Value) -> String {
    format!("{count} messages")
}

fn letters(count: &Value) -> String {
    format!("{count} dead letters")
}
