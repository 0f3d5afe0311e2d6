//! Stable's last hour in bins of one minute, kept also while nothing is rolled out.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::window::Counts;

/// Closed minutes that are kept: the hour a rollout is calibrated with.
pub const MINUTES_MAX: usize = 60;

/// A ring of the last sixty closed minutes. Absent are minutes that were not observed, or not from
/// their beginning, and minutes without a request: they say nothing of errors, and a rate over
/// them would be that of the time before the traffic came.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    closed: VecDeque<Counts>,
    open: Option<(u64, Counts)>,
    /// Whether the open minute was observed from its beginning.
    #[serde(default)]
    whole: bool,
}

impl History {
    /// Adds counts of stable to a minute (any number that grows by one each minute). Another
    /// minute than the last one closes it, whichever way the clock went.
    pub fn add(&mut self, minute: u64, counts: &Counts) {
        match &mut self.open {
            Some((open, sum)) if *open == minute => sum.add(counts),
            _ => {
                let follows = self.open.as_ref().is_some_and(|(open, _)| *open + 1 == minute);
                self.close();
                self.open = Some((minute, counts.clone()));
                self.whole = follows;
            }
        }
    }

    fn close(&mut self) {
        let Some((_, counts)) = self.open.take() else { return };
        if !self.whole || counts.requests == 0 {
            return;
        }
        if self.closed.len() >= MINUTES_MAX {
            self.closed.pop_front();
        }
        self.closed.push_back(counts);
    }

    /// The closed minutes, oldest first: what `Judge::calibrate` is fed before a rollout.
    pub fn minutes(&self) -> impl ExactSizeIterator<Item = &Counts> {
        self.closed.iter()
    }

    /// Requests per second over the closed minutes; 0 without any.
    pub fn rate(&self) -> f64 {
        if self.closed.is_empty() {
            return 0.0;
        }
        let requests: f64 = self.closed.iter().map(|counts| counts.requests as f64).sum();
        requests / (60.0 * self.closed.len() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requests(requests: u64) -> Counts {
        Counts { requests, ..Counts::default() }
    }

    #[test]
    fn a_minute_closes_when_the_next_begins() {
        let mut history = History::default();
        history.add(6, &requests(1));
        history.add(7, &requests(100));
        history.add(7, &requests(20));
        assert_eq!(history.minutes().len(), 0);
        history.add(9, &requests(1));
        assert_eq!(history.minutes().collect::<Vec<_>>(), [&requests(120)]);
        assert!((history.rate() - 2.0).abs() < 1e-12);
    }

    #[test]
    fn minutes_that_began_unseen_or_had_no_request_are_absent() {
        let mut history = History::default();
        // Begun in the middle of minute 3; no traffic in 4; a gap before 9.
        for (minute, sent) in [(3, 5), (4, 0), (5, 600), (6, 600), (9, 5), (10, 600), (11, 0)] {
            history.add(minute, &requests(sent));
        }
        assert_eq!(history.minutes().len(), 3);
        assert!((history.rate() - 10.0).abs() < 1e-12);
    }

    #[test]
    fn the_oldest_minute_gives_way() {
        let mut history = History::default();
        for minute in 0..=100 {
            history.add(minute, &requests(minute));
        }
        assert_eq!(history.minutes().len(), MINUTES_MAX);
        assert_eq!(history.minutes().next(), Some(&requests(40)));
    }

    #[test]
    fn a_clock_that_went_back_does_not_grow_one_bin() {
        let mut history = History::default();
        for (minute, sent) in [(49, 9), (50, 1), (10, 2), (11, 3), (12, 4)] {
            history.add(minute, &requests(sent));
        }
        assert_eq!(history.minutes().collect::<Vec<_>>(), [&requests(1), &requests(3)]);
    }

    #[test]
    fn it_survives_json() {
        let mut history = History::default();
        (0..70).for_each(|minute| history.add(minute, &requests(minute)));
        let json = serde_json::to_string(&history).unwrap();
        assert_eq!(serde_json::from_str::<History>(&json).unwrap(), history);
    }
}
