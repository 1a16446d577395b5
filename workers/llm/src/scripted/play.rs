//! Plays one turn: first everything is worked out as a list of acts, then the acts are done.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use agentos_contract::{
    chat::Tool,
    llm::{Event, FinishReason, Usage},
    tools,
};
use agentos_sdk::{Code, Error};
use futures_util::{StreamExt, stream};
use serde_json::Value;

use super::{
    Stage, expect,
    record::Take,
    script::{Call, Failure, Step},
};
use crate::{
    error::{Complaint, Upstream},
    provider::{Ask, EventStream},
    reading::finish,
};

/// One thing to do.
#[derive(Debug, PartialEq)]
pub(super) enum Act {
    Emit(Event),
    Wait(Duration),
    Hold(String),
    Fail(Error),
}

/// The acts of `turn`, which is call `number` of its script.
///
/// # Errors
/// When the request does not hold what the turn expects.
pub(super) fn rehearse(
    turn: &[Step],
    number: usize,
    ask: Ask<'_>,
    upstream: &Upstream,
) -> Result<VecDeque<Act>, Error> {
    let request =
        serde_json::to_value(ask.request).expect("a request that was read has a JSON form");
    let start = Event::Start {
        model: ask.model.to_owned(),
        provider: upstream.provider.clone(),
    };
    let mut plot = Plot {
        acts: VecDeque::new(),
        offered: &ask.request.tools,
        start: Some(start),
        number,
        calls: 0,
    };
    let (mut usage, mut reason) = (None, None);
    for step in turn.iter().cloned() {
        match step {
            Step::Expect(expect) => demand(&expect, &request, number)?,
            Step::Text(pieces) => plot.emit(pieces.0.into_iter().map(|text| Event::Text { text })),
            Step::Reasoning(pieces) => {
                plot.emit(pieces.0.into_iter().map(|text| Event::Reasoning { text }));
            }
            Step::ToolCalls(calls) => calls.into_iter().try_for_each(|call| plot.call(call))?,
            Step::DelayMs(ms) => plot.acts.push_back(Act::Wait(Duration::from_millis(ms))),
            Step::Hold(name) => plot.acts.push_back(Act::Hold(name)),
            Step::Error(failure) => plot.acts.push_back(Act::Fail(fail(failure, upstream))),
            Step::Usage(counted) => usage = Some(counted),
            Step::Finish(finish) => reason = Some(finish),
        }
    }
    plot.emit(usage.map(|usage| Event::Usage(summed(usage))));
    let called = plot.calls > 0;
    plot.emit([reason.map_or_else(
        || finish(FinishReason::Stop, called),
        |reason| Event::Finish { reason },
    )]);
    Ok(plot.acts)
}

struct Plot<'a> {
    acts: VecDeque<Act>,
    offered: &'a [Tool],
    /// Goes before the first event, and after the waits before it.
    start: Option<Event>,
    number: usize,
    calls: u32,
}

impl Plot<'_> {
    fn emit(&mut self, events: impl IntoIterator<Item = Event>) {
        let mut events = events.into_iter().peekable();
        if events.peek().is_some() {
            self.acts.extend(self.start.take().map(Act::Emit));
        }
        self.acts.extend(events.map(Act::Emit));
    }

    fn call(&mut self, call: Call) -> Result<(), Error> {
        let index = self.calls;
        self.calls += 1;
        let id = call
            .id
            .unwrap_or_else(|| format!("call_{}_{}", self.number, self.calls));
        let name = self.name(&call.name)?;
        let arguments = match call.arguments {
            Value::String(text) => text,
            Value::Null => "{}".to_owned(),
            other => other.to_string(),
        };
        let pieces = split(&arguments, call.pieces)
            .into_iter()
            .map(|piece| Event::ToolCallArguments { index, piece });
        self.emit([Event::ToolCallStart { index, id, name }]);
        self.emit(pieces);
        Ok(())
    }

    /// The name of a tool: as it is where the request offers just that, else a function id's.
    fn name(&self, id: &str) -> Result<String, Error> {
        if self.offered.iter().any(|tool| tool.name() == Some(id)) {
            return Ok(id.to_owned());
        }
        tools::name_of(id).map_err(|error| Error::worker(Code::Failed, format!("`{id}`: {error}")))
    }
}

fn demand(expect: &Value, request: &Value, number: usize) -> Result<(), Error> {
    let Some(missing) = expect::missing(expect, request) else {
        return Ok(());
    };
    let message =
        format!("turn {number} of the script expects what the request does not hold: {missing}");
    Err(Error::caller(Code::InvalidInput, message).reason("script_expectation"))
}

/// `text` in about equal pieces, cut between characters.
fn split(text: &str, pieces: usize) -> Vec<String> {
    let chars: Vec<char> = text.chars().collect();
    let size = chars.len().div_ceil(pieces.max(1)).max(1);
    chars
        .chunks(size)
        .map(|piece| piece.iter().collect())
        .collect()
}

/// Scripts give input and output; the sum is ours unless they give that too.
fn summed(usage: Usage) -> Usage {
    let total_tokens = if usage.total_tokens == 0 {
        usage.input_tokens + usage.output_tokens
    } else {
        usage.total_tokens
    };
    Usage {
        total_tokens,
        ..usage
    }
}

fn fail(failure: Failure, upstream: &Upstream) -> Error {
    let Failure {
        code,
        message,
        status,
        retry_after_ms,
    } = failure;
    match code.as_deref().and_then(Code::parse) {
        Some(code) if status.is_none() => Error::worker(code, message),
        _ => {
            let status = Some(status.unwrap_or(500));
            upstream.refused(&Complaint {
                status,
                message,
                code,
                retry_after_ms,
                ..Complaint::default()
            })
        }
    }
}

/// Does the acts, and has the take record what came of them.
pub(super) struct Player {
    acts: VecDeque<Act>,
    take: Take,
    stage: Arc<Stage>,
}

impl Player {
    pub(super) fn new(acts: Result<VecDeque<Act>, Error>, take: Take, stage: Arc<Stage>) -> Self {
        let acts = acts.unwrap_or_else(|error| VecDeque::from([Act::Fail(error)]));
        Player { acts, take, stage }
    }

    /// Waits until the first event, which is then the first of the stream.
    ///
    /// # Errors
    /// When the turn fails before it says anything.
    pub(super) async fn start(mut self) -> Result<EventStream, Error> {
        while !matches!(self.acts.front(), Some(Act::Emit(_))) {
            match self.acts.pop_front() {
                Some(act) => self.act(act).await?,
                None => break,
            };
        }
        let events = stream::unfold(self, |mut player| async move {
            Some((player.next().await?, player))
        });
        Ok(events.boxed())
    }

    async fn next(&mut self) -> Option<Result<Event, Error>> {
        loop {
            let act = self.acts.pop_front()?;
            match self.act(act).await {
                Ok(Some(event)) => return Some(Ok(event)),
                Ok(None) => {}
                Err(error) => {
                    self.acts.clear();
                    return Some(Err(error));
                }
            }
        }
    }

    async fn act(&mut self, act: Act) -> Result<Option<Event>, Error> {
        match act {
            Act::Emit(event) => {
                self.take.sent(&event);
                return Ok(Some(event));
            }
            Act::Wait(time) => tokio::time::sleep(time).await,
            Act::Hold(name) => self.stage.wait(&name).await,
            Act::Fail(error) => {
                self.take.failed(&error);
                return Err(error);
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_split_between_characters() {
        let check =
            |text: &str, pieces: usize, expect: &[&str]| assert_eq!(split(text, pieces), expect);
        check("abcde", 2, &["abc", "de"]);
        check("äö", 5, &["ä", "ö"]);
        check("x", 0, &["x"]);
        check("", 3, &[]);
    }
}
