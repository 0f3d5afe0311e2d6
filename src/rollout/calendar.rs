//! When a rollout may go on by itself: hours of the week, days on which nothing moves, and the
//! decision time. All in one zone, which the file names.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, DateTime, Time, Weekday};
use jiff::{ToSpan, Zoned};
use thiserror::Error;

use crate::time::{Timestamp, Zone};

/// Windows of a week, and frozen days: more are a typing error.
pub const WINDOWS_MAX: usize = 50;

/// Days in which the next open hour is looked for; a freeze that lasts longer has no next hour.
const LOOK_AHEAD_DAYS: i64 = 400;

const DAYS: [(&str, Weekday); 7] = [
    ("Mon", Weekday::Monday),
    ("Tue", Weekday::Tuesday),
    ("Wed", Weekday::Wednesday),
    ("Thu", Weekday::Thursday),
    ("Fri", Weekday::Friday),
    ("Sat", Weekday::Saturday),
    ("Sun", Weekday::Sunday),
];

/// Hours of the week, such as `Mon-Thu 01:00-05:00`; `22:00-02:00` ends on the next day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hours {
    /// As the file has it.
    text: String,
    days: Vec<Weekday>,
    from: Time,
    to: Time,
}

/// Days on which nothing is raised, such as `2026-12-24..2027-01-01`, both ends included.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Freeze {
    /// As the file has it.
    text: String,
    first: Date,
    last: Date,
}

/// A time at which it is decided: `03:30`, the first one to come, or `2026-12-01 03:30`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DecisionTime {
    /// At this moment.
    On(DateTime),
    /// At the next such time of day.
    Next(Time),
}

/// When a rollout may go on by itself. Without hours: at all times that are not frozen.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Calendar {
    /// The zone of all times; hours and days need one.
    pub zone: Option<Zone>,
    /// The hours in which it may.
    pub hours: Vec<Hours>,
    /// The days on which it may not.
    pub freeze: Vec<Freeze>,
}

/// Why a text says no time.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum CalendarError {
    /// No decision time.
    #[error("{0:?} is no decision time; use \"03:30\" or \"2026-12-01 03:30\"")]
    Decision(String),
    /// No days.
    #[error("{0:?} are no days; use \"2026-12-24\" or \"2026-12-24..2027-01-01\"")]
    Freeze(String),
    /// No hours.
    #[error(
        "{0:?} are no hours; use \"Mon-Thu 01:00-05:00\", \"Sat,Sun 22:00-02:00\" or \"01:00-05:00\""
    )]
    Hours(String),
}

impl Calendar {
    /// The zone of its times: UTC where none was named.
    pub fn zone(&self) -> &Zone {
        static UTC: Zone = Zone::UTC;
        self.zone.as_ref().unwrap_or(&UTC)
    }

    /// Whether a rollout may go on by itself at `now`.
    pub fn is_open(&self, now: Timestamp) -> bool {
        let now = self.zone().at(now);
        let in_hours = self.hours.is_empty() || self.hours.iter().any(|hours| hours.has(&now));
        in_hours && !self.freeze.iter().any(|freeze| freeze.has(now.date()))
    }

    /// Why it may not at `now`; none: it may.
    pub fn closed(&self, now: Timestamp) -> Option<String> {
        if self.is_open(now) {
            return None;
        }
        Some(match self.opens_after(now) {
            Some(opens) => format!("its hours come at {}", self.zone().say(opens)),
            None => "none of its hours comes within a year".into(),
        })
    }

    /// The next moment after `now` at which it may; none within 400 days.
    pub fn opens_after(&self, now: Timestamp) -> Option<Timestamp> {
        let today = self.zone().at(now).date();
        let days = (0..LOOK_AHEAD_DAYS).filter_map(|later| today.checked_add(later.days()).ok());
        for day in days {
            let starts = self.hours.iter().map(|hours| hours.from).chain([Time::midnight()]);
            let mut starts: Vec<Timestamp> =
                starts.filter_map(|time| self.zone().moment(day.to_datetime(time))).collect();
            starts.sort_unstable();
            if let Some(open) = starts.into_iter().find(|at| *at > now && self.is_open(*at)) {
                return Some(open);
            }
        }
        None
    }
}

impl DecisionTime {
    /// The moment it means for a rollout that begins at `now`; none where the calendar ends.
    pub fn after(&self, now: Timestamp, zone: &Zone) -> Option<Timestamp> {
        match self {
            Self::On(moment) => zone.moment(*moment),
            Self::Next(time) => {
                let today = zone.at(now).date();
                let days = [today, today.tomorrow().ok()?];
                let moments = days.map(|day| zone.moment(day.to_datetime(*time)));
                moments.into_iter().flatten().find(|moment| *moment > now)
            }
        }
    }
}

impl Hours {
    fn has(&self, now: &Zoned) -> bool {
        let (day, time) = (now.weekday(), now.time());
        let today = self.days.contains(&day);
        if self.from < self.to {
            return today && self.from <= time && time < self.to;
        }
        let yesterday = self.days.contains(&day.previous());
        (today && self.from <= time) || (yesterday && time < self.to)
    }
}

impl Freeze {
    fn has(&self, day: Date) -> bool {
        self.first <= day && day <= self.last
    }
}

impl FromStr for Hours {
    type Err = CalendarError;

    fn from_str(text: &str) -> Result<Self, CalendarError> {
        let read = || {
            let (days, hours) = match text.trim().rsplit_once(' ') {
                None => (DAYS.iter().map(|(_, day)| *day).collect(), text.trim()),
                Some((days, hours)) => (week_days(days)?, hours),
            };
            let (from, to) = hours.split_once('-')?;
            let (from, to) = (
                time_of_day(from)?,
                if to == "24:00" { Time::midnight() } else { time_of_day(to)? },
            );
            Some(Self { text: text.to_owned(), days, from, to })
        };
        read().ok_or_else(|| CalendarError::Hours(shortened(text)))
    }
}

impl FromStr for Freeze {
    type Err = CalendarError;

    fn from_str(text: &str) -> Result<Self, CalendarError> {
        let read = || {
            let (first, last) = text.split_once("..").unwrap_or((text, text));
            let (first, last): (Date, Date) = (date(first)?, date(last)?);
            (first <= last).then(|| Self { text: text.to_owned(), first, last })
        };
        read().ok_or_else(|| CalendarError::Freeze(shortened(text)))
    }
}

impl FromStr for DecisionTime {
    type Err = CalendarError;

    fn from_str(text: &str) -> Result<Self, CalendarError> {
        let read = || match text.trim().split_once([' ', 'T']) {
            None => time_of_day(text.trim()).map(Self::Next),
            Some((day, time)) => Some(Self::On(date(day)?.to_datetime(time_of_day(time)?))),
        };
        read().ok_or_else(|| CalendarError::Decision(shortened(text)))
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl fmt::Display for Freeze {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.text)
    }
}

impl fmt::Display for DecisionTime {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On(moment) => write!(out, "{}", moment.strftime("%Y-%m-%d %H:%M")),
            Self::Next(time) => write!(out, "{}", time.strftime("%H:%M")),
        }
    }
}

/// `Mon-Thu`, `Sat,Sun`, `Fri-Mon`: the days from the first to the last, over the end of the week.
fn week_days(text: &str) -> Option<Vec<Weekday>> {
    let mut days = Vec::new();
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut day, last) = (week_day(first)?, week_day(last)?);
        days.push(day);
        while day != last {
            day = day.next();
            days.push(day);
        }
    }
    Some(days)
}

fn week_day(text: &str) -> Option<Weekday> {
    let named = |(name, _): &&(&str, Weekday)| name.eq_ignore_ascii_case(text.trim());
    DAYS.iter().find(named).map(|(_, day)| *day)
}

/// `03:30`, and nothing else: a time with seconds is a typing error here.
fn time_of_day(text: &str) -> Option<Time> {
    let (hour, minute) = text.trim().split_once(':')?;
    let is_number =
        |text: &str| (1..=2).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_digit());
    if !is_number(hour) || minute.len() != 2 || !is_number(minute) {
        return None;
    }
    Time::new(hour.parse().ok()?, minute.parse().ok()?, 0, 0).ok()
}

fn date(text: &str) -> Option<Date> {
    text.trim().parse().ok()
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(hours: &[&str], freeze: &[&str]) -> Calendar {
        Calendar {
            zone: Some("Europe/Berlin".parse().unwrap()),
            hours: hours.iter().map(|text| text.parse().unwrap()).collect(),
            freeze: freeze.iter().map(|text| text.parse().unwrap()).collect(),
        }
    }

    /// A moment by the clocks of Berlin.
    fn at(text: &str) -> Timestamp {
        "Europe/Berlin".parse::<Zone>().unwrap().moment(text.parse().unwrap()).unwrap()
    }

    #[test]
    fn hours_are_open_from_their_first_minute_to_before_their_last() {
        let calendar = calendar(&["Mon-Thu 01:00-05:00"], &[]);
        // 2026-12-01 is a Tuesday.
        assert!(!calendar.is_open(at("2026-12-01T00:59:59")));
        assert!(calendar.is_open(at("2026-12-01T01:00")));
        assert!(calendar.is_open(at("2026-12-01T04:59:59")));
        assert!(!calendar.is_open(at("2026-12-01T05:00")));
        assert!(!calendar.is_open(at("2026-12-04T02:00")), "a Friday");
        let opens = |text: &str| calendar.zone().say(calendar.opens_after(at(text)).unwrap());
        assert_eq!(opens("2026-12-01T05:00"), "2026-12-02 01:00 CET");
        assert_eq!(opens("2026-12-03T12:00"), "2026-12-07 01:00 CET", "over the weekend");
    }

    #[test]
    fn hours_cross_midnight_and_the_end_of_the_week() {
        let calendar = calendar(&["Sat,Sun 22:00-02:00"], &[]);
        assert!(calendar.is_open(at("2026-12-05T22:00")), "Saturday night");
        assert!(calendar.is_open(at("2026-12-07T01:59")), "Monday, still the night of Sunday");
        assert!(!calendar.is_open(at("2026-12-07T22:30")), "Monday night");
        assert!(!calendar.is_open(at("2026-12-05T01:00")), "the night of Friday");
    }

    #[test]
    fn a_change_of_the_clock_neither_loses_nor_doubles_a_window() {
        // On 2026-03-29 there is no 02:30 in Berlin; on 2026-10-25 there are two.
        let calendar = calendar(&["02:30-04:00"], &[]);
        assert_eq!(calendar.opens_after(at("2026-03-29T01:59")), Some(at("2026-03-29T03:30")));
        assert!(!calendar.is_open(at("2026-03-29T01:59")));
        let first = at("2026-10-25T02:30");
        assert!(calendar.is_open(first));
        let hour = std::time::Duration::from_hours(1);
        assert!(calendar.is_open(first.plus(hour)), "02:30 comes again, and it is in the hours");
        assert!(!calendar.is_open(first.plus(hour).plus(hour * 2)));
    }

    #[test]
    fn frozen_days_are_closed_to_their_end() {
        let calendar = calendar(&[], &["2026-12-24..2026-12-26", "2026-12-31"]);
        assert!(calendar.is_open(at("2026-12-23T23:59")));
        assert!(!calendar.is_open(at("2026-12-24T00:00")));
        assert!(!calendar.is_open(at("2026-12-26T23:59")));
        assert_eq!(calendar.opens_after(at("2026-12-24T10:00")), Some(at("2026-12-27T00:00")));
        assert!(!calendar.is_open(at("2026-12-31T12:00")));
    }

    #[test]
    fn a_decision_time_is_the_next_one_to_come() {
        let zone: Zone = "Europe/Berlin".parse().unwrap();
        let after = |text: &str, now: &str| {
            text.parse::<DecisionTime>().unwrap().after(at(now), &zone).map(|at| zone.say(at))
        };
        assert_eq!(after("03:30", "2026-12-01T01:00").unwrap(), "2026-12-01 03:30 CET");
        assert_eq!(after("03:30", "2026-12-01T03:30").unwrap(), "2026-12-02 03:30 CET");
        assert_eq!(after("2026-12-05 03:30", "2026-12-01T01:00").unwrap(), "2026-12-05 03:30 CET");
    }

    #[test]
    fn what_is_no_time_is_refused_with_what_one_looks_like() {
        for wrong in ["", "Mon", "Mon 1-2", "Mun 01:00-02:00", "Mon 25:00-26:00", "Mon 01:00"] {
            let error = wrong.parse::<Hours>().unwrap_err().to_string();
            assert!(error.contains("Mon-Thu 01:00-05:00"), "{wrong}: {error}");
        }
        assert!("2026-12-24..2026-12-01".parse::<Freeze>().is_err(), "ends before it begins");
        assert!("2026-02-30".parse::<Freeze>().is_err());
        assert!("3:3".parse::<DecisionTime>().is_err());
        assert!("00:00-24:00".parse::<Hours>().is_ok());
    }
}
