//! A connection to a memcached, as plain as can be.

use std::net::SocketAddr;

use crate::support::caches::Connection;

/// One connection.
pub struct Client(Connection);

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self(Connection::new(address))
    }

    pub fn send(&mut self, bytes: &[u8]) {
        // Who was closed sees it when it reads.
        _ = self.0.send(bytes);
    }

    /// The next line without its end; none if the other side has closed.
    pub fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.0.waiting.windows(2).position(|two| two == b"\r\n") {
                let line: Vec<u8> = self.0.waiting.drain(..end + 2).collect();
                return Some(String::from_utf8_lossy(&line[..end]).into_owned());
            }
            if !self.0.more() {
                return None;
            }
        }
    }

    /// The next bytes; fewer if the other side has closed.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.0.waiting.len() < count && self.0.more() {}
        let count = count.min(self.0.waiting.len());
        self.0.waiting.drain(..count).collect()
    }

    /// Everything before `end`, without it; or until the other side has closed.
    pub fn until(&mut self, end: &[u8]) -> Vec<u8> {
        let mut seen = 0;
        loop {
            let at = self.0.waiting[seen..].windows(end.len()).position(|part| part == end);
            if let Some(at) = at.map(|at| at + seen) {
                let before = self.0.waiting[..at].to_vec();
                self.0.waiting.drain(..at + end.len());
                return before;
            }
            seen = self.0.waiting.len().saturating_sub(end.len());
            if !self.0.more() {
                return std::mem::take(&mut self.0.waiting);
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
