//! A connection to a Redis, as plain as can be.

use std::net::{SocketAddr, TcpStream};

use weir::namespace::resp::{self, Value};

use crate::support::caches::Connection;

/// One connection.
pub struct Client(Connection);

impl Client {
    pub fn new(address: SocketAddr) -> Self {
        Self(Connection::new(address))
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.0.send(bytes).expect("it is sent");
    }

    /// The next answer; none if the other side has closed.
    pub fn answer(&mut self) -> Option<Value> {
        loop {
            if let Some((value, taken)) = Value::parse(&self.0.waiting).expect("RESP") {
                self.0.waiting.drain(..taken);
                return Some(value);
            }
            if !self.0.more() {
                return None;
            }
        }
    }

    /// Words, and their answer.
    pub fn ask(&mut self, line: &str) -> Value {
        self.send(&resp::command(&line.split(' ').collect::<Vec<_>>()));
        self.answer().expect("an answer")
    }

    /// Everything up to the answer to a last word.
    pub fn until_end(&mut self) -> Vec<Value> {
        let (mut values, end) = (Vec::new(), Value::Bulk(b"the end".to_vec()));
        loop {
            let value = self.answer().expect("an answer");
            if value == end {
                return values;
            }
            values.push(value);
        }
    }

    pub const fn stream(&self) -> &TcpStream {
        &self.0.stream
    }
}
