//! What the replies to a call mean for who waits for it.

use super::L2Error;
use super::claims::{Claim, Holder, holder};
use super::resp::{Reply, next_reply};
use super::table::{read_bumped, read_followed, read_probe};
use crate::coherence::{Asked, Bumped, Cells, Followed, Layout};
use crate::config::L2Policy;
use crate::health::Probe;

/// Who asked: the caller's number for a waiting request.
pub type Ticket = u32;

/// What one command got.
#[derive(Debug, PartialEq, Eq)]
pub enum Answer<'a> {
    /// A look-up found these bytes.
    Found(Ticket, &'a [u8]),
    /// A look-up found nothing.
    Absent(Ticket),
    /// A look-up failed.
    Failed(Ticket, L2Error),
    /// Who holds the lease that was claimed, and what was found at the same time.
    Claimed(Claim, Holder, Option<&'a [u8]>),
    /// A claim failed: nobody knows who fetches.
    NotClaimed(Claim, L2Error),
    /// A store was accepted.
    Stored,
    /// A store failed.
    NotStored(L2Error),
    /// What was to go is gone.
    Deleted,
    /// What was to go may still be there.
    NotDeleted(L2Error),
    /// These cells were bumped, and what came of it.
    Bumped(Asked, Cells, Bumped),
    /// So many cells may not have been bumped.
    NotBumped(usize, L2Error),
    /// What the table of generations says, and whether it was asked for its own sake. It comes before
    /// the look-ups it was asked with.
    Followed(Asked, Followed, bool),
    /// The table did not answer.
    NotFollowed(L2Error),
    /// What came of a probe: of the bumps in front of its write, of that, and of the question behind it.
    Probed(Probe, Result<(), L2Error>),
    /// What an errand of somebody else's got, under his number: replies, unless it failed.
    Errand(u64, Result<&'a [u8], L2Error>),
}

/// What a call of writes consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Store,
    /// A store of what Redis missed.
    Late,
    Lease,
}

/// Who waits for a call: its commands, in order.
#[derive(Debug)]
pub(super) enum Waiting {
    /// Look-ups, and what is new in the table.
    Lookups(Vec<Ticket>, Asked),
    /// Claims, and what is new in the table.
    Claims(Vec<Claim>, Asked),
    /// Stores, and what becomes of leases, in their order.
    Writes(Vec<Written>),
    /// So many deletes.
    Deletes(usize),
    /// Bumps, if there are any, a probe, if it is one, and what is new in the table.
    Table(Option<Cells>, Option<Probe>, Asked),
    /// Somebody who reads the replies himself.
    Errand(u64),
}

impl Waiting {
    /// How long the answer is waited for, in ms: requests wait for some of them.
    pub(super) const fn timeout_ms(&self, policy: &L2Policy) -> u32 {
        match self {
            Self::Lookups(..) | Self::Claims(..) => policy.timeout_ms,
            _ => policy.background_timeout_ms,
        }
    }

    /// The call came back: every command gets its answer.
    pub(super) fn read<'a>(
        self,
        mut replies: &'a [u8],
        layout: Layout,
        give: &mut impl FnMut(Answer<'a>),
    ) {
        match self {
            Self::Lookups(tickets, asked) => {
                let followed = followed(&mut replies, layout);
                let error = followed.as_ref().err().copied();
                give(table(asked, followed, false));
                for (ticket, reply) in tickets.into_iter().zip(Replies::new(&mut replies)) {
                    give(match (reply, error) {
                        (Ok(Reply::Bulk(value)), None) => Answer::Found(ticket, value),
                        (Ok(Reply::Nil), _) => Answer::Absent(ticket),
                        (Err(error), _) | (Ok(Reply::Bulk(_)), Some(error)) => {
                            Answer::Failed(ticket, error)
                        }
                        (Ok(_), _) => Answer::Failed(ticket, L2Error::Protocol),
                    });
                }
            }
            Self::Claims(claims, asked) => {
                let followed = followed(&mut replies, layout);
                let known = followed.is_ok();
                give(table(asked, followed, false));
                let mut replies = Replies::new(&mut replies);
                let leases: Vec<_> =
                    claims.iter().map(|_| (replies.next(), replies.next()).1).collect();
                for (claim, lease) in claims.into_iter().zip(leases) {
                    let found = match replies.next() {
                        Some(Ok(Reply::Bulk(value))) if known => Some(value),
                        _ => None,
                    };
                    give(match lease.unwrap_or(Err(L2Error::Protocol)).map(holder) {
                        Ok(Some(holder)) => Answer::Claimed(claim, holder, found),
                        Ok(None) => Answer::NotClaimed(claim, L2Error::Protocol),
                        Err(error) => Answer::NotClaimed(claim, error),
                    });
                }
            }
            Self::Writes(writes) => {
                for (write, reply) in writes.into_iter().zip(Replies::new(&mut replies)) {
                    // A lease that could not be renewed or given back runs out by itself.
                    if write != Written::Lease {
                        give(match reply {
                            Ok(Reply::Simple(b"OK")) => Answer::Stored,
                            // Somebody stored it meanwhile.
                            Ok(Reply::Nil) if write == Written::Late => Answer::Stored,
                            Ok(_) => Answer::NotStored(L2Error::Protocol),
                            Err(error) => Answer::NotStored(error),
                        });
                    }
                }
            }
            Self::Deletes(count) => Replies::new(&mut replies).take(count).for_each(|reply| {
                give(match reply {
                    Ok(Reply::Integer(_)) => Answer::Deleted,
                    Ok(_) => Answer::NotDeleted(L2Error::Protocol),
                    Err(error) => Answer::NotDeleted(error),
                });
            }),
            Self::Table(bumps, probe, asked) => {
                let mut told = Ok(());
                if let Some(cells) = bumps {
                    give(match read_bumped(&mut replies, layout) {
                        Ok(bumped) => Answer::Bumped(asked, cells, bumped),
                        Err(error) => {
                            told = Err(error);
                            Answer::NotBumped(cells.len(), error)
                        }
                    });
                }
                let written = probe.map(|probe| (probe, read_probe(&mut replies)));
                let followed = read_followed(&mut replies, layout);
                let read = followed.as_ref().map_or_else(|error| Err(*error), |_| Ok(()));
                give(table(asked, followed, true));
                if let Some((probe, written)) = written {
                    give(Answer::Probed(probe, told.and(written).and(read)));
                }
            }
            Self::Errand(number) => give(Answer::Errand(number, Ok(replies))),
        }
    }

    /// The call failed: so did every command.
    pub(super) fn fail<'a>(self, error: L2Error, give: &mut impl FnMut(Answer<'a>)) {
        match self {
            Self::Lookups(tickets, _) => {
                tickets.into_iter().for_each(|ticket| give(Answer::Failed(ticket, error)));
            }
            Self::Claims(claims, _) => {
                claims.into_iter().for_each(|claim| give(Answer::NotClaimed(claim, error)));
            }
            Self::Writes(writes) => writes
                .into_iter()
                .filter(|write| *write != Written::Lease)
                .for_each(|_| give(Answer::NotStored(error))),
            Self::Deletes(count) => (0..count).for_each(|_| give(Answer::NotDeleted(error))),
            Self::Table(bumps, probe, _) => {
                if let Some(cells) = bumps {
                    give(Answer::NotBumped(cells.len(), error));
                }
                give(Answer::NotFollowed(error));
                if let Some(probe) = probe {
                    give(Answer::Probed(probe, Err(error)));
                }
            }
            Self::Errand(number) => give(Answer::Errand(number, Err(error))),
        }
    }
}

/// What the answers to a call say of Redis; none if nothing. What counts is the table, without which nothing
/// else is of use: of a cluster other nodes may fail.
#[must_use]
pub fn verdict(answers: &[Answer<'_>]) -> Option<Result<(), L2Error>> {
    let error = answers.iter().find_map(|answer| match answer {
        Answer::NotFollowed(error)
        | Answer::NotBumped(_, error)
        | Answer::Probed(_, Err(error))
        | Answer::Errand(_, Err(error)) => Some(*error),
        _ => None,
    });
    let is_well = |answer: &Answer<'_>| matches!(answer, Answer::Followed(..) | Answer::Errand(..));
    if let Some(error) = error {
        return Some(Err(error));
    }
    if answers.iter().any(is_well) {
        return Some(Ok(()));
    }
    // What got no answer at all says so for every command.
    answers.iter().find_map(|answer| match answer {
        Answer::Failed(_, error) | Answer::NotClaimed(_, error) => Some(Err(*error)),
        Answer::NotStored(error) | Answer::NotDeleted(error) => {
            let is_lost = matches!(error, L2Error::Timeout | L2Error::Reset | L2Error::Dispatch);
            is_lost.then_some(Err(*error))
        }
        _ => None,
    })
}

/// What the table says to those who look up or claim, in front of what they get.
fn followed(replies: &mut &[u8], layout: Layout) -> Result<Followed, L2Error> {
    let followed = read_followed(replies, layout);
    if followed.as_ref().err() == Some(&L2Error::Protocol) {
        // What is no reply of this kind has no known end.
        *replies = &[];
    }
    followed
}

fn table<'a>(asked: Asked, followed: Result<Followed, L2Error>, alone: bool) -> Answer<'a> {
    match followed {
        Ok(followed) => Answer::Followed(asked, followed, alone),
        Err(error) => Answer::NotFollowed(error),
    }
}

/// Replies in order, without end: after bytes that make no sense nothing behind them does.
struct Replies<'r, 'a> {
    replies: &'r mut &'a [u8],
    broken: Option<L2Error>,
}

impl<'r, 'a> Replies<'r, 'a> {
    const fn new(replies: &'r mut &'a [u8]) -> Self {
        Self { replies, broken: None }
    }
}

impl<'a> Iterator for Replies<'_, 'a> {
    type Item = Result<Reply<'a>, L2Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(error) = self.broken {
            return Some(Err(error));
        }
        Some(match next_reply(self.replies) {
            Ok(Reply::Error(text)) => Err(L2Error::from_reply(text)),
            Ok(reply) => Ok(reply),
            Err(error) => {
                self.broken = Some(error);
                *self.replies = &[];
                Err(error)
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::coherence::Stamp;
    #[cfg(target_arch = "wasm32")]
    use wasm_bindgen_test::wasm_bindgen_test as test;

    #[test]
    fn the_table_speaks_for_redis() {
        let synced = Stamp { incarnation: 9, number: 1 };
        let asked = Asked { scope: 0, synced, highest: 0, from: 0, epoch: 1 };
        let followed = || Answer::Followed(asked, Followed::default(), false);
        let (gone, full) = (L2Error::Refused, L2Error::OutOfMemory);
        for (answers, expected) in [
            (vec![], None),
            // A node of a cluster is gone, or full, but not that of the table.
            (vec![followed(), Answer::Failed(1, gone), Answer::Absent(2)], Some(Ok(()))),
            (vec![Answer::NotStored(gone), Answer::NotStored(full)], None),
            (vec![Answer::NotStored(full), Answer::Stored, Answer::Deleted], None),
            (vec![Answer::NotFollowed(gone), Answer::Absent(1)], Some(Err(gone))),
            (vec![Answer::NotBumped(3, full), followed()], Some(Err(full))),
            // Nothing came back.
            (vec![Answer::Failed(1, L2Error::Timeout)], Some(Err(L2Error::Timeout))),
            (vec![Answer::NotStored(L2Error::Reset)], Some(Err(L2Error::Reset))),
            (vec![Answer::Errand(1, Err(gone))], Some(Err(gone))),
            (vec![Answer::Errand(1, Ok(b"-OOM\r\n"))], Some(Ok(()))),
        ] {
            assert_eq!(verdict(&answers), expected, "{answers:?}");
        }
    }
}
