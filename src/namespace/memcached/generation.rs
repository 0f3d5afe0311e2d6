//! Which generation of a namespace is the living one: `flush_all` begins another, and nobody finds
//! the keys of the old one any more.

use std::fmt;

/// Seconds up to which memcached takes a time to be a span; what is more is a moment.
const SPAN_MAX: u64 = 60 * 60 * 24 * 30;

/// Digits of a generation before a key: they last until the year 2085.
pub const DIGITS: usize = 10;

/// The moment at which a generation began, in microseconds since 1970: one that is lost is
/// followed by a later one, never by one whose keys are still there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Generation(pub u64);

/// What is kept of a namespace in the server itself: its generation, and the one that begins in
/// time. Everybody who knows the record goes over to it at the same moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record {
    now: Generation,
    then: Option<Generation>,
}

/// When to flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flush {
    /// At once.
    Now,
    /// As the client has said it: in so many seconds, or at a moment, in seconds since 1970.
    Later(u64),
}

impl Flush {
    /// What memcached makes of a time.
    pub const fn after(seconds: i64) -> Self {
        if seconds > 0 { Self::Later(seconds.unsigned_abs()) } else { Self::Now }
    }
}

impl Record {
    /// A namespace that begins at `now`.
    pub const fn begun(now: u64) -> Self {
        Self { now: Generation(now), then: None }
    }

    /// The record that a server keeps.
    pub fn parse(text: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(text).ok()?;
        let number = |text: &str| text.parse().ok().map(Generation);
        match text.split_once(' ') {
            Some((now, then)) => Some(Self { now: number(now)?, then: Some(number(then)?) }),
            None => Some(Self { now: number(text)?, then: None }),
        }
    }

    /// The living generation at `now`.
    pub fn living(&self, now: u64) -> Generation {
        self.then.filter(|then| then.0 <= now).unwrap_or(self.now)
    }

    /// When another generation begins, if one is to.
    pub fn next(&self, now: u64) -> Option<u64> {
        self.then.map(|then| then.0).filter(|then| *then > now)
    }

    /// The same where keys are in `generation` already if that is later.
    #[must_use]
    pub fn at_least(&self, generation: Generation) -> Self {
        Self { now: self.now.max(generation), then: self.then.filter(|then| *then > generation) }
    }

    /// The record after a flush that was asked for at `now`. As in memcached it takes the place of
    /// one that has not come to pass.
    #[must_use]
    pub fn flushed(&self, flush: Flush, now: u64) -> Self {
        let living = self.living(now);
        let moment = match flush {
            Flush::Now => now,
            Flush::Later(seconds) if seconds <= SPAN_MAX => now + seconds * 1_000_000,
            Flush::Later(moment) => moment.saturating_mul(1_000_000),
        };
        if moment > now {
            return Self { now: living, then: Some(Generation(moment)) };
        }
        Self { now: Generation(now.max(living.0 + 1)), then: None }
    }

    /// Which of two records of the same namespace is the newer one; the other's if neither is.
    #[must_use]
    pub fn newer(self, other: Self, now: u64) -> Self {
        if self.living(now) > other.living(now) { self } else { other }
    }
}

/// As a server keeps it.
impl fmt::Display for Record {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.now.0)?;
        self.then.map_or(Ok(()), |then| write!(out, " {}", then.0))
    }
}

impl Generation {
    /// One that began within a second: later than all that began before.
    pub const fn of_second(second: u64) -> Self {
        Self(second.saturating_add(1).saturating_mul(1_000_000))
    }

    /// At least `DIGITS` and `width` digits of 36 kinds.
    pub fn digits(self, width: usize) -> Vec<u8> {
        let (mut digits, mut rest) = (Vec::new(), self.0);
        while rest > 0 || digits.len() < width.max(DIGITS) {
            digits.push(
                b"0123456789abcdefghijklmnopqrstuvwxyz"[usize::try_from(rest % 36).unwrap_or(0)],
            );
            rest /= 36;
        }
        digits.reverse();
        digits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_begins_a_generation_that_was_never_there() {
        let record = Record::begun(1_000);
        let flushed = record.flushed(Flush::Now, 5_000);
        assert_eq!(flushed.living(5_000), Generation(5_000));
        // The clock went back: still a later one.
        assert_eq!(flushed.flushed(Flush::Now, 4_000).living(4_000), Generation(5_001));
    }

    #[test]
    fn a_flush_in_time_comes_to_pass_for_everybody_who_knows_the_record() {
        let second = 1_000_000;
        let record = Record::begun(second).flushed(Flush::after(30), 10 * second);
        let told = Record::parse(record.to_string().as_bytes()).unwrap();
        assert_eq!(told, record);
        assert_eq!(told.living(39 * second), Generation(second));
        assert_eq!(told.next(39 * second), Some(40 * second));
        assert_eq!(told.living(40 * second), Generation(40 * second));
        assert_eq!(told.next(40 * second), None);
        // Another one takes its place, as in memcached.
        let sooner = record.flushed(Flush::after(0), 11 * second);
        assert_eq!(sooner.living(99 * second), Generation(11 * second));
        let moment = 60 * 60 * 24 * 31;
        let later = record.flushed(Flush::after(moment), 11 * second);
        assert_eq!(later.next(0), Some(moment.unsigned_abs() * second));
    }

    #[test]
    fn a_generation_that_begins_elsewhere_is_later_than_what_was_there() {
        let record = Record::begun(5_300_000);
        let anew = Generation::of_second(5);
        assert!(anew > record.living(5_400_000));
        let flushed = record.at_least(anew).flushed(Flush::Now, 5_500_000);
        assert!(flushed.living(5_500_000) > anew);
    }

    #[test]
    fn the_newer_record_wins_and_nonsense_is_none() {
        let (old, new) = (Record::begun(1), Record::begun(2));
        assert_eq!(old.newer(new, 9), new);
        assert_eq!(new.newer(old, 9), new);
        let planned = old.flushed(Flush::after(5), 1);
        assert_eq!(old.newer(planned, 1), planned);
        for text in ["", "x", "1 2 3", "-1", "1 "] {
            assert_eq!(Record::parse(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn digits_have_a_fixed_width_and_keep_the_order() {
        assert_eq!(Generation(35).digits(0), b"000000000z");
        let today = Generation(1_796_000_000_000_000);
        assert_eq!(today.digits(12).len(), 12);
        assert!(today.digits(12) > Generation(today.0 - 1).digits(12));
    }
}
