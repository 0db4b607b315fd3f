//! Ids that requests carry, or bring into being (docs/design.md, 12).

use hashbrown::HashMap;

use super::exchange::Exchange;
use super::{Bypass, Worker};
use crate::coherence::{Filling, SharedData};
use crate::config::{Policy, Rule};
use crate::existence::{Count, Created, Pattern, Space, Verdict, hash};

/// How often a request may say which id it means, and be refused.
const MOST: usize = 16;

/// What becomes known of ids.
#[derive(Debug, PartialEq, Eq)]
pub enum News {
    /// Those with these hashes come into being.
    Created(Vec<u64>),
    /// Those may, still.
    Uncertain(Vec<u64>),
    /// Some do, and nobody knows which.
    Lost,
    /// The origin has found this one.
    Seen(u64),
}

/// An id that a request carries: its space, its hash, and what is known of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Passed {
    scope: u64,
    hash: u64,
    verdict: Verdict,
    /// Whether the origin finds it if it answers at all.
    is_proof: bool,
}

/// What is known of the ids that a request carries.
#[derive(Debug)]
pub(super) enum Judgement {
    /// The request may go on.
    Pass(Vec<Passed>),
    /// The id in this place of its rule does not exist.
    Absent(usize),
}

/// Looks at the ids that a request carries. What it has several times counts once if the origin gets it `once`, the
/// first of them; otherwise nobody knows which one the origin takes.
pub(super) fn judge(
    (policy, rule, once): (&Policy, &Rule, bool),
    with: &Filling<'_>,
    spaces: &mut HashMap<u64, Space>,
    shared: &impl SharedData,
    now_ms: impl Fn() -> u64,
) -> Judgement {
    let mut passed = Vec::new();
    for (index, carried) in rule.exists.iter().enumerate() {
        let Some(of) = policy.spaces.get(carried.space) else { continue };
        let Some(space) = spaces.get_mut(&of.scope) else { continue };
        let once = carried.id.is_segment() || once && carried.id.is_query();
        let others = if once { Vec::new() } else { carried.id.raws(with) };
        if others.len() > MOST {
            continue;
        }
        let mut found = space.verdict(shared, &carried.id.raw(with), now_ms());
        for other in others.iter().skip(1) {
            if found.is_some_and(|(verdict, _)| verdict == Verdict::Absent) {
                found = space.verdict(shared, other, now_ms());
            }
        }
        let Some((verdict, hash)) = found else { continue };
        if verdict == Verdict::Absent && !of.shadow {
            space.count(Count::Refused, 1);
            return Judgement::Absent(index);
        }
        if verdict == Verdict::Absent {
            space.count(Count::Shadowed, 1);
        }
        let is_proof = carried.absent.is_proof();
        passed.push(Passed { scope: of.scope, hash, verdict, is_proof });
    }
    Judgement::Pass(passed)
}

/// As [`judge`], for a request that is not for the cache: whether the id in a place of its rule does not exist.
pub(super) fn judge_bypassed(
    reason: Bypass,
    (policy, rule): (&Policy, &Rule),
    with: &Filling<'_>,
    spaces: &mut HashMap<u64, Space>,
    shared: &impl SharedData,
    now_ms: impl Fn() -> u64,
) -> Option<usize> {
    // Conditions do not count where there is nothing (RFC 9110, 13.2.1). Otherwise it may not be what it seems.
    let is_plain = matches!(reason, Bypass::Route | Bypass::Cookie | Bypass::Precondition);
    if !is_plain || rule.exists.is_empty() {
        return None;
    }
    match judge((policy, rule, false), with, spaces, shared, now_ms) {
        Judgement::Absent(index) => {
            let proof = rule.exists.get(index).is_some_and(|carried| carried.absent.is_proof());
            (proof || reason != Bypass::Precondition).then_some(index)
        }
        Judgement::Pass(_) => None,
    }
}

impl Exchange {
    /// The origin has answered: what that means for the ids that the request carries.
    pub(super) fn tell_of_ids(&self, status: u16, worker: &mut Worker) {
        let alone = self.passed.len() == 1;
        for Passed { scope, hash, verdict, is_proof } in &self.passed {
            let Some(space) = worker.spaces.get_mut(scope) else { continue };
            if (200..300).contains(&status) && *is_proof && *verdict != Verdict::Listed {
                if *verdict == Verdict::Absent {
                    space.count(Count::FalseNegative, 1);
                }
                worker.news.push((*scope, News::Seen(*hash)));
            }
            // Of several ids it is not clear which one is meant.
            if matches!(status, 404 | 410) && *verdict == Verdict::Listed && alone {
                space.count(Count::FalsePositive, 1);
            }
        }
    }
}

/// Ids that a write brings into being, as far as what is known by now says: those that need the response, or those
/// that do not. Where its outcome `is_unknown` it may still be carried out.
pub(super) fn created(
    policy: &Policy,
    all: &[Created],
    of_response: bool,
    with: &Filling<'_>,
    is_unknown: bool,
) -> Vec<(u64, News)> {
    let wanted = all.iter().filter(|created| created.id.needs_response() == of_response);
    let news = wanted.filter_map(|created| {
        let space = policy.spaces.get(created.space)?;
        let ids = created.id.values(with);
        // What is neither a number nor well-formed may be another one for the origin: `1_000`.
        let is_known = |id: &String| {
            let is_well_formed = |p: &Pattern| p.is_match(id.as_bytes());
            id.bytes().all(|b| b.is_ascii_digit())
                || space.pattern.as_ref().is_some_and(is_well_formed)
        };
        let are_known = ids.iter().all(is_known);
        if ids.is_empty() || !are_known {
            // Those go on without being known; unless they come late, and are below others by then.
            let go_on = space.monotonic && space.ahead == u64::MAX && !is_unknown;
            return (!go_on).then_some((space.scope, News::Lost));
        }
        let hashes = ids.iter().map(|id| hash(id.as_bytes())).collect();
        let news = if is_unknown { News::Uncertain(hashes) } else { News::Created(hashes) };
        Some((space.scope, news))
    });
    news.collect()
}
