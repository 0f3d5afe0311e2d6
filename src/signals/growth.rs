//! How far a counter has grown that is read now and then.

/// Above this a number of a counter is not exact, and no real counter gets there.
const COUNTER_MAX: f64 = 9_007_199_254_740_992.0;

/// What a counter that went back means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reset {
    /// It began anew at zero: what it shows was counted since.
    FromZero,
    /// One of several that were added up began anew: nobody knows what was counted meanwhile.
    Unknown,
}

/// One counter. What is less than a whole event waits for the rest of it.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Growth {
    base: Option<f64>,
}

impl Growth {
    /// How many events came since the last reading; none at the first.
    pub(super) fn until(&mut self, now: f64, reset: Reset) -> u64 {
        if !(0.0..=COUNTER_MAX).contains(&now) {
            return 0;
        }
        let base = match (self.base, reset) {
            (Some(base), _) if now >= base.floor() => base,
            (Some(_), Reset::FromZero) => 0.0,
            (None, _) | (Some(_), Reset::Unknown) => now,
        };
        let whole = (now - base).max(0.0).floor();
        self.base = Some(base + whole);
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "whole, not below zero, at most COUNTER_MAX"
        )]
        let grown = whole as u64;
        grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grown(values: &[f64], reset: Reset) -> Vec<u64> {
        let mut growth = Growth::default();
        values.iter().map(|value| growth.until(*value, reset)).collect()
    }

    #[test]
    fn a_counter_counts_from_its_first_reading_and_over_resets() {
        let values = [100.0, 103.0, 103.0, 2.0, 5.0];
        assert_eq!(grown(&values, Reset::FromZero), [0, 3, 0, 2, 3]);
        assert_eq!(grown(&values, Reset::Unknown), [0, 3, 0, 0, 3]);
    }

    #[test]
    fn parts_of_an_event_are_kept_until_they_are_one() {
        assert_eq!(grown(&[0.0, 0.4, 0.8, 1.2, 2.1], Reset::Unknown), [0, 0, 0, 1, 1]);
    }

    #[test]
    fn what_is_no_count_is_passed_over() {
        let values = [1.0, f64::NAN, -4.0, f64::INFINITY, 3.0];
        assert_eq!(grown(&values, Reset::FromZero), [0, 0, 0, 0, 2]);
    }
}
