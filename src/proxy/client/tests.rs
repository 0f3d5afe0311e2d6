//! Our own HTTP/1.1 beside hyper's: the same bytes from an upstream, the same outcome for whoever
//! called, however the bytes are cut.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response, Version};
use http_body_util::Full;
use hyper::body::Body;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use tokio::net::UnixStream;
use tokio::runtime::{LocalOptions, LocalRuntime};
use tokio::task::yield_now;

use super::http1::Http1;
use super::hyper_http1;
use crate::proxy::added::Added;
use crate::proxy::io::{Io, Socket};
use crate::proxy::messages::{Text, cases, damaged, framed, lines, pieces};
use crate::traffic::Limits;

/// Turns of the runtime within which either client has done all that it can.
const TURNS: usize = 6;

/// How far an answer has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    /// The client waits for more.
    #[default]
    Open,
    /// It is there.
    Whole,
    /// It is refused, or broke off.
    Broken,
}

/// What the caller gets.
#[derive(Clone, Debug, Default, PartialEq)]
struct Outcome {
    head: Option<Head>,
    body: Vec<u8>,
    trailers: Vec<String>,
    end: End,
    /// Whether the connection may carry another request.
    usable: bool,
}

#[derive(Clone, Debug, PartialEq)]
struct Head {
    status: u16,
    reason: Vec<u8>,
    fields: HeaderMap,
    version: Version,
}

/// What an upstream sends, and whether it closes then.
#[derive(Clone, Debug)]
struct Sent {
    method: &'static str,
    text: Text,
    places: Vec<Index>,
    closes: bool,
}

impl Sent {
    fn request(&self) -> Request<Full<Bytes>> {
        let body = if self.method == "POST" { &b"hello"[..] } else { b"" };
        let request = Request::builder().method(self.method).uri("/").header("host", "a");
        request.body(Full::new(Bytes::from_static(body))).unwrap()
    }

    /// Plays the upstream, each piece by itself.
    async fn play(&self, socket: UnixStream) -> Option<UnixStream> {
        let mut request = [0; 1024];
        rest().await;
        for piece in pieces(&self.text.0, &self.places) {
            put(&socket, &piece).await;
            while socket.try_read(&mut request).is_ok_and(|count| count > 0) {}
        }
        (!self.closes).then_some(socket)
    }
}

/// Sends `bytes`, as long as somebody takes them: who has given up reads no more.
async fn put(socket: &UnixStream, mut bytes: &[u8]) {
    let mut refused = 0;
    while !bytes.is_empty() && refused < 3 {
        match socket.try_write(bytes) {
            Ok(count) => (bytes, refused) = (&bytes[count..], 0),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => refused += 1,
            Err(_) => return,
        }
        rest().await;
    }
}

async fn rest() {
    for _ in 0..TURNS {
        yield_now().await;
    }
}

/// Takes an answer, and notes all that there is of it.
async fn take<B, E>(
    answer: impl Future<Output = Result<Response<B>, E>>,
    outcome: Rc<RefCell<Outcome>>,
) where
    B: Body<Data = Bytes> + Unpin,
{
    let Ok(response) = answer.await else {
        outcome.borrow_mut().end = End::Broken;
        return;
    };
    let reason = response.extensions().get::<hyper::ext::ReasonPhrase>();
    outcome.borrow_mut().head = Some(Head {
        status: response.status().as_u16(),
        reason: reason.map(|reason| reason.as_bytes().to_vec()).unwrap_or_default(),
        fields: response.headers().clone(),
        version: response.version(),
    });
    let mut body = response.into_body();
    let end = loop {
        match std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            None => break End::Whole,
            Some(Err(_)) => break End::Broken,
            Some(Ok(frame)) => match frame.into_data() {
                Ok(data) => outcome.borrow_mut().body.extend_from_slice(&data),
                Err(frame) => {
                    outcome.borrow_mut().trailers = lines(&frame.into_trailers().unwrap());
                }
            },
        }
    };
    outcome.borrow_mut().end = end;
}

async fn by_ours(sent: &Sent) -> io::Result<Outcome> {
    let (socket, upstream) = UnixStream::pair()?;
    let mut connection = Http1::begin(Socket::Unix(socket), &Limits::default());
    let outcome = Rc::new(RefCell::new(Outcome::default()));
    let call = connection.call(Box::new(sent.request()), &Added::default());
    let task = tokio::task::spawn_local(take(call, Rc::clone(&outcome)));
    let _open = sent.play(upstream).await;
    rest().await;
    task.abort();
    outcome.borrow_mut().usable = connection.look();
    Ok(outcome.take())
}

async fn by_hyper(sent: &Sent) -> io::Result<Outcome> {
    let (socket, upstream) = UnixStream::pair()?;
    let builder = hyper_http1::builder(&Limits::default());
    let io = Io::new(Socket::Unix(socket));
    let (mut sender, connection) = builder.handshake(io).await.map_err(io::Error::other)?;
    let driver = tokio::task::spawn_local(async move { _ = connection.with_upgrades().await });
    sender.ready().await.map_err(io::Error::other)?;
    let outcome = Rc::new(RefCell::new(Outcome::default()));
    let call = sender.send_request(sent.request());
    let task = tokio::task::spawn_local(take(call, Rc::clone(&outcome)));
    let _open = sent.play(upstream).await;
    rest().await;
    task.abort();
    outcome.borrow_mut().usable = sender.is_ready() && !sender.is_closed();
    driver.abort();
    Ok(outcome.take())
}

/// Where ours is the stricter by intent, and refuses what hyper takes.
#[derive(Debug, PartialEq)]
enum Stricter {
    /// A coding other than "chunked", once, in HTTP/1.1: where the body ends is hidden (RFC 9112,
    /// section 6.1). hyper takes what ends with "chunked" for chunks, and the rest up to the end.
    Coding,
    /// A length that is no number, or two of them, where it does not count: beside chunks, or
    /// where no body is to come (HEAD, 101, 204, 304).
    Length,
}

/// Where ours closes a connection that hyper uses again.
fn is_last_by_intent(head: &Head, ours: &Outcome) -> bool {
    // HTTP/1.0 may be kept alive, if it says so; too few do to be worth their doubts. A length
    // beside chunks may split an answer (RFC 9112, section 6.3).
    let has = |name| head.fields.contains_key(name);
    // hyper overlooks a line of Connection that is not ASCII, and a "close" in it.
    let is_odd = head.fields.get_all(CONNECTION).iter().any(|line| !line.as_bytes().is_ascii());
    head.version < Version::HTTP_11
        || has(TRANSFER_ENCODING) && has(CONTENT_LENGTH)
        || is_odd && !ours.usable
}

fn stricter(head: &Head, method: &str) -> Option<Stricter> {
    let codings: Vec<_> = head.fields.get_all(TRANSFER_ENCODING).iter().collect();
    let is_known = match codings[..] {
        [] => true,
        [only] => {
            let is_chunked = only.as_bytes().eq_ignore_ascii_case(b"chunked");
            is_chunked && head.version == Version::HTTP_11
        }
        _ => false,
    };
    if !is_known && head.status != 101 {
        return Some(Stricter::Coding);
    }
    let is_idle = method == "HEAD" || [101, 204, 304].contains(&head.status);
    let is_idle = is_idle || !codings.is_empty();
    (is_idle && length(head) == Some(Err(()))).then_some(Stricter::Length)
}

/// The length that a head gives, if it gives one.
fn length(head: &Head) -> Option<Result<u64, ()>> {
    let lines = head.fields.get_all(CONTENT_LENGTH).iter();
    let mut numbers =
        lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(|part| {
            crate::proxy::framing::number(part.trim_ascii()).filter(|number| *number < u64::MAX - 1)
        });
    let first = numbers.next()?;
    Some(first.filter(|_| numbers.all(|number| number == first)).ok_or(()))
}

/// Where ours refuses chunks that hyper takes.
fn is_stricter_with_chunks(text: &[u8]) -> bool {
    let mut lines = text.split(|byte| *byte == b'\n');
    // A size with more digits than a number of 64 bits has, which are zeros in front.
    let is_long = |line: &[u8]| line.len() > 16 && line[..17].iter().all(u8::is_ascii_hexdigit);
    // A line of the trailers that ends with a bare line feed.
    let is_bare = |line: &[u8]| line.last() != Some(&b'\r');
    lines.any(|line| is_long(line) || is_bare(line))
}

/// Fails where the outcomes differ and may not.
fn compare(sent: &Sent, mut ours: Outcome, mut hypers: Outcome) -> Result<(), TestCaseError> {
    if let Some(head) = &hypers.head {
        if let Some(why) = stricter(head, sent.method) {
            prop_assert!(ours.head.is_none() && ours.end == End::Broken, "{:?}: {:?}", why, ours);
            prop_assert!(!ours.usable);
            return Ok(());
        }
        if is_last_by_intent(head, &ours) {
            prop_assert!(!ours.usable, "{:?}", ours);
            hypers.usable = false;
        }
    }
    for head in [&mut ours.head, &mut hypers.head].into_iter().flatten() {
        // Ours says nothing of it, and several equal lengths become one line.
        head.version = Version::HTTP_11;
        if let Some(Ok(length)) = length(head) {
            head.fields.insert(CONTENT_LENGTH, length.into());
        }
    }
    if ours.end == End::Broken && hypers.end != End::Broken {
        // What is no head is seen sooner, or chunks are refused that hyper takes.
        let is_no_head = ours.head.is_none() && hypers.head.is_none();
        let is_chunked =
            ours.head.as_ref().is_some_and(|h| h.fields.contains_key(TRANSFER_ENCODING));
        let by_intent = is_chunked && is_stricter_with_chunks(&sent.text.0);
        prop_assert!(is_no_head || by_intent, "{:?}\n{:?}", ours, hypers);
        prop_assert!(ours.head == hypers.head && hypers.body.starts_with(&ours.body));
        prop_assert!(!ours.usable);
        return Ok(());
    }
    if ours.end == End::Broken && hypers.end == End::Broken && is_stricter_with_chunks(&sent.text.0)
    {
        prop_assert!(ours.head == hypers.head && hypers.body.starts_with(&ours.body));
        return Ok(());
    }
    if ours.end == End::Open && hypers.end == End::Broken && hypers.head.is_none() {
        // What is no head is seen later: ours looks once more only where a head may end.
        prop_assert!(ours.head.is_none() && !sent.closes && !ours.usable, "{:?}", ours);
        return Ok(());
    }
    prop_assert_eq!(ours, hypers);
    Ok(())
}

/// An answer, without damage.
fn answer() -> impl Strategy<Value = Vec<u8>> {
    let interim = select(
        &[
            "HTTP/1.1 100 Continue\r\n\r\n",
            "HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n",
            "HTTP/1.0 100\r\n\r\n",
            "HTTP/1.1 199 \r\ncontent-length: 5\r\n\r\n",
        ][..],
    );
    let line = select(
        &[
            "HTTP/1.1 200 OK",
            "HTTP/1.1 200 OK",
            "HTTP/1.1 200",
            "HTTP/1.1 200 ",
            "HTTP/1.1 200 \u{fc} b",
            "HTTP/1.0 200 OK",
            "HTTP/1.1 204 No Content",
            "HTTP/1.1 304 Not Modified",
            "HTTP/1.1 404 Not Found",
            "HTTP/1.1 599 Odd",
            "HTTP/1.1 999 Odd",
            "HTTP/1.1 101 Switching Protocols",
        ][..],
    );
    let field = select(
        &[
            "server: a",
            "Set-Cookie: a=b; c",
            "set-cookie: d",
            "content-lengths: 5",
            "x:",
            "x: \u{e4}\tb",
            "connection: keep-alive",
            "connection: close",
            "Connection: x, Close",
            "upgrade: websocket",
            "trailer: x-sum",
        ][..],
    );
    let behind =
        select(&["", "", "", "", "\r\n", "x", "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"][..]);
    let interims = prop::collection::vec(interim, 0..2);
    let fields = prop::collection::vec(field, 0..4);
    (interims, line, fields, framed(), any::<Index>(), behind).prop_map(
        |(interims, line, fields, framed, at, behind)| {
            let mut lines: Vec<String> = fields.iter().map(|field| (*field).to_owned()).collect();
            if let Some(field) = framed.field {
                lines.insert(at.index(lines.len() + 1), field);
            }
            lines.insert(0, line.to_owned());
            let head = interims.concat() + &lines.join("\r\n") + "\r\n\r\n";
            [head.as_bytes(), &framed.bytes, behind.as_bytes()].concat()
        },
    )
}

fn sent(text: impl Strategy<Value = Text>) -> impl Strategy<Value = Sent> {
    let method = select(&["GET", "GET", "POST", "HEAD"][..]);
    let places = prop::collection::vec(any::<Index>(), 0..8);
    (method, text, places, any::<bool>()).prop_map(|(method, text, places, closes)| Sent {
        method,
        text,
        places,
        closes,
    })
}

fn runtime() -> LocalRuntime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build_local(LocalOptions::default()).unwrap()
}

fn both(sent: &Sent) -> Result<(), TestCaseError> {
    let (ours, hypers) = runtime().block_on(async {
        let ours = by_ours(sent).await.expect("a pair of sockets");
        (ours, by_hyper(sent).await.expect("a pair of sockets"))
    });
    compare(sent, ours, hypers)
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn an_honest_answer_is_the_same_by_either_client(sent in sent(answer().prop_map(Text))) {
        both(&sent)?;
    }

    #[test]
    fn a_damaged_answer_is_the_same_by_either_client(sent in sent(damaged(answer()))) {
        both(&sent)?;
    }
}

/// The table of both is compared with what is meant, too.
#[test]
fn what_is_compared_is_an_answer() {
    let sent = |text: &str, closes| Sent {
        method: "GET",
        text: Text(text.as_bytes().to_vec()),
        places: vec![],
        closes,
    };
    let ask = |sent: &Sent| {
        runtime().block_on(async { [by_ours(sent).await.unwrap(), by_hyper(sent).await.unwrap()] })
    };
    for outcome in ask(&sent("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok", false)) {
        assert_eq!(
            (&outcome.body[..], outcome.end, outcome.usable),
            (&b"ok"[..], End::Whole, true)
        );
    }
    for outcome in ask(&sent("HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nok", false)) {
        assert_eq!(
            (&outcome.body[..], outcome.end, outcome.usable),
            (&b"ok"[..], End::Open, false)
        );
    }
    for outcome in ask(&sent("HTTP/1.1 200 OK\r\n\r\nok", true)) {
        assert_eq!(
            (&outcome.body[..], outcome.end, outcome.usable),
            (&b"ok"[..], End::Whole, false)
        );
    }
    for outcome in ask(&sent("HTTP/1.1 2x0 OK\r\n\r\n", true)) {
        assert_eq!((outcome.head, outcome.end, outcome.usable), (None, End::Broken, false));
    }
}
