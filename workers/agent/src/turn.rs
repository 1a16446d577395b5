//! One answer of an agent, as decisions: what to ask the model, what to run, when to stop.
//!
//! Pure. It is told what the model said and what the tools gave; it calls nobody and reads no
//! clock. [`crate::chat`] does what it says.

use agentos_contract::{
    agent::{GuardState, StopReason, ToolRun},
    chat::{Message, Role},
    llm::{Completion, FinishReason, ToolCall, Usage},
    tools::id_of,
};
use serde_json::Value;

use crate::{
    clip::{clip, preview},
    guard::{Guard, Verdict},
    history::{Ids, size, window},
    tools::{Function, Toolbox},
};

/// Replies in a row in which every call was refused as a repetition, until the answer ends.
const LOOP_REPLIES_MAX: u32 = 2;

/// What a model is told that was cut off by its limit of tokens.
const GO_ON: &str = "Go on exactly where you stopped, without repeating anything.";

/// What a model is told that said nothing at all.
const SAY: &str = "Your last reply was empty. Answer, or call a tool.";

/// What happens next.
#[derive(Debug)]
pub(crate) enum Next {
    /// Ask the model.
    Ask {
        /// The last allowed call: it must answer without tools.
        last: bool,
        /// It goes on where its limit of tokens cut it off.
        on: bool,
    },
    /// Run these and report all outcomes in this order.
    Run(Vec<Planned>),
    Done(StopReason),
}

/// A tool call of the model, judged.
#[derive(Clone, Debug)]
pub(crate) struct Planned {
    pub(crate) call: ToolCall,
    /// The function's id, or the name as the model wrote it when there is no such function.
    pub(crate) function: String,
    pub(crate) action: Action,
    pub(crate) warning: Option<String>,
}

/// What is done about a call.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Action {
    Run(Value),
    /// Nothing is run; the model is told this.
    Refuse(String),
}

/// The outcome of a call.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Ran {
    pub(crate) ok: bool,
    pub(crate) text: String,
    pub(crate) duration_ms: u64,
}

/// Bounds of one answer.
#[derive(Clone, Debug)]
pub(crate) struct Limits {
    pub(crate) iterations_max: u32,
    pub(crate) tool_calls_max: u32,
    /// Times that a model may go on after its limit of tokens.
    pub(crate) continuations_max: u32,
    pub(crate) result_bytes_max: usize,
}

/// An answer under way.
pub(crate) struct Turn {
    agent_id: String,
    limits: Limits,
    pub(crate) toolbox: Toolbox,
    /// The conversation; what this answer added begins at `saved` or before.
    messages: Vec<Message>,
    saved: usize,
    ids: Ids,
    guard: Guard,
    loop_replies: u32,
    continuations: u32,
    empty_replies: u32,
    planned: Vec<Planned>,
    pub(crate) iterations: u32,
    pub(crate) usage: Usage,
    pub(crate) model: String,
    pub(crate) runs: Vec<ToolRun>,
}

impl Turn {
    /// Begins to answer `messages`, which are in order.
    pub(crate) fn new(
        agent_id: &str,
        messages: Vec<Message>,
        toolbox: Toolbox,
        limits: Limits,
    ) -> Self {
        Turn {
            agent_id: agent_id.to_owned(),
            guard: Guard::new(limits.tool_calls_max),
            limits,
            toolbox,
            saved: messages.len(),
            ids: Ids::of(&messages),
            messages,
            loop_replies: 0,
            continuations: 0,
            empty_replies: 0,
            planned: Vec::new(),
            iterations: 0,
            usage: Usage::default(),
            model: String::new(),
            runs: Vec::new(),
        }
    }

    pub(crate) fn messages(&self) -> &[Message] {
        &self.messages
    }

    /// What was added since this was last asked.
    pub(crate) fn take_new(&mut self) -> &[Message] {
        let from = std::mem::replace(&mut self.saved, self.messages.len());
        &self.messages[from..]
    }

    /// The next call of the model.
    pub(crate) fn ask(&mut self) -> Next {
        self.next(false)
    }

    fn next(&mut self, on: bool) -> Next {
        self.iterations += 1;
        let last = self.iterations >= self.limits.iterations_max || self.guard.is_open();
        Next::Ask { last, on }
    }

    /// What the guard has seen.
    pub(crate) fn guard(&self) -> GuardState {
        self.guard.state()
    }

    /// Goes on with calls that a crash left without results.
    pub(crate) fn pick_up(&mut self, calls: Vec<ToolCall>) -> Next {
        self.planned = calls.into_iter().map(|call| self.plan(call)).collect();
        Next::Run(self.planned.clone())
    }

    /// How long the conversation is.
    pub(crate) fn bytes(&self) -> usize {
        self.messages.iter().map(size).sum()
    }

    /// The conversation is too long for the model: leaves the older part out. False: there is
    /// nothing more to leave out.
    pub(crate) fn shrink(&mut self) -> bool {
        let bytes = self.bytes();
        let unsaved = self.messages.len() - self.saved;
        let messages = std::mem::take(&mut self.messages);
        let (messages, left_out) = window(messages, bytes / 2);
        self.messages = messages;
        let mut shortened = false;
        for message in &mut self.messages {
            if left_out == 0 && message.role == Role::Tool {
                let text = message.text();
                let short = clip(
                    &text,
                    self.limits.result_bytes_max.min(text.len() / 2).max(1_000),
                );
                if short.len() < text.len() {
                    shortened = true;
                    message.content = Some(short.into_owned().into());
                }
            }
        }
        self.saved = self.messages.len().saturating_sub(unsaved);
        if left_out > 0 {
            self.toolbox.notices.push(format!(
                "the conversation was too long for the model: {left_out} messages were left out"
            ));
        }
        left_out > 0 || shortened
    }

    /// The model has answered.
    pub(crate) fn heard(&mut self, mut completion: Completion) -> Next {
        self.usage += completion.usage;
        self.model.clone_from(&completion.model);
        for call in &mut completion.tool_calls {
            call.id = self.ids.unique(&call.id);
        }
        if completion.finish_reason == FinishReason::ContentFilter {
            completion.tool_calls.clear();
        }
        let is_empty = completion.content.is_empty() && completion.tool_calls.is_empty();
        if !is_empty {
            self.messages.push(completion.message());
        }
        if completion.tool_calls.is_empty() {
            return self.spoke(is_empty, completion.finish_reason);
        }
        let calls = std::mem::take(&mut completion.tool_calls);
        if self.iterations >= self.limits.iterations_max || self.guard.is_open() {
            return self.out_of_iterations(calls);
        }
        self.planned = calls.into_iter().map(|call| self.plan(call)).collect();
        Next::Run(self.planned.clone())
    }

    /// The model called nothing.
    fn spoke(&mut self, is_empty: bool, finish: FinishReason) -> Next {
        let may_ask = self.iterations < self.limits.iterations_max;
        match finish {
            FinishReason::ContentFilter => Next::Done(StopReason::ContentFilter),
            _ if self.guard.is_open() => Next::Done(StopReason::ToolLimit),
            _ if is_empty => {
                self.empty_replies += 1;
                if self.empty_replies > 1 || !may_ask {
                    return Next::Done(StopReason::Empty);
                }
                self.messages.push(Message::user(SAY));
                self.next(false)
            }
            FinishReason::Length => {
                if self.continuations >= self.limits.continuations_max || !may_ask {
                    return Next::Done(StopReason::Length);
                }
                self.continuations += 1;
                self.messages.push(Message::user(GO_ON));
                self.next(true)
            }
            FinishReason::Stop | FinishReason::ToolCalls => Next::Done(StopReason::Stop),
        }
    }

    fn out_of_iterations(&mut self, calls: Vec<ToolCall>) -> Next {
        let (text, reason) = if self.guard.is_open() {
            let limit = self.limits.tool_calls_max;
            let text = format!("error: not run: the limit of {limit} tool calls was reached");
            (text, StopReason::ToolLimit)
        } else {
            let limit = self.limits.iterations_max;
            let text = format!("error: not run: the limit of {limit} model calls was reached");
            (text, StopReason::MaxIterations)
        };
        self.messages.extend(
            calls
                .into_iter()
                .map(|call| Message::tool(call.id, text.as_str())),
        );
        Next::Done(reason)
    }

    fn plan(&mut self, call: ToolCall) -> Planned {
        let found = self.toolbox.find(&call.name);
        let function = found
            .as_ref()
            .map_or_else(|_| readable(&call.name), |function| function.id.clone());
        let input = found.and_then(|found: &Function| found.input(&call.arguments, &self.agent_id));
        let (action, warning) = match self.guard.before(&function, &call.arguments) {
            Verdict::Block(why) => (Action::Refuse(format!("error: {why}")), None),
            Verdict::Warn(warning) => (
                input.map_or_else(Action::Refuse, Action::Run),
                Some(warning),
            ),
            Verdict::Run => (input.map_or_else(Action::Refuse, Action::Run), None),
        };
        Planned {
            call,
            function,
            action,
            warning,
        }
    }

    /// The planned calls have been run; `outcomes` are in their order.
    pub(crate) fn ran(&mut self, outcomes: Vec<Ran>) -> Next {
        let planned = std::mem::take(&mut self.planned);
        let refused = planned
            .iter()
            .all(|planned| matches!(planned.action, Action::Refuse(_)));
        self.loop_replies = if refused { self.loop_replies + 1 } else { 0 };
        for (planned, outcome) in planned.into_iter().zip(outcomes) {
            self.take_in(planned, outcome);
        }
        if self.loop_replies > LOOP_REPLIES_MAX {
            return Next::Done(StopReason::Loop);
        }
        self.ask()
    }

    fn take_in(&mut self, planned: Planned, outcome: Ran) {
        let Planned {
            call,
            function,
            action,
            warning,
        } = planned;
        let mut text = clip(&outcome.text, self.limits.result_bytes_max).into_owned();
        let ran = matches!(action, Action::Run(_));
        let repeated = ran
            .then(|| self.guard.after(&function, &call.arguments, &outcome.text))
            .flatten();
        for note in warning.into_iter().chain(repeated) {
            text.push_str("\n\n[note: ");
            text.push_str(&note);
            text.push(']');
        }
        self.messages.push(Message::tool(&call.id, text));
        self.runs.push(ToolRun {
            id: call.id,
            name: function,
            arguments: call.arguments,
            ok: outcome.ok,
            duration_ms: outcome.duration_ms,
            preview: preview(&outcome.text),
        });
    }

    /// Ends the answer where it is; calls under way are left to [`crate::history::repair`].
    pub(crate) fn cut(&mut self, said: &str) {
        if !said.is_empty() {
            self.messages.push(Message::assistant(said, Vec::new()));
        }
    }
}

/// What a model called, as people write it.
fn readable(name: &str) -> String {
    id_of(name).unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests;
