//! Weir's own cookie: who gets one, and which.
//!
//! It is set only while a rollout is open, since it keeps nobody anywhere otherwise, and only on
//! navigations, so that it never lands in a shared cache or on an asset.

use http::header::{ACCEPT, CACHE_CONTROL, SET_COOKIE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request};

use super::place::Place;
use super::random;
use crate::traffic::affinity::OWN_COOKIE;
use crate::traffic::{Bucket, TableTier, Track, Weight};

const FETCH_DEST: HeaderName = HeaderName::from_static("sec-fetch-dest");

/// How long a browser keeps the cookie, in seconds: 90 days, longer than any rollout.
const MAX_AGE: u32 = 90 * 24 * 60 * 60;

/// Ids that are drawn at most until one falls on the right track: enough for a weight of 0.01 %
/// in all but one of 700 cases, and a few milliseconds at worst.
const DRAWS_MAX: usize = 1 << 16;

/// What is done about the client's cookie when its answer comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Plan {
    /// A new one is set, for a connection that is secure or not.
    Set {
        /// Whether the client came by HTTPS.
        secure: bool,
    },
    /// The old one is taken away: the app's key has replaced it.
    Forget,
    /// Nothing.
    Leave,
}

/// What to do for a request at `place`.
pub fn plan<B>(request: &Request<B>, place: &Place, secure: bool) -> Plan {
    let table = &place.tier.table;
    let open = table.canary.is_some() && (table.judged || table.weight > Weight::NONE);
    let concerned = (place.newcomer || place.switched) && !place.preview;
    if !open || !concerned || !is_navigation(request) {
        Plan::Leave
    } else if place.switched {
        Plan::Forget
    } else {
        Plan::Set { secure }
    }
}

/// Whether a browser goes to a page.
fn is_navigation<B>(request: &Request<B>) -> bool {
    let headers = request.headers();
    let html =
        |accept: &HeaderValue| memchr::memmem::find(accept.as_bytes(), b"text/html").is_some();
    *request.method() == Method::GET
        && headers.get(ACCEPT).is_some_and(html)
        && headers.get(FETCH_DEST).is_none_or(|destination| destination == "document")
}

/// Carries `plan` out in the answer of `served`.
pub fn carry_out(plan: Plan, headers: &mut HeaderMap, table: &TableTier, served: Track) {
    let public = |line: &HeaderValue| {
        memchr::memmem::find(&line.as_bytes().to_ascii_lowercase(), b"public").is_some()
    };
    if plan == Plan::Leave || headers.get_all(CACHE_CONTROL).iter().any(public) {
        return;
    }
    let line = match plan {
        Plan::Leave => None,
        Plan::Forget => Some(format!("{OWN_COOKIE}=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")),
        Plan::Set { secure } => draw(table, served).map(|id| {
            let id = String::from_utf8_lossy(&id);
            let end = if secure { "; Secure" } else { "" };
            format!("{OWN_COOKIE}={id}; Path=/; Max-Age={MAX_AGE}; HttpOnly; SameSite=Lax{end}")
        }),
    };
    if let Some(line) = line.and_then(|line| HeaderValue::try_from(line).ok()) {
        headers.append(SET_COOKIE, line);
    }
}

/// An id whose bucket falls on `track`.
fn draw(table: &TableTier, track: Track) -> Option<[u8; 32]> {
    let fits = |id: &[u8; 32]| table.track(Bucket::of(&table.salt, id)) == track;
    (0..DRAWS_MAX).map(|_| random::identifier()).find(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(method: Method, lines: &[(&str, &str)]) -> Request<()> {
        let mut request = Request::builder().method(method);
        for (name, value) in lines {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap()
    }

    #[test]
    fn only_a_browser_that_goes_to_a_page_navigates() {
        let accept = ("accept", "text/html,application/xhtml+xml");
        assert!(is_navigation(&request(Method::GET, &[accept])));
        assert!(is_navigation(&request(Method::GET, &[accept, ("sec-fetch-dest", "document")])));
        assert!(!is_navigation(&request(Method::GET, &[accept, ("sec-fetch-dest", "iframe")])));
        assert!(!is_navigation(&request(Method::POST, &[accept])));
        assert!(!is_navigation(&request(Method::GET, &[("accept", "*/*")])));
    }
}
