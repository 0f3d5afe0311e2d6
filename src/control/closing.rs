//! What is closed: when it is due to open, on a clock that does not jump, and what became of requests
//! since.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::metrics::{Register, TierCells, Waited};
use crate::rollout::{Closures, Input};
use crate::time::Timestamp;
use crate::traffic::TierName;

/// What became of requests to a tier that was closed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Turned {
    /// Answered with 503, in maintenance.
    pub(super) answered: u64,
    /// Waited, and went on.
    pub(super) waited: u64,
    /// Answered with 503, since they could not wait or not so long.
    pub(super) refused: u64,
}

impl Turned {
    fn so_far(cells: &TierCells) -> Self {
        let outcomes = |outcomes: &[Waited]| {
            outcomes.iter().map(|outcome| cells.waiting.outcomes(*outcome)).sum()
        };
        Self {
            answered: cells.maintained.load(Ordering::Relaxed),
            waited: outcomes(&[Waited::Served]),
            refused: outcomes(&[Waited::Expired, Waited::Refused, Waited::TurnedAway]),
        }
    }

    const fn since(self, before: Self) -> Self {
        Self {
            answered: self.answered.saturating_sub(before.answered),
            waited: self.waited.saturating_sub(before.waited),
            refused: self.refused.saturating_sub(before.refused),
        }
    }
}

/// What is known of what is closed.
#[derive(Debug, Default)]
pub(super) struct Closing {
    /// When each order was given, and when its time is up.
    due: BTreeMap<Option<TierName>, (Timestamp, Instant)>,
    /// Since when each tier is closed, and what had been counted until then, by this program.
    began: BTreeMap<TierName, (Timestamp, Turned)>,
}

impl Closing {
    /// Takes note of `closures` as they are at `wall`, which is `now` on the clock that does not
    /// jump. What is known already stays.
    pub(super) fn follow(&mut self, closures: &Closures, wall: Timestamp, now: Instant) {
        let mut due = BTreeMap::new();
        for (tier, closure) in closures.each() {
            let Some(remaining) = closure.remaining(wall) else { continue };
            let known = self.due.remove(&tier.cloned());
            let known = known.filter(|(ordered, _)| *ordered == closure.ordered);
            let at = known.unwrap_or((closure.ordered, now + remaining));
            due.insert(tier.cloned(), at);
        }
        self.due = due;
    }

    /// The end of an order whose time is up.
    pub(super) fn is_due(&self, now: Instant) -> Option<Input> {
        let (tier, (ordered, _)) = self.due.iter().find(|(_, (_, at))| *at <= now)?;
        Some(Input::Due { tier: tier.clone(), ordered: *ordered })
    }

    /// Takes note of what was counted in `tier` when it was closed.
    pub(super) fn count(&mut self, tier: &TierName, closures: &Closures, register: &Register) {
        match closures.of(tier).map(|closure| closure.since) {
            None => _ = self.began.remove(tier),
            Some(since) => {
                let known = self.began.get(tier).is_some_and(|(known, _)| *known == since);
                if !known {
                    let so_far = Turned::so_far(&register.tier(tier));
                    self.began.insert(tier.clone(), (since, so_far));
                }
            }
        }
    }

    /// What became of requests to `tier` since it was closed, or since the program started.
    pub(super) fn turned(&self, tier: &TierName, register: &Register) -> Turned {
        let before = self.began.get(tier).map(|(_, before)| *before).unwrap_or_default();
        Turned::so_far(&register.tier(tier)).since(before)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rollout::{Change, Event, Purpose, State};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_millis(1_000 * seconds)
    }

    fn closed(ordered: u64, until: u64) -> State {
        let mut state = State::default();
        let (purpose, until) = (Purpose::Maintenance, Some(at(until)));
        state.apply(&Event {
            at: at(ordered),
            by: "night-shift".parse().unwrap(),
            because: None,
            tier: Some("web".parse().unwrap()),
            rollout: None,
            change: Change::Closed { purpose, until, message: None, close: false },
        });
        state
    }

    #[test]
    fn a_clock_that_jumps_ends_nothing_early_and_nothing_late() {
        let (state, begin) = (closed(1_000, 1_060), Instant::now());
        let mut closing = Closing::default();
        closing.follow(&state.closures, at(1_000), begin);
        for jump in [at(9_000), at(3)] {
            let second = begin + Duration::from_secs(59);
            closing.follow(&state.closures, jump, second);
            assert_eq!(closing.is_due(second), None, "{jump:?}");
        }
        let minute = begin + Duration::from_mins(1);
        closing.follow(&state.closures, at(3), minute);
        let due = Input::Due { tier: Some("web".parse().unwrap()), ordered: at(1_000) };
        assert_eq!(closing.is_due(minute), Some(due));
    }

    #[test]
    fn a_start_goes_on_with_what_is_left_and_a_new_order_counts_anew() {
        let (state, begin) = (closed(1_000, 1_060), Instant::now());
        let mut closing = Closing::default();
        closing.follow(&state.closures, at(1_050), begin);
        assert!(closing.is_due(begin + Duration::from_secs(9)).is_none());
        assert!(closing.is_due(begin + Duration::from_secs(10)).is_some());
        closing.follow(&closed(1_050, 1_110).closures, at(1_050), begin);
        assert!(closing.is_due(begin + Duration::from_secs(59)).is_none());
        closing.follow(&State::default().closures, at(1_050), begin);
        assert!(closing.is_due(begin + Duration::from_secs(99)).is_none(), "an order has ended it");
    }
}
