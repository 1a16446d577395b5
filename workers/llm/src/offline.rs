//! The provider for when no model is configured. It does not think and says so: it runs the
//! function calls that a user writes out, and explains how to configure a model.

mod command;

use agentos_contract::{
    chat::{Message, Role},
    llm::{CompleteRequest, Event, FinishReason},
    tools,
};
use agentos_sdk::Error;
use async_trait::async_trait;
use futures_util::{StreamExt, stream};

use self::command::Command;
use crate::provider::{Ask, EventStream, Provider};

const EXPLANATION: &str = "\
No language model is configured, so this answer comes from the offline provider of AgentOS, which cannot think. \
To talk to a model, set OPENAI_API_KEY or ANTHROPIC_API_KEY in the environment and start again, or name a provider in config.yaml:

```yaml
llm:
  providers:
    - name: openai
      family: openai
      api_key_env: OPENAI_API_KEY
      models: [gpt-5-mini]
```

";

/// See the module.
pub(crate) struct Offline {
    pub(crate) name: String,
}

#[async_trait]
impl Provider for Offline {
    async fn start(&self, ask: Ask<'_>) -> Result<EventStream, Error> {
        let start = Event::Start {
            model: ask.model.to_owned(),
            provider: self.name.clone(),
        };
        let events = std::iter::once(start)
            .chain(answer(ask.request))
            .map(Ok)
            .collect::<Vec<_>>();
        Ok(stream::iter(events).boxed())
    }
}

/// Everything after the start.
fn answer(request: &CompleteRequest) -> Vec<Event> {
    let asked = request
        .messages
        .iter()
        .rposition(|message| message.role == Role::User);
    let (before, after) = request
        .messages
        .split_at(asked.map_or(0, |index| index + 1));
    let results: Vec<_> = after
        .iter()
        .filter(|message| message.role == Role::Tool)
        .collect();
    if !results.is_empty() {
        return say(results
            .into_iter()
            .map(|result| report(after, result))
            .collect::<Vec<_>>()
            .join("\n\n"));
    }
    let text = before.last().map(Message::text).unwrap_or_default();
    let offered: Vec<String> = request
        .tools
        .iter()
        .filter_map(|tool| tool.name().map(shown))
        .collect();
    match command::read(&text, &offered) {
        Ok(commands) if commands.is_empty() => say(format!("{EXPLANATION}{}", usage(&offered))),
        Ok(commands) => call(&commands, request),
        Err(problem) => say(problem),
    }
}

fn say(text: String) -> Vec<Event> {
    vec![
        Event::Text { text },
        Event::Finish {
            reason: FinishReason::Stop,
        },
    ]
}

/// How a tool is written: by function id, or as it is when it is not one of ours.
fn shown(name: &str) -> String {
    tools::id_of(name).unwrap_or_else(|| name.to_owned())
}

fn call(commands: &[Command], request: &CompleteRequest) -> Vec<Event> {
    // Unique within the conversation, so that results of earlier calls are not taken for these.
    let turn = request.messages.len();
    let events = (0u32..).zip(commands).flat_map(|(index, command)| {
        let name = request
            .tools
            .iter()
            .filter_map(|tool| tool.name())
            .find(|name| shown(name) == command.function);
        let name = name.unwrap_or(&command.function).to_owned();
        [
            Event::ToolCallStart {
                index,
                id: format!("call_{turn}_{index}"),
                name,
            },
            Event::ToolCallArguments {
                index,
                piece: command.arguments.clone(),
            },
        ]
    });
    events
        .chain([Event::Finish {
            reason: FinishReason::ToolCalls,
        }])
        .collect()
}

/// One result, under the name of the function that it came from.
fn report(messages: &[Message], result: &Message) -> String {
    let id = result.tool_call_id.as_deref().unwrap_or_default();
    let call = messages
        .iter()
        .flat_map(|message| &message.tool_calls)
        .find(|call| call.id == id);
    let function = call
        .and_then(|call| call.function.as_ref())
        .map(|function| shown(&function.name));
    format!(
        "{}:\n{}",
        function.as_deref().unwrap_or("result"),
        result.text()
    )
}

fn usage(offered: &[String]) -> String {
    let Some(example) = offered
        .iter()
        .find(|id| *id == "file::list")
        .or(offered.first())
    else {
        return "Functions can be run without a model too, but this conversation offers none."
            .to_owned();
    };
    let arguments = if example == "file::list" {
        r#"{"path": "."}"#
    } else {
        "{}"
    };
    format!(
        "Without a model, a line with a function and a JSON object runs that function, for instance:\n\n    \
         {example} {arguments}\n\nThis conversation offers: {}.",
        offered.join(", ")
    )
}

#[cfg(test)]
mod tests;
