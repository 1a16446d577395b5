//! An upstream's answer as events: reads the bytes and leaves their meaning to a [`Codec`].

use std::collections::VecDeque;

use agentos_contract::llm::{Event, FinishReason};
use agentos_sdk::Error;
use futures_util::{StreamExt, stream};

use crate::{
    error::Complaint,
    http::{
        Answer,
        framing::{Broken, Framing},
    },
    keys::Lease,
    provider::EventStream,
};

/// Understands one wire family.
pub(crate) trait Codec: Send + 'static {
    /// Reads the data of one event of a stream.
    fn piece(&mut self, data: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault>;

    /// The stream ended; the last word on events that were held back.
    fn end(&mut self, events: &mut VecDeque<Event>) -> Result<(), Fault>;

    /// Reads an answer that came in one piece.
    fn whole(&mut self, body: &[u8], events: &mut VecDeque<Event>) -> Result<(), Fault>;
}

/// Why an answer cannot be used.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The upstream reports an error inside its answer.
    Refused(Complaint),
    /// It stopped before it said why it stops.
    Cut,
    /// It is not of the family's shape.
    Garbage(String),
}

impl From<serde_json::Error> for Fault {
    fn from(error: serde_json::Error) -> Self {
        Fault::Garbage(format!("something that is not of its wire format: {error}"))
    }
}

/// Turns `answer` into events and waits for the first. The key is busy as long as it comes.
///
/// # Errors
/// When the answer begins with an error, or with nothing that can be used.
pub(crate) async fn events(
    mut answer: Answer,
    codec: Box<dyn Codec>,
    lease: Lease,
) -> Result<EventStream, Error> {
    answer.lease = Some(lease);
    let mut reading = Reading::new(answer, codec);
    reading.fill().await?;
    let events = stream::unfold(Some(reading), |reading| async move {
        let mut reading = reading?;
        match reading.next().await {
            Ok(event) => {
                let last = matches!(event, Event::Finish { .. });
                Some((Ok(event), (!last).then_some(reading)))
            }
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(events.boxed())
}

struct Reading {
    answer: Answer,
    framing: Framing,
    codec: Box<dyn Codec>,
    /// Data of stream events not yet given to the codec.
    data: VecDeque<Vec<u8>>,
    events: VecDeque<Event>,
}

impl Reading {
    fn new(answer: Answer, codec: Box<dyn Codec>) -> Self {
        Reading {
            framing: Framing::of(answer.content_type()),
            answer,
            codec,
            data: VecDeque::new(),
            events: VecDeque::new(),
        }
    }

    async fn next(&mut self) -> Result<Event, Error> {
        self.fill().await?;
        self.events
            .pop_front()
            .ok_or_else(|| self.answer.cut("nothing more came"))
    }

    /// Reads until there is an event.
    async fn fill(&mut self) -> Result<(), Error> {
        while self.events.is_empty() {
            if let Some(data) = self.data.pop_front() {
                self.codec
                    .piece(&data, &mut self.events)
                    .map_err(|fault| self.explain(fault))?;
            } else if !matches!(self.framing, Framing::Whole) {
                self.read().await?;
            } else {
                let body = self.answer.whole().await?;
                self.codec
                    .whole(&body, &mut self.events)
                    .map_err(|fault| self.explain(fault))?;
            }
        }
        Ok(())
    }

    async fn read(&mut self) -> Result<(), Error> {
        if let Some(bytes) = self.answer.read().await? {
            let broken = |broken: Broken| {
                self.answer.garbage(match broken {
                    Broken::TooLarge => "an event larger than 1 MiB",
                    Broken::Damaged => "an event whose checksum does not fit",
                })
            };
            return self.framing.push(&bytes, &mut self.data).map_err(broken);
        }
        if let Some(data) = self.framing.finish() {
            // What does not parse here was cut in its middle.
            let read = self.codec.piece(&data, &mut self.events);
            read.map_err(|fault| {
                self.explain(if matches!(fault, Fault::Garbage(_)) {
                    Fault::Cut
                } else {
                    fault
                })
            })?;
        }
        if !matches!(self.events.back(), Some(Event::Finish { .. })) {
            self.codec
                .end(&mut self.events)
                .map_err(|fault| self.explain(fault))?;
        }
        Ok(())
    }

    fn explain(&self, fault: Fault) -> Error {
        match fault {
            Fault::Refused(complaint) => self.answer.upstream.refused(&complaint),
            Fault::Cut => self.answer.cut("it did not say why it stops"),
            Fault::Garbage(what) => self.answer.garbage(&what),
        }
    }
}

/// The reason to report: some upstreams say `stop` although they call tools.
pub(crate) fn finish(reason: FinishReason, called: bool) -> Event {
    let reason = if called && reason == FinishReason::Stop {
        FinishReason::ToolCalls
    } else {
        reason
    };
    Event::Finish { reason }
}
