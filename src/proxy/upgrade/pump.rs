//! Bytes both ways, and how that ends.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::{Frames, goodbye};
use super::{Stage, Tunnel};
use crate::proxy::io::Socket;
use crate::proxy::random;

/// Bytes that are read at once. One such buffer serves all tunnels of a thread.
const CHUNK_BYTES: usize = 16 * 1024;

/// The memory that all tunnels of a worker read into.
pub type Chunk = Rc<RefCell<Vec<u8>>>;

/// A worker's [`Chunk`].
pub fn chunk() -> Chunk {
    Rc::new(RefCell::new(vec![0; CHUNK_BYTES]))
}

/// What moves the bytes of a tunnel.
pub struct Pump {
    client: Side,
    upstream: Side,
    down: Flow,
    up: Flow,
    websocket: bool,
}

impl Pump {
    /// Between `client` and `upstream`, each with what it has said already.
    pub fn new(
        chunk: &Chunk,
        client: (Socket, &[u8]),
        upstream: (Socket, &[u8]),
        websocket: bool,
    ) -> Self {
        let flow = |early| Flow::new(Rc::clone(chunk), early, websocket);
        let (up, down) = (flow(client.1), flow(upstream.1));
        let side = |socket| Side { socket, shut: false };
        Self { client: side(client.0), upstream: side(upstream.0), down, up, websocket }
    }

    /// Until both sides have ended, or `tunnel` has.
    pub async fn run(mut self, tunnel: &Tunnel) {
        std::future::poll_fn(|cx| self.poll(cx, tunnel)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>, tunnel: &Tunnel) -> Poll<()> {
        *tunnel.waker.borrow_mut() = Some(cx.waker().clone());
        match tunnel.stage.get() {
            Stage::Open => self.pass(cx, tunnel),
            Stage::Parting(_) | Stage::Told(_) if self.websocket => self.part(cx, tunnel),
            Stage::Parting(_) | Stage::Told(_) | Stage::Over => {
                for side in [&mut self.client, &mut self.upstream] {
                    _ = side.shut(cx);
                }
                Poll::Ready(())
            }
        }
    }

    fn pass(&mut self, cx: &mut Context<'_>, tunnel: &Tunnel) -> Poll<()> {
        let (client, upstream) = (&mut self.client.socket, &mut self.upstream.socket);
        let down = self.down.pass(cx, upstream, client);
        let up = self.up.pass(cx, client, upstream);
        let broken = |flow: &Poll<io::Result<()>>| matches!(flow, Poll::Ready(Err(_)));
        if broken(&down) || broken(&up) || (down.is_ready() && up.is_ready()) {
            return Poll::Ready(());
        }
        let moved = self.down.take_moved() | self.up.take_moved();
        if (down.is_ready() || up.is_ready()) && (moved || tunnel.half_since.get().is_none()) {
            tunnel.half_since.set(Some(Instant::now()));
        }
        Poll::Pending
    }

    /// Lets the frames under way come to their end, says goodbye to both sides, and waits for what
    /// they say to that: a socket that is closed before it has read that resets the connection, and
    /// a reset takes the goodbye away from a peer that has not read it yet.
    fn part(&mut self, cx: &mut Context<'_>, tunnel: &Tunnel) -> Poll<()> {
        let (client, upstream) = (&mut self.client, &mut self.upstream);
        let told_client = self.down.part(cx, upstream, client, || goodbye(None));
        let told_upstream = self.up.part(cx, client, upstream, || {
            let [a, b, c, d, ..] = random::number().to_be_bytes();
            goodbye(Some([a, b, c, d]))
        });
        if told_client && told_upstream && matches!(tunnel.stage.get(), Stage::Parting(_)) {
            tunnel.stage.set(Stage::Told(Instant::now()));
        }
        let client_is_gone = told_client && self.up.hear(cx, client) && client.shut(cx).is_ready();
        let upstream_is_gone =
            told_upstream && self.down.hear(cx, upstream) && upstream.shut(cx).is_ready();
        if client_is_gone && upstream_is_gone { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// Who sits at one end.
struct Side {
    socket: Socket,
    shut: bool,
}

impl Side {
    /// Sends nothing more.
    fn shut(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if !self.shut {
            _ = ready!(Pin::new(&mut self.socket).poll_shutdown(cx));
            self.shut = true;
        }
        Poll::Ready(())
    }
}

/// One direction.
struct Flow {
    chunk: Chunk,
    left: Vec<u8>,
    sent: usize,
    /// Bytes that went on since somebody asked.
    moved: usize,
    /// Nothing more comes.
    ended: bool,
    /// Nothing more goes.
    closed: bool,
    /// Whether the goodbye stands in `left`, or there can be none.
    parts: bool,
    frames: Option<Frames>,
}

impl Flow {
    fn new(chunk: Chunk, early: &[u8], websocket: bool) -> Self {
        let mut frames = websocket.then(Frames::default);
        if let Some(frames) = &mut frames {
            frames.pass(early);
        }
        Self {
            chunk,
            left: early.to_vec(),
            sent: 0,
            moved: 0,
            ended: false,
            closed: false,
            parts: false,
            frames,
        }
    }

    fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.moved) > 0
    }

    fn pass(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Socket,
        to: &mut Socket,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.write(cx, to))?;
            if self.ended {
                if !self.closed {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.closed = true;
                }
                return Poll::Ready(Ok(()));
            }
            ready!(self.read(cx, from, to, CHUNK_BYTES))?;
        }
    }

    /// Writes what is left.
    fn write(&mut self, cx: &mut Context<'_>, to: &mut Socket) -> Poll<io::Result<()>> {
        while self.sent < self.left.len() {
            match ready!(Pin::new(&mut *to).poll_write(cx, &self.left[self.sent..]))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => {
                    self.sent += written;
                    self.moved += written;
                }
            }
        }
        // Memory is held only while something waits.
        (self.left, self.sent) = (Vec::new(), 0);
        // What TLS could not send at once would else wait for the next byte.
        _ = Pin::new(to).poll_flush(cx)?;
        Poll::Ready(Ok(()))
    }

    /// Reads at most `most` bytes, writes what can be written at once, and keeps the rest.
    fn read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Socket,
        to: &mut Socket,
        most: usize,
    ) -> Poll<io::Result<()>> {
        let mut chunk = self.chunk.borrow_mut();
        let mut buffer = ReadBuf::new(&mut chunk[..most.min(CHUNK_BYTES)]);
        ready!(Pin::new(from).poll_read(cx, &mut buffer))?;
        let bytes = buffer.filled();
        self.ended = bytes.is_empty();
        if let Some(frames) = &mut self.frames {
            frames.pass(bytes);
        }
        let written = match Pin::new(to).poll_write(cx, bytes) {
            Poll::Ready(written) => written?,
            Poll::Pending => 0,
        };
        self.moved += written;
        self.left.extend_from_slice(&bytes[written..]);
        Poll::Ready(Ok(()))
    }

    /// Passes on the rest of the frame under way, and the `goodbye` behind it unless one was said
    /// already. Says whether all of that has been sent, or cannot be.
    fn part(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Side,
        to: &mut Side,
        goodbye: impl FnOnce() -> Vec<u8>,
    ) -> bool {
        while !self.parts && !self.closed {
            match self.write(cx, &mut to.socket) {
                Poll::Pending => return false,
                Poll::Ready(Err(_)) => self.closed = true,
                Poll::Ready(Ok(())) => {
                    let Some(frames) = self.frames.as_ref().filter(|one| !one.is_between()) else {
                        break;
                    };
                    let rest = frames.rest(CHUNK_BYTES);
                    match self.read(cx, &mut from.socket, &mut to.socket, rest) {
                        Poll::Pending => return false,
                        // What was cut off there is cut off here.
                        Poll::Ready(Ok(())) if self.ended => self.closed = true,
                        Poll::Ready(Ok(())) => {}
                        Poll::Ready(Err(_)) => (self.ended, self.closed) = (true, true),
                    }
                }
            }
        }
        if !self.parts && !self.closed && !self.is_closed() {
            self.left = goodbye();
        }
        self.parts = true;
        self.closed || !self.write(cx, &mut to.socket).is_pending()
    }

    /// Throws away what `from` still sends behind the frame that was under way. Says whether it has
    /// said goodbye, or is gone.
    fn hear(&mut self, cx: &mut Context<'_>, from: &mut Side) -> bool {
        if !self.parts {
            return false;
        }
        let mut chunk = self.chunk.borrow_mut();
        while !self.ended && !self.is_closed() {
            let mut buffer = ReadBuf::new(&mut chunk);
            match Pin::new(&mut from.socket).poll_read(cx, &mut buffer) {
                Poll::Pending => return false,
                Poll::Ready(outcome) => {
                    self.ended = outcome.is_err() || buffer.filled().is_empty();
                }
            }
            if let Some(frames) = &mut self.frames {
                frames.pass(buffer.filled());
            }
        }
        true
    }

    /// Whether a goodbye came this way.
    fn is_closed(&self) -> bool {
        self.frames.as_ref().is_some_and(Frames::is_closed)
    }
}
