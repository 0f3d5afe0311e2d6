//! The page that Weir serves: files in the binary, the same for everybody. They hold no data; what
//! the page shows it asks the API for.

use axum::Router;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use sha2::{Digest, Sha256};

/// The files of the page: the path, the type and the content.
const FILES: &[(&str, &str, &[u8])] = &[
    ("/", "text/html; charset=utf-8", include_bytes!("page/index.html")),
    ("/page/app.css", "text/css; charset=utf-8", include_bytes!("page/app.css")),
    ("/page/icon.svg", "image/svg+xml", include_bytes!("page/icon.svg")),
    ("/page/api.js", SCRIPT, include_bytes!("page/api.js")),
    ("/page/app.js", SCRIPT, include_bytes!("page/app.js")),
    ("/page/chart.js", SCRIPT, include_bytes!("page/chart.js")),
    ("/page/dom.js", SCRIPT, include_bytes!("page/dom.js")),
    ("/page/history.js", SCRIPT, include_bytes!("page/history.js")),
    ("/page/orders.js", SCRIPT, include_bytes!("page/orders.js")),
    ("/page/stages.js", SCRIPT, include_bytes!("page/stages.js")),
    ("/page/theme.js", SCRIPT, include_bytes!("page/theme.js")),
    ("/page/tier.js", SCRIPT, include_bytes!("page/tier.js")),
    ("/page/words.js", SCRIPT, include_bytes!("page/words.js")),
];

/// The type of scripts.
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The page runs what this program serves and nothing else, speaks with nobody else, and is shown in
/// nobody's frame.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
                      connect-src 'self'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// What every file says beside its type.
const HEADERS: [(&str, &str); 6] = [
    ("content-security-policy", POLICY),
    ("x-frame-options", "DENY"),
    ("x-content-type-options", "nosniff"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    // Asked for again each time, and then mostly answered with 304: after an upgrade of Weir nobody
    // sees half of the page before.
    ("cache-control", "no-cache"),
];

/// The routes of the page.
pub(super) fn router<S: Clone + Send + Sync + 'static>() -> Router<S> {
    FILES.iter().fold(Router::new(), |router, (path, kind, content)| {
        let tag = tag(content);
        router.route(path, get(async move |headers: HeaderMap| file(kind, content, &tag, &headers)))
    })
}

/// A name for the content: it changes with every byte.
fn tag(content: &[u8]) -> String {
    let hash = Sha256::digest(content);
    let start = hash.first_chunk().map_or(0, |start| u128::from_be_bytes(*start));
    format!("\"{start:032x}\"")
}

fn file(kind: &'static str, content: &'static [u8], tag: &str, asked: &HeaderMap) -> Response {
    let known = asked.get_all(header::IF_NONE_MATCH).iter();
    let known = known.filter_map(|known| known.to_str().ok()).flat_map(|list| list.split(','));
    let mut known = known.map(|known| known.trim().trim_start_matches("W/"));
    let mut response = if known.any(|known| known == tag || known == "*") {
        StatusCode::NOT_MODIFIED.into_response()
    } else {
        ([(header::CONTENT_TYPE, kind)], content).into_response()
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(tag) = HeaderValue::from_str(tag) {
        headers.insert(header::ETAG, tag);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of the whole page on its way to a browser, without heads.
    const WIRE_MAX: usize = 150 * 1024;

    #[test]
    fn the_whole_page_is_small_and_has_nothing_inline() {
        let all: usize = FILES.iter().map(|(.., content)| content.len()).sum();
        assert!(all <= WIRE_MAX, "{all} bytes");
        let html = std::str::from_utf8(FILES[0].2).unwrap();
        for inline in ["<style", " style=", " onclick=", "javascript:", "<script>"] {
            assert!(!html.contains(inline), "{inline}: the policy of the page forbids it");
        }
    }

    #[test]
    fn a_file_that_is_known_is_not_sent_again() {
        let ask = |known: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::IF_NONE_MATCH, HeaderValue::from_static(known));
            file("text/css", b"a", "\"one\"", &headers).status()
        };
        assert_eq!(ask("\"two\""), StatusCode::OK);
        for known in ["\"one\"", "W/\"one\"", "\"two\", \"one\"", "*"] {
            assert_eq!(ask(known), StatusCode::NOT_MODIFIED, "{known}");
        }
        assert_ne!(tag(b"a"), tag(b"b"));
    }
}
