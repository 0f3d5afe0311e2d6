//! What caches between Weir and the client may keep of pages while a split is active.
//!
//! A CDN that keeps a page gives one version's to users of the other: their cookies, their assets and
//! their next clicks belong elsewhere, and the judge sees neither. So a page that is not private already
//! is marked on its way out, as long as there are two versions.

use http::header::{CACHE_CONTROL, COOKIE, VARY};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};

use crate::traffic::{SharedCaches, Sticky, TableTier, Tier, Weight};

/// Fields that CDNs obey instead of Cache-Control (RFC 9213, and what came before it).
const TARGETED: [&str; 2] = ["cdn-cache-control", "surrogate-control"];

/// Rules for shared caches that mean nothing in an answer that they may not keep.
const SHARED: [&str; 3] = ["public", "s-maxage", "proxy-revalidate"];

/// Whether the answer to `request` may have to be marked: a split is active, and it is no asset.
pub fn concerns<B>(request: &Request<B>, table: &TableTier) -> bool {
    let open = table.canary.is_some() && table.weight > Weight::NONE;
    let keeps = table.tier.shared_caches == SharedCaches::Untouched;
    if !open || keeps || ![Method::GET, Method::HEAD].contains(request.method()) {
        return false;
    }
    let path = request.uri().path();
    !table.tier.assets.iter().any(|prefix| path.starts_with(prefix.as_str()))
}

/// Marks `headers` of a page, if it is not private already.
pub fn mark(headers: &mut HeaderMap, tier: &Tier) {
    if is_private(headers) {
        return;
    }
    match (tier.shared_caches, split_by(&tier.sticky)) {
        (SharedCaches::Untouched, _) => {}
        (SharedCaches::Vary, Some(name)) => vary(headers, &name),
        (SharedCaches::Private | SharedCaches::Vary, _) => make_private(headers),
    }
}

/// Whether a Content-Type is that of a page.
pub fn is_page(kind: &[u8]) -> bool {
    let kind = kind.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    kind.eq_ignore_ascii_case(b"text/html") || kind.eq_ignore_ascii_case(b"application/xhtml+xml")
}

/// The rules of all Cache-Control lines.
pub fn rules(headers: &HeaderMap) -> impl Iterator<Item = &[u8]> {
    let lines = headers.get_all(CACHE_CONTROL).iter();
    let rules = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    rules.map(<[u8]>::trim_ascii).filter(|rule| !rule.is_empty())
}

/// `private="set-cookie"` leaves the rest to all.
fn is_private(headers: &HeaderMap) -> bool {
    rules(headers)
        .any(|rule| rule.eq_ignore_ascii_case(b"private") || rule.eq_ignore_ascii_case(b"no-store"))
}

/// The field of a request that says which version it goes to; none where no field does.
fn split_by(sticky: &Sticky) -> Option<HeaderName> {
    match sticky {
        Sticky::Cookie(_) | Sticky::Own => Some(COOKIE),
        Sticky::Header(name) => HeaderName::from_bytes(name.as_bytes()).ok(),
        Sticky::Address | Sticky::Nothing => None,
    }
}

fn vary(headers: &mut HeaderMap, name: &HeaderName) {
    let lines = headers.get_all(VARY).iter();
    let mut names = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b','));
    let has = names.any(|other| {
        let other = other.trim_ascii();
        other == b"*" || other.eq_ignore_ascii_case(name.as_str().as_bytes())
    });
    if !has {
        headers.append(VARY, HeaderValue::from(name.clone()));
    }
}

/// Only the client's own cache may keep it; how long stays as it was.
fn make_private(headers: &mut HeaderMap) {
    let is_shared = |rule: &[u8]| {
        let name = rule.split(|byte| *byte == b'=').next().unwrap_or_default();
        SHARED.iter().any(|shared| name.eq_ignore_ascii_case(shared.as_bytes()))
    };
    let mut line = b"private".to_vec();
    for rule in rules(headers).filter(|rule| !is_shared(rule)) {
        line.extend_from_slice(b", ");
        line.extend_from_slice(rule);
    }
    let line = HeaderValue::from_bytes(&line).unwrap_or(HeaderValue::from_static("private"));
    headers.insert(CACHE_CONTROL, line);
    let is_targeted = |name: &&HeaderName| {
        TARGETED.contains(&name.as_str()) || name.as_str().ends_with("-cdn-cache-control")
    };
    let targeted: Vec<HeaderName> = headers.keys().filter(is_targeted).cloned().collect();
    for name in targeted {
        headers.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn private(lines: &[&'static str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(CACHE_CONTROL, HeaderValue::from_static(line));
        }
        make_private(&mut headers);
        assert_eq!(headers.get_all(CACHE_CONTROL).iter().count(), 1);
        headers[CACHE_CONTROL].to_str().unwrap().to_owned()
    }

    #[test]
    fn what_was_for_all_is_for_one_and_as_long() {
        assert_eq!(private(&[]), "private");
        assert_eq!(private(&["Public, max-age=60, s-maxage=600"]), "private, max-age=60");
        assert_eq!(
            private(&["max-age=60", "proxy-revalidate, immutable"]),
            "private, max-age=60, immutable"
        );
        let mut headers = HeaderMap::new();
        for name in ["cdn-cache-control", "cloudflare-cdn-cache-control", "surrogate-control"] {
            headers.insert(name, HeaderValue::from_static("max-age=60"));
        }
        make_private(&mut headers);
        assert_eq!(headers.len(), 1);
    }

    #[test]
    fn a_page_varies_by_what_it_is_split_by_and_says_so_once() {
        let mut headers = HeaderMap::new();
        for _ in 0..2 {
            vary(&mut headers, &COOKIE);
        }
        headers.insert(VARY, HeaderValue::from_static("accept, COOKIE"));
        vary(&mut headers, &COOKIE);
        assert_eq!(headers.get_all(VARY).iter().count(), 1);
        assert_eq!(split_by(&Sticky::Header("x-user".into())).unwrap(), "x-user");
        assert_eq!(split_by(&Sticky::Address), None);
    }

    #[test]
    fn only_pages_that_are_not_private_are_marked() {
        let page = |kind: &'static str, rule: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, HeaderValue::from_static(rule));
            is_page(kind.as_bytes()) && !is_private(&headers)
        };
        assert!(page("text/html; charset=utf-8", "public") && page("Text/HTML", "max-age=1"));
        assert!(page("application/xhtml+xml", "private=\"set-cookie\""));
        assert!(!page("text/html", "max-age=0, private") && !page("text/html", "No-Store"));
        assert!(!page("text/htmlx", "public") && !page("application/json", "public"));
    }

    proptest! {
        #[test]
        fn nothing_is_too_strange_to_be_private(line in "[ -~]{0,40}") {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, HeaderValue::from_str(&line).unwrap());
            make_private(&mut headers);
            prop_assert!(is_private(&headers));
        }
    }
}
