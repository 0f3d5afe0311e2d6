//! Points in time as the ground floor knows them: numbers that somebody else read off a clock.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Wall time in milliseconds since the Unix epoch. For people and for the journal; spans inside
/// the program are measured on the monotonic clock (see `clock`).
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The point `milliseconds` after the Unix epoch.
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds)
    }

    /// Milliseconds since the Unix epoch.
    pub const fn millis(self) -> u64 {
        self.0
    }

    /// How much later this is than `earlier`; zero where the wall clock ran backwards.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// This point moved later by `span`.
    #[must_use]
    pub fn plus(self, span: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// A span as people say it: `45 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`. At most two units.
pub fn in_words(span: Duration) -> String {
    let seconds = span.as_secs();
    let pair = |big: u64, unit: &str, small: u64, small_unit: &str| {
        if small == 0 {
            format!("{big} {unit}")
        } else {
            format!("{big} {unit} {small} {small_unit}")
        }
    };
    match seconds {
        0 if !span.is_zero() => format!("{} ms", span.as_millis()),
        0..60 => format!("{seconds} s"),
        60..3_600 => pair(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => pair(seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
        86_400.. => pair(seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
    }
}

/// Spans in the journal: whole milliseconds (`#[serde(with = "crate::time::as_millis")]`).
pub mod as_millis {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes `span` in milliseconds.
    pub fn serialize<S: Serializer>(span: &Duration, out: S) -> Result<S::Ok, S::Error> {
        out.serialize_u64(u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
    }

    /// Reads milliseconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Duration, D::Error> {
        u64::deserialize(input).map(Duration::from_millis)
    }
}

/// The same for spans that there may be none of.
pub mod as_millis_or_none {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    /// Writes `span` in milliseconds.
    pub fn serialize<S: Serializer>(span: &Option<Duration>, out: S) -> Result<S::Ok, S::Error> {
        let millis = |span: &Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        span.as_ref().map(millis).serialize(out)
    }

    /// Reads milliseconds.
    pub fn deserialize<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(input)?.map(Duration::from_millis))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_said_in_at_most_two_units() {
        let said = |seconds| in_words(Duration::from_secs(seconds));
        assert_eq!(said(0), "0 s");
        assert_eq!(said(59), "59 s");
        assert_eq!(said(200), "3 min 20 s");
        assert_eq!(said(7_500), "2 h 5 min");
        assert_eq!(said(86_400), "1 d");
        assert_eq!(in_words(Duration::from_millis(250)), "250 ms");
    }

    #[test]
    fn a_clock_that_ran_backwards_gives_no_span() {
        let early = Timestamp::from_millis(5);
        assert_eq!(early.since(Timestamp::from_millis(9)), Duration::ZERO);
        assert_eq!(early.plus(Duration::from_secs(1)).millis(), 1_005);
    }
}
