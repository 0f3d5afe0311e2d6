//! What requests of HTTP/1.1 are to an upstream of HTTP/2 (RFC 9113, section 8): refused, or nothing
//! but what HTTP/2 allows. The upstream itself refuses what it does not.

use std::io::Write;
use std::sync::atomic::Ordering;

use super::requests::{before, fields_of, strings};
use crate::support::client::Client;
use crate::support::http2::Http2;
use weir::proxy::UpstreamClient;

/// A request that passes: its text, its method and target, its fields but Weir's own, and how many
/// bytes its body has.
type Passes = (&'static str, &'static str, &'static [&'static str], u64);

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn passing() -> Vec<Passes> {
    const PLAIN: &str = "GET http://app/";
    vec![
        ("GET / HTTP/1.1\r\nhost: app\r\n\r\n", PLAIN, &[], 0),
        ("GET http://app/ HTTP/1.1\r\nhost: app\r\n\r\n", PLAIN, &[], 0),
        ("GET http://app HTTP/1.1\r\nhost: app\r\n\r\n", PLAIN, &[], 0),
        ("GET https://other:1/x HTTP/1.1\r\nhost: app\r\n\r\n", "GET http://other:1/x", &[], 0),
        ("GET //x/?y=//z HTTP/1.1\r\nhost: app\r\n\r\n", "GET http://app//x/?y=//z", &[], 0),
        ("GET /@x:80 HTTP/1.1\r\nhost: APP:80\r\n\r\n", "GET http://APP:80/@x:80", &[], 0),
        // So it is written that :path is an asterisk.
        ("OPTIONS * HTTP/1.1\r\nhost: app\r\n\r\n", "OPTIONS http://app*", &[], 0),
        ("get / HTTP/1.1\r\nhost: [::1]\r\n\r\n", "get http://[::1]/", &[], 0),
        (
            "GET / HTTP/1.1\r\nhost: app\r\nConnection: X-Hop, keep-alive\r\nX-Hop: 1\r\n\
             Keep-Alive: timeout=5\r\nProxy-Connection: close\r\nX-One: 1\r\n\r\n",
            PLAIN,
            &["x-one: 1"],
            0,
        ),
        (
            "GET / HTTP/1.1\r\nhost: app\r\nconnection: te\r\nTE: gzip, Trailers;q=0.5\r\n\r\n",
            PLAIN,
            &["te: trailers"],
            0,
        ),
        ("GET / HTTP/1.1\r\nhost: app\r\nconnection: te\r\nte: gzip\r\n\r\n", PLAIN, &[], 0),
        (
            "GET / HTTP/1.1\r\nhost: app\r\nconnection: upgrade, http2-settings\r\nupgrade: h2c\r\n\
             http2-settings: AAMAAABkAAQAAP__\r\n\r\n",
            PLAIN,
            &[],
            0,
        ),
        (
            "GET / HTTP/1.1\r\nhost: app\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n",
            PLAIN,
            &[],
            0,
        ),
        (
            "GET / HTTP/1.1\r\nhost: app\r\ncookie: a=1\r\ncookie: b=2\r\n\r\n",
            PLAIN,
            &["cookie: a=1", "cookie: b=2"],
            0,
        ),
        (
            "POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 5\r\n\r\nhello",
            "POST http://app/",
            &["content-length: 5"],
            5,
        ),
        (
            "POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 0\r\n\r\n",
            "POST http://app/",
            &["content-length: 0"],
            0,
        ),
        (
            "GET / HTTP/1.1\r\nhost: app\r\ntransfer-encoding: Chunked\r\n\r\n\
             2;x=y\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n",
            PLAIN,
            &[],
            5,
        ),
        (
            "POST / HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
             5\r\nhello\r\n0\r\nx-sum: 9\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\
             te: trailers\r\nhost: other\r\ncontent-length: 3\r\n\r\n",
            "POST http://app/",
            &["trailer: x-sum"],
            5,
        ),
    ]
}

#[test]
fn requests_of_http1_come_to_http2_as_they_were_meant() {
    let upstream = Http2::start(100);
    let scene = before(format!("h2c://{}", upstream.address), UpstreamClient::Hyper);
    let mut client = Client::to(scene.address);
    let mut wrong = Vec::new();
    for (text, line, fields, bytes) in passing() {
        client.send(text);
        let answer = client.answer("GET").unwrap();
        let head = upstream.last_head();
        let (got, came) = fields_of(&head);
        let body = upstream.state.bytes.swap(0, Ordering::SeqCst);
        if answer.status != 200 || got != line || came != strings(fields) || body != bytes {
            wrong.push((text, answer.status, head, body));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    client.send("GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.answer("GET").unwrap().status, 200);
    let head = upstream.last_head();
    assert!(head.starts_with(&format!("GET http://{}/\n", upstream.address)), "{head}");
}

#[test]
fn a_body_of_http1_that_breaks_off_is_never_whole_to_http2() {
    let upstream = Http2::start(100);
    let scene = before(format!("h2c://{}", upstream.address), UpstreamClient::Hyper);
    for text in [
        "POST / HTTP/1.1\r\nhost: app\r\ncontent-length: 9\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "POST / HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\ng\r\n",
        "POST / HTTP/1.1\r\nhost: app\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhello\r\n0\r\n\r\n",
    ] {
        let mut client = Client::to(scene.address);
        client.stream.write_all(text.as_bytes()).unwrap();
        client.stream.shutdown(std::net::Shutdown::Write).unwrap();
        let answer = client.answer("POST");
        assert!(answer.is_none_or(|answer| answer.status >= 400), "{text:?}");
    }
    // None came to its end there, where each that does is counted.
    assert_eq!(upstream.state.whole.load(Ordering::SeqCst), 0);
    assert_eq!(Client::to(scene.address).get("/", "").status, 200);
    assert_eq!(upstream.state.whole.load(Ordering::SeqCst), 1);
}
