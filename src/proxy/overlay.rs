//! The app's cookies on their way, where a tier has some that its versions do not share.
//!
//! Each attempt gets those of the release that it goes to: a request that is rescued from the canary
//! reads stable's. So the lines that the client sent are kept as long as the request lasts.

use std::sync::atomic::Ordering;

use http::header::{CACHE_CONTROL, COOKIE, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Request};

use super::downstream::rules;
use super::line::Exchange;
use super::place::Place;
use crate::clock;
use crate::time::Timestamp;
use crate::traffic::Tier;
use crate::traffic::overlay::{Answered, Answering, Side};

/// Bytes of all cookies of a request beyond which none is set beside stable's: servers in front of
/// Weir refuse a line of more than 8 KiB (nginx, Apache).
const COOKIES_BYTES_MAX: usize = 8_000;

/// What the answer to a request has to know of it.
#[derive(Debug)]
pub struct Asked {
    /// The Cookie lines that the client sent.
    lines: Box<[HeaderValue]>,
    /// Whether it asks to be logged out.
    logs_out: bool,
}

impl Asked {
    fn of<B>(request: &Request<B>, tier: &Tier) -> Self {
        let path = request.uri().path().as_bytes();
        Self {
            lines: request.headers().get_all(COOKIE).iter().cloned().collect(),
            logs_out: tier.logout.iter().any(|pattern| pattern.matches(path)),
        }
    }
}

/// Makes of the cookies that the client sent those that the release at `place` shall get.
pub fn present<B>(request: &mut Request<B>, place: &Place, exchange: &Exchange) {
    let tier = &place.tier.table.tier;
    let mut asked = exchange.cookies.borrow_mut();
    let before = asked.is_some();
    let Asked { lines, .. } = asked.get_or_insert_with(|| Asked::of(request, tier));
    let line = tier.cookies.request(lines, &side(place, clock::wall()));
    let headers = request.headers_mut();
    if line.is_none() && !before {
        return;
    }
    headers.remove(COOKIE);
    match line {
        None => {
            for line in lines.iter() {
                headers.append(COOKIE, line.clone());
            }
        }
        Some(line) if line.is_empty() => {}
        Some(line) => {
            // It is made of what stood in such lines.
            if let Ok(line) = HeaderValue::from_bytes(&line) {
                headers.insert(COOKIE, line);
            }
        }
    }
}

/// Makes of the cookies that the release at `place` sets those that the client shall get.
pub fn answer(headers: &mut HeaderMap, place: &Place, exchange: &Exchange) {
    let tier = &place.tier.table.tier;
    let known = exchange.cookies.borrow();
    let asked = known.as_ref().map(|asked| &*asked.lines).unwrap_or_default();
    let logs_out = known.as_ref().is_some_and(|asked| asked.logs_out);
    let set: Vec<HeaderValue> = headers.get_all(SET_COOKIE).iter().cloned().collect();
    if asked.is_empty() && set.is_empty() {
        return;
    }
    let now = clock::wall();
    let most = COOKIES_BYTES_MAX.min(tier.limits.head_bytes / 2);
    let answer = Answering { side: &side(place, now), now, most, logs_out };
    let answered = tier.cookies.answer(asked, set, &answer);
    let Answered { app, ours, set, dropped } = answered;
    headers.remove(SET_COOKIE);
    for line in app {
        headers.append(SET_COOKIE, line);
    }
    // What goes to many must not carry what belongs to one.
    if !ours.is_empty() && !is_for_many(headers) {
        if !headers.contains_key(CACHE_CONTROL) {
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("private"));
        }
        for line in ours {
            headers.append(SET_COOKIE, line);
        }
    }
    let cells = &place.tier.cells;
    cells.cookies_aside.fetch_add(set, Ordering::Relaxed);
    cells.cookies_without_room.fetch_add(dropped, Ordering::Relaxed);
}

/// Whether caches between here and the client may keep an answer for others.
fn is_for_many(headers: &HeaderMap) -> bool {
    let is = |rule: &[u8], name: &[u8]| {
        rule.get(..name.len()).is_some_and(|rule| rule.eq_ignore_ascii_case(name))
    };
    let said = headers.contains_key(CACHE_CONTROL);
    said && !rules(headers).any(|rule| is(rule, b"private") || is(rule, b"no-store"))
}

/// Who is asked at `place`, and who the others are.
fn side(place: &Place, now: Timestamp) -> Side {
    let tier = &place.tier;
    let (own, stable) = (place.release.mark, tier.stable.mark);
    let is_live = |until: &Option<Timestamp>| until.is_none_or(|until| until > now);
    let live = tier.live.iter().filter(|(_, until)| is_live(until)).map(|(mark, _)| *mark);
    let replaced = tier.replaced.filter(|(_, until)| own == stable && *until > now);
    Side {
        own,
        stable,
        canary: tier.canary.as_ref().map(|canary| canary.mark),
        replaced: replaced.map(|(mark, _)| mark),
        live: live.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_for_many_says_so_or_does_not_say_that_it_is_not() {
        let is = |line: &'static str| {
            let line = HeaderValue::from_static(line);
            is_for_many(&HeaderMap::from_iter([(CACHE_CONTROL, line)]))
        };
        assert!(is("public, max-age=60") && is("max-age=60") && is("s-maxage=1"));
        assert!(!is("max-age=0, Private") && !is("no-store") && !is("private=\"set-cookie\""));
        assert!(!is_for_many(&HeaderMap::new()));
    }
}
