//! What answers of upstreams are to clients of the other HTTP, byte for byte: passed as they were
//! meant, refused, or visibly cut short.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use weir::proxy::UpstreamClient;

use crate::support::http2_client::{
    Answer, Client, Content, DATA, END_HEADERS, END_STREAM, HEADERS, block, request, run,
};
use crate::support::scripted::{Frames, Scripted, Scripted2, whole};
use crate::upstreams::scene::Scene;

/// What a client gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gets {
    /// This status, these fields but Weir's own, this body, these trailers.
    Answer(u16, &'static [&'static str], &'static str, &'static [&'static str]),
    /// The beginning of an answer, and that it is not whole.
    Part,
    /// 502, and nothing of the answer.
    Refusal,
}

/// The fields that are not Weir's own, in alphabetical order.
fn fields(headers: &http::HeaderMap) -> Vec<String> {
    let line = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
        format!("{name}: {}", String::from_utf8_lossy(value.as_bytes()))
    };
    sorted(headers.iter().map(line))
}

fn sorted(lines: impl Iterator<Item = String>) -> Vec<String> {
    let own = |line: &String| ["date: ", "x-weir-"].iter().any(|name| line.starts_with(name));
    let mut lines: Vec<String> = lines.filter(|line| !own(line)).collect();
    lines.sort();
    lines
}

/// What came: status, fields, body, trailers, and whether that is all of it.
type Came = (u16, Vec<String>, String, Vec<String>, bool);

fn came(answer: &Answer) -> Came {
    let (head, trailers) = (fields(&answer.headers), fields(&answer.trailers));
    (answer.status, head, answer.text(), trailers, answer.whole)
}

impl Gets {
    /// Whether that is what came.
    fn is(self, (status, fields, body, trailers, whole): &Came) -> bool {
        match self {
            Self::Answer(code, lines, text, end) => {
                *status == code && fields == lines && body == text && trailers == end && *whole
            }
            Self::Part => *status == 200 && !whole,
            Self::Refusal => *status == 502 && *whole,
        }
    }
}

/// A proxy before `upstream`, which it does not check on.
fn before(upstream: String, client: UpstreamClient) -> Scene {
    Scene::with(&[upstream], &[], |plan| {
        plan.tier.health.path = None;
        plan.tier.timeouts.response_head = Duration::from_secs(2);
        plan.settings.client = client;
    })
}

/// Answers of HTTP/1.1, and what a client of HTTP/2 gets.
#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn of_http1() -> Vec<(&'static str, &'static str, Gets)> {
    use Gets::{Part, Refusal};
    let plain = Gets::Answer(200, &["content-length: 2"], "ok", &[]);
    let unsized_ok = Gets::Answer(200, &[], "ok", &[]);
    vec![
        ("a length", "200 OK\r\ncontent-length: 2\r\n\r\nok", plain),
        ("a length that is named", "200 OK\r\nContent-LENGTH:  2 \r\n\r\nok", plain),
        (
            "what concerns a connection",
            "200 OK\r\nconnection: x-hop, close\r\nx-hop: 1\r\nkeep-alive: timeout=5\r\n\
             proxy-connection: close\r\nupgrade: h2c\r\nte: trailers\r\ncontent-length: 2\r\n\r\nok",
            plain,
        ),
        (
            "an offer",
            "200 OK\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 2\r\n\r\nok",
            plain,
        ),
        (
            "chunks",
            "200 OK\r\ntransfer-encoding: chunked\r\n\r\n2;x=y\r\nok\r\n0\r\n\r\n",
            unsized_ok,
        ),
        (
            "chunks beside a length",
            "200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            unsized_ok,
        ),
        (
            "trailers",
            "200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Sum: 9\r\n\
             content-length: 3\r\nconnection: close\r\nhost: other\r\nset-cookie: a=1\r\n\
             transfer-encoding: chunked\r\n\r\n",
            Gets::Answer(200, &[], "ok", &["x-sum: 9"]),
        ),
        ("until the end", "200 OK\r\n\r\nok", unsized_ok),
        (
            "heads before the head",
            "100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n\
             HTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok",
            plain,
        ),
        (
            "another protocol",
            "101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: x\r\n\r\n",
            Refusal,
        ),
        ("no content", "204 No Content\r\n\r\n", Gets::Answer(204, &[], "", &[])),
        (
            "no content of a length",
            "204 No Content\r\ncontent-length: 5\r\n\r\n",
            Gets::Answer(204, &[], "", &[]),
        ),
        (
            "not modified",
            "304 Not Modified\r\netag: \"a\"\r\n\r\n",
            Gets::Answer(304, &["etag: \"a\""], "", &[]),
        ),
        (
            "more than its length",
            "200 OK\r\ncontent-length: 2\r\n\r\nokHTTP/1.1 500 No\r\n\r\n",
            plain,
        ),
        ("less than its length", "200 OK\r\ncontent-length: 10\r\n\r\nok", Part),
        ("one length twice", "200 OK\r\ncontent-length: 2\r\ncontent-length: 2\r\n\r\nok", plain),
        ("one length in a list", "200 OK\r\ncontent-length: 2, 2\r\n\r\nok", plain),
        ("two lengths", "200 OK\r\ncontent-length: 2\r\ncontent-length: 3\r\n\r\nok", Refusal),
        ("two lengths in a list", "200 OK\r\ncontent-length: 2, 3\r\n\r\nok", Refusal),
        ("a length with a sign", "200 OK\r\ncontent-length: +2\r\n\r\nok", Refusal),
        ("a length below nought", "200 OK\r\ncontent-length: -2\r\n\r\nok", Refusal),
        ("a length in hexadecimal", "200 OK\r\ncontent-length: 0x2\r\n\r\nok", Refusal),
        ("no length", "200 OK\r\ncontent-length:\r\n\r\nok", Refusal),
        ("a huge length", "200 OK\r\ncontent-length: 18446744073709551616\r\n\r\nok", Refusal),
        ("another coding", "200 OK\r\ntransfer-encoding: gzip\r\n\r\nok", Refusal),
        (
            "two codings",
            "200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Refusal,
        ),
        (
            "one coding twice",
            "200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
            Refusal,
        ),
        ("a coding that seems one", "200 OK\r\ntransfer-encoding: xchunked\r\n\r\nok", Refusal),
        ("chunks cut short", "200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nok", Part),
        ("chunks without an end", "200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n", Part),
        (
            "a chunk of no size",
            "200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\ng\r\n",
            Part,
        ),
        (
            "a chunk of a huge size",
            "200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n11111111111111111\r\nx",
            Part,
        ),
        (
            "a chunk longer than it says",
            "200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nok\r\n0\r\n\r\n",
            Part,
        ),
        (
            "a name in upper case",
            "200 OK\r\nX-One:  1\t\r\ncontent-length: 0\r\n\r\n",
            Gets::Answer(200, &["content-length: 0", "x-one: 1"], "", &[]),
        ),
        ("a name with a space", "200 OK\r\nx one: 1\r\ncontent-length: 2\r\n\r\nok", Refusal),
        ("a blank before the colon", "200 OK\r\nx-one : 1\r\ncontent-length: 2\r\n\r\nok", Refusal),
        ("no name", "200 OK\r\n: 1\r\ncontent-length: 2\r\n\r\nok", Refusal),
        ("a pseudo-field", "200 OK\r\n:status: 204\r\ncontent-length: 2\r\n\r\nok", Refusal),
        ("a folded line", "200 OK\r\nx-one: 1\r\n 2\r\ncontent-length: 2\r\n\r\nok", Refusal),
        ("a value with a zero", "200 OK\r\nx-one: \0\r\ncontent-length: 2\r\n\r\nok", Refusal),
        ("a value with a return", "200 OK\r\nx-one: a\rb\r\ncontent-length: 2\r\n\r\nok", Refusal),
        ("a status of four digits", "2000 OK\r\ncontent-length: 2\r\n\r\nok", Refusal),
        ("a status of two digits", "20 OK\r\ncontent-length: 2\r\n\r\nok", Refusal),
    ]
}

#[test]
fn answers_of_http1_come_to_clients_of_http2_as_they_were_meant() {
    for upstream_client in [UpstreamClient::Hyper, UpstreamClient::Weir] {
        let upstream = Scripted::start();
        let scene = before(upstream.address.to_string(), upstream_client);
        run(async {
            let client = Client::to(scene.address).await;
            let mut wrong = Vec::new();
            let plain = Gets::Answer(200, &["content-length: 2"], "ok", &[]);
            for (what, text, expected) in of_http1() {
                upstream.answers(format!("HTTP/1.1 {text}").as_bytes());
                let answer = came(&client.get("/", &[]).await);
                // The next answer is its own.
                upstream.answers_plainly();
                let next = came(&client.get("/", &[]).await);
                if !expected.is(&answer) || !plain.is(&next) {
                    wrong.push((what, answer, next));
                }
            }
            assert!(wrong.is_empty(), "by {upstream_client:?}: {wrong:#?}");
            upstream.answers(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n");
            let head = request(http::Method::HEAD, "/", &[], Content::none());
            let expected = Gets::Answer(200, &["content-length: 2"], "", &[]);
            assert!(expected.is(&came(&client.ask(head).await.unwrap())));
        });
    }
}

/// Answers of HTTP/2, and what a client gets.
#[allow(clippy::too_many_lines, reason = "a table of cases")]
fn of_http2() -> Vec<(&'static str, Frames, Gets)> {
    use Gets::{Part, Refusal};
    const ENDED: u8 = END_HEADERS | END_STREAM;
    let head = |flags: u8, fields: &[(&str, &str)]| (HEADERS, flags, block(fields));
    let data = |flags: u8, text: &str| (DATA, flags, text.as_bytes().to_vec());
    // 200, `more`, a body.
    let and = |more: &[(&str, &str)]| {
        let fields = [&[(":status", "200")], more].concat();
        vec![head(END_HEADERS, &fields), data(END_STREAM, "ok")]
    };
    let alone = |fields: &[(&str, &str)]| vec![head(ENDED, fields)];
    let trailed = |trailers: &[(&str, &str)]| {
        vec![head(END_HEADERS, &[(":status", "200")]), data(0, "ok"), head(ENDED, trailers)]
    };
    let early = |status| head(END_HEADERS, &[(":status", status), ("link", "</a>")]);
    let plain = Gets::Answer(200, &["content-length: 2"], "ok", &[]);
    let unsized_ok = Gets::Answer(200, &[], "ok", &[]);
    vec![
        ("a length", and(&[("content-length", "2")]), plain),
        ("no length", and(&[]), unsized_ok),
        ("no body", alone(&[(":status", "200")]), Gets::Answer(200, &[], "", &[])),
        ("no content", alone(&[(":status", "204")]), Gets::Answer(204, &[], "", &[])),
        (
            "not modified",
            alone(&[(":status", "304"), ("etag", "a")]),
            Gets::Answer(304, &["etag: a"], "", &[]),
        ),
        (
            "heads before the head",
            [vec![early("100"), early("103")], and(&[("content-length", "2")])].concat(),
            plain,
        ),
        (
            "trailers",
            trailed(&[("x-sum", "9"), ("content-length", "3"), ("host", "x"), ("set-cookie", "a")]),
            Gets::Answer(200, &[], "ok", &["x-sum: 9"]),
        ),
        ("too many trailers", trailed(&[("x-sum", "9"); 101]), Part),
        ("connection", and(&[("connection", "close")]), Refusal),
        ("keep-alive", and(&[("keep-alive", "timeout=5")]), Refusal),
        ("proxy-connection", and(&[("proxy-connection", "close")]), Refusal),
        ("transfer-encoding", and(&[("transfer-encoding", "chunked")]), Refusal),
        ("upgrade", and(&[("upgrade", "h2c")]), Refusal),
        ("a name in upper case", and(&[("X-One", "1")]), Refusal),
        ("a name with a space", and(&[("x one", "1")]), Refusal),
        ("a name with a colon", and(&[("x:one", "1")]), Refusal),
        ("a name with a line break", and(&[("x\r\none", "1")]), Refusal),
        ("a value with a line break", and(&[("x-one", "1\r\nx: y")]), Refusal),
        ("a value with a line feed", and(&[("x-one", "1\ny")]), Refusal),
        ("a value with a zero", and(&[("x-one", "\0")]), Refusal),
        ("no status", alone(&[("x-one", "1")]), Refusal),
        ("two statuses", and(&[(":status", "204")]), Refusal),
        ("a status behind a field", alone(&[("x-one", "1"), (":status", "200")]), Refusal),
        ("a status of two digits", alone(&[(":status", "20")]), Refusal),
        ("a status of four digits", alone(&[(":status", "2000")]), Refusal),
        ("a status with more", alone(&[(":status", "200 OK\r\nx: y")]), Refusal),
        ("an unknown pseudo-field", and(&[(":other", "1")]), Refusal),
        ("less than its length", and(&[("content-length", "10")]), Part),
        ("more than its length", and(&[("content-length", "1")]), Part),
        ("a length and no body", alone(&[(":status", "200"), ("content-length", "2")]), Refusal),
        ("two lengths", and(&[("content-length", "2"), ("content-length", "3")]), Refusal),
        ("a list of lengths", and(&[("content-length", "2, 2")]), Refusal),
        ("a length with a sign", and(&[("content-length", "+2")]), Refusal),
        ("an empty length", alone(&[(":status", "200"), ("content-length", "")]), Refusal),
        ("one length twice", and(&[("content-length", "2"), ("content-length", "2")]), plain),
        (
            "a length that trailers cut short",
            vec![
                head(END_HEADERS, &[(":status", "200"), ("content-length", "5")]),
                data(0, "ok"),
                head(ENDED, &[("x-sum", "9")]),
            ],
            Part,
        ),
        ("trailers of the connection", trailed(&[("connection", "close")]), Part),
        ("trailers that tell a coding", trailed(&[("transfer-encoding", "chunked")]), Part),
        ("trailers with a line break", trailed(&[("x-sum", "9\r\nx: y")]), Part),
        (
            "content behind no content",
            vec![head(END_HEADERS, &[(":status", "204")]), data(END_STREAM, "ok")],
            Gets::Answer(204, &[], "", &[]),
        ),
        (
            "content behind not modified",
            vec![head(END_HEADERS, &[(":status", "304")]), data(END_STREAM, "ok")],
            Gets::Answer(304, &[], "", &[]),
        ),
        ("a body without a head", vec![data(END_STREAM, "ok")], Refusal),
        ("an end before the head", vec![head(ENDED, &[(":status", "103")])], Refusal),
    ]
}

#[test]
fn answers_of_http2_come_to_clients_of_http2_as_they_were_meant() {
    let upstream = Scripted2::start();
    let scene = before(format!("h2c://{}", upstream.address), UpstreamClient::Hyper);
    run(async {
        let client = Client::to(scene.address).await;
        let mut wrong = Vec::new();
        for (what, frames, expected) in of_http2() {
            upstream.answers(frames);
            let answer = came(&client.get("/", &[("te", "trailers")]).await);
            if !expected.is(&answer) {
                wrong.push((what, answer));
            }
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    });
}

/// Sends a request on `stream`, and reads what comes: an answer, and whether it is whole.
fn ask(stream: &mut TcpStream, more: &str) -> (Vec<u8>, bool) {
    let request = format!("GET / HTTP/1.1\r\nhost: app\r\n{more}\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut came = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        // A hint is no answer.
        while came.starts_with(b"HTTP/1.1 103 ")
            && let Some(end) = came.windows(4).position(|four| four == b"\r\n\r\n")
        {
            came.drain(..end + 4);
        }
        let bodiless = came.starts_with(b"HTTP/1.1 204") || came.starts_with(b"HTTP/1.1 304");
        let length = if bodiless {
            came.windows(4).position(|four| four == b"\r\n\r\n").map(|end| end + 4)
        } else {
            whole(&came)
        };
        if let Some(length) = length {
            assert_eq!(length, came.len(), "there is more: {}", String::from_utf8_lossy(&came));
            return (came, true);
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return (came, false),
            Ok(read) => came.extend(&chunk[..read]),
        }
    }
}

/// What of an answer a client of HTTP/1.1 understands.
fn understood(text: &str, whole: bool) -> Came {
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let lines = sorted(lines.map(str::to_owned));
    let chunked = |line: &String| line == "transfer-encoding: chunked";
    let framed = |line: &&String| line.starts_with("content-length:") || chunked(line);
    assert!(lines.iter().filter(framed).count() <= 1, "{text}");
    if !lines.iter().any(chunked) || !whole {
        // An answer without a body has a length all the same.
        let lines = lines.into_iter().filter(|line| line != "content-length: 0").collect();
        return (status, lines, body.into(), vec![], whole);
    }
    let lines = lines.into_iter().filter(|line| !chunked(line)).collect();
    let (size, rest) = body.split_once("\r\n").unwrap();
    let size = usize::from_str_radix(size, 16).unwrap();
    let (content, end) = rest.split_at(size);
    let end = if size > 0 { &end["\r\n0\r\n".len()..] } else { end };
    let trailers = sorted(end.split("\r\n").filter(|line| !line.is_empty()).map(Into::into));
    (status, lines, content.into(), trailers, whole)
}

#[test]
fn answers_of_http2_come_to_clients_of_http1_as_they_were_meant() {
    let upstream = Scripted2::start();
    let scene = before(format!("h2c://{}", upstream.address), UpstreamClient::Hyper);
    let mut wrong = Vec::new();
    for (what, frames, expected) in of_http2() {
        let mut stream = TcpStream::connect(scene.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        upstream.answers(frames);
        let (came, is_whole) = ask(&mut stream, "connection: te\r\nte: trailers\r\n");
        let text = String::from_utf8_lossy(&came).into_owned();
        let answer = understood(&text, is_whole);
        let expected = match expected {
            // HTTP/1.1 gets no trailers but those that the head has announced.
            Gets::Answer(status, lines, body, _) => Gets::Answer(status, lines, body, &[]),
            Gets::Part | Gets::Refusal => expected,
        };
        if !expected.is(&answer) {
            wrong.push((what, text));
        } else if is_whole {
            let plain = block(&[(":status", "404")]);
            upstream.answers(vec![(HEADERS, END_HEADERS | END_STREAM, plain)]);
            let (next, _) = ask(&mut stream, "");
            assert!(next.starts_with(b"HTTP/1.1 404 "), "behind {what}");
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
