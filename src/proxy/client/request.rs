//! A request on its way out: its head written straight to bytes, then its body as it comes.

use std::io::{self, IoSlice, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    HOST, MAX_FORWARDS, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
};
use http::{HeaderMap, HeaderName, HeaderValue, Request};
use hyper::body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::desk::Desk;
use crate::proxy::added::Added;
use crate::proxy::io::Socket;

/// Up to so many bytes are copied behind a head or a chunk's size, so that they go out in one
/// `send`; more goes out beside it, by `writev`.
const JOIN_BYTES_MAX: usize = 8 * 1024;

/// Fields that may not stand behind a body: they would change how it is read (RFC 9110, section
/// 6.5.1).
const NO_TRAILERS: [HeaderName; 12] = [
    AUTHORIZATION,
    CACHE_CONTROL,
    CONTENT_ENCODING,
    CONTENT_LENGTH,
    CONTENT_RANGE,
    CONTENT_TYPE,
    HOST,
    MAX_FORWARDS,
    SET_COOKIE,
    TE,
    TRAILER,
    TRANSFER_ENCODING,
];

/// How the body of a request is sent.
#[derive(Debug, Default)]
pub enum Framing {
    /// There is none.
    #[default]
    Nothing,
    /// So many bytes.
    Length(u64),
    /// In chunks, with these fields behind it if the body has them.
    Chunked(Vec<HeaderName>),
}

/// Why a request cannot be sent on.
#[derive(Debug)]
pub enum Halt {
    /// The connection does not take it.
    Socket,
    /// The body broke off, or is not as long as its head says.
    Body,
}

/// Writes the head of `request` to `out`, with what is `added`, and says how its body is to be sent.
/// A length or a coding that the head has counts if there is a body; else the body's own.
pub fn write_head<B: Body>(request: &Request<B>, added: &Added, out: &mut Vec<u8>) -> Framing {
    put(out, request.method().as_str().as_bytes(), b" ");
    let target = request.uri().path_and_query().map_or("/", |target| target.as_str());
    put(out, target.as_bytes(), b" HTTP/1.1\r\n");
    let mut coded = false;
    let mut length = None;
    for (name, value) in request.headers() {
        match *name {
            TRANSFER_ENCODING => coded = true,
            CONTENT_LENGTH => length = length.or_else(|| number(value)),
            _ => {
                put(out, name.as_str().as_bytes(), b": ");
                put(out, value.as_bytes(), b"\r\n");
            }
        }
    }
    for (begins, value) in added.lines() {
        put(out, begins.as_bytes(), value.as_bytes());
        out.extend_from_slice(b"\r\n");
    }
    let framing = framing(request, coded, length);
    match &framing {
        Framing::Nothing if length == Some(0) => out.extend_from_slice(b"content-length: 0\r\n"),
        Framing::Nothing => {}
        // Memory does not fail.
        Framing::Length(length) => _ = write!(out, "content-length: {length}\r\n"),
        Framing::Chunked(_) => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    out.extend_from_slice(b"\r\n");
    framing
}

fn framing<B: Body>(request: &Request<B>, coded: bool, length: Option<u64>) -> Framing {
    if request.body().is_end_stream() {
        return Framing::Nothing;
    }
    let length = length.or_else(|| request.body().size_hint().exact()).filter(|_| !coded);
    length.map_or_else(|| Framing::Chunked(announced(request.headers())), Framing::Length)
}

fn put(out: &mut Vec<u8>, text: &[u8], end: &[u8]) {
    out.reserve(text.len() + end.len());
    out.extend_from_slice(text);
    out.extend_from_slice(end);
}

fn number(value: &HeaderValue) -> Option<u64> {
    value.to_str().ok()?.parse().ok()
}

/// The fields that a head announces to stand behind the body.
fn announced(fields: &HeaderMap) -> Vec<HeaderName> {
    let lines = fields.get_all(TRAILER).iter();
    lines
        .flat_map(|line| line.as_bytes().split(|byte| *byte == b','))
        .filter_map(|name| HeaderName::from_bytes(name.trim_ascii()).ok())
        .filter(|name| !NO_TRAILERS.contains(name))
        .collect()
}

/// What of a request has not been sent yet.
#[derive(Debug)]
pub struct Outgoing<B> {
    /// What goes first: the head, the size of a chunk, small parts of the body.
    joined: Vec<u8>,
    /// Then a large part.
    part: Bytes,
    /// Then the end of its chunk.
    tail: &'static [u8],
    body: Option<B>,
    framing: Framing,
    sent: u64,
}

impl<B> Default for Outgoing<B> {
    fn default() -> Self {
        Self {
            joined: Vec::new(),
            part: Bytes::new(),
            tail: b"",
            body: None,
            framing: Framing::Nothing,
            sent: 0,
        }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Outgoing<B> {
    /// A request whose `head` is written, and whose body follows.
    pub fn new(head: Vec<u8>, body: Option<B>, framing: Framing) -> Self {
        Self { joined: head, body, framing, ..Self::default() }
    }

    /// Whether all of it was sent.
    pub const fn is_done(&self) -> bool {
        self.body.is_none() && self.is_flushed()
    }

    const fn is_flushed(&self) -> bool {
        self.joined.is_empty() && self.part.is_empty() && self.tail.is_empty()
    }

    /// Bytes that were sent.
    pub const fn sent(&self) -> u64 {
        self.sent
    }

    /// Sends on, until all is sent or one side has to be waited for.
    pub fn poll(&mut self, cx: &mut Context<'_>, socket: &mut Socket) -> Poll<Result<(), Halt>> {
        loop {
            let waits = self.gather(cx)?;
            ready!(self.poll_flush(cx, socket)).map_err(|_| Halt::Socket)?;
            if self.body.is_none() {
                // Memory is held only while something waits.
                let joined = std::mem::take(&mut self.joined);
                Desk::with(|desk| desk.take_back(joined));
                return Poll::Ready(Ok(()));
            }
            if waits {
                return Poll::Pending;
            }
        }
    }

    /// Takes from the body what there is, up to a large part; whether it has to be waited for.
    fn gather(&mut self, cx: &mut Context<'_>) -> Result<bool, Halt> {
        while self.part.is_empty()
            && self.tail.is_empty()
            && self.joined.len() < JOIN_BYTES_MAX
            && let Some(body) = &mut self.body
        {
            let frame = match Pin::new(body).poll_frame(cx) {
                Poll::Pending => return Ok(true),
                Poll::Ready(frame) => frame.transpose().map_err(|_| Halt::Body)?,
            };
            match frame.map(Frame::into_data) {
                None => self.end(None)?,
                Some(Ok(data)) => self.add(data)?,
                Some(Err(frame)) => self.end(frame.into_trailers().ok())?,
            }
        }
        Ok(false)
    }

    fn add(&mut self, data: Bytes) -> Result<(), Halt> {
        match &mut self.framing {
            Framing::Nothing if !data.is_empty() => return Err(Halt::Body),
            Framing::Length(left) => {
                *left = left.checked_sub(data.len() as u64).ok_or(Halt::Body)?;
            }
            Framing::Chunked(_) if !data.is_empty() => {
                _ = write!(self.joined, "{:X}\r\n", data.len());
                self.tail = b"\r\n";
            }
            Framing::Nothing | Framing::Chunked(_) => {}
        }
        if self.joined.len() + data.len() <= JOIN_BYTES_MAX {
            self.joined.extend_from_slice(&data);
            self.joined.extend_from_slice(self.tail);
            self.tail = b"";
        } else {
            self.part = data;
        }
        if self.body.as_ref().is_some_and(Body::is_end_stream) {
            self.end(None)?;
        }
        Ok(())
    }

    /// The body is over.
    fn end(&mut self, trailers: Option<HeaderMap>) -> Result<(), Halt> {
        self.body = None;
        match std::mem::take(&mut self.framing) {
            Framing::Nothing | Framing::Length(0) => Ok(()),
            Framing::Length(_) => Err(Halt::Body),
            // Without trailers there is nothing in front of it but a large part, if any.
            Framing::Chunked(_) if !self.tail.is_empty() => {
                self.tail = b"\r\n0\r\n\r\n";
                Ok(())
            }
            Framing::Chunked(announced) => {
                self.joined.extend_from_slice(b"0\r\n");
                let trailers = trailers.unwrap_or_default();
                for (name, value) in trailers.iter().filter(|(name, _)| announced.contains(name)) {
                    put(&mut self.joined, name.as_str().as_bytes(), b": ");
                    put(&mut self.joined, value.as_bytes(), b"\r\n");
                }
                self.joined.extend_from_slice(b"\r\n");
                Ok(())
            }
        }
    }

    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        socket: &mut Socket,
    ) -> Poll<Result<(), io::Error>> {
        while !self.is_flushed() {
            let written = if self.part.is_empty() && self.tail.is_empty() {
                ready!(socket.poll_send(cx, &self.joined))?
            } else {
                let slices = [&self.joined, &self.part[..], self.tail].map(IoSlice::new);
                let first = usize::from(self.joined.is_empty());
                ready!(Pin::new(&mut *socket).poll_write_vectored(cx, &slices[first..]))?
            };
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, written: usize) {
        self.sent += written as u64;
        let mut left = written;
        let head = left.min(self.joined.len());
        if head == self.joined.len() {
            self.joined.clear();
        } else {
            self.joined.drain(..head);
        }
        left -= head;
        let part = left.min(self.part.len());
        self.part.advance(part);
        if self.part.is_empty() {
            self.part = Bytes::new();
        }
        left -= part;
        self.tail = &self.tail[left.min(self.tail.len())..];
    }
}

#[cfg(test)]
mod tests;
