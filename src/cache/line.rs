//! Weir's own questions to a memcached, and what it answers, line by line.

use std::io;

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::link::{Link, Server};

/// Longest line that is awaited: a key in the list of all keys, and what is said of it.
const LINE_MAX: usize = 4096;

/// A connection of Weir's own.
pub struct Line {
    link: Link,
    waiting: BytesMut,
}

impl Line {
    /// Connects.
    pub async fn to(server: &Server) -> io::Result<Self> {
        Ok(Self { link: server.connect().await?, waiting: BytesMut::new() })
    }

    /// Asks something.
    pub async fn send(&mut self, question: &[u8]) -> io::Result<()> {
        self.link.write_all(question).await
    }

    /// The next line of the answer, without its end.
    ///
    /// # Errors
    /// The server has left, or says that something is wrong.
    pub async fn next(&mut self) -> io::Result<BytesMut> {
        let mut seen = 0;
        loop {
            if let Some(end) = memchr::memchr(b'\n', &self.waiting[seen..]) {
                let mut line = self.waiting.split_to(seen + end);
                self.waiting.advance(1);
                if line.ends_with(b"\r") {
                    line.truncate(line.len() - 1);
                }
                let wrong = [&b"CLIENT_ERROR"[..], b"SERVER_ERROR", b"ERROR", b"BUSY"];
                if wrong.iter().any(|wrong| line.starts_with(wrong)) {
                    return Err(io::Error::other(String::from_utf8_lossy(&line).into_owned()));
                }
                return Ok(line);
            }
            seen = self.waiting.len();
            if seen > LINE_MAX {
                return Err(io::Error::other("a line of its answer has no end"));
            }
            if self.link.read_buf(&mut self.waiting).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
    }
}
