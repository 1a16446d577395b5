//! Rows of usage out of the store, filtered and summed.

use std::collections::BTreeMap;

use agentos_contract::{
    llm::{UsageBy, UsageReport, UsageRequest, UsageRow},
    state::{self, Entries, ListEntries},
};
use agentos_sdk::{Bus, Error};
use serde::Deserialize;

use super::{NANO, Row, SCOPE, Sums};

/// Rows per page; the most that the store gives.
const PAGE: u32 = 1_000;

#[derive(Clone, Debug, Deserialize)]
struct Stored {
    #[serde(flatten)]
    row: Row,
    #[serde(flatten)]
    sums: Sums,
}

/// What rows are told apart by: one place for each of `by`.
type Names = Vec<Option<String>>;

pub(super) async fn report(bus: &Bus, request: &UsageRequest) -> Result<UsageReport, Error> {
    let mut total = Sums::default();
    let mut rows: BTreeMap<Names, Sums> = BTreeMap::new();
    let mut cursor = None;
    loop {
        let page = ListEntries {
            scope: SCOPE.to_owned(),
            limit: Some(PAGE),
            cursor,
            ..ListEntries::default()
        };
        let page: Entries<Stored> = bus.trigger(state::ENTRIES, &page).await?;
        for Stored { row, sums } in page.entries.into_iter().map(|entry| entry.value) {
            if wanted(&row, request) {
                total.add(&sums);
                rows.entry(names(&row, &request.by)).or_default().add(&sums);
            }
        }
        match page.cursor {
            Some(next) => cursor = Some(next),
            None => break,
        }
    }
    let rows = rows
        .into_iter()
        .filter(|_| !request.by.is_empty())
        .map(|(names, sums)| named(shown(&sums), &request.by, names));
    Ok(UsageReport {
        total: shown(&total),
        rows: rows.collect(),
    })
}

fn wanted(row: &Row, request: &UsageRequest) -> bool {
    let is = |wanted: &Option<String>, value: Option<&str>| {
        wanted.is_none() || wanted.as_deref() == value
    };
    request.from.as_ref().is_none_or(|from| row.day >= *from)
        && request.to.as_ref().is_none_or(|to| row.day <= *to)
        && is(&request.agent, row.agent.as_deref())
        && is(&request.key, row.key.as_deref())
        && is(&request.provider, Some(&row.provider))
        && is(&request.model, Some(&row.model))
}

fn names(row: &Row, by: &[UsageBy]) -> Names {
    let name = |by: &UsageBy| match by {
        UsageBy::Day => Some(row.day.clone()),
        UsageBy::Agent => row.agent.clone(),
        UsageBy::Key => row.key.clone(),
        UsageBy::Provider => Some(row.provider.clone()),
        UsageBy::Model => Some(row.model.clone()),
    };
    by.iter().map(name).collect()
}

fn named(mut row: UsageRow, by: &[UsageBy], names: Names) -> UsageRow {
    for (by, name) in by.iter().zip(names) {
        let field = match by {
            UsageBy::Day => &mut row.day,
            UsageBy::Agent => &mut row.agent,
            UsageBy::Key => &mut row.key,
            UsageBy::Provider => &mut row.provider,
            UsageBy::Model => &mut row.model,
        };
        *field = name;
    }
    row
}

fn shown(sums: &Sums) -> UsageRow {
    UsageRow {
        calls: sums.calls,
        input_tokens: sums.input_tokens,
        output_tokens: sums.output_tokens,
        cached_tokens: sums.cached_tokens,
        reasoning_tokens: sums.reasoning_tokens,
        cost_usd: sums.cost_nano_usd as f64 / NANO,
        unpriced_calls: sums.unpriced_calls,
        uncounted_calls: sums.uncounted_calls,
        ..UsageRow::default()
    }
}
