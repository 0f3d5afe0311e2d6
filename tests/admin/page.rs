//! The files of the page.

use super::*;

#[test]
fn the_page_is_there_for_everybody_and_shut_against_strangers() {
    // Without a token, also beyond loopback: the page asks for one.
    let outside = Api::start_at("203.0.113.7:7700", &["weir.example.com"]);
    let files = [
        ("/", "text/html"),
        ("/page/app.js", "text/javascript"),
        ("/page/app.css", "text/css"),
        ("/page/icon.svg", "image/svg+xml"),
    ];
    for (path, kind) in files {
        let answer = outside.get(path);
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.field("content-type").unwrap().starts_with(kind), "{}", answer.head);
        let policy = answer.field("content-security-policy").unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self'"), "{policy}");
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        for (name, value) in [
            ("x-frame-options", "DENY"),
            ("x-content-type-options", "nosniff"),
            ("referrer-policy", "no-referrer"),
            ("cross-origin-opener-policy", "same-origin"),
            ("cache-control", "no-cache"),
        ] {
            assert_eq!(answer.field(name), Some(value), "{path}");
        }
        let tag = answer.field("etag").unwrap();
        let headers = format!("host: localhost\r\nif-none-match: {tag}\r\n");
        let again = outside.raw(&format!("GET {path}"), &headers, "");
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
    }
    assert_eq!(outside.raw("GET /", "host: evil.example\r\n", "").status, 421);
    assert_eq!(outside.raw("POST /", "host: localhost\r\n", "").status, 405);
    assert_eq!(outside.get("/page/other.js").status, 404);
}
