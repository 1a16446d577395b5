//! Reads: one value, a scope, a page of a scope, the scopes. They see what is committed.

use std::sync::Arc;

use agentos_sdk::{Code, Error};

use super::{
    Clock, api,
    config::Config,
    error,
    row::{Address, Row, VALUES},
};
use crate::{
    builtin::{document::Doc, live::Live},
    storage::{Entry, Page, Scan, Storage},
};

/// Entries per page of `state::entries`, unless asked otherwise, and at most.
const ENTRIES_DEFAULT: usize = 100;
const ENTRIES_MAX: usize = 1000;

/// Looks values up.
pub(super) struct Reads {
    pub(super) store: Arc<dyn Storage>,
    pub(super) config: Live<Config>,
    pub(super) clock: Clock,
}

impl Reads {
    pub(super) async fn get(&self, input: &api::Get) -> Result<Option<Doc>, Error> {
        let address = Address::new(&input.scope, &input.key, &self.config.get())?;
        let record = self
            .store
            .get(VALUES, address.bytes())
            .await
            .map_err(error::from_storage)?;
        let row = record
            .as_ref()
            .map(Row::decode)
            .transpose()
            .map_err(error::from_storage)?;
        Ok(row
            .filter(|row| row.is_alive((self.clock)()))
            .map(|row| row.doc))
    }

    pub(super) async fn list(&self, input: &api::List) -> Result<Vec<Doc>, Error> {
        let first = Address::new(&input.scope, "", &self.config.get())?;
        let mut scan = Scan::prefix(VALUES, first.bytes());
        let mut values = Vec::new();
        let mut bytes = 0;
        loop {
            let page = self.scan(scan.clone()).await?;
            for entry in &page.entries {
                if let Some(row) = self.alive(entry)? {
                    bytes += row.doc.text().len();
                    values.push(row.doc);
                }
            }
            let bytes_max = self.config.get().list_bytes_max;
            if bytes > bytes_max {
                return Err(error::list_too_large(bytes_max));
            }
            match page.entries.last() {
                Some(last) if page.more => scan = scan.after(&last.key),
                _ => return Ok(values),
            }
        }
    }

    pub(super) async fn entries(&self, input: &api::ListEntries) -> Result<api::Entries, Error> {
        let limit = input.limit.unwrap_or(ENTRIES_DEFAULT);
        if !(1..=ENTRIES_MAX).contains(&limit) {
            let message = format!("limit is {limit}; 1 to {ENTRIES_MAX} are possible");
            return Err(Error::caller(Code::InvalidInput, message));
        }
        let address = |key: &str| Address::new(&input.scope, key, &self.config.get());
        let prefix = address(input.prefix.as_deref().unwrap_or_default())?;
        let mut scan = Scan::prefix(VALUES, prefix.bytes()).limit(limit);
        if let Some(cursor) = &input.cursor {
            scan = scan.after(address(cursor)?.bytes());
        }
        self.page(self.scan(scan).await?)
    }

    fn page(&self, page: Page) -> Result<api::Entries, Error> {
        let last = page.entries.last().filter(|_| page.more);
        let cursor = last
            .map(key_of)
            .transpose()?
            .map(|address| address.key().to_owned());
        let mut entries = Vec::with_capacity(page.entries.len());
        for entry in &page.entries {
            if let Some(row) = self.alive(entry)? {
                let key = key_of(entry)?.key().to_owned();
                entries.push(api::Entry {
                    key,
                    value: row.doc,
                    version: row.version,
                    due_ms: row.due_ms,
                });
            }
        }
        Ok(api::Entries { entries, cursor })
    }

    /// Jumps from scope to scope; costs one look per scope, whatever they hold.
    pub(super) async fn groups(&self) -> Result<api::Groups, Error> {
        let mut groups = Vec::new();
        let mut scan = Scan::all(VALUES).limit(1);
        while let Some(entry) = self.scan(scan.clone()).await?.entries.first() {
            let address = key_of(entry)?;
            if self.alive(entry)?.is_some() {
                groups.push(address.scope().to_owned());
                scan = scan.starting_at(&address.behind_scope());
            } else {
                scan = scan.after(&entry.key);
            }
        }
        Ok(api::Groups { groups })
    }

    async fn scan(&self, scan: Scan) -> Result<Page, Error> {
        self.store.scan(scan).await.map_err(error::from_storage)
    }

    fn alive(&self, entry: &Entry) -> Result<Option<Row>, Error> {
        let row = Row::decode(&entry.record).map_err(error::from_storage)?;
        Ok(Some(row).filter(|row| row.is_alive((self.clock)())))
    }
}

fn key_of(entry: &Entry) -> Result<Address, Error> {
    Address::parse(&entry.key).map_err(error::from_storage)
}
