//! A list that the API gives, page by page.
//!
//! While pages are read a row may move to a page that was read already, because one before it goes; and if another one
//! comes at the end the total stays the same. So all pages are read twice. If each has the same ids both times, the list
//! was just that when the second reading began.

use super::super::{HttpSource, Paging};
use super::page::{Page, request};
use super::tally::{Counting, MOST_PAGES, Tally};
use super::{Ask, Asking, Came, Etags, Failure, Stage};
use crate::http::fields::Fields;
use crate::http::response::status;

/// Pages whose `ETag`s are kept: the first so many.
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
    /// What came of each page.
    read: Vec<Read>,
    /// Whether all pages have come, and come once more.
    is_again: bool,
}

#[derive(Debug)]
struct Flight {
    ticket: u32,
    /// None if it is no longer of use.
    page: Option<usize>,
}

#[derive(Clone, Debug, Default)]
struct Read {
    digest: u64,
    /// Empty if it has none.
    etag: Vec<u8>,
}

/// What the first page said: the others must agree.
#[derive(Debug)]
struct First {
    total: Option<usize>,
    ids: usize,
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
            read: Vec::new(),
            is_again: false,
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
                Some((&**parameter, first.saturating_add(page as u64).to_string()))
            }
            Paging::Cursor { parameter, .. } => {
                self.cursor.clone().map(|cursor| (&**parameter, cursor))
            }
        };
        let value = value.as_ref().map(|(parameter, value)| (*parameter, &**value));
        // Where the next page is only a page itself says.
        let is_counted = matches!(source.paging, Paging::Numbers { .. });
        let read = self.read.get(page).filter(|_| self.is_again && is_counted);
        let etag = read.map(|read| &read.etag).or(self.known.get(page));
        let etag = etag.filter(|etag| !etag.is_empty());
        Some(Ask { ticket, what: Asking::Http(request(source, value, etag.map(|etag| &**etag))) })
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
        let (fields, body) = match came {
            Came::Http(fields, body) => (fields, body),
            Came::TooMuch => return Err(Failure::TooMany),
            Came::Redis(_) | Came::Nothing => return Err(Failure::Unreachable),
        };
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
        let is_last = if self.is_again {
            self.compare(source, most, index, (fields, body))?
        } else {
            let page = Page::read(source, most, Some(tally), fields, body)?;
            self.take(source, index, page, tally.len())?
        };
        Ok(if is_last { Some(Stage::Count(self.count(source, most, tally)?)) } else { None })
    }

    /// Compares a page with what it was the first time; whether it was the last.
    fn compare(
        &mut self,
        source: &HttpSource,
        most: usize,
        index: usize,
        (fields, body): (Fields<'_>, &[u8]),
    ) -> Result<bool, Failure> {
        let read = self.read.get(index).ok_or(Failure::Malformed)?;
        if status(fields) != 304
            || read.etag.is_empty()
            || !matches!(source.paging, Paging::Numbers { .. })
        {
            let page = Page::read(source, most, None, fields, body)?;
            let total = self.first.as_ref().and_then(|first| first.total);
            let is_last = index + 1 == self.read.len();
            let goes_on = matches!(source.paging, Paging::Cursor { .. }) && !is_last;
            if page.total != total || page.digest != read.digest || page.next.is_some() != goes_on {
                return Err(Failure::Changed);
            }
            self.cursor = page.next;
            self.may += usize::from(goes_on);
        }
        self.answered += 1;
        Ok(self.answered == self.read.len())
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
        let Page { total, ids, digest, next, mut etag } = page;
        etag.truncate(if index < MOST_ETAGS { etag.len() } else { 0 });
        let is_first = self.first.is_none();
        let first = self.first.get_or_insert(First { total, ids, pages: 1 });
        if total != first.total {
            return Err(Failure::Changed);
        }
        self.read.resize(self.read.len().max(index + 1), Read::default());
        if let Some(place) = self.read.get_mut(index) {
            *place = Read { digest, etag };
        }
        match &source.paging {
            Paging::One => Ok(true),
            Paging::Cursor { .. } if next.is_none() => {
                self.cursor = None;
                (self.asked, self.may, self.answered, self.is_again) = (0, 1, 0, true);
                Ok(first.pages == 1)
            }
            Paging::Cursor { .. } if next == self.cursor => Err(Failure::Malformed),
            Paging::Cursor { .. } => {
                self.cursor = next;
                first.pages += 1;
                self.may = first.pages;
                Ok(false)
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
                    (self.asked, self.answered, self.is_again) = (0, 0, true);
                }
                Ok(first.pages == 1)
            }
        }
    }

    /// All pages have come.
    fn count(
        &mut self,
        source: &HttpSource,
        most: usize,
        tally: &Tally,
    ) -> Result<Counting, Failure> {
        let (total, pages) =
            self.first.as_ref().map_or((None, 0), |first| (first.total, first.pages));
        if total.is_none() && tally.len() == 0 {
            return Err(Failure::Malformed);
        }
        let mut count = Counting::new(total.unwrap_or(0), Failure::Incomplete, most);
        let is_of_use = pages == 1 || matches!(source.paging, Paging::Numbers { .. });
        if is_of_use && self.read.iter().all(|read| !read.etag.is_empty()) {
            count.etags = Etags(self.read.drain(..).map(|read| read.etag).collect());
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
