//! What is written is read back as it was meant, by a reader that is not ours.

use std::collections::VecDeque;

use hyper::body::SizeHint;
use proptest::prelude::*;
use proptest::sample::select;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;

use super::super::decoder::{Decoded, Decoder};
use super::*;
use crate::proxy::messages::{cases, lines};

/// A body that comes in pieces.
#[derive(Clone, Debug)]
struct Pieces {
    data: VecDeque<Bytes>,
    trailers: Option<HeaderMap>,
    /// Whether it says how long it is.
    is_sized: bool,
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let data = self.data.pop_front().map(Frame::data);
        Poll::Ready(data.or_else(|| self.trailers.take().map(Frame::trailers)).map(Ok))
    }

    fn is_end_stream(&self) -> bool {
        self.data.is_empty() && self.trailers.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        let length = self.data.iter().map(|piece| piece.len() as u64).sum();
        if self.is_sized { SizeHint::with_exact(length) } else { SizeHint::default() }
    }
}

fn body() -> impl Strategy<Value = Pieces> {
    let length = prop_oneof![1 => Just(0_usize), 6 => 1_usize..200, 1 => 7_000_usize..20_000];
    let piece = (length, any::<u8>()).prop_map(|(length, byte)| Bytes::from(vec![byte; length]));
    let trailer = select(&["x-sum", "x-other", "content-length"][..]);
    let trailers = prop::option::of(prop::collection::vec(trailer, 0..3));
    (prop::collection::vec(piece, 0..5), trailers, any::<bool>()).prop_map(
        |(pieces, trailers, is_sized)| {
            let trailers = trailers.filter(|_| !is_sized).map(|names| {
                let field = |name| (HeaderName::from_static(name), HeaderValue::from_static("1"));
                names.into_iter().map(field).collect()
            });
            Pieces { data: pieces.into(), trailers, is_sized }
        },
    )
}

fn request() -> impl Strategy<Value = Request<Pieces>> {
    let method = select(&["GET", "POST", "PUT", "X!#$%&'*+-.^_`|~"][..]);
    let target = select(&["/", "/a?b=c:d", "/%0d%0a", "*", "/?", "/a//b;c=d?e?f"][..]);
    let field = select(
        &[
            ("host", "a:80"),
            ("x", ""),
            ("x", "a\tb  c"),
            ("cookie", "a=b; c=\"d\""),
            ("te", "trailers"),
            ("trailer", "x-sum, content-length"),
            ("x-latin", "\u{e4}"),
        ][..],
    );
    (method, target, prop::collection::vec(field, 0..6), body()).prop_map(
        |(method, target, fields, body)| {
            let mut request = Request::builder().method(method).uri(target);
            for (name, value) in fields {
                request = request.header(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
            }
            request.body(body).unwrap()
        },
    )
}

/// All bytes that go out for `request`.
async fn written(request: Request<Pieces>) -> Vec<u8> {
    let (here, mut there) = UnixStream::pair().unwrap();
    let mut out = Vec::new();
    let framing = write_head(&request, &Added::default(), &mut out);
    let mut outgoing = Outgoing::new(out, Some(request.into_body()), framing);
    let mut socket = Socket::Unix(here);
    let send = async move {
        std::future::poll_fn(|cx| outgoing.poll(cx, &mut socket)).await.expect("it is sent");
        assert!(outgoing.is_done());
    };
    let mut bytes = Vec::new();
    let ((), read) = tokio::join!(send, there.read_to_end(&mut bytes));
    read.expect("all is read");
    bytes
}

proptest! {
    #![proptest_config(cases(300))]

    #[test]
    fn what_is_written_is_read_back_by_another_reader(request in request()) {
        let (meant, body) = request.clone().into_parts();
        let content: Vec<u8> = body.data.iter().flatten().copied().collect();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let bytes = runtime.block_on(written(request));

        let mut slots = [httparse::EMPTY_HEADER; 20];
        let mut head = httparse::Request::new(&mut slots);
        let length = head.parse(&bytes).unwrap().unwrap();
        prop_assert_eq!(head.method, Some(meant.method.as_str()));
        prop_assert_eq!(head.path.unwrap(), meant.uri.to_string());
        prop_assert_eq!(head.version, Some(1));
        let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
        let fields = head.headers.iter().map(|field| (field.name, text(field.value)));
        let (framing, fields): (Vec<_>, Vec<_>) =
            fields.partition(|(name, _)| ["content-length", "transfer-encoding"].contains(name));
        let fields: Vec<String> =
            fields.iter().map(|(name, value)| format!("{name}: {value}")).collect();
        prop_assert_eq!(fields, lines(&meant.headers));

        let mut rest = Bytes::copy_from_slice(&bytes[length..]);
        let mut decoder = match framing[..] {
            [] => Decoder::Length(0),
            [("content-length", ref length)] => Decoder::Length(length.parse().unwrap()),
            [(_, ref coding)] if coding == "chunked" => Decoder::chunked(10),
            _ => return Err(TestCaseError::fail(format!("framed by {framing:?}"))),
        };
        let (mut read, mut trailers) = (Vec::new(), HeaderMap::new());
        loop {
            match decoder.decode(&mut rest, &mut bytes::BytesMut::new()).unwrap() {
                Decoded::Data(data) => read.extend_from_slice(&data),
                Decoded::Trailers(fields) => trailers = fields,
                Decoded::Over => break,
                Decoded::More => return Err(TestCaseError::fail("it ends early")),
            }
        }
        prop_assert!(read == content, "{} bytes for {}", read.len(), content.len());
        prop_assert!(rest.is_empty(), "{rest:?} is too much");
        // Of the trailers those that the head has announced, and that may be some.
        let announced = meant.headers.contains_key(TRAILER);
        let sent = body.trailers.unwrap_or_default();
        let sums = if announced { sent.get_all("x-sum").iter().count() } else { 0 };
        prop_assert_eq!(trailers.len(), sums);
        prop_assert_eq!(trailers.get_all("x-sum").iter().count(), sums);
    }
}
