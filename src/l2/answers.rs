//! What the replies to a call mean for who waits for it.

use super::L2Error;
use super::resp::{Reply, next_reply};

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
    /// A store was accepted.
    Stored,
    /// A store failed.
    NotStored(L2Error),
    /// What was to go is gone.
    Deleted,
    /// What was to go may still be there.
    NotDeleted(L2Error),
}

/// Who waits for a call: its commands, in order.
#[derive(Debug)]
pub(super) enum Waiting {
    /// Look-ups.
    Lookups(Vec<Ticket>),
    /// Stores under these hashes, each with whether it must be deleted after all.
    Stores(Vec<(u128, bool)>),
    /// So many deletes.
    Deletes(usize),
}

impl Waiting {
    /// What is under `hash` is deleted: a store of it that is on its way may come after that.
    pub(super) fn overtake(&mut self, hash: u128) {
        if let Self::Stores(stores) = self {
            stores.iter_mut().filter(|(of, _)| *of == hash).for_each(|(_, again)| *again = true);
        }
    }

    /// Hashes that must be deleted again, now that the call has ended.
    pub(super) fn overtaken(&self) -> impl Iterator<Item = u128> {
        let stores = if let Self::Stores(stores) = self { &stores[..] } else { &[] };
        stores.iter().filter(|(_, again)| *again).map(|(hash, _)| *hash)
    }

    /// The call came back: every command gets its answer.
    pub(super) fn read<'a>(self, mut replies: &'a [u8], give: &mut impl FnMut(Answer<'a>)) {
        // After bytes that make no sense nothing behind them does.
        let mut broken = None;
        let mut next = || match broken {
            Some(error) => Err(error),
            None => match next_reply(&mut replies) {
                Ok(Reply::Error(text)) => Err(L2Error::from_reply(text)),
                Ok(reply) => Ok(reply),
                Err(error) => {
                    broken = Some(error);
                    Err(error)
                }
            },
        };
        match self {
            Self::Lookups(tickets) => tickets.into_iter().for_each(|ticket| {
                give(match next() {
                    Ok(Reply::Bulk(value)) => Answer::Found(ticket, value),
                    Ok(Reply::Nil) => Answer::Absent(ticket),
                    Ok(_) => Answer::Failed(ticket, L2Error::Protocol),
                    Err(error) => Answer::Failed(ticket, error),
                });
            }),
            Self::Stores(stores) => stores.iter().for_each(|_| {
                give(match next() {
                    Ok(Reply::Simple(b"OK")) => Answer::Stored,
                    Ok(_) => Answer::NotStored(L2Error::Protocol),
                    Err(error) => Answer::NotStored(error),
                });
            }),
            Self::Deletes(count) => (0..count).for_each(|_| {
                give(match next() {
                    Ok(Reply::Integer(_)) => Answer::Deleted,
                    Ok(_) => Answer::NotDeleted(L2Error::Protocol),
                    Err(error) => Answer::NotDeleted(error),
                });
            }),
        }
    }

    /// The call failed: so did every command.
    pub(super) fn fail<'a>(self, error: L2Error, give: &mut impl FnMut(Answer<'a>)) {
        match self {
            Self::Lookups(tickets) => {
                tickets.into_iter().for_each(|ticket| give(Answer::Failed(ticket, error)));
            }
            Self::Stores(stores) => {
                stores.iter().for_each(|_| give(Answer::NotStored(error)));
            }
            Self::Deletes(count) => (0..count).for_each(|_| give(Answer::NotDeleted(error))),
        }
    }
}
