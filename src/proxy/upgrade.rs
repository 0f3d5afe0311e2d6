//! Upgraded connections (web sockets and the like): bytes both ways until one side ends, or the
//! release has lost.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::client::Upgrading;
use super::io::{Io, Socket};
use super::line::Line;
use super::place::Place;
use super::pool::{Busy, Seat};
use super::random;
use super::view::View;
use super::worker::Worker;
use crate::traffic::TierName;

/// Bytes that are read at once. One such buffer serves all tunnels of a thread.
const CHUNK_BYTES: usize = 16 * 1024;

/// How long one side may go on after the other has ended.
const HALF_OPEN_MAX: Duration = Duration::from_secs(10);

/// A close frame of a WebSocket server: 1001, going away (RFC 6455, section 7.4.1).
const GOING_AWAY: [u8; 4] = [0x88, 0x02, 0x03, 0xe9];

/// The memory that all tunnels of a worker read into.
pub type Chunk = Rc<RefCell<Vec<u8>>>;

/// A worker's [`Chunk`].
pub fn chunk() -> Chunk {
    Rc::new(RefCell::new(vec![0; CHUNK_BYTES]))
}

/// An upgraded connection.
#[derive(Debug)]
pub struct Tunnel {
    tier: TierName,
    release: usize,
    preview: bool,
    line: Rc<Line>,
    close_at: Cell<Option<Instant>>,
    closing: Cell<bool>,
    half_since: Cell<Option<Instant>>,
    waker: RefCell<Option<Waker>>,
}

impl Tunnel {
    /// Gives it an end if its release has lost by the table of `view`.
    pub fn follow(&self, view: &View, now: Instant) {
        let over = match view.tier(&self.tier) {
            None => Duration::ZERO,
            Some(tier) if tier.serves(self.release) => return,
            Some(tier)
                if self.preview
                    && tier.releases().any(|kept| kept.release.slot == self.release) =>
            {
                return;
            }
            Some(tier) => tier.table.close_over,
        };
        self.close_within(over, now);
    }

    /// Closes it at a random time within `span`, sooner than it would otherwise be.
    pub fn close_within(&self, span: Duration, now: Instant) {
        let at = now + random::part_of(span);
        if self.close_at.get().is_none_or(|before| at < before) {
            self.close_at.set(Some(at));
        }
        if span.is_zero() {
            self.close();
        }
    }

    /// Closes it.
    pub fn close(&self) {
        self.closing.set(true);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    /// Closes it if it is time.
    pub fn sweep(&self, now: Instant) {
        let due = self.close_at.get().is_some_and(|at| now >= at);
        let half = |since| now.saturating_duration_since(since) > HALF_OPEN_MAX;
        if due || self.half_since.get().is_some_and(half) {
            self.close();
        }
    }
}

/// Pumps between `client` and `upstream` once both have changed protocol.
pub fn start(
    worker: &Rc<Worker>,
    line: &Rc<Line>,
    place: &Place,
    client: OnUpgrade,
    upstream: Upgrading,
    held: (Busy, Rc<Seat>),
    websocket: bool,
) {
    line.tunnels.set(line.tunnels.get() + 1);
    let tunnel = Rc::new(Tunnel {
        tier: place.tier.table.tier.name.clone(),
        release: place.release.release.slot,
        preview: place.preview,
        line: Rc::clone(line),
        close_at: Cell::new(None),
        closing: Cell::new(false),
        half_since: Cell::new(None),
        waker: RefCell::default(),
    });
    worker.tunnels.borrow_mut().push(Rc::clone(&tunnel));
    let open = Open { worker: Rc::clone(worker), tunnel, place: place.clone() };
    place.release.writer.upgrade_opened();
    // The table may have moved since the request was sent.
    open.tunnel.follow(&worker.view(), Instant::now());
    tokio::task::spawn_local(async move {
        if let (Ok(client), Some(upstream)) = (client.await, upstream.finish().await) {
            let (client, early) = match client.downcast::<Io>() {
                Ok(parts) => (parts.io.socket, parts.read_buf),
                Err(stream) => (Socket::Stream(Box::new(TokioIo::new(stream))), Bytes::new()),
            };
            let down = Flow::new(Rc::clone(&open.worker.chunk), &upstream.early, websocket);
            let up = Flow::new(Rc::clone(&open.worker.chunk), &early, false);
            let pump = Pump { client, upstream: upstream.socket, down, up };
            pump.run(&open.tunnel).await;
        }
        drop((open, held));
    });
}

/// Counts a tunnel as open until its task ends, however it ends.
struct Open {
    worker: Rc<Worker>,
    tunnel: Rc<Tunnel>,
    place: Place,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.place.release.writer.upgrade_closed();
        let mut tunnels = self.worker.tunnels.borrow_mut();
        tunnels.retain(|tunnel| !Rc::ptr_eq(tunnel, &self.tunnel));
        let line = &self.tunnel.line;
        line.tunnels.set(line.tunnels.get().saturating_sub(1));
    }
}

struct Pump {
    client: Socket,
    upstream: Socket,
    down: Flow,
    up: Flow,
}

impl Pump {
    async fn run(mut self, tunnel: &Tunnel) {
        std::future::poll_fn(|cx| self.poll(cx, tunnel)).await;
    }

    fn poll(&mut self, cx: &mut Context<'_>, tunnel: &Tunnel) -> Poll<()> {
        if tunnel.closing.get() {
            self.say_goodbye(cx);
            return Poll::Ready(());
        }
        *tunnel.waker.borrow_mut() = Some(cx.waker().clone());
        let down = self.down.poll(cx, &mut self.upstream, &mut self.client);
        let up = self.up.poll(cx, &mut self.client, &mut self.upstream);
        let broken = |flow: &Poll<io::Result<()>>| matches!(flow, Poll::Ready(Err(_)));
        if broken(&down) || broken(&up) || (down.is_ready() && up.is_ready()) {
            return Poll::Ready(());
        }
        if (down.is_ready() || up.is_ready()) && tunnel.half_since.get().is_none() {
            tunnel.half_since.set(Some(Instant::now()));
        }
        Poll::Pending
    }

    /// Tells the client of a WebSocket, unless a frame is just half sent.
    fn say_goodbye(&mut self, cx: &mut Context<'_>) {
        if self.down.frames.as_ref().is_some_and(Frames::is_between) && self.down.left.is_empty() {
            _ = Pin::new(&mut self.client).poll_write(cx, &GOING_AWAY);
        }
        _ = Pin::new(&mut self.client).poll_shutdown(cx);
    }
}

/// One direction.
struct Flow {
    chunk: Chunk,
    left: Vec<u8>,
    sent: usize,
    ended: bool,
    closed: bool,
    frames: Option<Frames>,
}

impl Flow {
    fn new(chunk: Chunk, early: &[u8], websocket: bool) -> Self {
        let mut frames = websocket.then(Frames::default);
        if let Some(frames) = &mut frames {
            frames.pass(early);
        }
        Self { chunk, left: early.to_vec(), sent: 0, ended: false, closed: false, frames }
    }

    fn poll(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Socket,
        to: &mut Socket,
    ) -> Poll<io::Result<()>> {
        loop {
            while self.sent < self.left.len() {
                match ready!(Pin::new(&mut *to).poll_write(cx, &self.left[self.sent..]))? {
                    0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    written => self.sent += written,
                }
            }
            // Memory is held only while something waits.
            (self.left, self.sent) = (Vec::new(), 0);
            if self.ended {
                if !self.closed {
                    ready!(Pin::new(&mut *to).poll_shutdown(cx))?;
                    self.closed = true;
                }
                return Poll::Ready(Ok(()));
            }
            // What TLS could not send at once would else wait for the next byte.
            _ = Pin::new(&mut *to).poll_flush(cx)?;
            ready!(self.read(cx, from, to))?;
        }
    }

    /// Reads a chunk, writes what can be written at once, and keeps the rest.
    fn read(
        &mut self,
        cx: &mut Context<'_>,
        from: &mut Socket,
        to: &mut Socket,
    ) -> Poll<io::Result<()>> {
        let mut chunk = self.chunk.borrow_mut();
        let mut buffer = ReadBuf::new(&mut chunk);
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
        self.left.extend_from_slice(&bytes[written..]);
        Poll::Ready(Ok(()))
    }
}

/// Follows the frames of a WebSocket (RFC 6455, section 5.2) just far enough to know where one
/// ends.
#[derive(Debug, Default)]
struct Frames {
    head: [u8; 14],
    have: usize,
    payload: u64,
}

impl Frames {
    fn is_between(&self) -> bool {
        self.have == 0 && self.payload == 0
    }

    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let part = usize::try_from(self.payload).unwrap_or(usize::MAX).min(bytes.len());
                self.payload -= part as u64;
                bytes = &bytes[part..];
                continue;
            }
            self.head[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if self.have == self.head_bytes() {
                self.payload = self.length();
                self.have = 0;
            }
        }
    }

    /// How long the head is, as far as its first bytes say.
    fn head_bytes(&self) -> usize {
        if self.have < 2 {
            return 2;
        }
        let mask = if self.head[1] & 0x80 == 0 { 0 } else { 4 };
        let length = match self.head[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        2 + length + mask
    }

    fn length(&self) -> u64 {
        let [_, second, rest @ ..] = &self.head;
        match second & 0x7f {
            126 => u64::from(u16::from_be_bytes([rest[0], rest[1]])),
            127 => {
                let mut bytes = [0; 8];
                bytes.copy_from_slice(&rest[..8]);
                u64::from_be_bytes(bytes)
            }
            short => u64::from(short),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_frame_is_known_however_it_is_cut() {
        let mut stream = vec![0x81, 0x02, b'h', b'i'];
        stream.extend([0x82, 126, 0x01, 0x00].iter().chain(&[7; 256]));
        stream.extend([0x81, 0x81, 1, 2, 3, 4, b'x']);
        stream.extend([0x89, 0x00]);
        let ends = [4, 4 + 4 + 256, 4 + 4 + 256 + 7, stream.len()];
        for step in [1, 2, 3, 5, 100] {
            let mut frames = Frames::default();
            for (place, part) in stream.chunks(step).enumerate() {
                frames.pass(part);
                let passed = (place * step + part.len()).min(stream.len());
                assert_eq!(frames.is_between(), ends.contains(&passed), "{step} {passed}");
            }
        }
    }
}
