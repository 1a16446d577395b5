//! Tells subscribers and bound functions what happened. An event is written out once, however many
//! hear of it, and not at all when nobody does.

use std::sync::Arc;

use agentos_sdk::{Bus, Payload};
use bytes::Bytes;
use tokio_tungstenite::tungstenite::Utf8Bytes;

use super::{
    Clock,
    config::Config,
    frame::{self, Body},
    history::{History, Number},
    hub::Hub,
    row::Place,
    triggers::Triggers,
};
use crate::{builtin::live::Live, storage::Version};

/// A change, or something that was sent.
pub(super) struct Happening<'a> {
    pub(super) place: Place<'a>,
    pub(super) body: Body<'a>,
    /// Of the write, where our store knows it.
    pub(super) version: Option<Version>,
}

/// A happening, written out.
#[derive(Debug)]
pub(super) struct Event {
    pub(super) item: Option<String>,
    pub(super) version: Option<Version>,
    pub(super) text: Utf8Bytes,
    /// The same with an offset, when its group is kept.
    pub(super) numbered: Option<(Number, Utf8Bytes)>,
}

impl Event {
    pub(super) fn number(&self) -> Option<Number> {
        self.numbered.as_ref().map(|(number, _)| *number)
    }
}

pub(super) struct Events {
    pub(super) hub: Hub,
    pub(super) history: History,
    pub(super) triggers: Arc<Triggers>,
    clock: Clock,
}

impl Events {
    pub(super) fn new(triggers: Arc<Triggers>, config: Live<Config>, clock: Clock) -> Self {
        Events {
            hub: Hub::default(),
            history: History::new(config, Arc::clone(&clock)),
            triggers,
            clock,
        }
    }

    /// Tells everybody who wants to hear of `happening`.
    pub(super) fn publish(&self, bus: &Bus, happening: &Happening<'_>) {
        let place = happening.place;
        let bound = self.triggers.matching(place);
        // Who joins after this look has not read the item yet, and finds it as it is now.
        let is_heard = self.hub.has_subscribers(place) || self.history.keeps(place);
        if bound.is_empty() && !is_heard {
            return;
        }
        let Some(text) = self.write(place, happening.body) else {
            return;
        };
        if is_heard {
            let event = Event {
                item: place.item.map(str::to_owned),
                version: happening.version,
                text: text.clone(),
                numbered: None,
            };
            self.history
                .tell(place, event, |event| self.hub.publish(place, event));
        }
        // Bound functions have time of their own.
        let bus = bus.detached();
        for target in bound {
            target.fire(&bus, Payload::json(Bytes::from(text.clone())));
        }
    }

    /// The frame that says `body`.
    pub(super) fn write(&self, place: Place<'_>, body: Body<'_>) -> Option<Utf8Bytes> {
        match frame::write((self.clock)(), place, body) {
            Ok(text) => Some(text.into()),
            Err(error) => {
                tracing::error!(%error, stream = place.stream, "a stream event has no JSON form");
                None
            }
        }
    }
}
