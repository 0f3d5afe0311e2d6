//! What requests of HTTP/2 are to an upstream, byte for byte: refused, or read by HTTP/1.1 as they
//! were meant (RFC 9113, sections 8.1 to 8.3).

use std::net::SocketAddr;
use std::sync::atomic::Ordering;

use weir::proxy::UpstreamClient;

use super::mapping::with;
use crate::support::http2::Http2;
use crate::support::http2_client::{
    DATA, END_HEADERS, END_STREAM, Fate, GET, HEADERS, Wire, block, frame,
};
use crate::support::scripted::{Scripted, whole};
use crate::upstreams::scene::Scene;

/// Fields of a head, in their order.
type Fields = Vec<(&'static str, &'static str)>;

/// A request that passes, and what it is in HTTP/1.1.
struct Passes {
    what: &'static str,
    fields: Fields,
    rest: Vec<u8>,
    line: &'static str,
    /// The fields that are not Weir's, in alphabetical order.
    lines: &'static [&'static str],
    body: &'static str,
}

/// The fields of every request, and `more`.
fn and(more: &[(&'static str, &'static str)]) -> Fields {
    [&GET, more].concat()
}

/// Those of a POST.
fn post(more: &[(&'static str, &'static str)]) -> Fields {
    [&[(":method", "POST")], &GET[1..], more].concat()
}

/// A web socket by extended CONNECT.
fn socket(more: &[(&'static str, &'static str)]) -> Fields {
    [&[(":method", "CONNECT"), (":protocol", "websocket")], &GET[1..], more].concat()
}

/// The last piece of a body.
fn last(data: &str) -> Vec<u8> {
    frame(DATA, END_STREAM, 1, data.as_bytes())
}

/// A piece of a body, and fields behind it.
fn trailed(data: &str, trailers: &[(&str, &str)]) -> Vec<u8> {
    let trailers = frame(HEADERS, END_HEADERS | END_STREAM, 1, &block(trailers));
    [frame(DATA, 0, 1, data.as_bytes()), trailers].concat()
}

/// What becomes of a request with `fields` that goes on with `rest`.
fn fate(address: SocketAddr, fields: &[(&str, &str)], rest: &[u8]) -> Fate {
    let ended = if rest.is_empty() { END_STREAM } else { 0 };
    let mut wire = Wire::to(address);
    wire.send(&[frame(HEADERS, END_HEADERS | ended, 1, &block(fields)), rest.to_vec()].concat());
    wire.fate(1)
}

#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn passing() -> Vec<Passes> {
    const PLAIN: &str = "GET / HTTP/1.1";
    const POST: &str = "POST / HTTP/1.1";
    const SIZED: &[&str] = &["content-length: 5", "host: app"];
    const CHUNKED: &[&str] = &["host: app", "transfer-encoding: chunked"];
    const CHUNK: &str = "5\r\nhello\r\n0\r\n\r\n";
    let mut cases = Vec::new();
    let mut case = |what, fields, rest: Vec<u8>, line, lines, body| {
        cases.push(Passes { what, fields, rest, line, lines, body });
    };
    case("a plain one", and(&[]), vec![], PLAIN, &["host: app"], "");
    case("by another scheme", with(":scheme", Some("https")), vec![], PLAIN, &["host: app"], "");
    case("a body of GET", and(&[]), last("hello"), PLAIN, CHUNKED, CHUNK);
    case("no body of GET after all", and(&[]), last(""), PLAIN, CHUNKED, "0\r\n\r\n");
    let delete = [&[(":method", "DELETE")], &GET[1..]].concat();
    case("a body of DELETE", delete, last("hello"), "DELETE / HTTP/1.1", CHUNKED, CHUNK);
    case("a body of POST", post(&[]), last("hello"), POST, CHUNKED, CHUNK);
    let sized = || post(&[("content-length", "5")]);
    case("a length", sized(), last("hello"), POST, SIZED, "hello");
    let pieces = [frame(DATA, 0, 1, b"he"), frame(DATA, 0, 1, b"llo"), last("")].concat();
    case("a length in pieces", sized(), pieces, POST, SIZED, "hello");
    let padded = frame(DATA, END_STREAM | 8, 1, b"\x03hello\0\0\0");
    case("padding", sized(), padded, POST, SIZED, "hello");
    let nothing = || post(&[("content-length", "0")]);
    let empty = &["content-length: 0", "host: app"];
    case("a length of nought", nothing(), vec![], POST, empty, "");
    case("a length of nought, and then nothing", nothing(), last(""), POST, empty, "");
    case("no length and no body", post(&[]), vec![], POST, &["host: app"], "");
    let sum = [("x-sum", "9"), ("x-else", "1"), ("content-length", "3"), ("host", "other")];
    case(
        "trailers",
        post(&[("trailer", "x-sum, content-length, host")]),
        trailed("hello", &sum),
        POST,
        &["host: app", "trailer: x-sum, content-length, host", "transfer-encoding: chunked"],
        "5\r\nhello\r\n0\r\nx-sum: 9\r\n\r\n",
    );
    case("trailers behind a length", sized(), trailed("hello", &sum), POST, SIZED, "hello");
    let pseudo = trailed("hello", &[(":path", "/x"), (":status", "200")]);
    case("trailers with pseudo-fields", sized(), pseudo, POST, SIZED, "hello");
    case("trailers and no body", post(&[]), trailed("", &sum), POST, CHUNKED, "0\r\n\r\n");
    let crumbs = [("cookie", "a=1"), ("x", "y"), ("cookie", ""), ("cookie", "b=2; c=3")];
    let lines = &["cookie: a=1; b=2; c=3", "host: app", "x: y"];
    case("a cookie in crumbs", and(&crumbs), vec![], PLAIN, lines, "");
    let te = &["connection: TE", "host: app", "te: trailers"];
    case("te", and(&[("te", "trailers")]), vec![], PLAIN, te, "");
    case("expect", and(&[("expect", "100-continue")]), vec![], PLAIN, &["host: app"], "");
    let of_the_hop = [("proxy-authorization", "x"), ("proxy-authenticate", "x"), ("x", "")];
    case("for a proxy", and(&of_the_hop), vec![], PLAIN, &["host: app", "x:"], "");
    let lower = with(":method", Some("get"));
    case("a method of its own", lower, vec![], "get / HTTP/1.1", &["host: app"], "");
    let port = with(":authority", Some("APP:8080"));
    case("an authority with a port", port, vec![], PLAIN, &["host: APP:8080"], "");
    let six = with(":authority", Some("[::1]:80"));
    case("an address", six, vec![], PLAIN, &["host: [::1]:80"], "");
    let options = [&[(":method", "OPTIONS")], &GET[1..3], &[(":path", "*")]].concat();
    case("the server as a whole", options, vec![], "OPTIONS * HTTP/1.1", &["host: app"], "");
    case("a host as well", and(&[("host", "APP")]), vec![], PLAIN, &["host: app"], "");
    let host = [&with(":authority", None)[..], &[("host", "other:80")]].concat();
    case("a host alone", host, vec![], PLAIN, &["host: other:80"], "");
    for (path, line) in [
        ("//other/x?y=/z", "GET //other/x?y=/z HTTP/1.1"),
        ("/%0d%0ax:y/../?%20%00", "GET /%0d%0ax:y/../?%20%00 HTTP/1.1"),
        ("/?", "GET /? HTTP/1.1"),
        ("/?a?b", "GET /?a?b HTTP/1.1"),
        ("/x#fragment", "GET /x HTTP/1.1"),
        ("/x@y:80/\\z", "GET /x@y:80/\\z HTTP/1.1"),
        ("/http://other/", "GET /http://other/ HTTP/1.1"),
    ] {
        case(path, with(":path", Some(path)), vec![], line, &["host: app"], "");
    }
    cases
}

/// A request as it came to an upstream: its first line, its fields but Weir's own, its body.
fn parts(raw: &[u8]) -> (String, Vec<String>, String) {
    let text = String::from_utf8_lossy(raw).into_owned();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let (line, fields) = head.split_once("\r\n").unwrap();
    let mut fields: Vec<String> =
        fields.split("\r\n").filter(|line| !is_own(line)).map(|line| line.trim().into()).collect();
    fields.sort();
    (line.into(), fields, body.into())
}

/// Whether it is Weir that adds such a field.
fn is_own(line: &str) -> bool {
    ["x-forwarded-", "x-request-id", "x-weir-"].iter().any(|name| line.starts_with(name))
}

/// A head as [`Http2`] tells it: method and target, and the fields but Weir's own.
pub fn fields_of(head: &str) -> (String, Vec<String>) {
    let (line, fields) = head.split_once('\n').unwrap();
    let field = |line: &str| {
        let line = line.trim().strip_suffix(',')?.replace('"', "");
        (!is_own(&line)).then(|| line.trim().to_owned())
    };
    let mut fields: Vec<String> = fields.lines().filter_map(field).collect();
    fields.sort();
    (line.to_owned(), fields)
}

/// A proxy before `upstream`, which it does not check on: nothing else comes there.
pub fn before(upstream: String, client: UpstreamClient) -> Scene {
    Scene::with(&[upstream], &[], |plan| {
        plan.tier.health.path = None;
        plan.settings.client = client;
    })
}

#[test]
fn what_passes_is_read_by_http1_as_it_was_meant() {
    for client in [UpstreamClient::Hyper, UpstreamClient::Weir] {
        let upstream = Scripted::start();
        let scene = before(upstream.address.to_string(), client);
        for case in passing() {
            let what = case.what;
            assert_eq!(
                fate(scene.address, &case.fields, &case.rest),
                Fate::Answered(200),
                "{what}"
            );
            let came = upstream.came();
            assert_eq!(came.len(), 1, "{what}: {came:?}");
            assert_eq!(whole(&came[0]), Some(came[0].len()), "{what}: {came:?}");
            let expected = (case.line.into(), strings(case.lines), case.body.into());
            assert_eq!(parts(&came[0]), expected, "{what} by {client:?}");
        }
    }
}

pub fn strings(lines: &[&str]) -> Vec<String> {
    lines.iter().map(|line| (*line).to_owned()).collect()
}

#[test]
fn what_passes_is_the_same_to_an_upstream_of_http2() {
    let upstream = Http2::start(100);
    let scene = before(format!("h2c://{}", upstream.address), UpstreamClient::Hyper);
    let mut wrong = Vec::new();
    for case in passing() {
        let fate = fate(scene.address, &case.fields, &case.rest);
        let (line, fields) = fields_of(&upstream.last_head());
        let mut expected = strings(case.lines);
        let host = expected.iter().position(|line| line.starts_with("host: ")).unwrap();
        let host = expected.remove(host).split_off("host: ".len());
        expected.retain(|line| line != "connection: TE" && line != "transfer-encoding: chunked");
        let target = case.line.strip_suffix(" HTTP/1.1").unwrap();
        let (method, path) = target.split_once(' ').unwrap();
        let bytes = if case.body.contains("hello") { 5 } else { 0 };
        let got = upstream.state.bytes.swap(0, Ordering::SeqCst);
        let same = line == format!("{method} http://{host}{path}") && fields == expected;
        if !same || fate != Fate::Answered(200) || got != bytes {
            wrong.push((case.what, fate, line, fields));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What HTTP/1.1 would read differently, or not at all.
#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn malformed() -> Vec<(&'static str, Fields, Vec<u8>)> {
    let body = || last("hello");
    let alone = |host| [&with(":authority", None)[..], &[("host", host)]].concat();
    let head = [&[(":method", "HEAD")], &GET[1..], &[("content-length", "5")]].concat();
    let sized = |length| post(&[("content-length", length)]);
    vec![
        ("no method", with(":method", None), vec![]),
        ("an empty method", with(":method", Some("")), vec![]),
        ("a method with a space", with(":method", Some("GET /x HTTP/1.1")), vec![]),
        ("a method with a line break", with(":method", Some("GET\r\nx: y")), vec![]),
        ("no scheme", with(":scheme", None), vec![]),
        ("a scheme that is none", with(":scheme", Some("http://other/?")), vec![]),
        ("another scheme", with(":scheme", Some("file")), vec![]),
        ("no authority and no host", with(":authority", None), vec![]),
        ("an empty authority", with(":authority", Some("")), vec![]),
        ("an authority with a user", with(":authority", Some("admin@app")), vec![]),
        ("an authority with a path", with(":authority", Some("app/x")), vec![]),
        ("an authority with a space", with(":authority", Some("app app")), vec![]),
        ("an authority with a line break", with(":authority", Some("app\r\nx: y")), vec![]),
        ("no path", with(":path", None), vec![]),
        ("an empty path", with(":path", Some("")), vec![]),
        ("a path without a slash", with(":path", Some("x")), vec![]),
        ("a target in absolute form", with(":path", Some("http://app/x")), vec![]),
        ("an asterisk without OPTIONS", with(":path", Some("*")), vec![]),
        ("a path with a space", with(":path", Some("/ HTTP/1.1")), vec![]),
        ("a path with a line break", with(":path", Some("/\r\nx: y")), vec![]),
        ("a path with a zero", with(":path", Some("/\0")), vec![]),
        ("two methods", and(&[(":method", "GET")]), vec![]),
        ("two paths", [&[(":path", "/x")], &GET[..]].concat(), vec![]),
        ("two authorities", [&[(":authority", "app")], &GET[..]].concat(), vec![]),
        ("a pseudo-field behind a field", [&[("x", "y")], &GET[..]].concat(), vec![]),
        ("an unknown pseudo-field", [&[(":other", "x")], &GET[..]].concat(), vec![]),
        ("a pseudo-field of answers", [&[(":status", "200")], &GET[..]].concat(), vec![]),
        ("a protocol without CONNECT", [&[(":protocol", "x")], &GET[..]].concat(), vec![]),
        ("a name in upper case", and(&[("X-One", "1")]), vec![]),
        ("a name with a space", and(&[("x one", "1")]), vec![]),
        ("a name with a colon", and(&[("x:one", "1")]), vec![]),
        ("a name with a line break", and(&[("x\r\none", "1")]), vec![]),
        ("an empty name", and(&[("", "1")]), vec![]),
        ("a value with a line feed", and(&[("x-one", "1\nx: y")]), vec![]),
        ("a value with a return", and(&[("x-one", "1\rx")]), vec![]),
        ("a value with a zero", and(&[("x-one", "1\0")]), vec![]),
        ("a value that begins with a blank", and(&[("x-one", " 1")]), vec![]),
        ("a value that ends with a tab", and(&[("x-one", "1\t")]), vec![]),
        ("connection", and(&[("connection", "close")]), vec![]),
        ("keep-alive", and(&[("keep-alive", "5")]), vec![]),
        ("proxy-connection", and(&[("proxy-connection", "x")]), vec![]),
        ("transfer-encoding", and(&[("transfer-encoding", "chunked")]), body()),
        ("upgrade", and(&[("upgrade", "websocket")]), vec![]),
        ("te", and(&[("te", "gzip")]), vec![]),
        ("a host that differs", and(&[("host", "other")]), vec![]),
        ("a second host", and(&[("host", "app"), ("host", "other")]), vec![]),
        ("a length and no body", and(&[("content-length", "5")]), vec![]),
        ("a length that is too long", and(&[("content-length", "6")]), body()),
        ("a length that is too short", and(&[("content-length", "4")]), body()),
        ("a length twice", and(&[("content-length", "5"), ("content-length", "5")]), body()),
        ("two lengths", and(&[("content-length", "5"), ("content-length", "6")]), body()),
        ("a list of lengths", and(&[("content-length", "5, 5")]), body()),
        ("a length with a sign", and(&[("content-length", "+5")]), body()),
        ("no length", and(&[("content-length", "")]), body()),
        ("a huge length", and(&[("content-length", "99999999999999999999")]), body()),
        ("CONNECT", vec![(":method", "CONNECT"), (":authority", "app:80")], vec![]),
        ("TRACE", with(":method", Some("TRACE")), vec![]),
        ("a method of two words", with(":method", Some("G ET")), vec![]),
        ("a path with a tab", with(":path", Some("/a\tb")), vec![]),
        ("a query with a space", with(":path", Some("/a?b c")), vec![]),
        ("a path of a query", with(":path", Some("?x")), vec![]),
        ("a path that is not ASCII", with(":path", Some("/\u{e9}")), vec![]),
        ("a query that is not ASCII", with(":path", Some("/?\u{2028}")), vec![]),
        ("a host with two ports", alone("a:b:c"), vec![]),
        ("a host of another script", alone("\u{e9}"), vec![]),
        ("a path of a fragment", with(":path", Some("#x")), vec![]),
        ("a path in another form", with(":path", Some("app:80/x")), vec![]),
        ("an authority with two ports", with(":authority", Some("app:80:81")), vec![]),
        ("an authority with a password", with(":authority", Some("user:pass@app")), vec![]),
        ("an authority with a query", with(":authority", Some("app?x")), vec![]),
        ("an authority with a fragment", with(":authority", Some("app#x")), vec![]),
        ("an authority with a backslash", with(":authority", Some("app\\x")), vec![]),
        ("two authorities in one", with(":authority", Some("app,other")), vec![]),
        ("an authority behind a blank", with(":authority", Some(" app")), vec![]),
        ("an empty host", alone(""), vec![]),
        ("a host with a user", alone("user@app"), vec![]),
        ("a host with a space", alone("app x"), vec![]),
        ("a host with a path", alone("app/x"), vec![]),
        ("a pseudo-field as a second protocol", socket(&[(":protocol", "websocket")]), vec![]),
        ("a tunnel with a length", socket(&[("content-length", "5")]), body()),
        ("a tunnel with an upgrade", socket(&[("upgrade", "websocket")]), vec![]),
        ("http2-settings with an upgrade", and(&[("upgrade", "h2c")]), vec![]),
        ("te with more", and(&[("te", "trailers, deflate")]), vec![]),
        ("te with a weight", and(&[("te", "trailers;q=0.5")]), vec![]),
        ("what seems a length", and(&[("content_length", "5")]), vec![]),
        ("what seems a coding", and(&[("transfer_encoding", "chunked")]), body()),
        ("an expectation", and(&[("expect", "miracles")]), vec![]),
        ("no length, and no body", and(&[("content-length", "")]), vec![]),
        ("no length, and an empty body", and(&[("content-length", "")]), last("")),
        ("a length with a blank", and(&[("content-length", "5 ")]), body()),
        ("a length in hexadecimal", and(&[("content-length", "0x5")]), body()),
        ("a length of HEAD", head, vec![]),
        ("a length that trailers cut short", sized("6"), trailed("hello", &[("x", "y")])),
        ("a length that trailers outrun", sized("4"), trailed("hello", &[("x", "y")])),
        ("trailers that tell a coding", and(&[]), trailed("hello", &[("transfer-encoding", "x")])),
        ("trailers of the connection", and(&[]), trailed("hello", &[("connection", "close")])),
        ("trailers in upper case", and(&[]), trailed("hello", &[("X-Sum", "9")])),
        ("trailers with a line break", and(&[]), trailed("hello", &[("x-sum", "9\r\nx: y")])),
        ("too many trailers", and(&[]), trailed("hello", &[("x-sum", "9"); 101])),
        ("a second head", and(&[]), frame(HEADERS, END_HEADERS, 1, &block(&GET))),
        ("data behind its end", sized("5"), [body(), last("x")].concat()),
        ("more padding than there is", sized("5"), frame(DATA, END_STREAM | 8, 1, b"\x07hello")),
    ]
}

#[test]
fn what_http1_would_read_differently_is_refused() {
    for client in [UpstreamClient::Hyper, UpstreamClient::Weir] {
        let upstream = Scripted::start();
        let scene = before(upstream.address.to_string(), client);
        let mut reached = Vec::new();
        for (what, fields, rest) in malformed() {
            let fate = fate(scene.address, &fields, &rest);
            let refused = match fate {
                Fate::Answered(status) => (400..500).contains(&status),
                // PROTOCOL_ERROR, STREAM_CLOSED, COMPRESSION_ERROR
                Fate::Reset(code) | Fate::GoneAway(code) => [1, 5, 9].contains(&code),
                // hyper ends the whole connection, without a word.
                Fate::Closed => what == "a tunnel with a length",
            };
            // A body is looked at when its head has gone already: the upstream never gets its end.
            let came = upstream.came();
            if !refused || came.iter().any(|came| whole(came).is_some()) {
                let came: Vec<_> = came.iter().map(|came| String::from_utf8_lossy(came)).collect();
                reached.push(format!("{what}: {fate:?} {came:?}"));
            }
        }
        assert!(reached.is_empty(), "{client:?}: {reached:#?}");
        // Nothing is left on a connection that the next request would be read with.
        let good = and(&[("x-one", "1 2"), ("x-two", "")]);
        assert_eq!(fate(scene.address, &good, b""), Fate::Answered(200));
        let came = upstream.came();
        let came: Vec<_> = came.iter().filter(|came| whole(came).is_some()).collect();
        assert_eq!(came.len(), 1);
        assert_eq!(parts(came[0]).1, ["host: app", "x-one: 1 2", "x-two:"]);
        assert_eq!(scene.register.totals(0).errors, 0, "none of them was an error of the app");
    }
}
