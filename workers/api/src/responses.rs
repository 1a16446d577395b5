//! `/v1/responses`: OpenAI's newer surface, with conversations that are kept here.

use std::sync::Arc;

use agentos_contract::keys::Scope;
use agentos_sdk::{Bus, Context, Sink};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use crate::{
    Api,
    ask::{self, Ask},
    chat::{new_id, now_s},
    error::Failure,
    http::{Answer, Request},
    keys,
    relay::Relay,
};
use request::Wanted;
use shape::Draft;
use shelf::Kept;
use steps::Steps;

mod background;
mod items;
mod request;
mod shape;
mod shelf;
mod steps;

pub(crate) use background::Background;

/// Items per page of a list, and at most.
const PAGE: usize = 20;
const PAGE_MAX: usize = 100;

impl Api {
    pub(crate) async fn respond(
        self: Arc<Self>,
        context: Context,
        request: Request,
        sink: Arc<Mutex<Sink>>,
        request_id: Arc<str>,
    ) -> Result<Option<Answer>, Failure> {
        let bus = context.bus();
        let entered = self.enter(bus, request).await?;
        let (body, pass) = (entered.object()?, entered.pass);
        let owner = pass.who.id();
        let mut wanted = request::read(body)?;
        shelf::resolve(bus, &owner, &mut wanted.input).await?;
        let earlier = match &wanted.previous {
            Some(id) => earlier(bus, &owner, id).await?,
            None => Vec::new(),
        };
        let asked = wanted.ask(&earlier)?;
        let model = Value::String(asked.model.clone());
        let target = ask::target(&context, Some(&model)).await?;
        let ask = Ask::of(target, vec![asked], None, &pass)?;
        let draft = Draft {
            id: new_id("resp_"),
            created: now_s(),
            model: wanted.ask.model.clone(),
            echo: std::mem::take(&mut wanted.echo),
        };
        let kept = Kept {
            owner,
            earlier,
            input: std::mem::take(&mut wanted.input),
            response: Value::Null,
        };
        let Wanted {
            store,
            background,
            stream,
            ..
        } = wanted;
        if background {
            return self.begin(bus, ask, draft, kept).await.map(Some);
        }
        if !stream {
            let response = self.make(bus, ask, &draft).await?;
            keep(bus, store, kept, &response).await?;
            return Ok(Some(Answer::ok(response)));
        }
        let choir = ask.aloud(bus, self.answer_timeout())?;
        let mut sink = sink.lock().await;
        let steps = Steps::new(draft);
        let mut relay = Relay::new(&mut sink, &request_id, self.patience(), steps);
        let whole = relay.tell(choir).await?;
        if let Some(response) = &relay.wording.done {
            // Before its end is told, so that a next request finds it.
            keep(bus, store, kept, response).await?;
        }
        if whole {
            relay.close().await?;
        }
        Ok(None)
    }

    async fn make(&self, bus: &Bus, ask: Ask, draft: &Draft) -> Result<Value, Failure> {
        let replies = ask.whole(bus, self.answer_timeout()).await?;
        let response = replies
            .first()
            .map(|reply| draft.done(reply, shape::output(&reply.completion)));
        Ok(response.unwrap_or_default())
    }

    /// Makes the response while the client does something else.
    async fn begin(
        self: Arc<Self>,
        bus: &Bus,
        ask: Ask,
        draft: Draft,
        kept: Kept,
    ) -> Result<Answer, Failure> {
        let running = self.background.start(&draft.id)?;
        let queued = draft.under_way("queued");
        let mut kept = Kept {
            response: queued.clone(),
            ..kept
        };
        shelf::keep(bus, &kept).await?;
        // It outlives the request, its deadline and its caller.
        let bus = bus.detached();
        tokio::spawn(async move {
            let outcome = tokio::select! {
                outcome = self.make(&bus, ask, &draft) => outcome,
                () = running.stopped() => Ok(draft.under_way("cancelled")),
            };
            kept.response = outcome.unwrap_or_else(|failure| draft.failed(&failure, Vec::new()));
            if let Err(error) = shelf::keep(&bus, &kept).await {
                tracing::error!(response = draft.id, %error, "a response could not be kept");
            }
            drop(running);
        });
        Ok(Answer::ok(queued))
    }
}

/// Whose responses a request is about.
async fn owner(context: &Context, request: &Request) -> Result<String, Failure> {
    let who = keys::who(context.bus(), request, Scope::Chat).await?;
    Ok(who.id())
}

/// What the response `id` builds on and says.
async fn earlier(bus: &Bus, owner: &str, id: &str) -> Result<Vec<Value>, Failure> {
    let kept = shelf::get(bus, owner, id).await?;
    kept.map(Kept::conversation)
        .ok_or_else(|| Failure::unknown_previous(id))
}

async fn keep(bus: &Bus, store: bool, kept: Kept, response: &Value) -> Result<(), Failure> {
    if store {
        let response = response.clone();
        shelf::keep(bus, &Kept { response, ..kept }).await?;
    }
    Ok(())
}

/// A response that was being made when the engine ended will not be done any more.
fn settled(background: &Background, mut kept: Kept) -> Kept {
    let id = kept.response["id"].as_str().unwrap_or_default();
    let unsettled =
        ["queued", "in_progress"].contains(&kept.response["status"].as_str().unwrap_or_default());
    if unsettled && background.has(id) {
        kept.response["status"] = "in_progress".into();
    } else if unsettled {
        kept.response["status"] = "failed".into();
        kept.response["error"] =
            json!({ "code": "server_error", "message": "the engine ended meanwhile" });
    }
    kept
}

impl Api {
    pub(crate) async fn response(
        self: Arc<Self>,
        context: Context,
        request: Request,
    ) -> Result<Answer, Failure> {
        if request
            .query_params
            .get("stream")
            .is_some_and(|stream| stream == "true")
        {
            let message = "a response is streamed when it is made; later it is fetched as a whole";
            return Err(Failure::invalid("stream", message));
        }
        let kept = shelf::find(
            context.bus(),
            &owner(&context, &request).await?,
            request.param("id"),
        )
        .await?;
        Ok(Answer::ok(settled(&self.background, kept).response))
    }

    pub(crate) async fn delete_response(
        self: Arc<Self>,
        context: Context,
        request: Request,
    ) -> Result<Answer, Failure> {
        let id = request.param("id");
        let kept = shelf::find(context.bus(), &owner(&context, &request).await?, id).await?;
        self.background.stop(id).await;
        shelf::remove(context.bus(), &kept).await?;
        Ok(Answer::ok(
            json!({ "id": id, "object": "response", "deleted": true }),
        ))
    }

    pub(crate) async fn cancel_response(
        self: Arc<Self>,
        context: Context,
        request: Request,
    ) -> Result<Answer, Failure> {
        let (id, owner) = (request.param("id"), owner(&context, &request).await?);
        let kept = shelf::find(context.bus(), &owner, id).await?;
        if kept.response["background"] != true {
            return Err(Failure::bad_request(
                "only a response in the background can be cancelled; to stop another, leave its stream",
            ));
        }
        self.background.stop(id).await;
        let kept = shelf::find(context.bus(), &owner, id).await?;
        Ok(Answer::ok(settled(&self.background, kept).response))
    }
}

/// The items of a response's own input, by pages.
pub(crate) async fn input_items(context: Context, request: Request) -> Result<Answer, Failure> {
    let kept = shelf::find(
        context.bus(),
        &owner(&context, &request).await?,
        request.param("id"),
    )
    .await?;
    let query = |name: &str| request.query_params.get(name).map(String::as_str);
    let mut items: Vec<Value> = kept.input.into_iter().enumerate().map(identified).collect();
    if query("order") != Some("asc") {
        items.reverse();
    }
    let start = query("after").and_then(|after| items.iter().position(|item| item["id"] == after));
    let limit = query("limit")
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(PAGE)
        .clamp(1, PAGE_MAX);
    let rest = items.split_off(start.map_or(0, |start| start + 1));
    let has_more = rest.len() > limit;
    let data: Vec<Value> = rest.into_iter().take(limit).collect();
    let id = |item: Option<&Value>| item.map(|item| item["id"].clone());
    Ok(Answer::ok(json!({
        "object": "list", "first_id": id(data.first()), "last_id": id(data.last()),
        "has_more": has_more, "data": data,
    })))
}

/// Items come without ids, and lists need them.
fn identified((index, mut item): (usize, Value)) -> Value {
    if !item["id"].is_string() {
        item["id"] = format!("item_{index}").into();
    }
    item
}
