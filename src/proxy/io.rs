//! A socket as hyper reads and writes it: TCP, Unix or TLS on either; small writes joined into one
//! `send`.
//!
//! The only unsafe lines of the proxy are here: hyper lends memory that is not yet initialised.

use std::io::{ErrorKind, IoSlice, Result};
use std::mem::MaybeUninit;
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use hyper::rt::ReadBufCursor;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, Interest, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsStream;

use super::client::Duplex;
use super::framing::Framing;
use super::http2::PREFACE;
use super::interim::INTERIM_BYTES_MAX;
use super::pipe::{Conduit, stands_in};

/// Most bytes that are read or written in one piece on a connection.
pub const CHUNK_BYTES_MAX: usize = 128 * 1024;

/// Heads and bodies up to this size together go out in one `send`, which is a cheaper system call
/// than `writev`; the copy is tiny.
const JOIN_BYTES_MAX: usize = 4 * 1024;

/// A connected socket.
#[derive(Debug)]
pub enum Socket {
    /// A stream of HTTP/2 with an upstream that has become a tunnel.
    Duplex(Box<Duplex>),
    /// The same with a client.
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
            Self::Duplex(_) | Self::Stream(_) | Self::Tls(_) => Err(ErrorKind::WouldBlock.into()),
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
        match self {
            Self::Duplex(_) | Self::Stream(_) => false,
            Self::Tcp(socket) => is_quiet(socket.try_io(Interest::READABLE, || peek(socket))),
            Self::Tls(stream) => stream.get_ref().0.is_quiet(),
            Self::Unix(socket) => is_quiet(socket.try_io(Interest::READABLE, || peek(socket))),
        }
    }

    /// Waits until something has come in, or the other side is gone.
    pub fn poll_comes(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Duplex(_) | Self::Stream(_) => Poll::Ready(()),
            Self::Tcp(socket) => socket.poll_read_ready(cx).map(|_| ()),
            Self::Tls(stream) => stream.get_ref().0.poll_comes(cx),
            Self::Unix(socket) => socket.poll_read_ready(cx).map(|_| ()),
        }
    }

    /// The same, as the kernel says.
    pub fn is_quiet_now(&self) -> bool {
        match self {
            Self::Duplex(_) | Self::Stream(_) => false,
            Self::Tcp(socket) => is_quiet(peek(socket)),
            Self::Tls(stream) => stream.get_ref().0.is_quiet_now(),
            Self::Unix(socket) => is_quiet(peek(socket)),
        }
    }

    /// Ends the connection in both directions; whoever waits for it hears of it.
    pub fn shut(&self) {
        _ = match self {
            Self::Duplex(_) | Self::Stream(_) => Ok(()),
            Self::Tcp(socket) => SockRef::from(socket).shutdown(Shutdown::Both),
            Self::Tls(stream) => return stream.get_ref().0.shut(),
            Self::Unix(socket) => SockRef::from(socket).shutdown(Shutdown::Both),
        };
    }

    /// The protocol that both sides have agreed upon with TLS.
    pub fn agreed(&self) -> Option<&[u8]> {
        match self {
            Self::Tls(stream) => stream.get_ref().1.alpn_protocol(),
            Self::Duplex(_) | Self::Stream(_) | Self::Tcp(_) | Self::Unix(_) => None,
        }
    }

    /// What waits to be read, without reading it.
    pub async fn peek(&self, into: &mut [u8]) -> Result<usize> {
        match self {
            Self::Tcp(socket) => socket.peek(into).await,
            Self::Duplex(_) | Self::Stream(_) | Self::Tls(_) => Err(ErrorKind::Unsupported.into()),
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

/// Looks for a byte, and leaves it where it is.
fn peek(socket: &impl AsFd) -> Result<usize> {
    SockRef::from(socket).peek(&mut [MaybeUninit::uninit()])
}

/// Whether a look has found that there is nothing, and that it may still come.
fn is_quiet(seen: Result<usize>) -> bool {
    seen.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        match self.get_mut() {
            Self::Duplex(stream) => Pin::new(stream).poll_read(cx, buffer),
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
            Self::Duplex(stream) => Pin::new(stream).poll_write(cx, bytes),
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
            Self::Duplex(stream) => Pin::new(stream).poll_write_vectored(cx, bytes),
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
            Self::Duplex(stream) => Pin::new(stream).poll_flush(cx),
            Self::Stream(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tcp(_) | Self::Unix(_) => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match self.get_mut() {
            Self::Duplex(stream) => Pin::new(stream).poll_shutdown(cx),
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
    doubtful: AtomicBool,
    tunnel: AtomicBool,
    /// Whether a part of a request has come in.
    within: AtomicBool,
    /// Whether something waits to be written, or may do so.
    stalled: AtomicBool,
    /// Whether somebody waits until nothing does.
    awaited: AtomicBool,
    /// Whether something is to be written in front of what hyper writes next.
    foretells: AtomicBool,
    foretold: Mutex<Vec<u8>>,
    /// The way of long bodies, where they may go past this process.
    conduit: OnceLock<Conduit>,
}

impl Pulse {
    /// Whether bytes came in since the last look.
    pub fn take_read(&self) -> bool {
        let read = self.read.load(Ordering::Relaxed);
        self.read.store(false, Ordering::Relaxed);
        read
    }

    /// The same, and leaves it for the next look.
    pub fn has_read(&self) -> bool {
        self.read.load(Ordering::Relaxed)
    }

    /// Whether bytes went out since the last look.
    pub fn take_written(&self) -> bool {
        let written = self.written.load(Ordering::Relaxed);
        self.written.store(false, Ordering::Relaxed);
        written
    }

    /// Whether nothing is under way in either direction, where requests are followed.
    pub fn is_still(&self) -> bool {
        !self.within.load(Ordering::Relaxed) && !self.stalled.load(Ordering::Relaxed)
    }

    /// Whether something waits to be written. The task of the connection is woken once nothing does.
    pub fn owes_a_flush(&self) -> bool {
        let owes = self.stalled.load(Ordering::Relaxed);
        self.awaited.store(owes, Ordering::Relaxed);
        owes
    }

    /// hyper has the whole of an answer, and may not have written all of it.
    pub fn is_answered(&self) {
        self.stalled.store(true, Ordering::Relaxed);
    }

    /// Puts the `head` of an interim answer in front of what hyper writes next; says whether it did.
    /// Where the answer before is not written to its end, it would stand in the midst of that.
    pub fn foretell(&self, head: &[u8]) -> bool {
        if self.stalled.load(Ordering::Relaxed) {
            return false;
        }
        let mut foretold = self.foretold.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = foretold.len() + head.len() <= INTERIM_BYTES_MAX;
        if fits {
            foretold.extend_from_slice(head);
            self.foretells.store(true, Ordering::Relaxed);
        }
        fits
    }

    fn take_foretold(&self) -> Vec<u8> {
        if !self.foretells.load(Ordering::Relaxed) {
            return Vec::new();
        }
        self.foretells.store(false, Ordering::Relaxed);
        std::mem::take(&mut *self.foretold.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Long bodies may go past this process.
    pub fn lets_pass(&self) {
        self.conduit.get_or_init(Conduit::default);
    }

    /// The way of long bodies, where they may go past this process.
    pub fn conduit(&self) -> Option<&Conduit> {
        self.conduit.get()
    }

    /// What comes in from here on is no HTTP. Returns false if something has come in already that
    /// is spoiled, and belonged to the tunnel.
    pub fn becomes_tunnel(&self) -> bool {
        self.tunnel.store(true, Ordering::Relaxed);
        !self.doubtful.load(Ordering::Relaxed)
    }
}

/// A socket as hyper uses it.
#[derive(Debug)]
pub struct Io {
    /// The socket.
    pub socket: Socket,
    /// What moved on it.
    pub pulse: Arc<Pulse>,
    /// Whether the first bytes may turn out to be the preface of HTTP/2. hyper's HTTP/1.1 knows it
    /// only if it sees the whole, so a part of it is held back.
    pub awaits_preface: bool,
    /// Follows the requests that come in, where they are of HTTP/1.1.
    pub framing: Option<Framing>,
    held: Vec<u8>,
    /// What is written before anything else.
    first: Vec<u8>,
}

impl Io {
    /// Wraps `socket`.
    pub fn new(socket: Socket) -> Self {
        let (pulse, held) = (Arc::default(), Vec::new());
        Self { socket, pulse, awaits_preface: false, framing: None, held, first: Vec::new() }
    }

    /// Reads into `cursor`, and shows to `see` what was read; the first so many bytes as it says are
    /// kept.
    pub fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        mut cursor: ReadBufCursor<'_>,
        see: impl FnOnce(&mut [u8]) -> usize,
    ) -> Poll<Result<()>> {
        // SAFETY: `ReadBuf` writes to this memory and never takes initialised bytes away from it.
        let mut buffer = ReadBuf::uninit(unsafe { cursor.as_mut() });
        if self.framing.as_ref().is_some_and(Framing::is_broken) {
            return Poll::Ready(Err(ErrorKind::InvalidData.into()));
        }
        if self.awaits_preface {
            ready!(self.poll_first(cx, &mut buffer))?;
        } else {
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
        }
        let read = buffer.filled().len();
        if read > 0 {
            self.pulse.read.store(true, Ordering::Relaxed);
        }
        self.follow(buffer.filled_mut());
        let kept = see(buffer.filled_mut()).min(read);
        // SAFETY: `ReadBuf` says that the first `read` bytes are filled, thus initialised.
        unsafe { cursor.advance(kept) };
        Poll::Ready(Ok(()))
    }

    fn wrote(&self, written: Poll<Result<usize>>) -> Poll<Result<usize>> {
        self.pulse.stalled.store(written.is_pending(), Ordering::Relaxed);
        let written = ready!(written);
        self.pulse.written.store(true, Ordering::Relaxed);
        Poll::Ready(written)
    }

    /// Writes the interim answers that wait, before anything else.
    fn poll_foretold(&mut self, cx: &mut Context<'_>) -> Poll<Result<()>> {
        if self.first.is_empty() {
            self.first = self.pulse.take_foretold();
        }
        while !self.first.is_empty() {
            let sent = self.socket.poll_send(cx, &self.first);
            match ready!(self.wrote(sent))? {
                0 => return Poll::Ready(Err(ErrorKind::WriteZero.into())),
                sent => _ = self.first.drain(..sent),
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Sends what waits in the pipe of a long body.
    fn poll_drain(&self, cx: &mut Context<'_>, most: usize) -> Poll<Result<usize>> {
        let (Socket::Tcp(socket), Some(conduit)) = (&self.socket, self.pulse.conduit()) else {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        };
        self.wrote(conduit.poll_drain(cx, socket, most))
    }

    fn follow(&mut self, bytes: &mut [u8]) {
        let Some(framing) = &mut self.framing else {
            return;
        };
        if self.pulse.tunnel.load(Ordering::Relaxed) {
            self.framing = None;
        } else {
            if !framing.follow(bytes) {
                self.pulse.doubtful.store(true, Ordering::Relaxed);
            }
            self.pulse.within.store(!framing.is_between(), Ordering::Relaxed);
        }
    }

    fn poll_first(&mut self, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        buffer.put_slice(&self.held);
        loop {
            let known = buffer.filled().len();
            ready!(Pin::new(&mut self.socket).poll_read(cx, buffer))?;
            let bytes = buffer.filled();
            let ended = bytes.len() == known;
            if ended || bytes.len() >= PREFACE.len() || !PREFACE.starts_with(bytes) {
                self.awaits_preface = false;
                if bytes.starts_with(PREFACE) {
                    self.framing = None;
                }
                return Poll::Ready(Ok(()));
            }
            self.held = bytes.to_vec();
        }
    }
}

impl hyper::rt::Read for Io {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        cursor: ReadBufCursor<'_>,
    ) -> Poll<Result<()>> {
        self.poll_fill(cx, cursor, |bytes| bytes.len())
    }
}

impl hyper::rt::Write for Io {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<Result<usize>> {
        ready!(self.poll_foretold(cx))?;
        let written = self.socket.poll_send(cx, bytes);
        self.wrote(written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        ready!(self.poll_foretold(cx))?;
        let flushed = Pin::new(&mut self.socket).poll_flush(cx);
        self.pulse.stalled.store(flushed.is_pending(), Ordering::Relaxed);
        if flushed.is_ready() && self.pulse.awaited.load(Ordering::Relaxed) {
            self.pulse.awaited.store(false, Ordering::Relaxed);
            cx.waker().wake_by_ref();
        }
        flushed
    }

    /// What hyper has ended is closed at once, which says the same and is one system call less; who
    /// lingers says it. TLS has a word of its own for it.
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        match &mut self.socket {
            Socket::Tcp(_) | Socket::Unix(_) => Poll::Ready(Ok(())),
            socket @ (Socket::Duplex(_) | Socket::Stream(_) | Socket::Tls(_)) => {
                Pin::new(socket).poll_shutdown(cx)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        match slices.iter().position(|slice| stands_in(slice)) {
            None => {}
            Some(0) => return self.poll_drain(cx, slices[0].len()),
            Some(place) => return self.poll_write_vectored(cx, &slices[..place]),
        }
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
        ready!(self.poll_foretold(cx))?;
        let written = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.wrote(written)
    }
}
