//! What a space tells of itself: counts, gauges, and lines of the log.

use super::keeper::Event;
use super::known::Verdict;
use crate::closed_enum::closed_enum;

closed_enum! {
    /// What is counted of a space, besides verdicts.
    pub enum Count {
        /// A request was answered, for its id does not exist.
        Refused => "refused",
        /// One would have been, but for `shadow`.
        Shadowed => "shadowed",
        /// The origin found an id that does not exist by what is known: an error of the filter.
        FalseNegative => "false_negative",
        /// The origin did not find an id that the filter has.
        FalsePositive => "false_positive",
        /// Ids that came into being.
        Created => "created",
        /// Ids that the origin found and the filter does not have.
        Seen => "seen",
        /// A list was read, and a filter made of it.
        Built => "built",
        /// The source says that its list is the same.
        Unchanged => "unchanged",
        /// The fleet's last filter was loaded.
        Loaded => "loaded",
        /// It was no good.
        LoadFailed => "load_failed",
        /// The filter was kept in Redis.
        Kept => "kept",
        /// A list was not used.
        ReadFailed => "read_failed",
        /// Ids came into being, and nobody knows which.
        Lost => "lost",
    }
}

/// What a space is at, for gauges.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Ids of the list.
    pub ids: u64,
    /// Ids that came into being since.
    pub recent: u64,
    /// Bytes of the filter.
    pub bytes: u64,
    /// The list's age, in s.
    pub age_s: u64,
    /// Why every id may go on, if it may.
    pub open: Option<Verdict>,
    /// How long the last filter took to be made, in ms; 0 if that was not here.
    pub build_ms: u64,
}

impl Standing {
    /// Its values, with the names of their metrics.
    #[must_use]
    pub fn values(&self) -> [(&'static str, u64); 6] {
        [
            ("existence_ids", self.ids),
            ("existence_recent", self.recent),
            ("existence_filter_bytes", self.bytes),
            ("existence_list_age_seconds", self.age_s),
            ("existence_open", u64::from(self.open.is_some())),
            ("existence_build_ms", self.build_ms),
        ]
    }
}

/// What there is to tell, since the last time.
#[derive(Debug, Default)]
pub(super) struct Telling {
    counts: [u64; Count::ALL.len()],
    verdicts: [u64; Verdict::ALL.len()],
    lines: Vec<(log::Level, String)>,
    build_ms: u64,
    /// What was last told of what it is at.
    told: Standing,
}

impl Telling {
    pub(super) fn count(&mut self, count: Count, by: u64) {
        if let Some(known) = self.counts.get_mut(count.index()) {
            *known += by;
        }
    }

    /// Counts a verdict.
    pub(super) fn judged(&mut self, verdict: Verdict) {
        if let Some(count) = self.verdicts.get_mut(verdict.index()) {
            *count += 1;
        }
    }

    /// Counts what the keeper of the space called `name` did, and says so; its filter has so many bytes now.
    pub(super) fn happened(&mut self, name: &str, event: Event, bytes: usize) {
        let (count, said) = match event {
            Event::Built(ids, all_ms, build_ms) => {
                self.build_ms = build_ms;
                let text = format!(
                    "a list of {ids} ids was read and its filter made in {all_ms} ms, {build_ms} ms of it for the \
                     filter of {bytes} bytes"
                );
                (Count::Built, Some((log::Level::Info, text)))
            }
            Event::Loaded(ids) => {
                let text = format!("a filter of {ids} ids was loaded from Redis");
                (Count::Loaded, Some((log::Level::Info, text)))
            }
            Event::Refused(error) => {
                let text = format!("the filter in Redis is not used: {error}");
                (Count::LoadFailed, Some((log::Level::Warn, text)))
            }
            Event::Failed(failure, wait_ms) => {
                let text = format!(
                    "the list of ids is not used: {failure}; the next attempt is in {wait_ms} ms"
                );
                (Count::ReadFailed, Some((log::Level::Warn, text)))
            }
            Event::Lost => {
                let text = "ids came into being, and nobody knows which".to_owned();
                (Count::Lost, Some((log::Level::Warn, text)))
            }
            Event::Unchanged => (Count::Unchanged, None),
            Event::Kept => (Count::Kept, None),
        };
        self.count(count, 1);
        self.lines.extend(said.map(|(level, text)| (level, format!("space {name}: {text}"))));
    }

    /// What has changed of what the space called `name` is at, with the names of the metrics; says so once when requests
    /// begin, or cease, to go on whatever their ids. How long the last filter took is known here.
    pub(super) fn stands(&mut self, name: &str, now: Standing) -> Vec<(&'static str, u64)> {
        let now = Standing { build_ms: self.build_ms, ..now };
        let before = std::mem::replace(&mut self.told, now);
        if before.open != now.open {
            self.lines.push(match now.open {
                Some(why) => {
                    let text = format!("space {name}: requests go on whatever their ids: {why}");
                    (log::Level::Warn, text)
                }
                None => (log::Level::Info, format!("space {name}: it is known which ids exist")),
            });
        }
        let both = now.values().into_iter().zip(before.values());
        both.filter(|(now, before)| now != before).map(|(now, _)| now).collect()
    }

    pub(super) fn take_counts(&mut self) -> Vec<(&'static str, u64)> {
        let counts = Count::ALL.iter().map(|count| count.as_str()).zip(&mut self.counts);
        let verdicts = Verdict::ALL.iter().map(|verdict| verdict.as_str()).zip(&mut self.verdicts);
        let counted = counts.chain(verdicts).filter(|(_, count)| **count > 0);
        counted.map(|(name, count)| (name, std::mem::take(count))).collect()
    }

    pub(super) fn take_lines(&mut self) -> Vec<(log::Level, String)> {
        std::mem::take(&mut self.lines)
    }
}
