//! What the tests of caches share, whichever protocol they speak.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// How long an answer may take: the machine is busy.
const ANSWER_MAX: Duration = Duration::from_mins(2);

/// The file of two versions, each with its port, before one server of `kind`; with `more` of the
/// cache.
pub fn file(
    kind: &str,
    listen: SocketAddr,
    server: SocketAddr,
    [one, two]: [SocketAddr; 2],
    more: &str,
) -> String {
    format!(
        r#"
[admin]
listen = "ADMIN"
[[tier]]
name = "web"
listen = "{listen}"
stable = "1.0.0"
releases = [
  {{ version = "1.0.0", upstreams = ["127.0.0.1:1"] }},
  {{ version = "1.1.0", upstreams = ["127.0.0.1:2"] }},
]
[[cache]]
name = "pages"
kind = "{kind}"
upstream = "{kind}://{server}"
ports = {{ "1.0.0" = "{one}", "1.1.0" = "{two}" }}
{more}
"#
    )
}

/// A connection, and what has come in and was not taken yet.
pub struct Connection {
    pub stream: TcpStream,
    pub waiting: Vec<u8>,
}

impl Connection {
    pub fn new(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).expect("a connection");
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(ANSWER_MAX)).unwrap();
        Self { stream, waiting: Vec::new() }
    }

    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    /// Reads on; false if the other side has closed.
    pub fn more(&mut self) -> bool {
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
}
