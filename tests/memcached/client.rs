//! A connection to a memcached, as plain as can be.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take: the machine is busy.
const ANSWER_MAX: Duration = Duration::from_secs(30);

/// One connection.
pub struct Client {
    stream: TcpStream,
    waiting: Vec<u8>,
}

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
        Self { stream, waiting: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) {
        // Who was closed sees it when it reads.
        _ = self.stream.write_all(bytes);
    }

    /// Reads on; false if the other side has closed.
    fn more(&mut self) -> bool {
        let mut part = [0; 16_384];
        let read = match self.stream.read(&mut part) {
            Ok(read) => read,
            // It was closed before it had read everything.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("no answer in time: {error}; so far {:?}", self.waiting),
        };
        self.waiting.extend_from_slice(&part[..read]);
        read > 0
    }

    /// The next line without its end; none if the other side has closed.
    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.waiting.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.waiting.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.more() {
                return None;
            }
        }
    }

    /// The next bytes; fewer if the other side has closed.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.waiting.len() < count && self.more() {}
        let count = count.min(self.waiting.len());
        self.waiting.drain(..count).collect()
    }

    /// Everything before `end`, without it; or until the other side has closed.
    pub fn until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut seen = 0;
        loop {
            let at = self.waiting[seen..].windows(end.len()).position(|part| part == end);
            if let Some(at) = at.map(|at| at + seen) {
                let before = self.waiting[..at].to_vec();
                self.waiting.drain(..at + end.len());
                return before;
            }
            seen = self.waiting.len().saturating_sub(end.len());
            if !self.more() {
                return std::mem::take(&mut self.waiting);
            }
        }
    }

    /// A request, and the first line of its answer.
    pub fn ask(&mut self, request: &str) -> String {
        self.send(format!("{request}\r\n").as_bytes());
        self.line().expect("an answer")
    }

    /// The value of `key`.
    pub fn get(&mut self, key: &str) -> Option<String> {
        let head = self.ask(&format!("get {key}"));
        if head == "END" {
            return None;
        }
        let words: Vec<&str> = head.split(' ').collect();
        assert_eq!(words[..2], ["VALUE", key], "{head}");
        let size: usize = words[3].parse().unwrap();
        let value = self.bytes(size + 2);
        assert_eq!(self.line().as_deref(), Some("END"));
        Some(String::from_utf8_lossy(&value[..size]).into_owned())
    }
}
