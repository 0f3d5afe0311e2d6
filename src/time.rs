//! Points in time as the ground floor knows them: numbers that somebody else read off a clock, and
//! the zone in which people say them.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Zoned;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};
use thiserror::Error;

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

/// A time zone by its name in the IANA database (`Europe/Berlin`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Zone(TimeZone);

/// There is no such zone.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("there is no time zone {0:?}; use a name such as \"Europe/Berlin\" or \"UTC\"")]
pub struct UnknownZone(String);

impl Zone {
    /// The one that needs no name.
    pub const UTC: Self = Self(TimeZone::UTC);

    /// `moment` on the clocks and calendars there.
    pub fn at(&self, moment: Timestamp) -> Zoned {
        let millis = i64::try_from(moment.millis()).unwrap_or(i64::MAX);
        let moment = jiff::Timestamp::from_millisecond(millis).unwrap_or(jiff::Timestamp::MAX);
        moment.to_zoned(self.0.clone())
    }

    /// The moment at which clocks there show `time`; none: the calendar ends before. A time that a
    /// change of the clock leaves out counts as the hour later; of one that comes twice the first
    /// counts.
    pub fn moment(&self, time: DateTime) -> Option<Timestamp> {
        let millis = time.to_zoned(self.0.clone()).ok()?.timestamp().as_millisecond();
        u64::try_from(millis).ok().map(Timestamp::from_millis)
    }

    /// `moment` as people there say it: `2026-12-01 03:30 CET`.
    pub fn say(&self, moment: Timestamp) -> String {
        self.write(moment, "%Y-%m-%d %H:%M %Z")
    }

    /// `moment` as people and programs read it: `2026-12-01T03:30:00+01:00` (RFC 3339).
    pub fn stamp(&self, moment: Timestamp) -> String {
        self.write(moment, "%Y-%m-%dT%H:%M:%S%:z")
    }

    /// `moment` there in the form of `pattern`, as strftime(3) knows it.
    pub fn write(&self, moment: Timestamp, pattern: &str) -> String {
        self.at(moment).strftime(pattern).to_string()
    }
}

impl From<TimeZone> for Zone {
    fn from(zone: TimeZone) -> Self {
        Self(zone)
    }
}

impl FromStr for Zone {
    type Err = UnknownZone;

    fn from_str(text: &str) -> Result<Self, UnknownZone> {
        TimeZone::get(text).map(Self).map_err(|_| UnknownZone(text.chars().take(40).collect()))
    }
}

impl fmt::Display for Zone {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.0.iana_name().unwrap_or("local time"))
    }
}

impl TryFrom<String> for Zone {
    type Error = UnknownZone;

    fn try_from(text: String) -> Result<Self, UnknownZone> {
        text.parse()
    }
}

impl From<Zone> for String {
    fn from(zone: Zone) -> Self {
        zone.to_string()
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
    fn a_moment_is_said_in_its_zone() {
        let zone: Zone = "Europe/Berlin".parse().unwrap();
        let winter = Timestamp::from_millis(1_767_229_200_000);
        assert_eq!(zone.say(winter), "2026-01-01 02:00 CET");
        assert_eq!(zone.stamp(winter), "2026-01-01T02:00:00+01:00");
        assert_eq!(zone.moment(zone.at(winter).datetime()), Some(winter));
        let kept = serde_json::to_string(&zone).unwrap();
        assert_eq!(kept, "\"Europe/Berlin\"");
        assert_eq!(serde_json::from_str::<Zone>(&kept).unwrap(), zone);
        assert!("Berlin".parse::<Zone>().unwrap_err().to_string().contains("Europe/Berlin"));
    }

    #[test]
    fn a_clock_that_ran_backwards_gives_no_span() {
        let early = Timestamp::from_millis(5);
        assert_eq!(early.since(Timestamp::from_millis(9)), Duration::ZERO);
        assert_eq!(early.plus(Duration::from_secs(1)).millis(), 1_005);
    }
}
