//! A connection that speaks HTTP/1.1: its socket, what goes out, and where it stands in what comes
//! in.

use std::io;
use std::task::{Context, Poll, ready};

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, StatusCode};
use hyper::body::{Body, Frame};
use thiserror::Error;
use tokio::task::AbortHandle;

use super::answer_bytes_max;
use super::decoder::{Decoded, Decoder};
use super::desk::Desk;
use super::request::{Halt, Outgoing};
use super::response::{self, Framing, Head, Malformed, Reading};
use crate::proxy::body::BodyError;
use crate::proxy::interim::INTERIM_MAX;
use crate::proxy::io::{CHUNK_BYTES_MAX, Socket};
use crate::proxy::pipe::Conduit;
use crate::traffic::Limits;

/// Bytes that are read at first: most answers are shorter, and need one read.
const FIRST_BYTES: usize = 32 * 1024;

/// A body of which at least so much is to come may go past this process; to read and write less costs
/// no more than that.
const PASSING_BYTES_MIN: u64 = 64 * 1024;

/// So many of its last bytes are read in any case: so it is seen whether something comes behind them.
const LAST_BYTES: u64 = 4 * 1024;

/// What comes next of a body.
pub type Part = Poll<Option<Result<Frame<Bytes>, BodyError>>>;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum Fault {
    /// What came in is not HTTP.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    /// The connection ended first.
    #[error("the connection ended before the answer")]
    Ended,
    /// The connection broke.
    #[error(transparent)]
    Broken(#[from] io::Error),
    /// The body of the request broke off.
    #[error("the body of the request broke off")]
    Request,
    /// A request is under way on it.
    #[error("the connection is busy")]
    Busy,
}

/// Where a connection stands.
#[derive(Debug)]
pub enum Stage {
    /// It can take a request.
    Idle,
    /// A head is to come.
    Head,
    /// The body of an answer comes.
    Body(Decoder),
    /// The answer is over, the request is not.
    Answered,
    /// It speaks another protocol.
    Upgraded,
    /// It cannot be used any more.
    Closed,
}

/// A connection.
#[derive(Debug)]
pub struct Wire<B> {
    /// Its socket.
    pub socket: Socket,
    /// Where it stands.
    pub stage: Stage,
    /// What of the request has not been sent yet.
    pub outgoing: Outgoing<B>,
    /// What came in and belongs to nobody yet.
    pub input: Bytes,
    /// Whether it is closed after this answer.
    pub last: bool,
    /// Sends on a request that was answered before its end.
    pub sender: Option<AbortHandle>,
    partial: BytesMut,
    interim: usize,
    head_bytes_max: usize,
    fields_max: usize,
}

impl<B: Body<Data = Bytes> + Unpin> Wire<B> {
    /// A connection on `socket`.
    pub fn new(socket: Socket, limits: &Limits) -> Self {
        Self {
            socket,
            stage: Stage::Idle,
            outgoing: Outgoing::default(),
            input: Bytes::new(),
            last: false,
            sender: None,
            partial: BytesMut::new(),
            interim: 0,
            head_bytes_max: answer_bytes_max(limits),
            fields_max: limits.headers,
        }
    }

    /// Sends on. Where the connection takes no more, the answer may still be there: a server that
    /// refuses a body often says so and closes.
    pub fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        match ready!(self.outgoing.poll(cx, &mut self.socket)) {
            Ok(()) => {}
            Err(Halt::Body) => return Poll::Ready(Err(Fault::Request)),
            Err(Halt::Socket) => {
                self.last = true;
                self.outgoing = Outgoing::default();
            }
        }
        if matches!(self.stage, Stage::Answered) {
            self.stage = if self.last { Stage::Closed } else { Stage::Idle };
        }
        Poll::Ready(Ok(()))
    }

    /// Reads the head of the answer, and its fields. `bodiless`: no body follows whatever it says.
    /// What is said before it goes to `on_interim`.
    pub fn poll_head(
        &mut self,
        cx: &mut Context<'_>,
        bodiless: bool,
        on_interim: impl Fn(StatusCode, HeaderMap),
    ) -> Poll<Result<(Head, HeaderMap), Fault>> {
        loop {
            if self.input.is_empty() {
                ready!(self.poll_more_head(cx))?;
            }
            let reading = Desk::with(|Desk { names, fields, .. }| {
                fields.clear();
                response::read(&self.input, bodiless, self.fields_max, names, fields)
            });
            let (length, status) = match reading? {
                Reading::Partial => {
                    self.partial = BytesMut::from(&self.input[..]);
                    self.input = Bytes::new();
                    continue;
                }
                Reading::Interim(length, status) => (length, status),
                Reading::Answer(head) => {
                    self.pass(head.length)?;
                    self.interim = 0;
                    self.last |= head.last;
                    self.begin_body(head.framing)?;
                    let fields = Desk::with(|desk| std::mem::take(&mut desk.fields));
                    return Poll::Ready(Ok((head, fields)));
                }
            };
            self.pass(length)?;
            self.interim += 1;
            if self.interim > INTERIM_MAX {
                return Poll::Ready(Err(Malformed("it begins too often (1xx)").into()));
            }
            on_interim(status, Desk::with(|desk| std::mem::take(&mut desk.fields)));
        }
    }

    /// Steps over a head.
    fn pass(&mut self, length: usize) -> Result<(), Malformed> {
        if length > self.head_bytes_max {
            return Err(Malformed("its head is too long"));
        }
        self.drop_input(length);
        Ok(())
    }

    /// Takes so many bytes from the input. Nothing left holds no memory.
    fn drop_input(&mut self, length: usize) {
        self.input =
            if length == self.input.len() { Bytes::new() } else { self.input.slice(length..) };
    }

    /// Waits until the input may have all of a head.
    fn poll_more_head(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Fault>> {
        loop {
            let seen = self.partial.len();
            if seen >= self.head_bytes_max {
                return Poll::Ready(Err(Malformed("its head is too long").into()));
            }
            let more = ready!(self.poll_read(cx, FIRST_BYTES))?;
            if more.is_empty() && seen > 0 {
                return Poll::Ready(Err(Malformed("its head broke off").into()));
            }
            if more.is_empty() {
                return Poll::Ready(Err(Fault::Ended));
            }
            if seen == 0 {
                self.input = more;
                return Poll::Ready(Ok(()));
            }
            self.partial.extend_from_slice(&more);
            if response::may_end(&self.partial, seen) {
                self.input = std::mem::take(&mut self.partial).freeze();
                return Poll::Ready(Ok(()));
            }
        }
    }

    fn begin_body(&mut self, framing: Framing) -> Result<(), Malformed> {
        self.stage = match framing {
            Framing::Upgrade if !self.outgoing.is_done() => {
                return Err(Malformed("it changes protocol in the middle of a request"));
            }
            Framing::Upgrade => Stage::Upgraded,
            Framing::Length(0) => {
                self.end_body();
                return Ok(());
            }
            Framing::Length(length) => Stage::Body(Decoder::Length(length)),
            Framing::Chunked => Stage::Body(Decoder::chunked(self.fields_max)),
            Framing::UntilEnd => Stage::Body(Decoder::UntilEnd),
        };
        Ok(())
    }

    /// The answer is over.
    fn end_body(&mut self) {
        // What comes unasked could be taken for the answer to the next request.
        self.stage = if self.last || !self.input.is_empty() {
            Stage::Closed
        } else if self.outgoing.is_done() {
            Stage::Idle
        } else {
            Stage::Answered
        };
    }

    /// All of the body, if it is here already.
    pub fn take_whole(&mut self) -> Option<Bytes> {
        let Stage::Body(Decoder::Length(length)) = self.stage else {
            return None;
        };
        let length = usize::try_from(length).ok().filter(|length| *length <= self.input.len())?;
        let whole = if length == self.input.len() {
            std::mem::take(&mut self.input)
        } else {
            self.input.split_to(length)
        };
        self.end_body();
        Some(whole)
    }

    /// The next part of the body.
    pub fn poll_body(
        &mut self,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        loop {
            let Stage::Body(decoder) = &mut self.stage else {
                return Poll::Ready(None);
            };
            let part = Desk::with(|desk| {
                desk.make_room(FIRST_BYTES);
                decoder.decode(&mut self.input, &mut desk.block)
            });
            let frame = match part {
                Ok(Decoded::More) => None,
                Ok(Decoded::Data(data)) => Some(Frame::data(data)),
                Ok(Decoded::Trailers(trailers)) => Some(Frame::trailers(trailers)),
                Ok(Decoded::Over) => {
                    self.end_body();
                    return Poll::Ready(None);
                }
                Err(Malformed(_)) => {
                    self.stage = Stage::Closed;
                    return Poll::Ready(Some(Err(BodyError::Broken)));
                }
            };
            if let Some(frame) = frame {
                if decoder.is_over() {
                    self.end_body();
                }
                return Poll::Ready(Some(Ok(frame)));
            }
            // One byte more than there should be: a read that fills less says that nothing more
            // waits, and what comes unasked is seen at once.
            let until_end = matches!(decoder, Decoder::UntilEnd);
            let wanted = decoder.left().and_then(|left| usize::try_from(left).ok());
            let wanted = wanted.map_or(CHUNK_BYTES_MAX, |left| left.saturating_add(1));
            match ready!(self.poll_read(cx, wanted.min(CHUNK_BYTES_MAX))) {
                Ok(more) if !more.is_empty() => self.input = more,
                Ok(_) if until_end => self.end_body(),
                Ok(_) | Err(_) => {
                    self.stage = Stage::Closed;
                    return Poll::Ready(Some(Err(BodyError::Broken)));
                }
            }
        }
    }

    /// The next part of a long body by way of `conduit`: what stands in for it. None where it is to be
    /// [read](Self::poll_body).
    pub fn poll_pass(&mut self, cx: &mut Context<'_>, conduit: &Conduit) -> Option<Part> {
        let (Stage::Body(decoder), Socket::Tcp(socket)) = (&mut self.stage, &self.socket) else {
            return None;
        };
        let long = |left: &u64| self.input.is_empty() && *left >= PASSING_BYTES_MIN;
        let left = decoder.left().filter(long)?;
        let most = usize::try_from(left - LAST_BYTES).unwrap_or(usize::MAX);
        match conduit.poll_fill(cx, socket, most) {
            Poll::Pending => Some(Poll::Pending),
            Poll::Ready(Ok(None)) => None,
            Poll::Ready(Ok(Some(part))) if !part.is_empty() => {
                decoder.passed(part.len());
                Some(Poll::Ready(Some(Ok(Frame::data(part)))))
            }
            Poll::Ready(Ok(Some(_)) | Err(_)) => {
                self.stage = Stage::Closed;
                Some(Poll::Ready(Some(Err(BodyError::Broken))))
            }
        }
    }

    /// What comes in next, at most `most` bytes; nothing at the end of the connection.
    fn poll_read(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<io::Result<Bytes>> {
        Desk::with(|desk| {
            desk.make_room(most.min(FIRST_BYTES));
            ready!(self.socket.poll_fill(cx, &mut desk.block, most))?;
            Poll::Ready(Ok(desk.block.split().freeze()))
        })
    }

    /// The body of the answer, while it comes.
    pub const fn decoder(&self) -> Option<&Decoder> {
        match &self.stage {
            Stage::Body(decoder) => Some(decoder),
            Stage::Idle | Stage::Head | Stage::Answered | Stage::Upgraded | Stage::Closed => None,
        }
    }

    /// Whether it can take a request, as far as the runtime knows.
    pub fn is_open(&self) -> bool {
        matches!(self.stage, Stage::Idle) && self.socket.is_quiet()
    }

    /// Ends the connection; who waits for an answer on it hears of it.
    pub fn break_off(&mut self) {
        self.last = true;
        self.outgoing = Outgoing::default();
        self.socket.shut();
    }
}
