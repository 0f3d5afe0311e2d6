//! A client that writes bytes and reads answers.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A connection.
pub struct Client {
    /// The socket.
    pub stream: TcpStream,
    buffer: Vec<u8>,
}

/// An answer.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its head.
    pub head: String,
    /// Its body, unchunked.
    pub body: Vec<u8>,
    /// Its trailers.
    pub trailers: String,
}

impl Answer {
    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The first field `name`.
    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (field, value) = line.split_once(':')?;
            field.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl Client {
    /// Connects to `address`.
    pub fn to(address: SocketAddr) -> Self {
        Self::on(TcpStream::connect(address).unwrap())
    }

    /// On a connection that is there.
    pub fn on(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        Self { stream, buffer: Vec::new() }
    }

    /// Writes.
    pub fn send(&mut self, text: &str) {
        self.stream.write_all(text.as_bytes()).unwrap();
    }

    /// Sends GET `path` with further header lines, each ending in CRLF, and reads the answer.
    pub fn get(&mut self, path: &str, lines: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nhost: app\r\n{lines}\r\n"));
        self.answer("GET").expect("an answer")
    }

    /// Reads more; false at the end.
    pub fn fill(&mut self) -> bool {
        let mut chunk = vec![0; 64 * 1024];
        match self.stream.read(&mut chunk) {
            Ok(0) => false,
            Ok(read) => {
                self.buffer.extend_from_slice(&chunk[..read]);
                true
            }
            Err(error) if error.kind() == ErrorKind::ConnectionReset => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// What was read and not yet used.
    pub fn rest(&self) -> &[u8] {
        &self.buffer
    }

    /// Whether the other side has closed; waits for it.
    pub fn is_closed(&mut self) -> bool {
        while self.fill() {}
        true
    }

    /// A head.
    pub fn head(&mut self) -> Option<Answer> {
        let end = loop {
            match self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                Some(end) => break end,
                None if self.fill() => {}
                None => return None,
            }
        };
        let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
        let head = String::from_utf8_lossy(&head[..end]).into_owned();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        Some(Answer { status, head, ..Answer::default() })
    }

    /// An answer to a request with `method`, body and all; nothing if the connection ends before
    /// its head. A body that is cut short ends in a panic.
    pub fn answer(&mut self, method: &str) -> Option<Answer> {
        let mut answer = self.head()?;
        if method == "HEAD" || answer.status < 200 || [204, 304].contains(&answer.status) {
            return Some(answer);
        }
        if answer.field("transfer-encoding") == Some("chunked") {
            while let Some(chunk) = self.chunk() {
                answer.body.extend(chunk);
            }
            answer.trailers = self.trailers();
        } else if let Some(length) = answer.field("content-length") {
            let length: usize = length.parse().unwrap();
            while self.buffer.len() < length {
                assert!(self.fill(), "cut short: {} of {length}", self.buffer.len());
            }
            answer.body = self.buffer.drain(..length).collect();
        } else {
            while self.fill() {}
            answer.body = std::mem::take(&mut self.buffer);
        }
        Some(answer)
    }

    /// A chunk; none if it is the last.
    pub fn chunk(&mut self) -> Option<Vec<u8>> {
        let size = usize::from_str_radix(&self.line(), 16).unwrap();
        if size == 0 {
            return None;
        }
        while self.buffer.len() < size + 2 {
            assert!(self.fill(), "cut short in a chunk");
        }
        let chunk = self.buffer.drain(..size).collect();
        self.buffer.drain(..2);
        Some(chunk)
    }

    /// The trailers behind the last chunk, one after the other.
    pub fn trailers(&mut self) -> String {
        let mut trailers = String::new();
        loop {
            match self.line() {
                line if line.is_empty() => return trailers,
                line => trailers.push_str(&line),
            }
        }
    }

    fn line(&mut self) -> String {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return String::from_utf8_lossy(&line).trim().to_owned();
            }
            assert!(self.fill(), "cut short in a line");
        }
    }
}
