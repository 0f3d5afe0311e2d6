//! A stream of HTTP/2 that has become a tunnel (RFC 8441): bytes both ways, as on a socket.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use h2::{Reason, RecvStream, SendStream};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Bytes that are copied at once to be sent.
const PIECE_BYTES: usize = 16 * 1024;

/// Both directions of a stream.
#[derive(Debug)]
pub struct Duplex {
    send: SendStream<Bytes>,
    receive: RecvStream,
    /// What came in and was not read yet.
    rest: Bytes,
}

impl Duplex {
    /// Of what is sent and what is received.
    pub const fn new(send: SendStream<Bytes>, receive: RecvStream) -> Self {
        Self { send, receive, rest: Bytes::new() }
    }

    /// Waits until the other side takes some bytes, and says how many; `most` are wanted.
    fn poll_room(&mut self, cx: &mut Context<'_>, most: usize) -> Poll<Result<usize>> {
        self.send.reserve_capacity(most);
        let mut room = self.send.capacity();
        while room == 0 {
            room = match ready!(self.send.poll_capacity(cx)) {
                Some(room) => room.map_err(Error::other)?,
                None => return Poll::Ready(Err(ErrorKind::BrokenPipe.into())),
            };
        }
        Poll::Ready(Ok(room.min(most)))
    }
}

impl AsyncRead for Duplex {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        while self.rest.is_empty() {
            match ready!(self.receive.poll_data(cx)) {
                Some(Ok(data)) => self.rest = data,
                Some(Err(error)) if error.reason() == Some(Reason::NO_ERROR) => break,
                Some(Err(error)) => return Poll::Ready(Err(Error::other(error))),
                None => break,
            }
        }
        let length = self.rest.len().min(buffer.remaining());
        let part = self.rest.split_to(length);
        buffer.put_slice(&part);
        _ = self.receive.flow_control().release_capacity(length);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Duplex {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        if bytes.is_empty() {
            return Poll::Ready(Ok(0));
        }
        let room = ready!(self.poll_room(cx, bytes.len().min(PIECE_BYTES)))?;
        let part = Bytes::copy_from_slice(&bytes[..room]);
        Poll::Ready(self.send.send_data(part, false).map(|()| room).map_err(Error::other))
    }

    /// The connection's own task sends.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(self.send.send_data(Bytes::new(), true).map_err(Error::other))
    }
}
