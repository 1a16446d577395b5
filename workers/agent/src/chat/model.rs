//! One call of the model, and what it says while it says it.

use std::time::Duration;

use agentos_contract::{
    agent::Event,
    llm::{self, Account, COMPLETE, CompleteRequest, Completion, ToolCall},
};
use agentos_sdk::{Code, Error};

use super::Chat;
use crate::words;

impl Chat<'_> {
    /// `on`: it goes on where its limit of tokens cut it off.
    pub(super) async fn ask(&mut self, last: bool, on: bool) -> Result<Completion, Error> {
        let request = self.complete_request(last);
        if on {
            self.speech.go_on();
        } else {
            // Whoever asks for an answer in JSON gets it as it is.
            let may_call = !request.tools.is_empty() && !last && request.response_format.is_none();
            self.speech.next_reply(may_call);
        }
        let patience = self
            .time_left()
            .min(Duration::from_millis(self.agents.config.model_timeout_ms));
        match tokio::time::timeout(patience, self.listen(&request)).await {
            Ok(completion) => completion,
            Err(_) => Err(Error::worker(
                Code::Timeout,
                format!("the model did not finish within {patience:.1?}"),
            )),
        }
    }

    async fn listen(&mut self, request: &CompleteRequest) -> Result<Completion, Error> {
        let call = self
            .bus
            .call(COMPLETE)
            .timeout(Duration::from_millis(self.agents.config.model_timeout_ms));
        let mut stream = call.stream(request)?;
        self.heard_text = false;
        while let Some(event) = stream.next_as::<llm::Event>().await? {
            self.on_event(event).await?;
        }
        let reply = stream.finish().await?;
        let mut completion: Completion = reply.decode().map_err(|error| {
            Error::worker(
                Code::Failed,
                format!("`{COMPLETE}` answered something else than a completion: {error}"),
            )
        })?;
        // A model behind a worker that does not stream has said everything at once.
        if !self.heard_text && !completion.content.is_empty() {
            self.on_event(llm::Event::Text {
                text: completion.content.clone(),
            })
            .await?;
        }
        self.words(&mut completion).await?;
        Ok(completion)
    }

    /// Calls that were written as text become calls; anything else that was held back is said.
    async fn words(&mut self, completion: &mut Completion) -> Result<(), Error> {
        if !self.speech.holds() {
            return Ok(());
        }
        let toolbox = &self.turn.toolbox;
        let known = |name: &str| toolbox.find(name).is_ok();
        let calls = completion
            .tool_calls
            .is_empty()
            .then(|| words::read(&completion.content, known))
            .flatten();
        let Some(calls) = calls else {
            let text = self.speech.let_go();
            if !text.is_empty() {
                self.tell(&Event::Text { text }).await?;
            }
            return Ok(());
        };
        self.speech.swallow();
        completion.content.clear();
        completion.tool_calls = calls
            .into_iter()
            .map(|call| ToolCall {
                id: String::new(),
                name: call.name,
                arguments: call.arguments,
            })
            .collect();
        Ok(())
    }

    async fn on_event(&mut self, event: llm::Event) -> Result<(), Error> {
        match event {
            llm::Event::Start { model, .. } if !self.announced => {
                self.announced = true;
                let agent_id = self.agent.id.clone();
                self.tell(&Event::Start { agent_id, model }).await
            }
            llm::Event::Text { text } => {
                self.heard_text = true;
                let text = self.speech.say(&text);
                if text.is_empty() {
                    return Ok(());
                }
                self.tell(&Event::Text { text }).await
            }
            llm::Event::Reasoning { text } => {
                self.speech.reasoning.push_str(&text);
                self.tell(&Event::Reasoning { text }).await
            }
            llm::Event::Usage(usage) => {
                let mut so_far = self.turn.usage;
                so_far += usage;
                self.tell(&Event::Usage(so_far)).await
            }
            _ => Ok(()),
        }
    }

    fn complete_request(&self, last: bool) -> CompleteRequest {
        let Chat {
            agent,
            request,
            turn,
            ..
        } = self;
        let tools = turn.toolbox.tools.clone();
        CompleteRequest {
            model: request.model.clone().unwrap_or_else(|| agent.model.clone()),
            messages: turn.messages().to_vec(),
            // Tools stay in the list on the last call: some providers refuse a history of calls
            // without them.
            tool_choice: (last && !tools.is_empty()).then(|| "none".into()),
            tools,
            temperature: request.temperature.or(agent.temperature),
            max_tokens: request.max_tokens.or(agent.max_tokens),
            top_p: request.top_p,
            stop: request.stop.clone(),
            response_format: request.response_format.clone(),
            seed: request.seed,
            user: request.user.clone(),
            extra: request.extra.clone(),
            account: Account {
                agent: Some(agent.id.clone()),
                ..Account::default()
            },
            ..CompleteRequest::default()
        }
    }
}
