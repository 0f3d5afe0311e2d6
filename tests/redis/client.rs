//! A connection to a Redis, as plain as can be.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use weir::namespace::resp::{self, Value};

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
        self.stream.write_all(bytes).expect("it is sent");
    }

    /// The next answer; none if the other side has closed.
    pub fn answer(&mut self) -> Option<Value> {
        loop {
            if let Some((value, taken)) = Value::parse(&self.waiting).expect("RESP") {
                self.waiting.drain(..taken);
                return Some(value);
            }
            let mut part = [0; 8_192];
            let read = match self.stream.read(&mut part) {
                Ok(read) => read,
                // It was closed before it had read everything.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
                Err(error) => panic!("no answer in time: {error}"),
            };
            if read == 0 {
                return None;
            }
            self.waiting.extend_from_slice(&part[..read]);
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
        &self.stream
    }
}
