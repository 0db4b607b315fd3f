//! Which ids exist: what there is to ask is asked, and what became known is told.

use std::rc::Rc;

use hashbrown::HashMap;

use super::Module;
use super::shared::Shared;
use crate::engine::News;
use crate::existence::source::{Ask, Asking, Came};
use crate::existence::{Count, SourcePolicy, Space};
use crate::host::{Buffer, FieldMap, Host};
use crate::http::fields::Fields;
use crate::l2::L2Error;

/// How long a VM waits to be proven to be a worker's before it reads lists all the same, in ticks.
const PATIENCE: u32 = 40;

/// Bytes of a page, at most: all of it is read at once.
const MOST_OF_PAGE: usize = 8 << 20;

/// Questions of spaces under way.
#[derive(Debug, Default)]
pub(super) struct Asked {
    /// To sources, by token: root, scope and ticket.
    calls: HashMap<u32, (u32, u64, u32)>,
    /// To Redis, by number.
    errands: HashMap<u64, (u32, u64, u32)>,
    numbers: u64,
    ticks: u32,
}

impl Asked {
    /// Whether a callout is a space's.
    pub(super) fn owns(&self, token: u32) -> bool {
        self.calls.contains_key(&token)
    }
}

impl<H: Host> Module<H> {
    /// A filter was configured: its spaces are there from now on.
    pub(super) fn join_spaces(&mut self, root_id: u32) {
        let Some(policy) = self.roots.get(&root_id).and_then(|root| root.policy.clone()) else {
            return;
        };
        let shared = Shared::new(&self.host, self.bell);
        let settle_ms = policy.coherence.guard_ms;
        for of in &policy.spaces {
            let seed = self.nonce ^ of.scope;
            let space = self.worker.spaces.entry(of.scope).or_insert_with(|| {
                let poll_ms = policy.coherence.feed_interval_ms;
                let fleet = policy.l2.as_ref().map(|l2| (&*l2.key_prefix, poll_ms));
                Space::new(Rc::clone(of), fleet, settle_ms, seed)
            });
            space.configure(of, settle_ms);
            space.open(&shared);
            if let Some(meters) = &mut self.meters {
                meters.define_space(&self.host, &of.name);
            }
        }
    }

    /// Forgets spaces that no filter has any more.
    pub(super) fn leave_spaces(&mut self) {
        let roots = &self.roots;
        // Nobody is told of what they have asked.
        self.asked.calls.retain(|_, (root, ..)| roots.contains_key(root));
        self.asked.errands.retain(|_, (root, ..)| roots.contains_key(root));
        self.worker.spaces.retain(|scope, _| {
            let mut policies = roots.values().filter_map(|root| root.policy.as_ref());
            policies.any(|policy| policy.spaces.iter().any(|space| space.scope == *scope))
        });
    }

    /// Time passes for the spaces of a root.
    pub(super) fn keep_spaces(&mut self, root_id: u32, now_ms: u64) {
        let policy = self.roots.get(&root_id).and_then(|root| root.policy.clone());
        let Some(policy) = policy.filter(|policy| !policy.spaces.is_empty()) else { return };
        self.asked.ticks += 1;
        // Where there is a way to find out who is a worker, that is waited for.
        let keeps = self.is_worker || self.asked.ticks > PATIENCE;
        for of in &policy.spaces {
            let shared = Shared::new(&self.host, self.bell);
            let Some(space) = self.worker.spaces.get_mut(&of.scope) else { continue };
            let asks = space.tick(&shared, keeps.then_some(self.is_worker), now_ms);
            let standing = space.standing(&shared, now_ms);
            for (level, line) in space.take_lines() {
                self.host.log(level, &format!("tiercel: {line}"));
            }
            if let Some(meters) = &mut self.meters {
                meters.tell_space(&self.host, &of.name, &space.take_counts(), &standing);
            }
            self.ask_for_space((root_id, of.scope), asks, now_ms);
        }
    }

    /// Tells all what became known of ids.
    pub(super) fn tell_of_ids(&mut self, root_id: u32) {
        if self.worker.news.is_empty() {
            return;
        }
        let now_ms = self.host.now_ms();
        for (scope, news) in std::mem::take(&mut self.worker.news) {
            let shared = Shared::new(&self.host, self.bell);
            let Some(space) = self.worker.spaces.get_mut(&scope) else { continue };
            match news {
                News::Created(hashes) => space.add(&shared, &hashes, Count::Created, false),
                News::Uncertain(hashes) => space.add(&shared, &hashes, Count::Created, true),
                News::Lost => space.lose(&shared),
                News::Seen(hash) => space.is_seen(&shared, hash),
            }
            let asks = space.send(now_ms).into_iter().collect();
            self.ask_for_space((root_id, scope), asks, now_ms);
        }
    }

    /// Asks what a space wants to know.
    fn ask_for_space(&mut self, (root_id, scope): (u32, u64), asks: Vec<Ask>, now_ms: u64) {
        let mut rest = std::collections::VecDeque::from(asks);
        while let Some(Ask { ticket, what }) = rest.pop_front() {
            let of = (root_id, scope, ticket);
            let Some(space) = self.worker.spaces.get_mut(&scope) else { return };
            let is_asked = match (what, &space.policy().source) {
                (Asking::Http(head), SourcePolicy::Http(http)) => {
                    let call = self.host.call(&http.cluster, &head, b"", http.timeout_ms);
                    call.map(|token| self.asked.calls.insert(token, of)).is_ok()
                }
                (Asking::Http(_), _) => false,
                (Asking::Redis(commands), _) => {
                    let number = self.asked.numbers;
                    self.asked.numbers += 1;
                    let root = self.roots.get_mut(&root_id);
                    let sent = root.is_some_and(|root| root.run(&self.host, number, commands));
                    if sent {
                        self.asked.errands.insert(number, of);
                    }
                    sent
                }
            };
            if !is_asked {
                let shared = Shared::new(&self.host, self.bell);
                rest.extend(space.came(&shared, ticket, Came::Nothing, now_ms));
            }
        }
    }

    /// The source of a space has answered; without a head it was reset.
    pub(super) fn listed(&mut self, root: u32, token: u32, has_head: bool, body_len: usize) {
        let Some(of) = self.asked.calls.remove(&token) else { return };
        let block = has_head.then(|| self.host.fields(FieldMap::Call).ok()).flatten();
        let body = match body_len {
            1..=MOST_OF_PAGE => self.host.buffer(Buffer::CallBody, body_len).unwrap_or_default(),
            _ => Vec::new(),
        };
        let came = match &block {
            Some(_) if body_len > MOST_OF_PAGE => Came::TooMuch,
            Some(block) => Came::Http(Fields::new(block), &body),
            None => Came::Nothing,
        };
        self.came_for_space(of, came);
        self.flush(root, false);
    }

    /// Redis has answered a space.
    pub(super) fn ran(&mut self, number: u64, replies: Result<&[u8], L2Error>) {
        if let Some(of) = self.asked.errands.remove(&number) {
            self.came_for_space(of, replies.map_or(Came::Nothing, Came::Redis));
        }
    }

    fn came_for_space(&mut self, (root_id, scope, ticket): (u32, u64, u32), came: Came<'_>) {
        let now_ms = self.host.now_ms();
        let shared = Shared::new(&self.host, self.bell);
        let Some(space) = self.worker.spaces.get_mut(&scope) else { return };
        let asks = space.came(&shared, ticket, came, now_ms);
        self.ask_for_space((root_id, scope), asks, now_ms);
    }
}
