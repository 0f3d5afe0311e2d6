//! The heads of answers that are kept: what of them is, how a 304 renews them, and what of them goes
//! into a 304.

use std::time::Duration;

use http::header::{
    AGE, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_LOCATION,
    CONTENT_RANGE, DATE, ETAG, EXPIRES, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED,
    PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue};

use super::date;
use super::directives::{CDN_CACHE_CONTROL, Directives};

/// How a cache tells what it has done (RFC 9211).
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// What an answer is about, for those who purge by it.
const TAGS: [HeaderName; 2] =
    [HeaderName::from_static("cache-tag"), HeaderName::from_static("surrogate-key")];

/// Tags of one answer: more are a mistake.
pub const TAGS_MAX: usize = 256;

/// Fields between two neighbours, which are kept for nobody (RFC 9111, section 3.1).
const UNKEPT: [HeaderName; 9] = [
    CONNECTION,
    PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    PROXY_AUTHORIZATION,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
    UPGRADE,
];

/// Fields that describe the body that is kept, or name it: a 304 has none, and changes none of them
/// (RFC 9111, section 3.2).
const OF_THE_BODY: [HeaderName; 5] =
    [CONTENT_ENCODING, CONTENT_LENGTH, HeaderName::from_static("content-md5"), CONTENT_RANGE, ETAG];

/// What goes into a 304 (RFC 9110, section 15.4.5).
const OF_A_304: [HeaderName; 9] = [
    CACHE_CONTROL,
    CDN_CACHE_CONTROL,
    CONTENT_LOCATION,
    DATE,
    ETAG,
    EXPIRES,
    LAST_MODIFIED,
    VARY,
    HeaderName::from_static("server"),
];

/// The head of an answer as it is kept. One without a date gets that of its coming, `now`.
pub fn kept(answer: &HeaderMap, now: u64) -> HeaderMap {
    let mut kept = answer.clone();
    for name in Directives::of_answer(answer).0.unkept.iter().chain(&UNKEPT) {
        kept.remove(name);
    }
    if !kept.contains_key(DATE)
        && let Ok(date) = HeaderValue::try_from(date::format(now))
    {
        kept.insert(DATE, date);
    }
    kept
}

/// What is kept, renewed by a 304.
pub fn renewed(before: &HeaderMap, answer: &HeaderMap, now: u64) -> HeaderMap {
    let news = kept(answer, now);
    let mut renewed = before.clone();
    renewed.remove(AGE);
    for name in news.keys().filter(|name| !OF_THE_BODY.contains(name)) {
        renewed.remove(name);
        for value in news.get_all(name) {
            renewed.append(name, value.clone());
        }
    }
    renewed
}

/// Asks for what is kept on the condition that it has changed; whether it can be asked so. What the
/// client asks by is answered from what is kept then.
pub fn ask_whether_changed(request: &mut HeaderMap, kept: &HeaderMap) -> bool {
    let mut asks = false;
    for (condition, validator) in [(IF_NONE_MATCH, ETAG), (IF_MODIFIED_SINCE, LAST_MODIFIED)] {
        request.remove(&condition);
        if let Some(value) = kept.get(validator) {
            request.insert(condition, value.clone());
            asks = true;
        }
    }
    asks
}

/// Whether a request asks only for what has changed.
pub fn is_conditional(request: &HeaderMap) -> bool {
    request.contains_key(IF_NONE_MATCH) || request.contains_key(IF_MODIFIED_SINCE)
}

/// Whether the client of `request` has already what is `kept`.
pub fn has_it(request: &HeaderMap, kept: &HeaderMap) -> bool {
    if request.contains_key(IF_NONE_MATCH) {
        let Some(tag) = kept.get(ETAG).map(HeaderValue::as_bytes) else { return false };
        let mut lines = request.get_all(IF_NONE_MATCH).iter();
        return lines.any(|line| {
            let tags = line.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            let mut tags = tags.map(|tag| tag.strip_prefix(b"W/").unwrap_or(tag));
            tags.any(|asked| asked == b"*" || asked == tag.strip_prefix(b"W/").unwrap_or(tag))
        });
    }
    let time = |value: Option<&HeaderValue>| value.and_then(|text| date::parse(text.as_bytes()));
    let modified = time(kept.get(LAST_MODIFIED)).or_else(|| time(kept.get(DATE)));
    let asked = time(request.get(IF_MODIFIED_SINCE));
    asked.is_some_and(|asked| modified.is_some_and(|modified| modified <= asked))
}

/// The head of a 304 for what is `kept`.
pub fn not_modified(kept: &HeaderMap) -> HeaderMap {
    let mut head = HeaderMap::new();
    for name in &OF_A_304 {
        for value in kept.get_all(name) {
            head.append(name, value.clone());
        }
    }
    head
}

/// Says how old an answer is.
pub fn say_age(head: &mut HeaderMap, age: Duration) {
    head.insert(AGE, HeaderValue::from(age.as_secs()));
}

/// The tags of an answer. Cache-Tag has commas between them, Surrogate-Key spaces.
pub fn tags(answer: &HeaderMap) -> Box<[Box<str>]> {
    let lines = TAGS.into_iter().flat_map(|name| answer.get_all(name));
    let tags = lines.flat_map(|line| line.as_bytes().split(|byte| b", \t".contains(byte)));
    let tags = tags.filter(|tag| !tag.is_empty()).filter_map(|tag| std::str::from_utf8(tag).ok());
    tags.take(TAGS_MAX).map(Box::from).collect()
}

/// Bytes that a head takes, about: names, values, and what a map needs for each.
pub fn weight(head: &HeaderMap) -> usize {
    const FIELD: usize = 100;
    head.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD).sum()
}
