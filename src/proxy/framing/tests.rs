//! Framing beside hyper: the same requests, the same bodies, whatever comes in.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Empty};
use hyper::rt::ReadBufCursor;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::*;
use crate::proxy::messages::{Text, cases, damaged, framed, lines, meant, pieces};

/// What becomes of `text` that comes in pieces of `step` bytes; whether it was in doubt.
fn followed(text: &str, step: usize) -> (String, bool) {
    let mut framing = Framing::default();
    let mut bytes = text.as_bytes().to_vec();
    let mut doubtful = false;
    for piece in bytes.chunks_mut(step) {
        doubtful |= !framing.follow(piece);
    }
    (String::from_utf8(bytes).unwrap(), doubtful)
}

const STEPS: [usize; 5] = [1, 2, 3, 7, 10_000];

#[test]
fn what_is_clear_passes_unchanged() {
    let get = "GET / HTTP/1.1\r\nhost: a\r\ntransfer-encodings: x\r\n\r\n";
    let sized = "\r\n\r\nPOST / HTTP/1.1\r\nContent-Length: 4 \r\nhost: a\r\n\r\na\nb\n";
    let chunks = "POST / HTTP/1.1\r\nTRANSFER-ENCODING:chunked\r\n\r\n\
                  3;a=b\r\n\n\n\n\r\nA \t\r\n0123456789\r\n0\r\nx: y\r\n\r\n";
    let empty = "POST / HTTP/1.1\r\ncontent-length: 0\r\n\r\n";
    let all = [get, sized, chunks, empty, chunks, get, sized, get].concat();
    for step in STEPS {
        assert_eq!(followed(&all, step), (all.clone(), false), "{step}");
    }
}

#[test]
fn what_is_in_doubt_is_spoiled_wherever_it_stands() {
    let before = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n";
    for head in [
        "content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n",
        "transfer-encoding: chunked\r\nx: y\r\ncontent-length: 5\r\n\r\n",
        "content-length: 5\r\ncontent-length: 5\r\n\r\n",
        "content-length: 5, 5\r\n\r\n",
        "content-length: +5\r\n\r\n",
        "content-length:\r\n\r\n",
        "content-length: 18446744073709551616\r\n\r\n",
        "transfer-encoding: identity\r\n\r\n",
        "x: y\ncontent-length: 5\r\n\r\n",
        "x: y\r\n\n",
    ] {
        let text = format!("{before}POST / HTTP/1.1\r\n{head}hello");
        for step in STEPS {
            let (spoiled, doubtful) = followed(&text, step);
            assert!(doubtful, "{head:?} {step}");
            let (kept, rest) = spoiled.split_once('\0').unwrap();
            assert!(text.starts_with(kept), "{head:?}");
            assert!(rest.len() >= 5 && rest.bytes().all(|byte| byte == b'\n'), "{head:?}");
        }
    }
}

#[test]
fn a_fragment_is_no_part_of_a_target() {
    for line in ["GET /#", "GET /a#b", "GET /a?b#c", "GET http://a#b"] {
        for step in STEPS {
            assert!(followed(&format!("{line} HTTP/1.1\r\n\r\n"), step).1, "{line}");
        }
    }
}

#[test]
fn a_chunk_in_doubt_ends_it() {
    let head = "POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
    for chunk in
        ["1\n", "g\r\n", "\r\n", "0x1\r\n", "11111111111111111\r\n", "1;\r \r\n", "1;\0\r\n"]
    {
        assert!(followed(&format!("{head}{chunk}abc"), 1).1, "{chunk:?}");
    }
}

/// hyper has no limit for them, and what is followed of a line is held.
#[test]
fn a_size_that_does_not_end_is_refused() {
    let head = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n";
    for filler in [b'0', b' ', b';'] {
        for step in [1, 1000, SIZE_LINE_BYTES_MAX * 2] {
            let mut framing = Framing::default();
            assert!(framing.follow(&mut head.to_vec()));
            let mut line = [&b"1"[..], &vec![filler; SIZE_LINE_BYTES_MAX]].concat();
            let passes = line.chunks_mut(step).all(|piece| framing.follow(piece));
            assert!(!passes && framing.is_broken() && framing.part.is_empty(), "{filler} {step}");
        }
    }
}

/// A request as it was meant, or as hyper has read it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Told {
    line: String,
    fields: Vec<String>,
    body: Text,
    trailers: Vec<String>,
}

/// What is in front of hyper: pieces that come in one after the other, followed on their way.
#[derive(Default)]
struct Incoming {
    pieces: VecDeque<Vec<u8>>,
    framing: Framing,
    doubtful: bool,
}

struct Wire(Rc<RefCell<Incoming>>);

impl hyper::rt::Read for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        let Incoming { pieces, framing, doubtful } = &mut *self.0.borrow_mut();
        if framing.is_broken() {
            return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
        }
        let Some(mut piece) = pieces.pop_front() else {
            return Poll::Pending;
        };
        let rest = piece.split_off(cursor.remaining().min(piece.len()));
        if !rest.is_empty() {
            pieces.push_front(rest);
        }
        *doubtful |= !framing.follow(&mut piece);
        cursor.put_slice(&piece);
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Wire {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What hyper reads of what framing lets through.
#[derive(Debug, PartialEq, Eq)]
struct Served {
    requests: Vec<Told>,
    /// Whether hyper has ended the connection.
    ended: bool,
    /// Whether framing was in doubt.
    doubtful: bool,
}

async fn told(request: Request<hyper::body::Incoming>) -> Option<Told> {
    let line = format!("{} {}", request.method(), request.uri());
    let fields = lines(request.headers());
    let body = request.into_body().collect().await.ok()?;
    let trailers = body.trailers().map(lines).unwrap_or_default();
    Some(Told { line, fields, body: Text(body.to_bytes().to_vec()), trailers })
}

fn served(pieces: Vec<Vec<u8>>) -> Served {
    let requests = RefCell::new(Vec::new());
    let service = service_fn(async |request| match told(request).await {
        Some(told) => {
            requests.borrow_mut().push(told);
            Ok(Response::new(Empty::<Bytes>::new()))
        }
        None => Err("the body broke off"),
    });
    let pieces = pieces.into();
    let incoming = Rc::new(RefCell::new(Incoming { pieces, ..Incoming::default() }));
    let mut connection =
        http1::Builder::new().serve_connection(Wire(Rc::clone(&incoming)), service);
    let cx = &mut Context::from_waker(Waker::noop());
    let (mut ended, mut quiet) = (false, 0);
    // hyper gives way to others now and then, so it is asked again.
    while !ended && quiet < 32 {
        ended = Pin::new(&mut connection).poll(cx).is_ready();
        quiet = if incoming.borrow().pieces.is_empty() { quiet + 1 } else { 0 };
    }
    drop(connection);
    let doubtful = incoming.borrow().doubtful;
    Served { requests: requests.into_inner(), ended, doubtful }
}

/// The bytes of the body of each request that is there as a whole, as framing counts them.
fn counted(bytes: &[u8]) -> Vec<u64> {
    let mut framing = Framing::default();
    let (mut bodies, mut body) = (Vec::new(), 0);
    for byte in bytes {
        let before = framing.stage;
        framing.follow(&mut [*byte]);
        match (before, framing.stage) {
            (Stage::Field, Stage::Body(length)) => body = length,
            (Stage::Size, Stage::Chunk(size)) => body = body.saturating_add(size - 2),
            (Stage::Field | Stage::Body(_) | Stage::Trailer, Stage::Start) => {
                bodies.push(std::mem::take(&mut body));
            }
            (
                Stage::Start
                | Stage::Field
                | Stage::Body(_)
                | Stage::Size
                | Stage::Chunk(_)
                | Stage::Trailer
                | Stage::Refused
                | Stage::Broken,
                _,
            ) => {}
        }
    }
    bodies
}

/// A request and what is meant by it.
fn request() -> impl Strategy<Value = (Vec<u8>, Told)> {
    let before = select(&["", "", "", "\r\n", "\r\n\r\n"][..]);
    let line =
        select(&["GET /", "G#T /a?b=c:d", "HEAD http://a/b", "OPTIONS *", "X-Y /%0d%0a"][..]);
    let field = select(
        &[
            "host: a",
            "Host: b:80",
            "x-length: 5",
            "content-lengths: 5",
            "content-length-x: 5",
            "transfer-encodings: chunked",
            "x:",
            "te: trailers",
            "cookie: a=\"b; c\"",
            "upgrade: websocket",
            "connection: upgrade, keep-alive",
            "expect: 100-continue",
            "x: \u{e4}\tb",
        ][..],
    );
    (before, line, prop::collection::vec(field, 0..4), framed(), any::<Index>()).prop_map(
        |(before, line, fields, framed, at)| {
            let mut lines: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
            if let Some(field) = framed.field {
                lines.insert(at.index(lines.len() + 1), field);
            }
            let told = Told {
                line: line.to_owned(),
                fields: lines.iter().map(|line| meant(line)).collect(),
                body: Text(framed.body),
                trailers: framed.trailers,
            };
            lines.insert(0, format!("{before}{line} HTTP/1.1"));
            let mut bytes = (lines.join("\r\n") + "\r\n\r\n").into_bytes();
            bytes.extend(framed.bytes);
            (bytes, told)
        },
    )
}

/// The lines of a map come grouped by name; in which order the names come is no matter here.
fn sorted(mut told: Vec<Told>) -> Vec<Told> {
    for request in &mut told {
        request.fields.sort();
        request.trailers.sort();
    }
    told
}

/// Several on one connection.
fn requests() -> impl Strategy<Value = (Text, Vec<Told>)> {
    prop::collection::vec(request(), 1..5).prop_map(|requests| {
        let (texts, told): (Vec<_>, Vec<_>) = requests.into_iter().unzip();
        (Text(texts.concat()), told)
    })
}

fn places() -> impl Strategy<Value = Vec<Index>> {
    prop::collection::vec(any::<Index>(), 0..12)
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn an_honest_request_is_never_refused((text, meant) in requests(), places in places()) {
        let Text(bytes) = text;
        let lengths: Vec<u64> = meant.iter().map(|told| told.body.0.len() as u64).collect();
        prop_assert_eq!(counted(&bytes), lengths);
        let served = served(pieces(&bytes, &places));
        prop_assert!(!served.doubtful);
        prop_assert!(!served.ended);
        prop_assert_eq!(sorted(served.requests), sorted(meant));
    }

    #[test]
    fn what_passes_ends_where_hyper_says(
        text in damaged(requests().prop_map(|(text, _)| text.0)),
        places in places(),
    ) {
        let Text(bytes) = text;
        let counted = counted(&bytes);
        let whole = served(vec![bytes.clone()]);
        let read: Vec<u64> = whole.requests.iter().map(|told| told.body.0.len() as u64).collect();
        prop_assert!(counted.starts_with(&read), "{:?} {:?}", counted, read);
        if !whole.ended {
            prop_assert!(!whole.doubtful, "what is in doubt is refused at once: {:?}", whole);
            prop_assert_eq!(&counted, &read);
        }
        let cut = served(pieces(&bytes, &places));
        prop_assert_eq!(cut.requests, whole.requests, "however it is cut: {:?}", places);
    }
}
