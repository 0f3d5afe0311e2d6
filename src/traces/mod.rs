//! Spans: what is traced waits here, in bounds, until somebody takes it to a collector.
//!
//! Who makes a span never waits: where there is no room it is thrown away, and counted.

mod context;
mod otlp;
mod span;

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use tokio::sync::mpsc;

pub use context::{Context, SpanId, TraceId};
pub use otlp::{encode, rejected};
pub use span::{Kind, Span, Value};

/// Spans that wait for the collector: some seconds of a busy proxy, a few megabytes.
const WAITING_MAX: usize = 4_096;

/// Where spans are put, and what came of them. The data wing and whoever tells decisions put, one
/// task takes.
#[derive(Debug)]
pub struct Tracer {
    is_on: AtomicBool,
    /// A random number below this is sampled.
    below: AtomicU64,
    spans: mpsc::Sender<Span>,
    taken: Mutex<Option<mpsc::Receiver<Span>>>,
    counts: Counts,
}

/// What came of spans.
#[derive(Debug, Default)]
pub struct Counts {
    /// Those that the collector has.
    pub sent: AtomicU64,
    /// Those for which there was no room.
    pub dropped: AtomicU64,
    /// Those that the collector did not want.
    pub rejected: AtomicU64,
    /// Tries that failed.
    pub failures: AtomicU64,
}

impl Default for Tracer {
    fn default() -> Self {
        let (spans, taken) = mpsc::channel(WAITING_MAX);
        Self {
            is_on: AtomicBool::new(false),
            below: AtomicU64::new(0),
            spans,
            taken: Mutex::new(Some(taken)),
            counts: Counts::default(),
        }
    }
}

impl Tracer {
    /// Whether anything is traced.
    pub fn is_on(&self) -> bool {
        self.is_on.load(Ordering::Relaxed)
    }

    /// From now on so large a share of the requests is sampled; none: nothing is traced.
    pub fn follow(&self, ratio: Option<f64>) {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a share is within 0 and 1, and all of them is the largest number"
        )]
        let below = (ratio.unwrap_or(0.0) * u64::MAX as f64) as u64;
        self.below.store(below, Ordering::Relaxed);
        self.is_on.store(ratio.is_some(), Ordering::Relaxed);
    }

    /// Whether a request is sampled that got this random number.
    pub fn samples(&self, chance: u64) -> bool {
        let below = self.below.load(Ordering::Relaxed);
        chance < below || below == u64::MAX
    }

    /// Puts a span where it waits.
    pub fn put(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.counts.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The end that spans are taken from; it is there once, until it is given back.
    pub fn take(&self) -> Option<mpsc::Receiver<Span>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Gives it back.
    pub fn give_back(&self, spans: mpsc::Receiver<Span>) {
        *self.taken.lock().unwrap_or_else(PoisonError::into_inner) = Some(spans);
    }

    /// What came of them.
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// How many wait.
    pub fn waiting(&self) -> usize {
        self.spans.max_capacity() - self.spans.capacity()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_finds_no_room_is_counted_and_the_first_ones_stay() {
        let tracer = Tracer::default();
        for number in 0..WAITING_MAX as u64 + 3 {
            tracer.put(Span { start: number, ..Span::default() });
        }
        assert_eq!(tracer.counts().dropped.load(Ordering::Relaxed), 3);
        assert_eq!(tracer.waiting(), WAITING_MAX);
        let mut spans = tracer.take().unwrap();
        assert!(tracer.take().is_none(), "one takes");
        assert_eq!(spans.try_recv().unwrap().start, 0);
        tracer.give_back(spans);
        assert!(tracer.take().is_some());
    }

    #[test]
    fn a_share_is_sampled_and_nothing_while_it_is_off() {
        let tracer = Tracer::default();
        assert!(!tracer.is_on() && !tracer.samples(0));
        tracer.follow(Some(0.0));
        assert!(tracer.is_on() && !tracer.samples(0));
        tracer.follow(Some(0.25));
        assert!(tracer.samples(u64::MAX / 5) && !tracer.samples(u64::MAX / 3));
        tracer.follow(Some(1.0));
        assert!(tracer.samples(0) && tracer.samples(u64::MAX));
        tracer.follow(None);
        assert!(!tracer.is_on());
    }
}
