//! Who of many runs the next call.
//!
//! Those of equal weight are a class. The class is drawn by weight, so that shares are as they were
//! said however busy anybody is; within it the less busy of two is taken. Power of two choices
//! (Mitzenmacher 2001): nearly as even as asking everybody, at the price of two looks.

use super::{Hasher, functions::Offering};
use crate::Now;

/// Draws one after the other: a Weyl sequence (the golden ratio's), whose every stretch is spread
/// evenly. Shares are right over dozens of calls, not only over thousands.
pub(super) fn draw(turn: u64) -> u64 {
    turn.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// What decides among many.
#[derive(Clone, Copy)]
pub(super) enum By<'a> {
    /// A number [drawn](draw).
    Turn(u64),
    /// The same for the same key, for as long as the same are there.
    Key(&'a Hasher, &'a str),
}

/// Picks one of `offers`; `None` when there are none.
pub(super) fn pick<'a>(now: Now, offers: &'a [Offering], by: By<'_>) -> Option<&'a Offering> {
    let (first, others) = offers.split_first()?;
    if others.is_empty() {
        return Some(first);
    }
    let weight = first.weight(now);
    let (mut total, mut is_even) = (u64::from(weight), true);
    for offer in others {
        let other = offer.weight(now);
        total += u64::from(other);
        is_even &= other == weight;
    }
    if total == 0 {
        return last_resort(offers);
    }
    let draw = match by {
        By::Turn(draw) => draw,
        By::Key(hasher, key) => return keeper(now, offers, hasher, key),
    };
    if is_even {
        return Some(less_busy(offers.len(), draw, |at| &offers[at]));
    }
    let weight = drawn_weight(now, offers, scaled(draw, total))?;
    let class = || offers.iter().filter(|offer| offer.weight(now) == weight);
    match class().count() {
        // Somebody's weight was changed meanwhile.
        0 => last_resort(offers),
        1 => class().next(),
        count => Some(less_busy(count, draw.rotate_left(32), |at| {
            class().nth(at).unwrap_or(first)
        })),
    }
}

/// The weight of whoever has the `point`th part of all weights.
fn drawn_weight(now: Now, offers: &[Offering], mut point: u64) -> Option<u16> {
    let mut last = None;
    for offer in offers {
        let weight = offer.weight(now);
        match point.checked_sub(weight.into()) {
            None => return Some(weight),
            Some(rest) => point = rest,
        }
        last = Some(weight).filter(|weight| *weight > 0).or(last);
    }
    last
}

/// The less busy of two that are drawn from `count`; the newer build of equals, else the one drawn
/// first.
fn less_busy<'a>(count: usize, draw: u64, at: impl Fn(usize) -> &'a Offering) -> &'a Offering {
    let first = scaled(draw, count as u64) as usize;
    let stride = scaled(draw.wrapping_mul(count as u64), count as u64 - 1) as usize;
    let second = at((first + 1 + stride) % count);
    let first = at(first);
    match second.busy().cmp(&first.busy()) {
        std::cmp::Ordering::Less => second,
        std::cmp::Ordering::Equal if second.build() > first.build() => second,
        _ => first,
    }
}

/// Who keeps the calls of `key`: weighted rendezvous hashing (Thaler and Ravishankar 1998; the weights
/// as in Resch 2015). Each has as many keys as its weight says, and when one goes or comes only the
/// keys that it has had or gets move.
fn keeper<'a>(
    now: Now,
    offers: &'a [Offering],
    hasher: &Hasher,
    key: &str,
) -> Option<&'a Offering> {
    let score = |offer: &Offering| {
        let hash = hasher.hash_one((offer.session, key));
        // Above 0 and below 1: the 53 bits that a float has, and a half.
        let point = ((hash >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
        f64::from(offer.weight(now)) / -point.ln()
    };
    offers
        .iter()
        .map(|offer| (score(offer), offer))
        .max_by(|one, other| one.0.total_cmp(&other.0))
        .map(|(_, offer)| offer)
}

/// Nobody has a share: rather one that rests, or has none, than a failed call; the ready ones first.
fn last_resort(offers: &[Offering]) -> Option<&Offering> {
    offers
        .iter()
        .min_by_key(|offer| (!offer.is_ready(), offer.said() == 0, offer.busy()))
}

/// `draw` brought to 0..`bound`.
fn scaled(draw: u64, bound: u64) -> u64 {
    ((u128::from(draw) * u128::from(bound)) >> 64) as u64
}
