//! A part of what is kept (RFC 9110, section 14).

use std::ops::Range;

use http::header::{DATE, ETAG, IF_RANGE, LAST_MODIFIED, RANGE};
use http::{HeaderMap, HeaderValue};

use super::date;

/// What of an answer a request wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// All of it.
    Whole,
    /// These bytes.
    Bytes(Range<u64>),
    /// Bytes that there are not.
    Beyond,
}

/// What a request wants of an answer of `length` bytes with the head `kept`. Several ranges at once
/// are not cut out: who asks for them must be able to take all of it, too.
pub fn wanted(request: &HeaderMap, kept: &HeaderMap, length: u64) -> Part {
    let mut ranges = request.get_all(RANGE).iter();
    let (Some(range), None) = (ranges.next(), ranges.next()) else { return Part::Whole };
    if !request.get(IF_RANGE).is_none_or(|condition| is_met(condition, kept)) {
        return Part::Whole;
    }
    parse(range.as_bytes(), length).unwrap_or(Part::Whole)
}

fn parse(text: &[u8], length: u64) -> Option<Part> {
    let text = std::str::from_utf8(text).ok()?;
    let (unit, set) = text.split_once('=')?;
    let (first, last) = set.trim().split_once('-')?;
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return None;
    }
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| text.parse().unwrap_or(u64::MAX))
    };
    let bytes = match (first, last) {
        ("", last) => length.saturating_sub(number(last)?)..length,
        (first, "") => number(first)?..length,
        (first, last) => {
            let (first, last) = (number(first)?, number(last)?);
            (first <= last).then_some(first..last.saturating_add(1).min(length))?
        }
    };
    Some(if bytes.start < bytes.end { Part::Bytes(bytes) } else { Part::Beyond })
}

/// Whether it is still what the client has a part of: only what is surely the same counts.
fn is_met(condition: &HeaderValue, kept: &HeaderMap) -> bool {
    let condition = condition.as_bytes();
    if condition.starts_with(b"\"") {
        return kept.get(ETAG).is_some_and(|tag| tag.as_bytes() == condition);
    }
    let time = |name| kept.get(name).and_then(|text: &HeaderValue| date::parse(text.as_bytes()));
    let (Some(asked), Some(modified)) = (date::parse(condition), time(LAST_MODIFIED)) else {
        return false;
    };
    // Within the same second it may have changed again (RFC 9110, section 8.8.2.2).
    asked == modified && time(DATE).is_some_and(|made| made > modified)
}
