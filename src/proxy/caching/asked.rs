//! What a request asks for, as the service sees it, and whether that is clear.

use http::header::{FORWARDED, HOST};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::namespace::http::key;
use crate::proxy::headers::{FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO};

/// What stands before the names of fields in which a proxy says where the client asked.
const FORWARDED_PREFIX: &str = "x-forwarded-";

/// What a request asks for.
pub(super) fn url(uri: &Uri, headers: &HeaderMap) -> String {
    let text = |name| headers.get(name).map(HeaderValue::as_bytes).unwrap_or_default();
    let scheme = if is_https(text(FORWARDED_PROTO)) { "https" } else { "http" };
    let target = uri.path_and_query().map_or("/", |target| target.as_str());
    let url = key::url(scheme, text(HOST), target);
    let other = text(FORWARDED_HOST);
    if other.is_empty() || other == text(HOST) {
        return url;
    }
    // Services differ in which of the two they go by.
    format!("{url}#{}", String::from_utf8_lossy(other))
}

/// Whether [`url`] says all of where the client asked. What a proxy says else of it goes to the
/// service, too, and services differ in what of that they put into their pages; unless answers
/// differ by it, which `tells_apart` says.
pub(super) fn is_clear(headers: &HeaderMap, tells_apart: impl Fn(&HeaderName) -> bool) -> bool {
    let known = [FORWARDED_FOR, FORWARDED_HOST, FORWARDED_PROTO];
    let is_other = |name: &HeaderName| {
        let is_forwarded = *name == FORWARDED || name.as_str().starts_with(FORWARDED_PREFIX);
        is_forwarded && !known.contains(name) && !tells_apart(name)
    };
    let is_one = |name: HeaderName| {
        let mut lines = headers.get_all(name).iter().map(HeaderValue::as_bytes);
        let first = lines.next().unwrap_or_default();
        !first.contains(&b',') && lines.next().is_none()
    };
    let is_scheme = |proto: &HeaderValue| {
        is_https(proto.as_bytes()) || proto.as_bytes().eq_ignore_ascii_case(b"http")
    };
    is_one(FORWARDED_HOST)
        && is_one(FORWARDED_PROTO)
        && headers.get(FORWARDED_PROTO).is_none_or(is_scheme)
        && !headers.keys().any(is_other)
}

fn is_https(proto: &[u8]) -> bool {
    proto.eq_ignore_ascii_case(b"https")
}
