//! Long bodies on their way from one socket to another inside the kernel, by splice(2): they never
//! come into this process.
//!
//! hyper has to write them, since it writes the heads before them. So it is given what stands in for
//! them: slices that nobody reads, as long as what waits in a pipe. [`Io`](super::io::Io) knows them by
//! where they lie in memory, and sends what waits instead. To hyper they are bytes of the body, and so
//! they are to all that counts, limits or cuts one.

use std::cell::{Cell, RefCell};
use std::io::{ErrorKind, Result};
use std::os::fd::OwnedFd;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_getpipe_size, fcntl_setpipe_size, pipe_with};
use tokio::io::Interest;
use tokio::net::TcpStream;

use super::io::CHUNK_BYTES_MAX;

/// What a pipe has room for. It takes as many pieces as that is pages, however small they are, so it
/// may be full much sooner.
const PIPE_BYTES: usize = 256 * 1024;

/// A smaller pipe is not worth it; the kernel gives such to a user who has very many.
const PIPE_BYTES_MIN: usize = 64 * 1024;

/// Pipes of one worker: each is two file descriptors, and memory of the kernel's. Who finds none left
/// has its body read and written.
const PIPES_MAX: usize = 32;

thread_local! {
    static PIPES: Pipes = const { Pipes { idle: RefCell::new(Vec::new()), open: Cell::new(0) } };
}

/// The pipes of one worker.
#[derive(Debug)]
struct Pipes {
    /// Empty ones.
    idle: RefCell<Vec<Pipe>>,
    /// How many there are.
    open: Cell<usize>,
}

impl Pipes {
    /// An empty one, if there may be one more.
    fn take(&self) -> Option<Pipe> {
        let idle = self.idle.borrow_mut().pop();
        idle.or_else(|| (self.open.get() < PIPES_MAX).then(Pipe::open).flatten())
    }

    fn give_back(&self, pipe: Pipe) {
        self.idle.borrow_mut().push(pipe);
    }
}

/// Bytes on their way from one socket to another.
#[derive(Debug)]
struct Pipe {
    read: OwnedFd,
    write: OwnedFd,
    /// How many wait in it.
    held: usize,
}

impl Pipe {
    fn open() -> Option<Self> {
        let (read, write) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).ok()?;
        // Where more is refused, it stays as it is.
        _ = fcntl_setpipe_size(&write, PIPE_BYTES);
        if fcntl_getpipe_size(&write).ok()? < PIPE_BYTES_MIN {
            return None;
        }
        PIPES.with(|pipes| pipes.open.set(pipes.open.get() + 1));
        Some(Self { read, write, held: 0 })
    }

    /// Takes at most `most` bytes of what comes in on `socket`; none at its end. `asks` is set where
    /// nothing more is taken until what waits in it is gone.
    fn poll_fill(
        &mut self,
        cx: &mut Context<'_>,
        socket: &TcpStream,
        most: usize,
        asks: &mut bool,
    ) -> Poll<Result<usize>> {
        let fill = |write: &OwnedFd| -> Result<usize> {
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            Ok(rustix::pipe::splice(socket, None, write, None, most, flags)?)
        };
        loop {
            ready!(socket.poll_read_ready(cx))?;
            let is_empty = self.held == 0;
            let filled = if is_empty {
                socket.try_io(Interest::READABLE, || fill(&self.write))
            } else {
                fill(&self.write)
            };
            match filled {
                Err(error) if error.kind() == ErrorKind::WouldBlock && is_empty => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // A full pipe says the same as a socket on which nothing is.
                    *asks = true;
                    return Poll::Pending;
                }
                Err(error) => return Poll::Ready(Err(error)),
                Ok(moved) => {
                    self.held += moved;
                    return Poll::Ready(Ok(moved));
                }
            }
        }
    }

    /// Sends at most `most` bytes of what waits in it.
    fn poll_drain(
        &mut self,
        cx: &mut Context<'_>,
        socket: &TcpStream,
        most: usize,
    ) -> Poll<Result<usize>> {
        let most = most.min(self.held);
        let drain = || -> Result<usize> {
            let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
            Ok(rustix::pipe::splice(&self.read, None, socket, None, most, flags)?)
        };
        loop {
            ready!(socket.poll_write_ready(cx))?;
            match socket.try_io(Interest::WRITABLE, drain) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
                Ok(moved) => {
                    self.held -= moved;
                    return Poll::Ready(Ok(moved));
                }
            }
        }
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // Where the thread ends, nobody counts any more.
        _ = PIPES.try_with(|pipes| pipes.open.set(pipes.open.get().saturating_sub(1)));
    }
}

/// The way of long bodies to one client of HTTP/1.1, one after the other: a pipe, as long as something
/// waits in it. Behind a lock only because hyper asks for `Send`; all of it stays on one thread.
#[derive(Debug, Default)]
pub struct Conduit(Mutex<Course>);

#[derive(Debug, Default)]
struct Course {
    pipe: Option<Pipe>,
    /// Whether the body is to be asked for more once nothing waits.
    asks: bool,
}

impl Conduit {
    /// Takes at most `most` bytes of what comes in on `socket`, and gives what stands in for them:
    /// nothing at the end of the connection. None if there is no pipe to be had.
    pub fn poll_fill(
        &self,
        cx: &mut Context<'_>,
        socket: &TcpStream,
        most: usize,
    ) -> Poll<Result<Option<Bytes>>> {
        let course = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let pipe = course.pipe.take().or_else(|| PIPES.with(Pipes::take));
        let Some(mut pipe) = pipe else {
            return Poll::Ready(Ok(None));
        };
        let filled = pipe.poll_fill(cx, socket, most.min(stand_in().len()), &mut course.asks);
        course.put(pipe);
        filled.map_ok(|moved| Some(Bytes::from_static(&stand_in()[..moved])))
    }

    /// Whether something waits to be sent.
    pub fn waits(&self) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pipe.is_some()
    }

    /// Sends at most `most` bytes of what waits.
    pub fn poll_drain(
        &self,
        cx: &mut Context<'_>,
        socket: &TcpStream,
        most: usize,
    ) -> Poll<Result<usize>> {
        let course = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(mut pipe) = course.pipe.take() else {
            return Poll::Ready(Err(ErrorKind::BrokenPipe.into()));
        };
        let drained = pipe.poll_drain(cx, socket, most);
        if course.put(pipe) && std::mem::take(&mut course.asks) {
            // hyper does not always ask again after it has written.
            cx.waker().wake_by_ref();
        }
        drained
    }
}

impl Course {
    /// Keeps `pipe` as long as something waits in it; says whether nothing does.
    fn put(&mut self, pipe: Pipe) -> bool {
        let is_empty = pipe.held == 0;
        if is_empty {
            PIPES.with(|pipes| pipes.give_back(pipe));
        } else {
            self.pipe = Some(pipe);
        }
        is_empty
    }
}

/// What stands in for so much that waits in a pipe, or for a part of it: told by its place in memory.
fn stand_in() -> &'static [u8] {
    static NOTHING: [u8; CHUNK_BYTES_MAX] = [0; CHUNK_BYTES_MAX];
    &NOTHING
}

/// Whether `slice` stands in for what waits in a pipe.
pub fn stands_in(slice: &[u8]) -> bool {
    stand_in().as_ptr_range().contains(&slice.as_ptr())
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream as Plain};

    use super::*;

    /// A connection: this side of it, and the other.
    fn connection() -> (TcpStream, Plain) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let there = Plain::connect(listener.local_addr().unwrap()).unwrap();
        let (here, _) = listener.accept().unwrap();
        here.set_nonblocking(true).unwrap();
        (TcpStream::from_std(here).unwrap(), there)
    }

    async fn fill(conduit: &Conduit, socket: &TcpStream) -> Option<Bytes> {
        poll_fn(|cx| conduit.poll_fill(cx, socket, usize::MAX)).await.unwrap()
    }

    fn bytes(count: usize) -> Vec<u8> {
        (0..count).map(|place| u8::try_from(place % 251).unwrap()).collect()
    }

    #[tokio::test]
    async fn what_goes_in_comes_out_and_the_pipe_is_used_again() {
        let ((from, mut upstream), (to, mut client)) = (connection(), connection());
        let sent = bytes(3_000_000);
        let expected = sent.clone();
        let writer = std::thread::spawn(move || upstream.write_all(&sent).map(|()| upstream));
        let reader = std::thread::spawn(move || {
            let mut came = vec![0; expected.len()];
            client.read_exact(&mut came).map(|()| came == expected)
        });
        let conduit = Conduit::default();
        let mut left = 3_000_000;
        while left > 0 {
            let part = fill(&conduit, &from).await.unwrap();
            assert!(stands_in(&part) && conduit.waits());
            let mut waits = part.len();
            while waits > 0 {
                waits -= poll_fn(|cx| conduit.poll_drain(cx, &to, waits)).await.unwrap();
            }
            left -= part.len();
            assert!(!conduit.waits());
        }
        assert!(reader.join().unwrap().unwrap());
        assert_eq!(PIPES.with(|pipes| (pipes.open.get(), pipes.idle.borrow().len())), (1, 1));
        drop(writer.join().unwrap());
        assert_eq!(fill(&conduit, &from).await, Some(Bytes::new()), "its end is seen");
    }

    #[tokio::test]
    async fn a_pipe_belongs_to_one_as_long_as_something_waits_in_it() {
        let mut open = Vec::new();
        for _ in 0..PIPES_MAX {
            let (conduit, (from, mut upstream)) = (Conduit::default(), connection());
            upstream.write_all(b"something").unwrap();
            assert_eq!(fill(&conduit, &from).await.unwrap().len(), 9);
            open.push(conduit);
        }
        let (from, mut upstream) = connection();
        upstream.write_all(b"something").unwrap();
        assert_eq!(fill(&Conduit::default(), &from).await, None);
        open.pop();
        let part = fill(&Conduit::default(), &from).await;
        assert_eq!(part.map(|part| part.len()), Some(9), "nothing of what waited for another");
    }

    #[test]
    fn what_stands_in_is_told_from_all_else() {
        assert!(stands_in(stand_in()) && stands_in(&stand_in()[stand_in().len() - 1..]));
        assert!(!stands_in(&[0; 64]) && !stands_in(b""));
    }
}
