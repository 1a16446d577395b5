//! Reads: an item, a group, the groups, and what one who joins finds. They see what is committed,
//! or ask the stream's provider.

use std::{collections::HashMap, sync::Arc};

use agentos_sdk::{Bus, Error};

use super::{
    api::{self, Answer},
    config::Config,
    error,
    frame::Synced,
    providers::Providers,
    row::{self, Address, ITEMS, Place},
    subscription::Seen,
};
use crate::{
    builtin::{document::Doc, live::Live},
    storage::{Entry, Page, Scan, Storage, Version},
};

/// Looks items up.
pub(super) struct Reads {
    pub(super) store: Arc<dyn Storage>,
    pub(super) config: Live<Config>,
    pub(super) providers: Providers,
}

impl Reads {
    pub(super) async fn get(&self, bus: &Bus, input: &api::Item) -> Result<Option<Doc>, Error> {
        if let Some(provider) = self.providers.of(api::GET, &input.stream_name) {
            return provider.ask(bus, input).await;
        }
        let found = self
            .item(&input.stream_name, &input.group_id, &input.item_id)
            .await?;
        Ok(found.map(|(_, doc)| doc))
    }

    pub(super) async fn list(
        &self,
        bus: &Bus,
        input: &api::Group,
    ) -> Result<Answer<Vec<Doc>>, Error> {
        if let Some(provider) = self.providers.of(api::LIST, &input.stream_name) {
            let answer = provider.ask(bus, input).await?;
            return Ok(answer.map_or(Answer::Own(Vec::new()), Answer::Provided));
        }
        let items = self.items(&input.stream_name, &input.group_id).await?;
        Ok(Answer::Own(
            items.into_iter().map(|(.., doc)| doc).collect(),
        ))
    }

    pub(super) async fn list_groups(
        &self,
        bus: &Bus,
        input: &api::Named,
    ) -> Result<Answer<Vec<String>>, Error> {
        if let Some(provider) = self.providers.of(api::LIST_GROUPS, &input.stream_name) {
            let answer = provider.ask(bus, input).await?;
            return Ok(answer.map_or(Answer::Own(Vec::new()), Answer::Provided));
        }
        place(&input.stream_name, "", None).check(&self.config.get())?;
        let scan = Scan::prefix(ITEMS, &row::stream_prefix(&input.stream_name));
        let groups = self.groups(scan).await?;
        Ok(Answer::Own(
            groups.into_iter().map(|(_, group)| group).collect(),
        ))
    }

    /// Every stream that our store keeps.
    pub(super) async fn list_all(&self) -> Result<api::All, Error> {
        let mut streams: Vec<api::Groups> = Vec::new();
        for (id, group) in self.groups(Scan::all(ITEMS)).await? {
            match streams.last_mut().filter(|last| last.id == id) {
                Some(stream) => stream.groups.push(group),
                None => streams.push(api::Groups {
                    id,
                    groups: vec![group],
                }),
            }
        }
        Ok(api::All {
            count: streams.len(),
            stream: streams,
        })
    }

    /// What one finds who subscribes to `place`, and how far it goes.
    pub(super) async fn snapshot(
        &self,
        bus: &Bus,
        place: Place<'_>,
    ) -> Result<(Synced, Seen), Error> {
        let verb = match place.item {
            Some(_) => api::GET,
            None => api::LIST,
        };
        if self.providers.of(verb, place.stream).is_some() {
            return Ok((self.provided(bus, place).await?, Seen::default()));
        }
        if let Some(id) = place.item {
            let (version, doc) = self.item(place.stream, place.group, id).await?.unzip();
            let seen = version.map(|version| (id.to_owned(), version));
            return Ok((Synced::Item(doc), seen.into_iter().collect()));
        }
        let items = self.items(place.stream, place.group).await?;
        let mut seen = HashMap::with_capacity(items.len());
        let docs = items.into_iter().map(|(id, version, doc)| {
            seen.insert(id, version);
            doc
        });
        let docs = Synced::Group(docs.collect());
        Ok((docs, seen))
    }

    async fn provided(&self, bus: &Bus, place: Place<'_>) -> Result<Synced, Error> {
        let (stream_name, group_id) = (place.stream.to_owned(), place.group.to_owned());
        if let Some(id) = place.item {
            let input = api::Item {
                stream_name,
                group_id,
                item_id: id.to_owned(),
            };
            return Ok(Synced::Item(self.get(bus, &input).await?));
        }
        let input = api::Group {
            stream_name,
            group_id,
        };
        match self.list(bus, &input).await? {
            Answer::Own(docs) => Ok(Synced::Group(docs)),
            // As the provider has it, an array or not.
            Answer::Provided(doc) => Ok(Synced::Item(Some(doc))),
        }
    }

    async fn item(
        &self,
        stream: &str,
        group: &str,
        item: &str,
    ) -> Result<Option<(Version, Doc)>, Error> {
        let address = Address::new(stream, group, item, &self.config.get())?;
        let record = self.store.get(ITEMS, address.bytes()).await;
        let record = record.map_err(error::from_storage)?;
        let item = record.map(|record| Ok((record.version, row::decode(&record)?)));
        item.transpose().map_err(error::from_storage)
    }

    async fn items(&self, stream: &str, group: &str) -> Result<Vec<(String, Version, Doc)>, Error> {
        let first = Address::new(stream, group, "", &self.config.get())?;
        let mut scan = Scan::prefix(ITEMS, first.bytes());
        let (mut items, mut bytes) = (Vec::new(), 0);
        loop {
            let page = self.scan(scan.clone()).await?;
            for entry in &page.entries {
                let doc = row::decode(&entry.record).map_err(error::from_storage)?;
                bytes += doc.text().len();
                let id = address_of(entry)?.item().to_owned();
                items.push((id, entry.record.version, doc));
            }
            let bytes_max = self.config.get().list_bytes_max;
            if bytes > bytes_max {
                return Err(error::list_too_large(bytes_max));
            }
            match page.entries.last() {
                Some(last) if page.more => scan = scan.after(&last.key),
                _ => return Ok(items),
            }
        }
    }

    /// Jumps from group to group; costs one look per group, whatever they hold.
    async fn groups(&self, all: Scan) -> Result<Vec<(String, String)>, Error> {
        let (mut groups, mut bytes) = (Vec::new(), 0);
        let mut scan = all.limit(1);
        while let Some(entry) = self.scan(scan.clone()).await?.entries.first() {
            let address = address_of(entry)?;
            let (stream, group) = (address.stream().to_owned(), address.group().to_owned());
            bytes += stream.len() + group.len();
            let bytes_max = self.config.get().list_bytes_max;
            if bytes > bytes_max {
                return Err(error::list_too_large(bytes_max));
            }
            groups.push((stream, group));
            scan = scan.starting_at(&address.behind_group());
        }
        Ok(groups)
    }

    async fn scan(&self, scan: Scan) -> Result<Page, Error> {
        self.store.scan(scan).await.map_err(error::from_storage)
    }
}

fn place<'a>(stream: &'a str, group: &'a str, item: Option<&'a str>) -> Place<'a> {
    Place {
        stream,
        group,
        item,
    }
}

fn address_of(entry: &Entry) -> Result<Address, Error> {
    Address::parse(&entry.key).map_err(error::from_storage)
}
