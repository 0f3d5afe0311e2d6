//! A socket as hyper reads and writes it: TCP, Unix or TLS on either; small writes joined into one
//! `send`.
//!
//! The only unsafe lines of the proxy are here: hyper lends memory that is not yet initialised.

use std::io::{ErrorKind, IoSlice, Result};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::pin::Pin;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::task::{Context, Poll, Waker, ready};

use bytes::{Bytes, BytesMut};
use hyper::rt::ReadBufCursor;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use super::frames::Frames;

/// Most bytes that are read or written in one piece on a connection.
pub const CHUNK_BYTES_MAX: usize = 128 * 1024;

/// Heads and bodies up to this size together go out in one `send`, which is a cheaper system call
/// than `writev`; the copy is tiny.
const JOIN_BYTES_MAX: usize = 4 * 1024;

/// A connected socket.
#[derive(Debug)]
pub enum Socket {
    /// A stream of HTTP/2 that has become a tunnel.
    Stream(Box<TokioIo<Upgraded>>),
    /// TCP, with `TCP_NODELAY` set.
    Tcp(TcpStream),
    /// TLS on one of the others; boxed, so that connections without it stay small.
    Tls(Box<TlsStream<Self>>),
    /// A Unix socket.
    Unix(UnixStream),
}

impl Socket {
    /// Writes what can be written at once.
    pub fn try_write(&self, bytes: &[u8]) -> Result<usize> {
        match self {
            Self::Tcp(socket) => socket.try_write(bytes),
            // What is not encrypted yet cannot be sent.
            Self::Stream(_) | Self::Tls(_) => Err(ErrorKind::WouldBlock.into()),
            Self::Unix(socket) => socket.try_write(bytes),
        }
    }

    /// Writes `bytes`, or a part of them.
    pub fn poll_send(&mut self, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        match self.try_write(bytes) {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Pin::new(self).poll_write(cx, bytes)
            }
            done => Poll::Ready(done),
        }
    }

    /// Reads at most `most` bytes behind what is in `block`, into memory that it has.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        block: &mut BytesMut,
        most: usize,
    ) -> Poll<Result<()>> {
        let spare = block.spare_capacity_mut();
        let most = most.min(spare.len());
        let mut buffer = ReadBuf::uninit(&mut spare[..most]);
        ready!(Pin::new(self).poll_read(cx, &mut buffer))?;
        let length = buffer.filled().len();
        // SAFETY: `ReadBuf` says that so many bytes behind the old ones are initialised.
        unsafe { block.set_len(block.len() + length) };
        Poll::Ready(Ok(()))
    }

    /// Whether nothing has come in and the other side is still there, as far as the runtime knows;
    /// the kernel is asked only when something has happened.
    pub fn is_quiet(&self) -> bool {
        let cx = &mut Context::from_waker(Waker::noop());
        match self {
            Self::Stream(_) => false,
            Self::Tcp(socket) => socket.poll_read_ready(cx).is_pending() || self.is_quiet_now(),
            Self::Tls(stream) => stream.get_ref().0.is_quiet(),
            Self::Unix(socket) => socket.poll_read_ready(cx).is_pending() || self.is_quiet_now(),
        }
    }

    /// The same, as the kernel says.
    pub fn is_quiet_now(&self) -> bool {
        let mut byte = [MaybeUninit::uninit()];
        let seen = match self {
            Self::Stream(_) => return false,
            Self::Tcp(socket) => SockRef::from(socket).peek(&mut byte),
            Self::Tls(stream) => return stream.get_ref().0.is_quiet_now(),
            Self::Unix(socket) => SockRef::from(socket).peek(&mut byte),
        };
        seen.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Ends the connection in both directions; whoever waits for it hears of it.
    pub fn shut(&self) {
        _ = match self {
            Self::Stream(_) => Ok(()),
            Self::Tcp(socket) => SockRef::from(socket).shutdown(Shutdown::Both),
            Self::Tls(stream) => return stream.get_ref().0.shut(),
            Self::Unix(socket) => SockRef::from(socket).shutdown(Shutdown::Both),
        };
    }

    /// The protocol that both sides have agreed upon with TLS.
    pub fn agreed(&self) -> Option<&[u8]> {
        match self {
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol(),
            Self::Stream(_) | Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// The socket of the kernel at the bottom, if it is TCP.
    pub fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(socket) => Some(socket),
            Self::Tls(stream) => stream.get_ref().0.tcp(),
            Self::Stream(_) | Self::Unix(_) => None,
        }
    }

    /// What waits to be read, without reading it.
    pub async fn peek(&self, into: &mut [u8]) -> Result<usize> {
        match self {
            Self::Tcp(socket) => socket.peek(into).await,
            Self::Stream(_) | Self::Tls(_) => Err(ErrorKind::Unsupported.into()),
            Self::Unix(socket) => {
                let look = || {
                    // SAFETY: `peek` writes initialised bytes only.
                    let into = unsafe { &mut *(ptr::from_mut(into) as *mut [MaybeUninit<u8>]) };
                    SockRef::from(socket).peek(into)
                };
                socket.async_io(Interest::READABLE, look).await
            }
        }
    }
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        match self.get_mut() {
            Self::Stream(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tcp(socket) => Pin::new(socket).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Unix(socket) => Pin::new(socket).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        match self.get_mut() {
            Self::Stream(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tcp(socket) => Pin::new(socket).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        match self.get_mut() {
            Self::Stream(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            Self::Tcp(socket) => Pin::new(socket).poll_write_vectored(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
            Self::Unix(socket) => Pin::new(socket).poll_write_vectored(cx, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    /// Has what TLS holds back sent; the others hold nothing back.
    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self.get_mut() {
            Self::Stream(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self.get_mut() {
            Self::Stream(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tcp(socket) => Pin::new(socket).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Unix(socket) => Pin::new(socket).poll_shutdown(cx),
        }
    }
}

/// What the sweep wants to know of a socket. Atomic only because hyper asks for `Send`; all of it
/// stays on one thread.
#[derive(Debug, Default)]
pub struct Pulse {
    read: AtomicBool,
    written: AtomicBool,
    idle_frames: AtomicU32,
    resets: AtomicU32,
    windows: AtomicU32,
}

impl Pulse {
    /// A frame of HTTP/2 came in that carries nothing.
    pub fn idle_frame(&self) {
        add_one(&self.idle_frames);
    }

    /// A stream of HTTP/2 was taken back.
    pub fn reset(&self) {
        add_one(&self.resets);
    }

    /// A window of HTTP/2 was opened.
    pub fn window(&self) {
        add_one(&self.windows);
    }

    /// How many of the three came in since the last look.
    pub fn take_frames(&self) -> (u32, u32, u32) {
        let take = |count: &AtomicU32| count.swap(0, Ordering::Relaxed);
        (take(&self.idle_frames), take(&self.resets), take(&self.windows))
    }

    /// Whether bytes came in since the last look.
    pub fn take_read(&self) -> bool {
        let read = self.read.load(Ordering::Relaxed);
        self.read.store(false, Ordering::Relaxed);
        read
    }

    /// Whether bytes went out since the last look.
    pub fn take_written(&self) -> bool {
        let written = self.written.load(Ordering::Relaxed);
        self.written.store(false, Ordering::Relaxed);
        written
    }
}

/// One thread writes, so no read-modify-write is needed.
fn add_one(count: &AtomicU32) {
    count.store(count.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
}

/// A socket as hyper uses it.
#[derive(Debug)]
pub struct Io {
    /// What was read from it before hyper came.
    pub early: Bytes,
    /// Its frames, if it speaks HTTP/2 with a client.
    pub frames: Option<Frames>,
    /// The socket.
    pub socket: Socket,
    /// What moved on it.
    pub pulse: Arc<Pulse>,
}

impl Io {
    /// Wraps `socket`.
    pub fn new(socket: Socket) -> Self {
        Self { early: Bytes::new(), frames: None, socket, pulse: Arc::default() }
    }
}

impl hyper::rt::Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
    ) -> Poll<Result<()>> {
        let this = &mut *self;
        // SAFETY: `ReadBuf` writes to this memory and never takes initialised bytes away from it.
        let mut buffer = ReadBuf::uninit(unsafe { cursor.as_mut() });
        if this.early.is_empty() {
            ready!(Pin::new(&mut this.socket).poll_read(cx, &mut buffer))?;
        } else {
            buffer.put_slice(&this.early.split_to(this.early.len().min(buffer.remaining())));
        }
        if let Some(frames) = &mut this.frames {
            frames.pass(buffer.filled(), &this.pulse);
        }
        let read = buffer.filled().len();
        if read > 0 {
            self.pulse.read.store(true, Ordering::Relaxed);
        }
        // SAFETY: `ReadBuf` says that the first `read` bytes are filled, thus initialised.
        unsafe { cursor.advance(read) };
        Poll::Ready(Ok(()))
    }
}

impl hyper::rt::Write for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        let written = ready!(self.socket.poll_send(cx, bytes));
        self.pulse.written.store(true, Ordering::Relaxed);
        Poll::Ready(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        if let [only] = slices {
            return self.poll_write(cx, only);
        }
        if slices.iter().map(|slice| slice.len()).sum::<usize>() <= JOIN_BYTES_MAX {
            let mut joined = [MaybeUninit::uninit(); JOIN_BYTES_MAX];
            let mut length = 0;
            for slice in slices {
                joined[length..length + slice.len()].write_copy_of_slice(slice);
                length += slice.len();
            }
            // SAFETY: the loop has written the first `length` bytes.
            return self.poll_write(cx, unsafe { joined[..length].assume_init_ref() });
        }
        let written = ready!(Pin::new(&mut self.socket).poll_write_vectored(cx, slices));
        self.pulse.written.store(true, Ordering::Relaxed);
        Poll::Ready(written)
    }
}
