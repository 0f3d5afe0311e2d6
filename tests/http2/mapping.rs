//! From HTTP/2 to HTTP/1.1 and back.

use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use http::{HeaderMap, Method};
use hyper::body::Frame;
use weir::traffic::Limits;

use crate::proxy::Site;
use crate::support::http2_client::{
    CONTINUATION, Client, Content, DATA, END_HEADERS, END_STREAM, Fate, GET, HEADERS, PREFACE,
    SETTINGS, Wire, block, frame, request, run,
};
use crate::support::upstream::counted;

#[test]
fn every_kind_of_answer_passes() {
    let site = Site::new(0);
    run(async {
        let client = Client::to(site.address).await;
        assert_eq!(client.get("/chunked", &[]).await.text(), "hello world");
        assert_eq!(client.get("/early", &[]).await.text(), "ok");
        assert_eq!(client.get("/both", &[]).await.text(), "hello");
        assert_eq!(client.get("/eof", &[]).await.text(), "until the end");
        let empty = client.get("/empty", &[]).await;
        assert_eq!((empty.status, empty.field("content-length"), empty.whole), (204, None, true));
        let unmodified = client.get("/unmodified", &[]).await;
        assert_eq!((unmodified.status, unmodified.field("etag")), (304, Some("\"a\"")));
        let answer = client.get("/cookie", &[]).await;
        let cookies: Vec<_> = answer.headers.get_all("set-cookie").iter().collect();
        assert_eq!(cookies, ["a=1", "b=2"]);
        for gone in ["connection", "keep-alive", "x-hop", "transfer-encoding"] {
            assert_eq!(answer.field(gone), None);
        }
        let head = client.ask(request(Method::HEAD, "/", &[], Content::none())).await.unwrap();
        assert!(head.field("content-length").unwrap().parse::<usize>().unwrap() > 0);
        assert!(head.whole && head.body.is_empty());
        let cut = client.get("/cut", &[]).await;
        assert_eq!((cut.text().as_str(), cut.whole), ("half", false));
        let cut = client.get("/cut-chunk", &[]).await;
        assert_eq!((cut.text().as_str(), cut.whole), ("hello", false));
        let big = client.get("/big?3000000", &[]).await;
        assert_eq!((big.body.len(), big.whole), (3_000_000, true));
        assert_eq!(client.get("/close", &[]).await.status, 502);
    });
    site.expect_counts([(12, 3), (0, 0)]);
}

#[test]
fn long_answers_at_once_on_one_connection_come_as_they_were_sent() {
    let site = Site::of(1, 0, |_| {});
    run(async {
        let client = Arc::new(Client::to(site.address).await);
        // Of lengths that leave little for the last piece.
        let lengths = [65_536, 70_000, 163_841, 262_243, 1_000_001, 3_000_000];
        let ask = |length: usize| {
            let client = Arc::clone(&client);
            tokio::spawn(async move {
                let answer = client.get(&format!("/counted?{length}"), &[]).await;
                (length, answer.whole, answer.body == counted(length))
            })
        };
        for _ in 0..5 {
            for asked in lengths.map(ask) {
                let (length, whole, same) = asked.await.unwrap();
                assert!(whole && same, "{length} bytes: whole {whole}, as they were sent {same}");
            }
        }
    });
}

#[test]
fn every_kind_of_body_passes() {
    let site = Site::new(0);
    run(async {
        let client = Client::to(site.address).await;
        let post = |fields, body| client.ask(request(Method::POST, "/sink", fields, body));
        assert_eq!(post(&[], Content::none()).await.unwrap().text(), "0 ");
        let head = site.stable.last_head().to_lowercase();
        assert!(!head.contains("transfer-encoding"), "{head}");
        assert_eq!(post(&[], Content::of("hello")).await.unwrap().text(), "5 ");
        assert!(site.stable.last_head().contains("transfer-encoding: chunked"));
        let sized = post(&[("content-length", "5")], Content::of("hello")).await;
        assert_eq!(sized.unwrap().text(), "5 ");
        let head = site.stable.last_head();
        assert!(head.contains("content-length: 5") && !head.contains("transfer-"), "{head}");
        let megabyte = Bytes::from(vec![7; 1 << 20]);
        assert_eq!(post(&[], Content::of(megabyte)).await.unwrap().text(), "1048576 ");
        let expecting = post(&[("expect", "100-continue")], Content::of("ok")).await;
        assert_eq!(expecting.unwrap().text(), "2 ");
        assert!(!site.stable.last_head().contains("expect"));
        assert_eq!(post(&[("expect", "miracles")], Content::none()).await.unwrap().status, 417);
    });
}

#[test]
fn what_reaches_the_upstream_is_what_http1_would_have_brought() {
    let site = Site::new(0);
    let fields = [
        ("cookie", "a=1"),
        ("x-one", "1"),
        ("cookie", "b=2"),
        ("cookie", "uid=user-1"),
        ("te", "trailers"),
        ("x-weir-version", "9"),
        ("x-forwarded-for", "6.6.6.6"),
        ("x_forwarded_for", "6.6.6.6"),
        ("forwarded", "for=6.6.6.6"),
        ("x-request-id", "abc"),
        ("host", "APP"),
    ];
    let answer = run(async { Client::to(site.address).await.get("/path?query", &fields).await });
    assert_eq!((answer.status, answer.field("x-weir-version")), (200, Some("1.0")));
    let head = site.stable.last_head().to_lowercase();
    assert!(head.starts_with("get /path?query http/1.1\r\n"), "{head}");
    for gone in ["6.6.6.6", "version: 9", ":authority", "http2"] {
        assert!(!head.contains(gone), "{gone} in {head}");
    }
    for there in [
        "\r\nhost: app",
        "cookie: a=1; b=2; uid=user-1",
        "te: trailers",
        "x-forwarded-for: 127.0.0.1",
        "x-forwarded-proto: http",
        "x-forwarded-host: app",
        "x-weir-version: 1.0",
        "x-request-id: abc",
    ] {
        assert_eq!(head.matches(there).count(), 1, "{there} in {head}");
    }
    assert_eq!(head.matches("\r\nhost:").count(), 1, "{head}");
    assert_eq!(head.matches("\r\ncookie:").count(), 1, "{head}");
}

#[test]
fn trailers_pass_both_ways_and_only_those_that_may() {
    let site = Site::new(0);
    run(async {
        let client = Client::to(site.address).await;
        let answer = client.get("/trailers", &[("te", "trailers")]).await;
        assert_eq!((answer.text().as_str(), answer.trailers.len()), ("ok", 1));
        assert_eq!(answer.trailers["x-sum"], "42");
        let answer = client.get("/bad-trailers", &[("te", "trailers")]).await;
        assert_eq!((answer.text().as_str(), answer.whole), ("ok", true));
        let names: Vec<_> = answer.trailers.keys().map(http::HeaderName::as_str).collect();
        assert_eq!(names, ["x-sum"]);
        let (body, content) = Content::piecewise();
        let mut trailers = HeaderMap::new();
        trailers.insert("x-sum", "9".parse().unwrap());
        trailers.insert("content-length", "5".parse().unwrap());
        trailers.insert("x-forwarded-for", "6.6.6.6".parse().unwrap());
        body.send(Frame::data(Bytes::from("hello"))).unwrap();
        body.send(Frame::trailers(trailers)).unwrap();
        drop(body);
        let fields = [("trailer", "x-sum, content-length, x-forwarded-for")];
        let answer = client.ask(request(Method::POST, "/sink", &fields, content)).await.unwrap();
        assert_eq!(answer.text(), "5 x-sum: 9");
    });
}

/// What becomes of a request that begins with a block of `fields` and goes on with `rest`.
fn fate(address: SocketAddr, fields: &[(&str, &str)], rest: &[u8]) -> Fate {
    let ended = if rest.is_empty() { END_STREAM } else { 0 };
    let mut wire = Wire::to(address);
    wire.send(&[frame(HEADERS, END_HEADERS | ended, 1, &block(fields)), rest.to_vec()].concat());
    wire.fate(1)
}

/// The fields of a request by hand: those of every request, one of them changed or left out.
pub fn with<'a>(name: &str, value: Option<&'a str>) -> Vec<(&'a str, &'a str)> {
    let own = |(known, before): (&'static str, &'static str)| {
        if known == name { value.map(|value| (known, value)) } else { Some((known, before)) }
    };
    GET.into_iter().filter_map(own).collect()
}

#[test]
fn targets_come_through_in_one_form() {
    let site = Site::new(0);
    for (path, target) in [
        ("/", "/"),
        ("//other/x?y=/z", "//other/x?y=/z"),
        ("/%2e%2e/%00?a=%20", "/%2e%2e/%00?a=%20"),
        ("/?", "/?"),
        // What is behind the mark no client would send on.
        ("/x#fragment", "/x"),
    ] {
        assert_eq!(fate(site.address, &with(":path", Some(path)), b""), Fate::Answered(200));
        let head = site.stable.last_head();
        assert!(head.starts_with(&format!("GET {target} HTTP/1.1\r\n")), "{path}: {head}");
    }
    let options =
        [(":method", "OPTIONS"), (":scheme", "http"), (":authority", "app"), (":path", "*")];
    assert_eq!(fate(site.address, &options, b""), Fate::Answered(200));
    assert!(site.stable.last_head().starts_with("OPTIONS * HTTP/1.1\r\n"));
    let host = [(":method", "GET"), (":scheme", "https"), (":path", "/"), ("host", "other:80")];
    assert_eq!(fate(site.address, &host, b""), Fate::Answered(200));
    let head = site.stable.last_head();
    assert!(head.contains("host: other:80") && head.contains("x-forwarded-proto: http\r\n"));
}

#[test]
fn heads_and_bodies_have_limits() {
    let site = Site::with(0, |tier| {
        tier.limits =
            Limits { head_bytes: 8 * 1024, headers: 20, body_bytes: Some(10), ..Limits::default() };
    });
    let many: Vec<_> = std::iter::repeat_n(("a", "b"), 21).collect();
    assert_eq!(fate(site.address, &[&GET, &many[..]].concat(), b""), Fate::Answered(431));
    assert_eq!(fate(site.address, &[&GET, &many[1..]].concat(), b""), Fate::Answered(200));
    let crumbs: Vec<_> = std::iter::repeat_n(("cookie", "a=b"), 100).collect();
    assert_eq!(fate(site.address, &[&GET, &crumbs[..]].concat(), b""), Fate::Answered(200));
    let long = "x".repeat(8 * 1024);
    assert_eq!(fate(site.address, &[&GET[..], &[("a", &long)]].concat(), b""), Fate::Answered(431));
    let body = frame(DATA, END_STREAM, 1, b"hello, world");
    assert_eq!(fate(site.address, &GET, &body), Fate::Answered(413));
    let sized = [&GET[..], &[("content-length", "12")]].concat();
    assert_eq!(fate(site.address, &sized, &body), Fate::Answered(413));
    let small = frame(DATA, END_STREAM, 1, b"hello");
    assert_eq!(fate(site.address, &GET, &small), Fate::Answered(200));
}

#[test]
fn the_first_bytes_tell_the_protocol_however_they_are_cut() {
    let site = Site::new(0);
    let fields = block(&GET);
    let (head, rest) = fields.split_at(10);
    let begin = [
        PREFACE,
        &frame(SETTINGS, 0, 0, &[]),
        &frame(HEADERS, END_STREAM, 1, head),
        &frame(CONTINUATION, END_HEADERS, 1, rest),
    ]
    .concat();
    for step in [1, 2, 11, 13, 23, 24, 25, begin.len()] {
        let mut wire = Wire::silent(site.address);
        for piece in begin.chunks(step) {
            wire.send(piece);
            if step < 30 {
                std::thread::sleep(std::time::Duration::from_millis(1));
            }
        }
        assert_eq!(wire.fate(1), Fate::Answered(200), "in pieces of {step}");
    }
    for (text, status) in [
        ("POST /sink HTTP/1.1\r\nhost: app\r\ncontent-length: 0\r\n\r\n", 200),
        ("PRI /x HTTP/1.1\r\nhost: app\r\n\r\n", 200),
        ("PRI * HTTP/1.1\r\nhost: app\r\n\r\n", 400),
        ("PRI * HTTP/2.1\r\nhost: app\r\n\r\n", 400),
        ("P / HTTP/1.1\r\nhost: app\r\n\r\n", 200),
    ] {
        for step in [1, 7, text.len()] {
            let mut client = site.client();
            // What is refused may be so before all is sent.
            let mut pieces = text.as_bytes().chunks(step);
            while pieces.next().is_some_and(|piece| client.stream.write_all(piece).is_ok()) {}
            let answer = client.answer("GET").unwrap_or_else(|| panic!("no answer to {text:?}"));
            assert_eq!(answer.status, status, "{text:?}");
        }
    }
    let mut client = site.client();
    assert_eq!(client.get("/", "").status, 200);
    client.send(std::str::from_utf8(PREFACE).unwrap());
    assert!(client.is_closed(), "one connection speaks one protocol");
}
