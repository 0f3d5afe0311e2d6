//! How a client uses its connection: whether it falls short of the rates that it must keep, and
//! what it wastes its place with when another wants it.

use std::time::{Duration, Instant};

use super::{Cut, Exchange, Line, Stage};
use crate::metrics::{Displaced, Slow};

/// So long may a body that has kept its rate so far pause at its client before that counts: a moment
/// of bad radio, or a buffer of the kernel that is read at leisure.
const PAUSE: Duration = Duration::from_millis(500);

/// So long nobody makes way: newcomers would push out each other before their requests have come in.
const FRESH: Duration = Duration::from_millis(100);

/// What a connection wastes its place with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Waste {
    /// What it is doing.
    pub was: Displaced,
    /// For how long it has done nothing better.
    pub span: Duration,
}

impl Waste {
    /// How much another deserves the place more. A second counts the more, the less is lost: between
    /// requests nothing, with a head hardly anything, with a body all that was sent of it.
    pub fn weight(self) -> f64 {
        let each = match self.was {
            Displaced::Idle => 4.0,
            Displaced::Head => 2.0,
            Displaced::Body | Displaced::Read => 1.0,
        };
        each * self.span.as_secs_f64()
    }
}

impl Line {
    /// What it wastes its place with at `now`; none while it is put to use, or has to go anyway.
    pub fn wastes(&self, now: Instant) -> Option<Waste> {
        if self.shut.get() || self.tunnels.get() > 0 {
            return None;
        }
        let exchanges = self.exchanges.borrow();
        if !exchanges.is_empty() {
            // It is as useful as the best of its requests.
            let spans = exchanges.iter().map(|exchange| exchange.wastes(now));
            let wastes: Option<Vec<Waste>> = spans.collect();
            return wastes?.into_iter().min_by_key(|waste| waste.span);
        }
        let (was, since) = match (self.multiplexed.get(), self.head_since.get()) {
            (true, Some(since)) => (Displaced::Head, since),
            (false, _) if self.heading.get() => (Displaced::Head, self.since.get()),
            // A request is just coming in.
            (false, _) if self.pulse.has_read() => return None,
            (true, None) | (false, _) => (Displaced::Idle, self.since.get()),
        };
        let span = now.saturating_duration_since(since);
        (span >= FRESH).then_some(Waste { was, span })
    }

    /// Gives up its place to another.
    pub fn makes_way(&self, was: Displaced) {
        match was {
            // What has come in at this moment is still answered.
            Displaced::Idle if !self.last.get() => self.close_soon(),
            Displaced::Body | Displaced::Head | Displaced::Idle | Displaced::Read => self.shut(),
        }
    }
}

impl Exchange {
    /// Whether it waits for its client alone, and for what.
    fn awaits_client(&self) -> Option<Slow> {
        match self.stage.get() {
            Stage::Waiting if self.handed.get().is_none() && self.client_owes.get() => {
                Some(Slow::Body)
            }
            Stage::Answering if !self.upstream_owes.get() => Some(Slow::Read),
            Stage::Answering | Stage::Connecting | Stage::Held | Stage::Waiting => None,
        }
    }

    /// Takes down for how long the client was waited for since the last look; `Cut::Client` if it
    /// falls short of the rate that it must keep.
    pub(super) fn clock(&self, now: Instant) -> Option<Cut> {
        let passed = now.saturating_duration_since(self.looked.replace(now));
        let slow = self.awaits_client()?;
        self.owed.set(self.owed.get() + passed);
        if slow == Slow::Body && self.is_call.get() {
            // It sends when there is something to say. It wastes its place like any other.
            return None;
        }
        let owed = self.owed.get().checked_sub(self.tier.table.tier.timeouts.rate_grace)?;
        (self.carried.get() < bytes(self.rate(slow)?, owed)).then_some(Cut::Client)
    }

    /// The bytes a second that its client must move.
    fn rate(&self, slow: Slow) -> Option<u64> {
        let limits = &self.tier.table.tier.limits;
        match slow {
            Slow::Body => limits.body_rate,
            Slow::Head | Slow::Read => limits.read_rate,
        }
    }

    /// For what its client was too slow, if it was cut for that.
    pub(super) fn slow(&self) -> Option<Slow> {
        let slow = if self.stage.get() == Stage::Answering { Slow::Read } else { Slow::Body };
        (self.cut.get() == Some(Cut::Client)).then_some(slow)
    }

    fn wastes(&self, now: Instant) -> Option<Waste> {
        let slow = self.awaits_client()?;
        let was = match slow {
            Slow::Body => Displaced::Body,
            Slow::Head | Slow::Read => Displaced::Read,
        };
        let still = now.saturating_duration_since(self.since.get());
        let earned = self.rate(slow).map_or(Duration::ZERO, |rate| span(self.carried.get(), rate));
        let behind = self.owed.get().max(still).saturating_sub(earned);
        let moves = self.moved.get() || still < PAUSE;
        let span = if moves { behind } else { behind.max(still) };
        (span >= FRESH).then_some(Waste { was, span })
    }
}

/// What comes at `rate` bytes a second in `span`.
fn bytes(rate: u64, span: Duration) -> u64 {
    u64::try_from(u128::from(rate) * span.as_millis() / 1_000).unwrap_or(u64::MAX)
}

/// How long `bytes` may take at `rate` bytes a second.
fn span(bytes: u64, rate: u64) -> Duration {
    Duration::from_millis(bytes.saturating_mul(1_000) / rate.max(1))
}
