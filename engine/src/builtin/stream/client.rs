//! One client: what it is subscribed to, how it joins and leaves.

use std::{collections::HashMap, sync::Arc, time::Duration};

use agentos_sdk::{Bus, Code, Error};
use parking_lot::Mutex;
use tokio::time::timeout;

use super::{
    api::Visit,
    config::Config,
    events::Events,
    frame::{Body, Join, Synced, Word},
    mailbox::Mailbox,
    reads::Reads,
    subscription::{Seen, Subscription},
    visits::Visits,
    writes::Writes,
};
use crate::builtin::{document::Doc, live::Live};

/// How often it is looked how things are for a client that may come back, while they change faster
/// than is remembered.
const LOOKS_MAX: usize = 3;

/// What all clients have in common.
pub(super) struct Shared {
    pub(super) bus: Bus,
    pub(super) config: Live<Config>,
    pub(super) events: Arc<Events>,
    pub(super) reads: Arc<Reads>,
    pub(super) writes: Arc<Writes>,
    pub(super) joins: Arc<Visits>,
    pub(super) leaves: Arc<Visits>,
}

/// A client that has come in. When it is dropped, it has left everything.
pub(super) struct Client {
    shared: Arc<Shared>,
    /// As they were when it came.
    config: Arc<Config>,
    /// What the authentication function said of it.
    context: Option<Doc>,
    pub(super) mailbox: Arc<Mailbox>,
    /// By the id that the client gave.
    subscriptions: Mutex<HashMap<String, Arc<Subscription>>>,
}

impl Client {
    pub(super) fn new(shared: Arc<Shared>, context: Option<Doc>) -> Self {
        let config = shared.config.get();
        let mailbox = Mailbox::new(config.channel_size, config.channel_bytes_max);
        Client {
            shared,
            config,
            context,
            mailbox: Arc::new(mailbox),
            subscriptions: Mutex::default(),
        }
    }

    pub(super) fn config(&self) -> &Config {
        &self.config
    }

    pub(super) async fn hear(&self, word: Word) {
        match word {
            Word::Join(wish) => self.join(wish).await,
            Word::Leave(wish) => {
                let gone = self.subscriptions.lock().remove(&wish.subscription_id);
                if let Some(gone) = gone {
                    self.end(&gone);
                }
            }
        }
    }

    async fn join(&self, wish: Join) {
        match self.admit(&wish).await {
            Ok(true) => {}
            Ok(false) => return self.refuse(&wish).await,
            Err(error) => {
                return tracing::warn!(stream = wish.stream_name, %error, "a client could not join");
            }
        }
        let held_max = self.config.channel_size;
        let subscription = Arc::new(Subscription::new(wish, Arc::clone(&self.mailbox), held_max));
        if subscription.wish.is_numbered() {
            return self.join_numbered(&subscription).await;
        }
        self.begin(&subscription);
        let (sync, seen) = match self.look(&subscription).await {
            Ok((synced, seen)) => {
                let body = Body::Sync { data: &synced };
                let place = subscription.place();
                (self.shared.events.write(place, body), seen)
            }
            Err(error) => {
                tracing::warn!(stream = subscription.wish.stream_name, %error, "a client is not synced");
                (None, Seen::new())
            }
        };
        self.mailbox.room().await;
        let writes = &self.shared.writes;
        subscription.go_live(sync, seen, || writes.under_way(subscription.place()));
    }

    /// Lets a client go on after what it has heard; or shows it how things are, in a way that it
    /// can go on from. One that cannot be told everything is sent away, and may come back.
    async fn join_numbered(&self, subscription: &Arc<Subscription>) {
        let events = &self.shared.events;
        let (history, place) = (&events.history, subscription.place());
        let mut begun = history.watch(place);
        self.begin(subscription);
        self.mailbox.lose_nothing();
        self.mailbox.room().await;
        let after = subscription.wish.after.as_deref();
        if let Some(after) = after.and_then(|offset| history.read(offset)) {
            let resumed = history.since(place, after, |missed, _| {
                let word = events.write(place, Body::Resumed).unwrap_or_default();
                subscription.go_on(history.numbered(&word, after), missed);
            });
            if resumed.is_some() {
                return;
            }
        }
        for _ in 0..LOOKS_MAX {
            let (synced, seen) = match self.look(subscription).await {
                Ok(looked) => looked,
                Err(error) => {
                    tracing::warn!(stream = place.stream, %error, "a client is not synced");
                    break;
                }
            };
            let Some(sync) = events.write(place, Body::Sync { data: &synced }) else {
                break;
            };
            let writes = &self.shared.writes;
            let shown = history.since(place, begun, |told, last| {
                let under_way = || writes.under_way(place);
                let number = |text: &str, number| history.numbered(text, number);
                subscription.go_live_numbered(&sync, seen, under_way, (told, last), number);
            });
            if shown.is_some() {
                return;
            }
            // More was told meanwhile than is remembered.
            begun = history.last();
        }
        self.mailbox.give_up();
    }

    /// May the client have what it wishes?
    async fn admit(&self, wish: &Join) -> Result<bool, Error> {
        wish.place().check(&self.config)?;
        if !self.has_room_for(&wish.subscription_id) {
            tracing::warn!("a client may have no more subscriptions");
            return Ok(false);
        }
        let limit = self.join_timeout();
        let visit = self.visit(wish);
        let asked = self.shared.joins.admit(&self.shared.bus, &visit, limit);
        timeout(limit, asked).await.unwrap_or_else(|_| Err(late()))
    }

    fn has_room_for(&self, id: &str) -> bool {
        let subscriptions = self.subscriptions.lock();
        subscriptions.len() < self.config.subscriptions_max || subscriptions.contains_key(id)
    }

    async fn look(&self, subscription: &Subscription) -> Result<(Synced, Seen), Error> {
        let Shared { bus, reads, .. } = &*self.shared;
        let looked = reads.snapshot(bus, subscription.place());
        timeout(self.join_timeout(), looked)
            .await
            .unwrap_or_else(|_| Err(late()))
    }

    fn join_timeout(&self) -> Duration {
        Duration::from_millis(self.config.join_timeout_ms)
    }

    async fn refuse(&self, wish: &Join) {
        if let Some(text) = self.shared.events.write(wish.place(), Body::Unauthorized) {
            self.mailbox.room().await;
            self.mailbox.keep(text);
        }
    }

    /// From here on nothing is missed. An earlier subscription of the same id ends.
    fn begin(&self, subscription: &Arc<Subscription>) {
        self.shared.events.hub.add(subscription);
        let id = subscription.wish.subscription_id.clone();
        let earlier = self
            .subscriptions
            .lock()
            .insert(id, Arc::clone(subscription));
        if let Some(earlier) = earlier {
            self.end(&earlier);
        }
    }

    fn end(&self, subscription: &Arc<Subscription>) {
        self.shared.events.hub.remove(subscription);
        if subscription.wish.is_numbered() {
            self.shared.events.history.unwatch(subscription.place());
        }
        let visit = self.visit(&subscription.wish);
        self.shared.leaves.tell(&self.shared.bus, &visit);
    }

    fn visit<'a>(&'a self, wish: &'a Join) -> Visit<'a> {
        Visit {
            subscription_id: &wish.subscription_id,
            stream_name: &wish.stream_name,
            group_id: &wish.group_id,
            id: wish.id.as_deref(),
            context: self.context.as_ref(),
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        let subscriptions = std::mem::take(&mut *self.subscriptions.lock());
        for subscription in subscriptions.values() {
            self.end(subscription);
        }
        match self.mailbox.lost() {
            0 => {}
            lost => tracing::info!(lost, "a client was too slow for all events"),
        }
    }
}

fn late() -> Error {
    Error::engine(Code::Timeout, "it took too long")
}
