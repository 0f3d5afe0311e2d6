//! What single keys do: which is the heaviest, and how many of its errors count.

use std::time::{Duration, Instant};

/// Keys a sketch holds. It finds every key with more than 1/33 of the requests, and takes a share
/// for at most 1/33 too small (Misra and Gries, 1982).
pub const SKETCH_KEYS: usize = 32;

/// Requests below which a share would say nothing.
pub const SHARE_REQUESTS_MIN: u64 = 100;

/// Errors of one key that count for one release in one window.
pub const KEY_ERRORS_MAX: u8 = 3;

/// Keys with errors that are told apart in one window; further ones are counted in full.
const ERROR_KEYS_MAX: usize = 1024;

/// The window of [`ErrorKeys`].
const ERROR_WINDOW: Duration = Duration::from_secs(1);

/// Counts the heaviest keys of a stream in constant space.
#[derive(Clone, Debug)]
pub struct Sketch {
    keys: [u64; SKETCH_KEYS],
    /// Each with what was taken off all of them: so it is taken off in one step.
    counts: [u64; SKETCH_KEYS],
    taken_off: u64,
    /// None of the counts is less.
    least: u64,
    total: u64,
}

impl Default for Sketch {
    fn default() -> Self {
        Self { keys: [0; SKETCH_KEYS], counts: [0; SKETCH_KEYS], taken_off: 0, least: 0, total: 0 }
    }
}

impl Sketch {
    /// One more request of `key`.
    pub fn add(&mut self, key: u64) {
        self.total += 1;
        let place = self.keys.iter().position(|held| *held == key);
        if let Some(place) = place.filter(|place| self.counts[*place] > self.taken_off) {
            self.counts[place] += 1;
        } else if let Some(free) = place.or_else(|| self.free()) {
            self.keys[free] = key;
            self.counts[free] = self.taken_off + 1;
        } else {
            self.taken_off += 1;
        }
    }

    /// A place that is free.
    fn free(&mut self) -> Option<usize> {
        if self.least > self.taken_off {
            return None;
        }
        let free = self.counts.iter().position(|count| *count <= self.taken_off);
        if free.is_none() {
            self.least = self.counts.into_iter().min().unwrap_or(0);
        }
        free
    }

    /// How often each key was seen, at least.
    fn held(&self) -> impl Iterator<Item = (u64, u64)> {
        let counts = self.counts.iter().map(|count| count.saturating_sub(self.taken_off));
        self.keys.iter().copied().zip(counts)
    }

    /// The share of the heaviest key in the sketches taken together; none below
    /// [`SHARE_REQUESTS_MIN`] requests.
    pub fn heaviest(sketches: &[Self]) -> Option<f64> {
        let total: u64 = sketches.iter().map(|sketch| sketch.total).sum();
        if total < SHARE_REQUESTS_MIN {
            return None;
        }
        let pairs = || sketches.iter().flat_map(Self::held);
        let of = |key: u64| -> u64 {
            pairs().filter(|(held, _)| *held == key).map(|(_, count)| count).sum()
        };
        let most = pairs().map(|(key, _)| of(key)).max().unwrap_or(0);
        Some(most as f64 / total as f64)
    }
}

/// Holds back the errors of one key beyond [`KEY_ERRORS_MAX`] a release and window, so that one
/// broken client cannot revert a rollout. Such requests count neither as request nor as error.
#[derive(Debug)]
pub struct ErrorKeys {
    since: Instant,
    seen: Vec<(u64, usize, u8)>,
}

impl ErrorKeys {
    /// None so far.
    pub const fn new(now: Instant) -> Self {
        Self { since: now, seen: Vec::new() }
    }

    /// Whether another error of `key` on `release` counts.
    pub fn counts(&mut self, key: u64, release: usize, now: Instant) -> bool {
        if now.duration_since(self.since) >= ERROR_WINDOW {
            self.since = now;
            self.seen.clear();
        }
        let same = |seen: &&mut (u64, usize, u8)| seen.0 == key && seen.1 == release;
        if let Some((_, _, errors)) = self.seen.iter_mut().find(same) {
            *errors = errors.saturating_add(1);
            return *errors <= KEY_ERRORS_MAX;
        }
        if self.seen.len() < ERROR_KEYS_MAX {
            self.seen.push((key, release, 1));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_heaviest_key_is_found_among_many() {
        let mut sketches = [Sketch::default(), Sketch::default()];
        for number in 0..10_000_u64 {
            let key = if number % 4 == 0 { 7 } else { 1_000 + number };
            sketches[usize::from(number % 8 < 4)].add(key);
        }
        let share = Sketch::heaviest(&sketches).unwrap();
        assert!((0.25 - 1.0 / 33.0..=0.25).contains(&share), "{share}");
    }

    #[test]
    fn few_requests_give_no_share() {
        let mut sketch = Sketch::default();
        (0..SHARE_REQUESTS_MIN - 1).for_each(|_| sketch.add(1));
        assert_eq!(Sketch::heaviest(std::slice::from_ref(&sketch)), None);
        sketch.add(1);
        assert_eq!(Sketch::heaviest(std::slice::from_ref(&sketch)), Some(1.0));
    }

    #[test]
    fn three_errors_of_one_key_count_in_a_window() {
        let start = Instant::now();
        let mut keys = ErrorKeys::new(start);
        let mut counted = |key, release, after: u64| {
            keys.counts(key, release, start + Duration::from_millis(after))
        };
        assert!(counted(1, 0, 0) && counted(1, 0, 1) && counted(1, 0, 2));
        assert!(!counted(1, 0, 3) && !counted(1, 0, 999));
        assert!(counted(2, 0, 999) && counted(1, 1, 999));
        assert!(counted(1, 0, 1_000));
    }
}
