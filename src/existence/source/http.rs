//! A list that the API gives, page by page.

use super::super::{HttpSource, Paging};
use super::page::{Page, request};
use super::tally::{Count, MOST_PAGES, Tally};
use super::{Ask, Asking, Came, Etags, Failure, Stage};
use crate::http::response::status;

/// Pages whose `ETag`s are kept, at most.
const MOST_ETAGS: usize = 4096;

/// Which pages have been asked for, and what they said.
#[derive(Debug)]
pub(super) struct Http {
    /// What was said of each page the last time, as long as that may still hold.
    known: Vec<Vec<u8>>,
    in_flight: Vec<Flight>,
    tickets: u32,
    /// Pages asked for.
    asked: usize,
    /// Pages that may be asked for.
    may: usize,
    answered: usize,
    first: Option<First>,
    cursor: Option<String>,
    /// Of each page; empty where it has none.
    etags: Vec<Vec<u8>>,
}

#[derive(Debug)]
struct Flight {
    ticket: u32,
    /// None if it is no longer of use.
    page: Option<usize>,
}

/// What the first page said: the others must agree.
#[derive(Debug)]
struct First {
    total: Option<usize>,
    ids: usize,
    digest: u64,
    /// How many pages there are, as far as that is known.
    pages: usize,
}

impl Http {
    pub(super) fn new(source: &HttpSource, etags: &Etags) -> Self {
        // Behind a cursor there is another page as soon as one has changed.
        let is_of_use = etags.0.len() == 1 || matches!(source.paging, Paging::Numbers { .. });
        let known = if is_of_use { etags.0.clone() } else { Vec::new() };
        Self {
            may: known.len().max(1),
            known,
            in_flight: Vec::new(),
            tickets: 0,
            asked: 0,
            answered: 0,
            first: None,
            cursor: None,
            etags: Vec::new(),
        }
    }

    pub(super) fn ask(&mut self, source: &HttpSource) -> Option<Ask> {
        if self.asked >= self.may || self.in_flight.len() >= source.concurrency.max(1) {
            return None;
        }
        let (page, ticket) = (self.asked, self.tickets);
        self.asked += 1;
        self.tickets = ticket.wrapping_add(1);
        self.in_flight.push(Flight { ticket, page: Some(page) });
        let value = match &source.paging {
            Paging::One => None,
            Paging::Numbers { parameter, first } => {
                // Behind the last one comes the first once more.
                let is_again = self.first.as_ref().is_some_and(|first| first.pages == page);
                let number = first.saturating_add(if is_again { 0 } else { page as u64 });
                Some((&**parameter, number.to_string()))
            }
            Paging::Cursor { parameter, .. } => {
                self.cursor.clone().map(|cursor| (&**parameter, cursor))
            }
        };
        let value = value.as_ref().map(|(parameter, value)| (*parameter, &**value));
        let etag = self.known.get(page).map(|etag| &**etag);
        Some(Ask { ticket, what: Asking::Http(request(source, value, etag)) })
    }

    /// The next stage, if it is at its end.
    pub(super) fn answer(
        &mut self,
        source: &HttpSource,
        most: usize,
        tally: &mut Tally,
        ticket: u32,
        came: Came<'_>,
    ) -> Result<Option<Stage>, Failure> {
        let Some(at) = self.in_flight.iter().position(|flight| flight.ticket == ticket) else {
            return Ok(None);
        };
        let Some(index) = self.in_flight.swap_remove(at).page else { return Ok(None) };
        let Came::Http(fields, body) = came else { return Err(Failure::Unreachable) };
        if !self.known.is_empty() {
            match status(fields) {
                304 => {
                    self.answered += 1;
                    return Ok((self.answered == self.may).then_some(Stage::Unchanged));
                }
                // The only page is the first one of the new list.
                _ if self.known.len() == 1 => self.known.clear(),
                // It has changed, or there are fewer.
                200 | 404 => {
                    self.begin_anew();
                    return Ok(None);
                }
                _ => return Err(Failure::Status),
            }
        }
        let page = Page::read(source, most, tally, fields, body)?;
        let is_last = self.take(source, index, page, tally.len())?;
        Ok(if is_last { Some(Stage::Count(self.count(source, most, tally)?)) } else { None })
    }

    /// Asks for all, without conditions.
    fn begin_anew(&mut self) {
        self.known.clear();
        self.in_flight.iter_mut().for_each(|flight| flight.page = None);
        (self.asked, self.may, self.answered) = (0, 1, 0);
    }

    /// Takes what a page says; whether it was the last. `read` ids have come so far.
    fn take(
        &mut self,
        source: &HttpSource,
        index: usize,
        page: Page,
        read: usize,
    ) -> Result<bool, Failure> {
        self.answered += 1;
        let Page { total, ids, digest, next, etag } = page;
        let is_first = self.first.is_none();
        let first = self.first.get_or_insert(First { total, ids, digest, pages: 1 });
        if total != first.total {
            return Err(Failure::Changed);
        }
        let is_again = index == first.pages;
        if !is_again && index < MOST_ETAGS {
            self.etags.resize(self.etags.len().max(index + 1), Vec::new());
            self.etags.get_mut(index).into_iter().for_each(|place| place.clone_from(&etag));
        }
        match &source.paging {
            Paging::One => Ok(true),
            Paging::Cursor { .. } if next.is_none() => Ok(true),
            Paging::Cursor { .. } if next == self.cursor => Err(Failure::Malformed),
            Paging::Cursor { .. } => {
                self.cursor = next;
                first.pages += 1;
                self.may = first.pages;
                Ok(false)
            }
            // Another one: rows have moved.
            Paging::Numbers { .. } if is_again => {
                if digest == first.digest {
                    Ok(true)
                } else {
                    Err(Failure::Changed)
                }
            }
            Paging::Numbers { .. } => {
                let total = total.ok_or(Failure::Malformed)?;
                if is_first {
                    first.pages = pages(total, ids)?;
                    self.may = first.pages;
                }
                // What is counted is no ids: there may be more pages than that.
                if read > total {
                    return Err(Failure::Malformed);
                }
                if ids < first.ids && index + 1 < first.pages {
                    return Err(Failure::Incomplete);
                }
                if self.answered == first.pages {
                    self.may = first.pages + 1;
                }
                Ok(first.pages == 1)
            }
        }
    }

    /// All pages have come.
    fn count(&mut self, source: &HttpSource, most: usize, tally: &Tally) -> Result<Count, Failure> {
        let (total, pages) =
            self.first.as_ref().map_or((None, 0), |first| (first.total, first.pages));
        if total.is_none() && tally.len() == 0 {
            return Err(Failure::Malformed);
        }
        let mut count = Count::new(total.unwrap_or(0), Failure::Incomplete, most);
        let is_of_use = pages == 1 || matches!(source.paging, Paging::Numbers { .. });
        let have_all = self.etags.len() == pages && self.etags.iter().all(|tag| !tag.is_empty());
        if is_of_use && have_all {
            count.etags = Etags(std::mem::take(&mut self.etags));
        }
        Ok(count)
    }
}

/// How many pages there are, of which the first has `ids`.
fn pages(total: usize, ids: usize) -> Result<usize, Failure> {
    match total.div_ceil(ids.max(1)) {
        _ if total > 0 && ids == 0 => Err(Failure::Incomplete),
        pages if pages > MOST_PAGES => Err(Failure::TooMany),
        pages => Ok(pages.max(1)),
    }
}
