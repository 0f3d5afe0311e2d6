//! Two clients of HTTP/2: hyper's, which does everything right, and one that writes frames by hand,
//! which does as it is told.

use std::convert::Infallible;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response};
use http_body_util::BodyExt;
use hyper::body::{Body, Frame, Incoming};
use hyper::client::conn::http2::{SendRequest, handshake};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::ServerName;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio_rustls::TlsConnector;

use super::secure;

/// What a connection begins with.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0;
pub const HEADERS: u8 = 1;
pub const PRIORITY: u8 = 2;
pub const RST_STREAM: u8 = 3;
pub const SETTINGS: u8 = 4;
pub const PING: u8 = 6;
pub const GOAWAY: u8 = 7;
pub const WINDOW_UPDATE: u8 = 8;
pub const CONTINUATION: u8 = 9;

pub const END_STREAM: u8 = 1;
pub const ACK: u8 = 1;
pub const END_HEADERS: u8 = 4;

/// Bytes of all answers that a client by hand takes without saying that it has read some.
const ROOM: u32 = 1 << 30;

/// Longest a test waits for a client to come to something.
const PATIENCE: Duration = Duration::from_mins(3);

/// Runs `test`. What it spawns goes on while it blocks.
pub fn run<T>(test: impl Future<Output = T>) -> T {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(1).enable_all().build().unwrap();
    let test = async { tokio::time::timeout(PATIENCE, test).await.expect("the test hangs") };
    let outcome = runtime.block_on(test);
    runtime.shutdown_background();
    outcome
}

/// A client by hyper.
pub struct Client {
    sender: SendRequest<Content>,
    /// Ends with the connection.
    pub connection: JoinHandle<hyper::Result<()>>,
}

/// The body of a request.
pub enum Content {
    /// All of it.
    Whole(Option<Bytes>),
    /// What a test sends bit by bit.
    Piece(UnboundedReceiver<Frame<Bytes>>),
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// The fields of its head.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Vec<u8>,
    /// Its trailers.
    pub trailers: HeaderMap,
    /// Whether it came to its end.
    pub whole: bool,
}

impl Content {
    /// No body.
    pub const fn none() -> Self {
        Self::Whole(None)
    }

    /// `bytes`.
    pub fn of(bytes: impl Into<Bytes>) -> Self {
        Self::Whole(Some(bytes.into()))
    }

    /// What is sent into the channel.
    pub fn piecewise() -> (UnboundedSender<Frame<Bytes>>, Self) {
        let (sender, receiver) = unbounded_channel();
        (sender, Self::Piece(receiver))
    }
}

impl Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Piece(frames) => frames.poll_recv(cx).map(|frame| frame.map(Ok)),
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, Self::Whole(None))
    }
}

/// A request to `path` of the app.
pub fn request(
    method: Method,
    path: &str,
    fields: &[(&str, &str)],
    body: Content,
) -> Request<Content> {
    let mut request = Request::builder().method(method).uri(format!("http://app{path}"));
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    request.body(body).unwrap()
}

impl Client {
    /// Connects to `address`.
    pub async fn to(address: SocketAddr) -> Self {
        let stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (sender, connection) =
            handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        Self { sender, connection: tokio::spawn(connection) }
    }

    /// Connects to `address` by TLS, and speaks HTTP/2 since the other side does, too.
    pub async fn secure(address: SocketAddr, name: &str, authority: &str) -> std::io::Result<Self> {
        let stream = tokio::net::TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut config = secure::client(authority);
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let name = ServerName::try_from(name.to_owned()).unwrap();
        let stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await?;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let begun = handshake(TokioExecutor::new(), TokioIo::new(stream)).await;
        let (sender, connection) = begun.map_err(std::io::Error::other)?;
        Ok(Self { sender, connection: tokio::spawn(connection) })
    }

    /// Sends `request`, and waits for the head of the answer.
    pub async fn send(&self, request: Request<Content>) -> hyper::Result<Response<Incoming>> {
        let mut sender = self.sender.clone();
        sender.ready().await?;
        sender.send_request(request).await
    }

    /// Sends `request`, and waits for the answer.
    pub async fn ask(&self, request: Request<Content>) -> hyper::Result<Answer> {
        Ok(Answer::read(self.send(request).await?).await)
    }

    /// The answer to GET `path` with further `fields`.
    pub async fn get(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.ask(request(Method::GET, path, fields, Content::none())).await.unwrap()
    }
}

impl Answer {
    /// The whole of `response`.
    pub async fn read(response: Response<Incoming>) -> Self {
        let (head, mut incoming) = response.into_parts();
        let mut answer = Self {
            status: head.status.as_u16(),
            headers: head.headers,
            body: Vec::new(),
            trailers: HeaderMap::new(),
            whole: true,
        };
        while let Some(frame) = incoming.frame().await {
            match frame.map(Frame::into_data) {
                Ok(Ok(data)) => answer.body.extend(data),
                Ok(Err(frame)) => answer.trailers = frame.into_trailers().unwrap(),
                Err(_) => {
                    // Asked again it says the same for ever.
                    answer.whole = false;
                    break;
                }
            }
        }
        answer
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The field `name` of the head.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }
}

/// A connection whose frames are written by hand.
pub struct Wire {
    /// The socket.
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// A frame that came in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Got {
    /// Its kind.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What is in it.
    pub payload: Vec<u8>,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It was answered with this status.
    Answered(u16),
    /// Its stream was reset with this code.
    Reset(u32),
    /// The connection was ended with this code.
    GoneAway(u32),
    /// The connection was closed without a word.
    Closed,
}

/// A frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Fields as HPACK has them, each a literal that is not to be remembered.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    let text = |text: &str, block: &mut Vec<u8>| {
        // A length with a prefix of seven bits (RFC 7541, section 5.1).
        let mut length = text.len();
        if length < 127 {
            block.push(u8::try_from(length).unwrap());
        } else {
            block.push(127);
            length -= 127;
            while length >= 128 {
                block.push(u8::try_from(length % 128).unwrap() | 128);
                length /= 128;
            }
            block.push(u8::try_from(length).unwrap());
        }
        block.extend(text.bytes());
    };
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        text(name, &mut out);
        text(value, &mut out);
    }
    block.append(&mut out);
    block
}

/// The fields that every request has.
pub const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":authority", "app"), (":path", "/")];

/// A request in one frame, without a body.
pub fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &block(&GET))
}

impl Wire {
    /// Connects to `address`, and says nothing.
    pub fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// Connects to `address` with settings that keep the answers easy to read.
    pub fn to(address: SocketAddr) -> Self {
        // SETTINGS_HEADER_TABLE_SIZE: nothing is remembered from one answer to the next.
        Self::with(address, &[(1, 0)])
    }

    /// The same with other settings.
    pub fn with(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut wire = Self::silent(address);
        let mut payload = Vec::new();
        for (name, value) in settings {
            payload.extend(name.to_be_bytes());
            payload.extend(value.to_be_bytes());
        }
        // Room for the answers of a long test, or they would wait, and their streams stay open.
        let room = frame(WINDOW_UPDATE, 0, 0, &ROOM.to_be_bytes());
        let acknowledged = frame(SETTINGS, ACK, 0, &[]);
        let begin = [PREFACE, &frame(SETTINGS, 0, 0, &payload), &acknowledged, &room];
        assert!(wire.send(&begin.concat()));
        wire
    }

    /// Writes; false if the other side is gone.
    pub fn send(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    /// The next frame; none at the end.
    pub fn read(&mut self) -> Option<Got> {
        loop {
            if let Some((&[a, b, c, kind, flags, d, e, f, g], rest)) =
                self.buffer.split_first_chunk::<9>()
            {
                let length = u32::from_be_bytes([0, a, b, c]) as usize;
                if rest.len() >= length {
                    let payload = rest[..length].to_vec();
                    self.buffer.drain(..9 + length);
                    return Some(Got {
                        kind,
                        flags,
                        stream: u32::from_be_bytes([d, e, f, g]),
                        payload,
                    });
                }
            }
            let mut chunk = [0; 16 * 1024];
            match self.stream.read(&mut chunk) {
                Ok(0) => return None,
                Ok(read) => self.buffer.extend(&chunk[..read]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("no frame in time"),
                Err(_) => return None,
            }
        }
    }

    /// The next frame of `kind`; none at the end.
    pub fn read_until(&mut self, kind: u8) -> Option<Got> {
        loop {
            let got = self.read()?;
            if got.kind == kind {
                return Some(got);
            }
        }
    }

    /// What becomes of the request on `stream`.
    pub fn fate(&mut self, stream: u32) -> Fate {
        let code = |payload: &[u8]| u32::from_be_bytes(payload[..4].try_into().unwrap());
        loop {
            match self.read() {
                None => return Fate::Closed,
                Some(got) if got.kind == GOAWAY => return Fate::GoneAway(code(&got.payload[4..])),
                Some(got) if got.stream != stream => {}
                Some(got) if got.kind == RST_STREAM => return Fate::Reset(code(&got.payload)),
                Some(got) if got.kind == HEADERS => return Fate::Answered(status(&got.payload)),
                Some(_) => {}
            }
        }
    }

    /// How long it takes until the other side closes, sending what `flood` gives all the while.
    pub fn cut_off(mut self, flood: &mut impl FnMut() -> Vec<u8>) -> Duration {
        let start = Instant::now();
        self.stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        self.stream.set_write_timeout(Some(Duration::from_secs(1))).unwrap();
        while start.elapsed() < PATIENCE {
            let sent = self.stream.write_all(&flood());
            let mut chunk = vec![0; 64 * 1024];
            let ended = loop {
                match self.stream.read(&mut chunk) {
                    Ok(0) => break true,
                    Ok(_) => {}
                    Err(error) => break error.kind() != ErrorKind::WouldBlock,
                }
            };
            if sent.is_err() || ended {
                return start.elapsed();
            }
        }
        panic!("it was not cut off")
    }
}

/// The status in a block that remembers nothing: from the static table, or three digits.
fn status(block: &[u8]) -> u16 {
    // Above an empty dynamic table nothing but sizes may come first.
    let first = block.iter().position(|byte| byte & 0xe0 != 0x20).unwrap();
    let block = &block[first..];
    match block[0] {
        0x88 => 200,
        0x89 => 204,
        0x8a => 206,
        0x8b => 304,
        0x8c => 400,
        0x8d => 404,
        0x8e => 500,
        // A literal whose name is that of one of these.
        name if (8..=14).contains(&(name & 0x0f)) && name & 0x80 == 0 => {
            let (huffman, length) = (block[1] & 0x80 != 0, usize::from(block[1] & 0x7f));
            let text = &block[2..2 + length];
            if huffman { digits(text) } else { std::str::from_utf8(text).unwrap().parse().unwrap() }
        }
        other => panic!("an answer begins with {other:#x}"),
    }
}

/// Three digits in the code of RFC 7541, appendix B: 0, 1 and 2 have five bits, the others six.
fn digits(bytes: &[u8]) -> u16 {
    let bits: Vec<u16> = bytes
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |at| u16::from(byte >> at & 1)))
        .collect();
    let (mut at, mut number) = (0, 0);
    for _ in 0..3 {
        let value = |length: usize| bits[at..at + length].iter().fold(0, |sum, bit| sum * 2 + bit);
        let (digit, length) = match value(5) {
            short @ 0..=2 => (short, 5),
            _ => (value(6) - 0b01_1001 + 3, 6),
        };
        number = number * 10 + digit;
        at += length;
    }
    number
}
