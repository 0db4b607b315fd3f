//! What a VM that is about to end leaves behind: nothing that others would wait for.

use super::Module;
use super::shared::Shared;
use super::stream::Stream;
use crate::host::Host;

impl<H: Host> Module<H> {
    /// Gives up what only this VM could bring to an end. The host would leave requests that are paused in it so until
    /// its own time-outs: it fails only those for which it calls.
    ///
    /// Requests come first, which needs no memory.
    pub fn give_up(&self) {
        let is_paused = |stream: &Stream| {
            matches!(stream, Stream::AwaitingL2(_) | Stream::Following(_) | Stream::Claiming(_))
        };
        let paused = self.streams.iter().filter(|(_, (_, stream))| is_paused(stream));
        let in_hand = self.in_hand.iter().filter(|context| !self.streams.contains_key(*context));
        for context in in_hand.chain(paused.map(|(context, _)| context)) {
            if self.host.set_context(*context).is_ok() {
                // What cannot be closed now is closed some day.
                let _ = self.host.close_request();
            }
        }
        let shared = Shared::new(&self.host, self.bell);
        self.intents.abandon(&shared, self.host.now_ms());
        let (place, refreshes) = ((&shared, self.lease_queue()), self.worker.refreshing());
        self.worker.flights.abandon(place, refreshes, |other, message| {
            let _ = self.host.enqueue(other, message);
        });
    }
}
