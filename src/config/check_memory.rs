//! Whether a VM has room for all that the configuration lets it hold.
//!
//! What is charged by the byte counts as it stands; what is bounded by number counts with what one usually takes at
//! most. The shared tier is outside the VMs, and only what a VM remembers of it counts.

use super::check::{Check, MAX_REPLY};
use super::schema::{Config, Role, Route};
use crate::json;

const MIB: u64 = 1 << 20;
/// What the host gives a VM, in MiB.
const MOST: u64 = 1 << 10;

/// What is there whatever the configuration, in MiB: an idle VM has 2.1 to 2.3.
const BASE: u64 = 4;
/// A request that is not a plain hit: its head, its key, its tags. Many that need more are passed through.
const REQUEST: u64 = 16 << 10;
/// A cell in each of three planes and an eighth more for prefixes, and as much while all are changed.
const SLOT: u64 = 256;
/// An id while a list is read: ten million of them took 145 MB in two VMs.
const ID: u64 = 16;
/// An id that came into being, in a table that has grown to twice its size.
const RECENT_ID: u64 = 128;
/// A page of a list, in MiB, once it is read.
const PAGE: u64 = json::PAGE as u64 / MIB;
/// What a VM remembers of a slot of the shared tier.
const SHARED_SLOT: u64 = 17;
/// One part in so many is lost between allocations: the memory drill ends at 1.09 times what is charged.
const LOST: u64 = 8;

impl Check<'_> {
    /// All that may be in a VM at the same time must fit into it.
    pub(super) fn memory(&mut self, config: &Config) {
        if config.role != Some(Role::Cache) {
            return;
        }
        let (parts, rest) = (parts(config), rest(config));
        let sum = parts.iter().fold(rest, |sum, (_, mib)| sum.saturating_add(*mib));
        let lost = sum.div_ceil(LOST);
        let all = sum.saturating_add(lost);
        if all <= MOST {
            return;
        }
        let largest = parts.iter().max_by_key(|(_, mib)| *mib);
        let path = largest.map_or("l1.budget", |(path, _)| path);
        let terms: Vec<_> = parts.iter().map(|(path, mib)| format!("{path} {mib}MiB")).collect();
        let terms = terms.join(" + ");
        let message = format!(
            "{terms} + {rest}MiB for the rest = {sum}MiB, and {lost}MiB lost between them = {all}MiB: a VM can have \
             {MOST}MiB"
        );
        self.fail(path, &message);
    }
}

/// What settings let a VM hold, in MiB.
fn parts(config: &Config) -> Vec<(String, u64)> {
    let (l1, shared) = (&config.l1, &config.shared);
    let shared_slots = shared.budget.0 / shared.max_entry.0.max(1);
    let mut all = vec![
        ("l1.budget".to_owned(), l1.budget.0),
        ("l1.negative_budget".into(), l1.negative_budget.0),
        ("l1.fill_budget".into(), l1.fill_budget.0),
        // A copy that came in many chunks is put together.
        ("l1.max_entry".into(), l1.max_entry.0.min(l1.fill_budget.0)),
        ("shared.budget".into(), shared_slots.saturating_mul(SHARED_SLOT)),
        ("coherence.slots".into(), u64::from(config.coherence.slots) * SLOT),
    ];
    all.extend(requests(config).map(|(path, bytes)| (path.to_owned(), bytes)));
    if let Some(l2) = &config.l2 {
        // A small entry takes as much again for itself as it has bytes.
        all.push(("l2.write_budget".into(), l2.write_budget.0.saturating_mul(2)));
        all.push(("degraded.write_back".into(), config.degraded.write_back.0.saturating_mul(2)));
        all.push(("l2.max_entry".into(), l2.max_entry.0));
    }
    all.extend(config.spaces.iter().map(|(name, space)| {
        let ids =
            space.source.ids.as_ref().map_or(u64::from(space.max_ids), |ids| ids.len() as u64);
        (format!("spaces.{name}"), ids * ID + u64::from(space.recent) * RECENT_ID)
    }));
    let in_mib = all.into_iter().map(|(path, bytes)| (path, bytes.div_ceil(MIB)));
    in_mib.filter(|(_, mib)| *mib > 0).collect()
}

/// What requests may take that are not answered yet, in bytes.
fn requests(config: &Config) -> impl Iterator<Item = (&'static str, u64)> {
    let look_ups =
        config.l2.as_ref().map_or(0, |l2| u64::from(l2.max_in_flight) * u64::from(l2.max_batch));
    let all = [
        ("waiting.max", config.waiting.max.into()),
        ("protection.max_fetches", config.protection.max_fetches.into()),
        ("l2.max_in_flight", look_ups),
    ];
    all.into_iter().map(|(path, count)| (path, u64::saturating_mul(count, REQUEST)))
}

/// What they may take together, in bytes.
pub(super) fn held_budget(config: &Config) -> usize {
    let sum = requests(config).fold(0, |sum: u64, (_, bytes)| sum.saturating_add(bytes));
    usize::try_from(sum).unwrap_or(usize::MAX)
}

/// What there is besides, in MiB.
fn rest(config: &Config) -> u64 {
    let calls = config.l2.is_some() || config.origin.is_some() || !config.spaces.is_empty();
    let pages = config.spaces.values().any(|space| space.source.http.is_some());
    let reads = |route: &Route| {
        !route.invalidates.is_empty() || !route.creates.is_empty() || route.when.is_some()
    };
    let bodies = config.routes.iter().any(reads);
    // Whatever asked for it, one answer is read at a time, or two bodies of half that size.
    BASE + if calls || bodies { MAX_REPLY / MIB } else { 0 } + if pages { PAGE } else { 0 }
}
