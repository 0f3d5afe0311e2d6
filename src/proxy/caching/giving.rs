//! What a client gets of what is kept, and what it is told of where it comes from.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Instant;

use http::header::{ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_RANGE};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use super::Visit;
use crate::cache::http::{Head, Kept, Reader, Reading};
use crate::namespace::http::head::{self, CACHE_STATUS};
use crate::namespace::http::range::{self, Part};

/// What Cache-Status says (RFC 9211).
#[derive(Clone, Copy, Debug)]
pub(super) enum Said {
    /// It was given from the cache.
    Hit {
        /// For how many seconds it is fresh.
        ttl: i64,
    },
    /// It just came for somebody else.
    Collapsed,
    /// It was asked for, and came with this status.
    Forwarded(StatusCode),
    /// It is kept and was stale; asked for, this status came, or nothing.
    Stale(Option<StatusCode>),
    /// The same, and is kept.
    Stored {
        /// The status.
        status: StatusCode,
        /// What the client asks by was not said to the service.
        asks: bool,
    },
    /// It passes by the cache because of its method.
    Method,
    /// It passes by the cache.
    Bypass,
}

/// Says on an answer where it comes from.
pub(super) fn say(fields: &mut HeaderMap, said: &Said) {
    let mut text = String::from("weir; ");
    _ = match said {
        Said::Hit { ttl } => write!(text, "hit; ttl={ttl}"),
        Said::Collapsed => write!(text, "fwd=miss; collapsed"),
        Said::Forwarded(status) => write!(text, "fwd=miss; fwd-status={}", status.as_u16()),
        Said::Stale(Some(status)) => write!(text, "fwd=stale; fwd-status={}", status.as_u16()),
        Said::Stale(None) => write!(text, "fwd=stale; detail=\"no answer\""),
        Said::Stored { status, .. } => {
            write!(text, "fwd=miss; fwd-status={}; stored", status.as_u16())
        }
        Said::Method => write!(text, "fwd=method"),
        Said::Bypass => write!(text, "fwd=bypass"),
    };
    if let Ok(line) = HeaderValue::try_from(text) {
        fields.append(CACHE_STATUS, line);
    }
}

/// There is nothing, and nobody may be asked.
pub(super) fn unkept() -> Response<Reading> {
    let mut response = Response::new(Reading::Nothing);
    *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
    response
}

/// What is kept, or what of it the client wants.
pub(super) fn kept(visit: &Visit, kept: &Arc<Kept>, said: &Said) -> Response<Reading> {
    let Head { status, fields, .. } = &kept.head;
    let length = kept.length();
    let whole = |fields: &mut HeaderMap| {
        if !status.is_informational() && *status != StatusCode::NO_CONTENT {
            fields.insert(CONTENT_LENGTH, HeaderValue::from(length));
        }
    };
    let mut given = Response::new(Reading::Nothing);
    *given.status_mut() = *status;
    if has_it(visit, &kept.head) {
        *given.status_mut() = StatusCode::NOT_MODIFIED;
        *given.headers_mut() = head::not_modified(fields);
    } else if visit.method == Method::HEAD {
        given.headers_mut().clone_from(fields);
        whole(given.headers_mut());
    } else {
        given.headers_mut().clone_from(fields);
        let fields = given.headers_mut();
        let part = match part(visit, &kept.head, length) {
            Part::Whole => {
                whole(fields);
                0..length
            }
            Part::Bytes(part) => {
                let range = format!("bytes {}-{}/{length}", part.start, part.end - 1);
                fields.insert(CONTENT_LENGTH, HeaderValue::from(part.end - part.start));
                fields.extend(HeaderValue::try_from(range).map(|range| (CONTENT_RANGE, range)));
                *given.status_mut() = StatusCode::PARTIAL_CONTENT;
                part
            }
            Part::Beyond => {
                let range = HeaderValue::try_from(format!("bytes */{length}"));
                fields.clear();
                fields.insert(CONTENT_LENGTH, HeaderValue::from(0));
                fields.extend(range.map(|range| (CONTENT_RANGE, range)));
                *given.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
                0..0
            }
        };
        *given.body_mut() = Reading::of(Arc::clone(kept), part);
    }
    aged(given.headers_mut(), &kept.head, said);
    given
}

/// What just comes in.
pub(super) fn coming(visit: &Visit, head: &Head, reader: Reader, said: &Said) -> Response<Reading> {
    let mut given = Response::new(Reading::Coming(reader));
    *given.status_mut() = head.status;
    given.headers_mut().clone_from(&head.fields);
    let says_so = match said {
        Said::Stored { asks, .. } => *asks,
        Said::Hit { .. }
        | Said::Collapsed
        | Said::Forwarded(_)
        | Said::Stale(_)
        | Said::Method
        | Said::Bypass => true,
    };
    if says_so && has_it(visit, head) {
        given = Response::new(Reading::Nothing);
        *given.status_mut() = StatusCode::NOT_MODIFIED;
        *given.headers_mut() = head::not_modified(&head.fields);
    }
    match said {
        // It comes from its service, which has said how old it is.
        Said::Stored { .. } => say(given.headers_mut(), said),
        Said::Hit { .. }
        | Said::Collapsed
        | Said::Forwarded(_)
        | Said::Stale(_)
        | Said::Method
        | Said::Bypass => aged(given.headers_mut(), head, said),
    }
    given
}

fn aged(fields: &mut HeaderMap, head: &Head, said: &Said) {
    head::say_age(fields, head.policy.age(head.resident(Instant::now())));
    say(fields, said);
}

fn has_it(visit: &Visit, kept: &Head) -> bool {
    kept.status == StatusCode::OK && head::has_it(&visit.client, &kept.fields)
}

fn part(visit: &Visit, kept: &Head, length: u64) -> Part {
    let none = kept.fields.get(ACCEPT_RANGES).is_some_and(|ranges| ranges == "none");
    if kept.status != StatusCode::OK || none {
        return Part::Whole;
    }
    range::wanted(&visit.client, &kept.fields, length)
}
