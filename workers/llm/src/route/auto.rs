//! The model `auto`: how much a request asks, and who can do that best.
//!
//! The tools that are offered say nothing of how hard a question is, and are not counted.

use std::sync::Arc;

use agentos_contract::{
    chat::{Content, Message, Role},
    llm::{CompleteRequest, Tier},
};
use agentos_sdk::{Code, Error};

use super::{Plan, Route, Routes, Target};
use crate::{config::Prefer, table::ModelEntry};

/// Bytes of text that are a token, about.
const TOKEN_BYTES: u64 = 4;

/// Words of requests that want thought.
const HARD: [&str; 34] = [
    "prove",
    "proof",
    "theorem",
    "derive",
    "design",
    "architect",
    "refactor",
    "optimi",
    "debug",
    "implement",
    "algorithm",
    "concurren",
    "distributed",
    "trade-off",
    "tradeoff",
    "analy",
    "evaluate",
    "strategy",
    "step by step",
    "root cause",
    "migrat",
    "integral",
    "equation",
    "complexity",
    "formal",
    "simulat",
    "deadlock",
    "race condition",
    "threat model",
    "in depth",
    "comprehensive",
    "security review",
    "from scratch",
    "research",
];
/// Words of requests that want some work.
const WORK: [&str; 22] = [
    "write",
    "explain",
    "compare",
    "summar",
    "describe",
    "function",
    "code",
    "query",
    "plan",
    "draft",
    "why",
    "how do",
    "how does",
    "how can",
    "difference",
    "convert",
    "test",
    "review",
    "email",
    "outline",
    "suggest",
    "list the steps",
];

/// The tier of a request, and what speaks for it.
pub(super) fn tier(messages: &[Message]) -> (Tier, Vec<String>) {
    let asked = messages
        .iter()
        .rev()
        .find(|message| message.role == Role::User);
    let text = asked.map(Message::text).unwrap_or_default();
    let lower = text.to_lowercase();
    let count = |words: &[&str]| words.iter().filter(|word| lower.contains(**word)).count();
    let (hard, work) = (count(&HARD), count(&WORK));
    let words = text.split_whitespace().count();
    let mut why = Vec::new();
    let mut score = 0;
    let mut add = |points: usize, reason: String| {
        if points > 0 {
            score += points;
            why.push(reason);
        }
    };
    add(2 * hard.min(3), format!("{hard} words of hard work"));
    add(work.min(2), format!("{work} words of work"));
    add((words / 60).min(4), format!("{words} words"));
    let code = text.contains("```") || text.contains("fn ") || text.contains("def ");
    add(2 * usize::from(code), "code".to_owned());
    let wishes = text
        .lines()
        .filter(|line| {
            line.trim_start()
                .starts_with(['-', '*', '1', '2', '3', '4', '5'])
        })
        .count();
    add((wishes / 2).min(3), format!("{wishes} wishes"));
    let tier = match score {
        0 => Tier::Simple,
        1..=3 => Tier::Medium,
        _ => Tier::Complex,
    };
    why.insert(0, format!("score {score}"));
    (tier, why)
}

/// What the model must be able to do, whatever the tier.
struct Needs {
    vision: bool,
    tools: bool,
    tokens: u64,
}

impl Needs {
    fn of(request: &CompleteRequest) -> Self {
        let image = |message: &Message| match &message.content {
            Some(Content::Parts(parts)) => parts.iter().any(|part| part["type"] == "image_url"),
            _ => false,
        };
        let bytes: usize = request
            .messages
            .iter()
            .map(|message| message.text().len())
            .sum();
        Needs {
            vision: request.messages.iter().any(image),
            tools: !request.tools.is_empty(),
            tokens: bytes as u64 / TOKEN_BYTES + request.max_tokens.unwrap_or(1_024),
        }
    }

    fn met_by(&self, known: Option<&ModelEntry>) -> bool {
        let Some(known) = known else { return true };
        let can = |what: &str| known.can.iter().any(|can| can == what);
        known.context.is_none_or(|context| context >= self.tokens)
            && (!self.vision || can("vision"))
            && (!self.tools || can("tools"))
    }
}

/// The models that will do, the best first.
///
/// # Errors
/// `invalid_input` when none will.
pub(super) fn plan(routes: &Routes, request: &CompleteRequest) -> Result<Plan, Error> {
    let (tier, mut why) = tier(&request.messages);
    let needs = Needs::of(request);
    let mut targets: Vec<Target> = written(routes, tier)?;
    let listed = targets.is_empty();
    if listed {
        targets = all(routes);
    }
    targets.retain(|target| target.route.provider.is_some() && needs.met_by(known(routes, target)));
    if listed {
        why.push(format!("by {}", preference(routes)));
        // Missing data sorts last; a model above the tier is better than one below.
        targets.sort_by_cached_key(|target| rank(routes, target, tier));
    }
    if targets.is_empty() {
        let message = "no configured model can do what this request asks: list one that can under `models` of a provider";
        return Err(Error::caller(Code::InvalidInput, message).reason("model_not_found"));
    }
    Ok(Plan {
        targets,
        tier: Some(tier),
        why,
    })
}

fn preference(routes: &Routes) -> &'static str {
    match routes.auto.prefer {
        Prefer::Cost => "cost",
        Prefer::Latency => "latency",
    }
}

/// The models that the settings name for `tier`.
fn written(routes: &Routes, tier: Tier) -> Result<Vec<Target>, Error> {
    let names = match tier {
        Tier::Simple => &routes.auto.simple,
        Tier::Medium => &routes.auto.medium,
        Tier::Complex => &routes.auto.complex,
    };
    names.iter().map(|name| routes.named(name)).collect()
}

fn all(routes: &Routes) -> Vec<Target> {
    let of = |route: &Arc<Route>| {
        let target = |model: &String| Target {
            route: Arc::clone(route),
            model: model.clone(),
        };
        route.models.iter().map(target).collect::<Vec<_>>()
    };
    routes.all().iter().flat_map(of).collect()
}

fn known<'r>(routes: &'r Routes, target: &Target) -> Option<&'r ModelEntry> {
    routes.table.model(&target.route.kind, &target.model)
}

/// Smaller is better.
fn rank(routes: &Routes, target: &Target, tier: Tier) -> (u8, u8, u64, u64) {
    let known = known(routes, target);
    let distance = match known.and_then(|known| known.tier) {
        Some(of) if of == tier => 0,
        Some(of) if of > tier => of as u8 - tier as u8,
        Some(of) => 10 + (tier as u8 - of as u8),
        None => 5,
    };
    let open = u8::from(target.route.breaker.state().1.is_some());
    let facts = known.map(|known| known.facts(&target.route.kind));
    // A local model costs nothing; an unknown price is taken for a high one.
    let nano = |usd: f64| (usd * 1e9) as u64;
    let price = facts
        .and_then(|facts| Some(facts.input_usd_per_mtok? + facts.output_usd_per_mtok?))
        .map_or(u64::MAX, nano);
    let latency = target.route.latency_ms().unwrap_or(u64::MAX);
    match routes.auto.prefer {
        Prefer::Cost => (open, distance, price, latency),
        Prefer::Latency => (open, distance, latency, price),
    }
}

#[cfg(test)]
mod tests;
