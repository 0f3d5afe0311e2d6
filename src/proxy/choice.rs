//! Which upstream of a release gets a request, which may be left out, and how often a request may
//! be sent again.

use std::cell::Cell;
use std::rc::Rc;
use std::time::{Duration, Instant};

use super::random;
use super::view::{ReleaseView, UpstreamView};
use crate::metrics::HealthState;

/// The whole of a share, in thousandths.
const WHOLE: u64 = 1_000;

/// The least share of an upstream that is new or has come back, in thousandths.
const SHARE_MIN: u64 = WHOLE / 10;

/// A retry, in the hundredths of a percent that each request puts aside for it.
const RETRY: u32 = 10_000;

/// Retries that are put aside at most: a short trouble is got over, a long one is not.
const RETRIES_SAVED_MAX: u32 = 10;

/// What speaks against an upstream: how unwell it is, whether it is passed over, how busy it is.
type Cost = (u8, bool, u64);

/// How many requests may be sent again.
#[derive(Debug)]
pub struct Budget(Cell<u32>);

impl Default for Budget {
    fn default() -> Self {
        Self(Cell::new(RETRIES_SAVED_MAX * RETRY))
    }
}

impl Budget {
    /// A request comes and puts `points` of a retry aside.
    pub fn earn(&self, points: u16) {
        let saved = self.0.get().saturating_add(points.into());
        self.0.set(saved.min(RETRIES_SAVED_MAX * RETRY));
    }

    /// Whether there is a retry left; it is used then.
    pub fn spend(&self) -> bool {
        let left = self.0.get().checked_sub(RETRY);
        left.inspect(|left| self.0.set(*left)).is_some()
    }
}

impl ReleaseView {
    /// The least busy upstream among the healthiest that `fits`. One that is new or has come back
    /// gets less than its share for the time of `slow_start`. `last_resort` also takes one that
    /// fails its checks: better to try than to send everybody away. One that has left the table since
    /// the request was placed is left out, unless all have.
    pub fn choose(
        &self,
        now: Instant,
        slow_start: Duration,
        last_resort: bool,
        fits: impl Fn(&Rc<UpstreamView>) -> bool,
    ) -> Option<&Rc<UpstreamView>> {
        let turn = self.rotation.get();
        self.rotation.set(turn.wrapping_add(1));
        let count = self.upstreams.len();
        let mut best: Option<(Cost, &Rc<UpstreamView>)> = None;
        for step in 0..count {
            let upstream = &self.upstreams[turn.wrapping_add(step) % count];
            if !fits(upstream) {
                continue;
            }
            if upstream.pool.has_left() && !self.has_left() {
                continue;
            }
            let rank = match upstream.cells.state(now) {
                HealthState::Healthy => 0,
                HealthState::Unknown => 1,
                // Its checks pass, and nobody is better.
                HealthState::Ejected => 2,
                HealthState::Unhealthy if last_resort => 3,
                HealthState::Unhealthy => continue,
            };
            let share = if count > 1 { share(upstream, now, slow_start) } else { WHOLE };
            let (passed_over, load) = burden(upstream.busy.get() as u64, share);
            let cost = (rank, passed_over, load);
            if best.is_none_or(|(least, _)| cost < least) {
                best = Some((cost, upstream));
            }
        }
        best.map(|(_, upstream)| upstream)
    }

    /// Whether one more request that failed here may be sent again: not too many others were, or a
    /// release that dies would be hit twice as hard.
    pub fn may_repeat(&self) -> bool {
        let may = self.budget.spend();
        if !may {
            self.writer.retry_refused();
        }
        may
    }

    /// Whether all its upstreams have left the table.
    fn has_left(&self) -> bool {
        self.upstreams.iter().all(|upstream| upstream.pool.has_left())
    }

    /// Whether `upstream` is one of its own.
    pub fn has(&self, upstream: &Rc<UpstreamView>) -> bool {
        self.upstreams.iter().any(|own| Rc::ptr_eq(own, upstream))
    }

    /// Whether an upstream other than `but` could serve.
    pub fn has_other(&self, but: &Rc<UpstreamView>, now: Instant) -> bool {
        self.upstreams.iter().any(|upstream| {
            !Rc::ptr_eq(upstream, but)
                && matches!(upstream.cells.state(now), HealthState::Healthy | HealthState::Unknown)
        })
    }

    /// Whether `upstream` may be left out: at most a share of `most` hundredths of a percent at
    /// once (but one, if any), and never the last that is well. (Were the only upstream of a canary
    /// left out, one client with a request that fails would make errors of everybody's.)
    pub fn may_eject(&self, upstream: &Rc<UpstreamView>, now: Instant, most: u16) -> bool {
        let is_out =
            |upstream: &&Rc<UpstreamView>| upstream.cells.state(now) == HealthState::Ejected;
        let out = self.upstreams.iter().filter(is_out).count();
        let share = self.upstreams.len() * usize::from(most) / 10_000;
        let most = if most == 0 { 0 } else { share.max(1) };
        !is_out(&upstream) && out < most && self.has_other(upstream, now)
    }
}

/// The share of what others get, in thousandths, that `upstream` gets now.
fn share(upstream: &UpstreamView, now: Instant, slow_start: Duration) -> u64 {
    let back = upstream.cells.back_for(now);
    if back >= slow_start {
        return WHOLE;
    }
    let part = u128::from(WHOLE) * back.as_micros() / slow_start.as_micros().max(1);
    u64::try_from(part).unwrap_or(WHOLE).max(SHARE_MIN)
}

/// Whether an upstream with a `share` is passed over this time, and how busy it counts with `busy`
/// requests. Among upstreams that are not busy chance alone decides, among busy ones the load.
fn burden(busy: u64, share: u64) -> (bool, u64) {
    if share == WHOLE {
        return (false, busy * WHOLE);
    }
    let passed_over = random::number() % WHOLE >= share;
    (passed_over, (busy + 1) * WHOLE * WHOLE / share - WHOLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_of_five_requests_may_be_sent_again_and_a_few_at_once() {
        let budget = Budget::default();
        let retries = (0..1_000).filter(|_| {
            budget.earn(2_000);
            budget.spend()
        });
        // The tenth of what was saved at the beginning cannot be told apart from the first earned.
        let retries = retries.count();
        assert!((208..=210).contains(&retries), "{retries}");
        let idle = Budget::default();
        (0..1_000).for_each(|_| idle.earn(2_000));
        assert_eq!((0..100).filter(|_| idle.spend()).count(), 10);
        let off = Budget(Cell::new(0));
        off.earn(0);
        assert!(!off.spend());
    }

    #[test]
    fn an_upstream_with_a_tenth_is_passed_over_nine_times_of_ten() {
        let passed = (0..10_000).filter(|_| burden(0, SHARE_MIN).0).count();
        assert!((8_500..9_500).contains(&passed), "{passed}");
        assert!(!burden(0, WHOLE).0);
        assert!(burden(3, SHARE_MIN).1 > burden(30, WHOLE).1, "it counts as ten times as busy");
        assert_eq!(burden(3, WHOLE).1, 3 * WHOLE);
    }
}
