//! A Set-Cookie as a browser reads it: its name, its value, and whether it takes the cookie away
//! (RFC 6265, sections 5.1 and 5.2).

use std::time::Duration;

use crate::time::Timestamp;

/// The days that one is told by in a date.
const MONTHS: [&[u8; 3]; 12] = [
    b"jan", b"feb", b"mar", b"apr", b"may", b"jun", b"jul", b"aug", b"sep", b"oct", b"nov", b"dec",
];

/// The parts of a Set-Cookie.
#[derive(Clone, Copy, Debug)]
pub struct SetCookie<'a> {
    /// The name of the cookie.
    pub name: &'a [u8],
    /// Its value, quotes included.
    pub value: &'a [u8],
    /// All that follows, from the first semicolon on.
    pub rest: &'a [u8],
}

impl<'a> SetCookie<'a> {
    /// The parts of `line`; none if it sets no cookie that has a name.
    pub fn parse(line: &'a [u8]) -> Option<Self> {
        let end = memchr::memchr(b';', line).unwrap_or(line.len());
        let (pair, rest) = line.split_at(end);
        let equals = memchr::memchr(b'=', pair)?;
        let name = pair[..equals].trim_ascii();
        let value = pair[equals + 1..].trim_ascii();
        (!name.is_empty()).then_some(Self { name, value, rest })
    }

    /// Its attributes, none of them empty.
    pub fn attributes(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let parts = self.rest.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        parts.filter(|part| !part.is_empty())
    }

    /// Whether there is no cookie afterwards, or one that says nothing.
    pub fn takes_away(&self, now: Timestamp) -> bool {
        self.ends(now) || self.value.is_empty() || self.value == b"\"\""
    }

    /// Whether there is no cookie afterwards: its time is over. Max-Age counts before Expires, and
    /// the last of each.
    pub fn ends(&self, now: Timestamp) -> bool {
        let last = |name| self.attributes().filter_map(|part| value_of(part, name)).last();
        if let Some(age) = self.attributes().filter_map(max_age).last() {
            return age.is_zero();
        }
        let until = last(b"expires".as_slice()).and_then(seconds_of_date);
        until.is_some_and(|until| until.saturating_mul(1_000) <= now.millis().cast_signed())
    }
}

/// The value of the attribute `part`, if it is called `name`.
fn value_of<'a>(part: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let equals = memchr::memchr(b'=', part)?;
    let is = part[..equals].trim_ascii().eq_ignore_ascii_case(name);
    is.then(|| part[equals + 1..].trim_ascii())
}

/// How long a cookie lasts, if `part` says so; what is past is zero.
pub fn max_age(part: &[u8]) -> Option<Duration> {
    let value = value_of(part, b"max-age")?;
    let (negative, digits) = match value {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let seconds = std::str::from_utf8(digits).ok()?.parse().unwrap_or(u64::MAX);
    Some(if negative { Duration::ZERO } else { Duration::from_secs(seconds) })
}

/// Whether `part` says when a cookie ends.
pub fn is_time(part: &[u8]) -> bool {
    value_of(part, b"max-age").or(value_of(part, b"expires")).is_some()
}

/// A date as browsers read one, in seconds since 1970: words in any order between anything.
fn seconds_of_date(text: &[u8]) -> Option<i64> {
    let separates = |byte: &u8| !byte.is_ascii_alphanumeric() && *byte != b':' && *byte < 0x7f;
    let (mut time, mut day, mut month, mut year) = (None, None, None, None);
    for word in text.split(separates).filter(|word| !word.is_empty()) {
        let number = || number(word);
        if time.is_none() && word.contains(&b':') {
            time = Some(seconds_of_day(word)?);
        } else if day.is_none() && word.len() <= 2 && number().is_some() {
            day = number();
        } else if month.is_none() && month_of(word).is_some() {
            month = month_of(word);
        } else if year.is_none() && (2..=4).contains(&word.len()) && number().is_some() {
            year = number().map(|year| match year {
                70..=99 => year + 1900,
                0..=69 => year + 2000,
                _ => year,
            });
        }
    }
    let (day, month, year) = (day?, month?, year?);
    if !(1..=31).contains(&day) || year < 1601 {
        return None;
    }
    Some(days_since_1970(year, month, day) * 86_400 + time?)
}

fn month_of(word: &[u8]) -> Option<i64> {
    let start = word.get(..3)?.to_ascii_lowercase();
    let place = MONTHS.iter().position(|month| start == *month)?;
    i64::try_from(place + 1).ok()
}

fn seconds_of_day(word: &[u8]) -> Option<i64> {
    let mut parts = word.split(|byte| *byte == b':').map(number);
    let (hours, minutes, seconds) = (parts.next()??, parts.next()??, parts.next()??);
    (hours < 24 && minutes < 60 && seconds < 60).then_some((hours * 60 + minutes) * 60 + seconds)
}

fn number(word: &[u8]) -> Option<i64> {
    let digits = (1..=4).contains(&word.len()) && word.iter().all(u8::is_ascii_digit);
    digits.then(|| word.iter().fold(0, |sum, digit| sum * 10 + i64::from(digit - b'0')))
}

/// Howard Hinnant's `days_from_civil`.
const fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

    fn ends(line: &str) -> bool {
        SetCookie::parse(line.as_bytes()).unwrap().ends(NOW)
    }

    #[test]
    fn a_date_is_read_as_browsers_read_it() {
        let seconds = |text: &str| seconds_of_date(text.as_bytes());
        let known = Some(784_111_777);
        for text in [
            "Sun, 06 Nov 1994 08:49:37 GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun Nov  6 08:49:37 1994",
            "6 november 1994 08:49:37",
        ] {
            assert_eq!(seconds(text), known, "{text}");
        }
        assert_eq!(seconds("Thu, 01 Jan 1970 00:00:00 GMT"), Some(0));
        assert_eq!(seconds("29 Feb 2028 12:00:00"), Some(1_835_438_400));
        for wrong in ["", "tomorrow", "32 Jan 2028 00:00:00", "1 Jan 2028", "1 Jan 2028 24:00:00"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_cookie_ends_by_its_age_or_else_by_its_date() {
        for line in [
            "s=; Max-Age=0",
            "s=x; path=/; max-age=-1",
            "s=; expires=Thu, 01-Jan-1970 00:00:01 GMT; path=/",
            "s=; Max-Age=100; Max-Age=0",
        ] {
            assert!(ends(line), "{line}");
        }
        for line in [
            "s=x",
            "s=x; Max-Age=1; Expires=Thu, 01 Jan 1970 00:00:00 GMT",
            "s=x; Expires=Fri, 01 Jan 2100 00:00:00 GMT",
            "s=x; Max-Age=soon",
            "s=; Path=/",
        ] {
            assert!(!ends(line), "{line}");
        }
        let emptied = SetCookie::parse(b"s=\"\"; Path=/").unwrap();
        assert!(emptied.takes_away(NOW) && !emptied.ends(NOW));
    }

    #[test]
    fn parts_are_told_apart() {
        let set = SetCookie::parse(b" a = b=c ;Path=/; ;HttpOnly").unwrap();
        assert_eq!((set.name, set.value), (b"a".as_slice(), b"b=c".as_slice()));
        let attributes: Vec<_> = set.attributes().collect();
        assert_eq!(attributes, [b"Path=/".as_slice(), b"HttpOnly"]);
        assert!(SetCookie::parse(b"nameless; Path=/").is_none());
        assert!(SetCookie::parse(b"=x").is_none());
    }

    proptest! {
        #[test]
        fn no_line_is_too_strange(line: Vec<u8>) {
            if let Some(set) = SetCookie::parse(&line) {
                let _ = (set.takes_away(NOW), set.attributes().count());
            }
        }

        #[test]
        fn no_date_is_too_strange(text in "[0-9:a-cJan \\-]{0,40}") {
            let _ = seconds_of_date(text.as_bytes());
        }
    }
}
