//! The end of what would else go on for ever, at a random time within a span: were all of it to
//! end at once, all of it would come back at once.

use std::cell::Cell;
use std::time::{Duration, Instant};

use super::random;

/// When something ends, if it is to end.
#[derive(Debug, Default)]
pub struct Ending {
    at: Cell<Option<Instant>>,
    by: Cell<Option<Instant>>,
}

impl Ending {
    /// Ends it at a random time within `span` from `now` on; gives when.
    ///
    /// The time is drawn once: this is said again with every table that is published, and of many
    /// draws the earliest would end nearly everything at once. A time that was drawn before stays
    /// if it is early enough.
    pub fn within(&self, span: Duration, now: Instant) -> Instant {
        let by = now + span;
        let by = self.by.get().map_or(by, |before| before.min(by));
        self.by.set(Some(by));
        let drawn = || now + random::part_of(by.saturating_duration_since(now));
        let at = self.at.get().filter(|at| *at <= by).unwrap_or_else(drawn);
        self.at.set(Some(at));
        at
    }

    /// When it ends.
    pub fn at(&self) -> Option<Instant> {
        self.at.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPAN: Duration = Duration::from_secs(10);

    /// Of a thousand, how many end in each tenth of [`SPAN`].
    fn tenths(end: impl Fn(&Ending, Instant)) -> [usize; 10] {
        let now = Instant::now();
        let mut tenths = [0; 10];
        for _ in 0..1_000 {
            let ending = Ending::default();
            end(&ending, now);
            let after = ending.at().unwrap().saturating_duration_since(now);
            let tenth = after.as_nanos() * 10 / SPAN.as_nanos();
            tenths[usize::try_from(tenth).unwrap()] += 1;
        }
        tenths
    }

    /// A hundred each; one in a billion is further off than six deviations.
    fn is_even(tenths: [usize; 10]) -> bool {
        tenths.iter().all(|count| (43..=157).contains(count))
    }

    #[test]
    fn ends_are_spread_over_the_span_however_often_it_is_said() {
        let once = tenths(|ending, now| _ = ending.within(SPAN, now));
        assert!(is_even(once), "{once:?}");
        let often = tenths(|ending, now| {
            for millisecond in 0..100 {
                ending.within(SPAN, now + Duration::from_millis(millisecond));
            }
        });
        assert!(is_even(often), "{often:?}");
    }

    #[test]
    fn a_shorter_span_moves_only_what_would_end_after_it() {
        let both = tenths(|ending, now| {
            let first = ending.within(SPAN * 4, now);
            let second = ending.within(SPAN, now);
            assert_eq!(first == second, first <= now + SPAN);
        });
        assert!(is_even(both), "{both:?}");
        let (ending, now) = (Ending::default(), Instant::now());
        ending.within(SPAN, now);
        assert_eq!(ending.within(Duration::ZERO, now), now);
        assert_eq!(ending.within(SPAN, now), now, "and never later again");
    }
}
