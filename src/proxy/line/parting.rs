//! How what would go on for ever comes to its end, once its release has lost.

use std::time::{Duration, Instant};

use super::{Cut, Exchange, Stage};

impl Exchange {
    /// Ends it, a stream, at a random time within `span`. A call of gRPC, which most often is a
    /// plain request, has the time of one.
    pub fn end_within(&self, span: Duration, now: Instant) {
        self.ending.within(span, now);
        if self.has_parted(now) {
            self.cut.set(Some(Cut::Stream));
        }
    }

    /// Whether it would go on for ever if it were let: a stream, or a call of gRPC whose client still
    /// sends.
    pub fn is_endless(&self) -> bool {
        self.is_stream.get() || self.is_calling()
    }

    /// Whether it is a call of gRPC whose client still sends, and nothing is answered so far.
    pub(super) fn is_calling(&self) -> bool {
        let is_sent = self.stage.get() == Stage::Waiting && self.handed.get().is_none();
        self.is_call.get() && is_sent
    }

    /// Whether it is time.
    pub(super) fn has_parted(&self, now: Instant) -> bool {
        let stream_after = self.tier.table.tier.timeouts.stream_after;
        let is_call = self.is_grpc.get() || self.is_call.get();
        let call = is_call.then(|| self.begun + stream_after);
        let due = |at| now >= at && call.is_none_or(|call| now >= call);
        self.is_endless() && self.ending.at().is_some_and(due)
    }
}
