//! What is asked of the contenders.

use anyhow::{Result, bail};

use super::contender::Contender;
use crate::args::Fire;

pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    pub(crate) shape: Shape,
    /// What the ratio is of.
    pub(crate) figure: Figure,
    /// Server and clients share one core.
    pub(crate) one_core: bool,
}

#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) callers: usize,
    /// As many as callers, or one for all.
    pub(crate) callees: usize,
    pub(crate) in_flight: usize,
    pub(crate) payload_bytes: usize,
    pub(crate) fire: Option<Fire>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Calls per second; more is better.
    Rate,
    /// Payload bytes per second, counted once per call; more is better.
    Bytes,
    /// The median of a call's time; less is better.
    Latency,
}

impl Scenario {
    fn calls(
        name: &'static str,
        about: &'static str,
        callers: usize,
        callees: usize,
        in_flight: usize,
    ) -> Self {
        Scenario {
            name,
            about,
            shape: Shape {
                callers,
                callees,
                in_flight,
                payload_bytes: 64,
                fire: None,
            },
            figure: if callers * in_flight == 1 {
                Figure::Latency
            } else {
                Figure::Rate
            },
            one_core: false,
        }
    }

    fn payload(
        name: &'static str,
        about: &'static str,
        payload_bytes: usize,
        in_flight: usize,
    ) -> Self {
        let mut scenario = Self::calls(name, about, 1, 1, in_flight);
        scenario.shape.payload_bytes = payload_bytes;
        scenario.figure = Figure::Bytes;
        scenario
    }

    pub(crate) fn suits(&self, contender: &Contender) -> bool {
        // A relay copies between pairs.
        !contender.is_bare() || self.shape.callers == self.shape.callees
    }
}

pub(crate) fn all() -> Vec<Scenario> {
    let mut fire = Scenario::calls(
        "fire",
        "1 caller, void calls of 64 B, 256 ahead of what is acknowledged",
        1,
        1,
        1,
    );
    fire.shape.fire = Some(Fire {
        window: 256,
        acknowledge_every: 128,
    });
    fire.figure = Figure::Rate;
    let mut one_core = Scenario::calls(
        "latency-1-one-core",
        "1 caller, 1 call of 64 B in flight, all on one core",
        1,
        1,
        1,
    );
    one_core.one_core = true;
    vec![
        Scenario::calls(
            "calls-8x32",
            "8 callers and 8 callees, 32 calls of 64 B in flight each",
            8,
            8,
            32,
        ),
        Scenario::calls(
            "calls-1x64",
            "1 caller, 64 calls of 64 B in flight",
            1,
            1,
            64,
        ),
        Scenario::calls(
            "calls-8x1",
            "8 callers and 8 callees, 1 call of 64 B in flight each",
            8,
            8,
            1,
        ),
        Scenario::calls(
            "calls-8to1x32",
            "8 callers of one callee, 32 calls of 64 B in flight each",
            8,
            1,
            32,
        ),
        Scenario::calls("latency-1", "1 caller, 1 call of 64 B in flight", 1, 1, 1),
        one_core,
        Scenario::payload(
            "payload-64k",
            "1 caller, 8 calls of 64 KiB in flight, echoed",
            64 << 10,
            8,
        ),
        Scenario::payload(
            "payload-1m",
            "1 caller, 4 calls of 1 MiB in flight, echoed",
            1 << 20,
            4,
        ),
        fire,
    ]
}

/// Those that were asked for, in their order; all, when nothing was.
pub(crate) fn chosen(names: &[String]) -> Result<Vec<Scenario>> {
    let known: Vec<&str> = all().iter().map(|scenario| scenario.name).collect();
    if let Some(unknown) = names.iter().find(|name| !known.contains(&name.as_str())) {
        bail!(
            "no scenario is called {unknown}; there are {}",
            known.join(", ")
        );
    }
    Ok(all()
        .into_iter()
        .filter(|scenario| names.is_empty() || names.iter().any(|name| name == scenario.name))
        .collect())
}
