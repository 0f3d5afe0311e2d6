//! Databases by number: those of a server that belong to one release, which counts them from 0.

use std::str::FromStr;

use thiserror::Error;

use crate::namespace::resp::integer;

/// Highest number of a database: more than anybody has set up.
const NUMBER_MAX: u32 = 1_000_000;

/// A number that no server has.
const NONE: &str = "-1";

/// The databases of one release.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Databases {
    first: u32,
    last: u32,
}

/// Why a text names no databases.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("these are no databases of a server; write the first and the last one: \"0-7\"")]
pub struct DatabasesError;

impl Databases {
    /// The first one, as the server counts.
    pub const fn first(self) -> u32 {
        self.first
    }

    /// The last one, as the server counts.
    pub const fn last(self) -> u32 {
        self.last
    }

    /// The server's number of what the release calls `number`, if it has as many.
    pub fn on_server(self, number: i64) -> Option<u32> {
        let number = self.first.checked_add(u32::try_from(number).ok()?)?;
        (number <= self.last).then_some(number)
    }

    /// An argument as the server is to have it: a number that is out of range stays so, and what is
    /// none is for the server to refuse.
    pub fn argument(self, text: &[u8]) -> Vec<u8> {
        let Some(number) = integer(text) else { return text.to_vec() };
        self.on_server(number).map_or_else(|| NONE.into(), |number| number.to_string().into_bytes())
    }

    /// Whether a database belongs to both.
    pub const fn overlaps(self, other: Self) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl FromStr for Databases {
    type Err = DatabasesError;

    fn from_str(text: &str) -> Result<Self, DatabasesError> {
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        let number = |text: &str| {
            let plain = text.bytes().all(|byte| byte.is_ascii_digit());
            text.parse().ok().filter(|number| plain && *number <= NUMBER_MAX).ok_or(DatabasesError)
        };
        let (first, last) = (number(first)?, number(last)?);
        if first > last { Err(DatabasesError) } else { Ok(Self { first, last }) }
    }
}

impl std::fmt::Display for Databases {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(out, "{}-{}", self.first, self.last)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_those_of_the_server() {
        let eight: Databases = "8-15".parse().unwrap();
        assert_eq!((eight.on_server(0), eight.on_server(7)), (Some(8), Some(15)));
        assert_eq!((eight.on_server(8), eight.on_server(-1)), (None, None));
        assert_eq!(eight.on_server(i64::MAX), None);
        assert_eq!(eight.argument(b"1"), b"9");
        assert_eq!(eight.argument(b"8"), b"-1");
        assert_eq!(eight.argument(b"-3"), b"-1");
        assert_eq!(eight.argument(b"x"), b"x");
        assert!(eight.overlaps("15".parse().unwrap()) && !eight.overlaps("0-7".parse().unwrap()));
        for wrong in ["", "-", "7-0", "1-", "-1", "a", "+1", "1 - 2", "99999999"] {
            assert_eq!(wrong.parse::<Databases>(), Err(DatabasesError), "{wrong}");
        }
    }
}
