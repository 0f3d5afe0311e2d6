//! A small HTTP/1.1 server that does what its path says, well or badly.
//!
//! `/` and any other path answer 200 with the version and the head that came in. Others: see
//! [`serve`]. A dial makes a share of all answers fail.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// A server that runs until it is dropped.
pub struct Upstream {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it has seen, and its dials.
    pub state: Arc<State>,
}

/// What an upstream has seen, and its dials.
#[derive(Default)]
pub struct State {
    /// Its version.
    pub version: String,
    /// Requests so far.
    pub requests: AtomicU64,
    /// Connections so far.
    pub connections: AtomicU64,
    /// Bytes of bodies so far.
    pub body_bytes: AtomicU64,
    /// Connections that ended while a request was under way.
    pub cancelled: AtomicU64,
    /// Of 100 answers, how many are 500.
    pub failing: AtomicU64,
    /// Milliseconds before each answer.
    pub delay: AtomicU64,
    /// Nothing is answered as long as it stands still, health checks as little; then it goes on.
    pub stalled: AtomicBool,
    /// Closes connections after an answer without having said so, when milliseconds have gone by.
    pub close_after: AtomicU64,
    /// Connections closed for that reason.
    pub closed: AtomicU64,
    /// What came through tunnels, and went back.
    pub tunnelled: Mutex<Vec<u8>>,
    /// Heads of the requests, as they came.
    pub heads: Mutex<Vec<String>>,
    stopped: AtomicBool,
}

impl Upstream {
    /// Starts one that calls itself `version`.
    pub fn start(version: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State { version: version.to_owned(), ..State::default() });
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                shared.connections.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || Connection::new(stream, shared).run());
            }
        });
        Self { address, state }
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::SeqCst)
    }

    /// The head of the last request.
    pub fn last_head(&self) -> String {
        self.state.heads.lock().unwrap().last().cloned().unwrap_or_default()
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        _ = TcpStream::connect(self.address);
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    state: Arc<State>,
}

impl Connection {
    fn new(stream: TcpStream, state: Arc<State>) -> Self {
        stream.set_nodelay(true).unwrap();
        Self { stream, buffer: Vec::new(), state }
    }

    fn run(mut self) {
        while let Some(head) = self.head() {
            let path = head.split(' ').nth(1).unwrap_or("/").to_owned();
            if path != "/health" {
                self.state.requests.fetch_add(1, Ordering::SeqCst);
                self.state.heads.lock().unwrap().push(head.clone());
            }
            if !self.goes_on(&path) {
                return;
            }
            if !self.serve(&path, &head) {
                return;
            }
            let close_after = self.state.close_after.load(Ordering::SeqCst);
            if close_after > 0 && path != "/health" {
                thread::sleep(Duration::from_millis(close_after));
                _ = self.stream.shutdown(Shutdown::Both);
                self.state.closed.fetch_add(1, Ordering::SeqCst);
                return;
            }
        }
    }

    /// Waits until it stands still no more; false if the connection is closed meanwhile.
    fn goes_on(&mut self, path: &str) -> bool {
        if !self.state.stalled.load(Ordering::SeqCst) {
            return true;
        }
        self.stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        while self.state.stalled.load(Ordering::SeqCst) {
            let silent = |error: &std::io::Error| {
                [ErrorKind::WouldBlock, ErrorKind::TimedOut].contains(&error.kind())
            };
            match self.stream.peek(&mut [0]) {
                Ok(1..) => thread::sleep(Duration::from_millis(20)),
                Err(error) if silent(&error) => {}
                Ok(_) | Err(_) => {
                    let counts = u64::from(path != "/health");
                    self.state.cancelled.fetch_add(counts, Ordering::SeqCst);
                    return false;
                }
            }
        }
        self.stream.set_read_timeout(None).unwrap();
        true
    }

    /// The next head, without its empty line.
    fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                let head: Vec<u8> = self.buffer.drain(..end + 4).collect();
                return Some(String::from_utf8_lossy(&head[..end]).into_owned());
            }
            self.fill()?;
        }
    }

    fn fill(&mut self) -> Option<()> {
        let mut chunk = vec![0; 64 * 1024];
        let read = self.stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        self.buffer.extend_from_slice(&chunk[..read]);
        Some(())
    }

    fn write(&mut self, text: &str) -> bool {
        self.stream.write_all(text.as_bytes()).is_ok()
    }

    /// Writes, and ends the connection.
    fn last(&mut self, text: &str) -> bool {
        self.write(text);
        false
    }

    /// Answers; false ends the connection.
    #[allow(clippy::too_many_lines, reason = "a table of paths")]
    fn serve(&mut self, path: &str, head: &str) -> bool {
        thread::sleep(Duration::from_millis(self.state.delay.load(Ordering::SeqCst)));
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let number = query.parse::<usize>().unwrap_or(0);
        match path {
            "/redirect" => {
                self.write("HTTP/1.1 302 Found\r\nlocation: /login?x\r\ncontent-length: 0\r\n\r\n")
            }
            "/chunked" => {
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                self.write(head)
                    && self.write("5\r\nhello\r\n")
                    && self.write("6\r\n world\r\n0\r\n\r\n")
            }
            "/trailers" => self.write(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntrailer: x-sum\r\n\r\n\
                 2\r\nok\r\n0\r\nx-sum: 42\r\n\r\n",
            ),
            "/bad-trailers" => self.write(
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\
                 x-sum: 42\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\
                 set-cookie: a=1\r\nx-weir-version: 9\r\n\r\n",
            ),
            "/grpc" | "/grpc-head" | "/grpc-silent" | "/grpc-stream" => {
                self.body(head).is_some() && self.call(path, number)
            }
            "/socket" => {
                let key = field(head, "sec-websocket-key:").unwrap_or_default();
                let accept = accepts(&key);
                let protocol = field(head, "sec-websocket-protocol:");
                let protocol = protocol
                    .map_or(String::new(), |name| format!("sec-websocket-protocol: {name}\r\n"));
                self.write(&format!(
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                     upgrade: websocket\r\nsec-websocket-accept: {accept}\r\n{protocol}\r\n"
                ));
                self.echo()
            }
            "/eof" => self.last("HTTP/1.1 200 OK\r\n\r\nuntil the end"),
            "/empty" => self.write("HTTP/1.1 204 No Content\r\n\r\n"),
            "/unmodified" => self.write("HTTP/1.1 304 Not Modified\r\netag: \"a\"\r\n\r\n"),
            "/early" => {
                self.write("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n") && {
                    thread::sleep(Duration::from_millis(number as u64));
                    self.plain(200, "ok")
                }
            }
            "/both" => self.write(
                "HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n\
                 5\r\nhello\r\n0\r\n\r\n",
            ),
            "/cookie" => self.write(
                "HTTP/1.1 200 OK\r\nset-cookie: a=1\r\nset-cookie: b=2\r\nconnection: x-hop\r\n\
                 x-hop: 1\r\nkeep-alive: timeout=5\r\ncontent-length: 0\r\n\r\n",
            ),
            "/public" => self.write(
                "HTTP/1.1 200 OK\r\ncache-control: Public, max-age=60\r\ncontent-length: 0\r\n\r\n",
            ),
            // An event every so many milliseconds.
            "/events" => {
                let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\
                            transfer-encoding: chunked\r\n\r\n";
                let mut open = self.write(head);
                while open {
                    open = self.write("9\r\ndata: 1\n\n\r\n");
                    thread::sleep(Duration::from_millis(number as u64));
                }
                self.state.cancelled.fetch_add(1, Ordering::SeqCst);
                false
            }
            "/big" => self.big(number),
            "/counted" => self.counted(number, number),
            // Half of it, and nothing more.
            "/stalled" => {
                self.counted(number, number / 2);
                while self.fill().is_some() {}
                false
            }
            // Half of it, and then the connection ends.
            "/half-counted" => {
                self.counted(number, number / 2);
                false
            }
            "/sink" => self.sink(head),
            "/refuse-body" => {
                self.last("HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n")
            }
            "/tunnel" | "/other-tunnel" => {
                let protocol = if path == "/tunnel" { "websocket" } else { "other" };
                self.write(&format!(
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                     upgrade: {protocol}\r\n\r\n"
                ));
                self.echo()
            }
            // Once the other side has ended, a byte every tenth of a second for so many milliseconds.
            "/last-words" => {
                self.write(
                    "HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\n\
                     upgrade: other\r\n\r\n",
                );
                while self.fill().is_some() {}
                let words = (0..number / 100).all(|_| {
                    thread::sleep(Duration::from_millis(100));
                    self.write("x")
                });
                words && self.last("over")
            }
            "/hang" | "/slow" | "/status" | "/close" | "/garbage" | "/cut" | "/cut-chunk" => {
                self.misbehave(path, number)
            }
            _ => {
                let requests = self.state.requests.load(Ordering::SeqCst);
                let fails = requests % 100 < self.state.failing.load(Ordering::SeqCst);
                let text = format!("{}\n{head}\n", self.state.version);
                self.body(head).is_some()
                    && self.answer(if fails { 500 } else { 200 }, &text, head.starts_with("HEAD"))
            }
        }
    }

    /// Answers a call of gRPC with the status `number`; a stream with a message every so many
    /// milliseconds.
    fn call(&mut self, path: &str, number: usize) -> bool {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\n";
        let chunked = format!("{head}transfer-encoding: chunked\r\n\r\n");
        match path {
            "/grpc" => self
                .write(&format!("{chunked}5\r\n\0\0\0\0\0\r\n0\r\ngrpc-status: {number}\r\n\r\n")),
            "/grpc-head" => {
                self.write(&format!("{head}grpc-status: {number}\r\ncontent-length: 0\r\n\r\n"))
            }
            "/grpc-silent" => self.write(&format!("{chunked}5\r\n\0\0\0\0\0\r\n0\r\n\r\n")),
            _ => {
                let mut open = self.write(&chunked);
                while open {
                    open = self.write("5\r\n\0\0\0\0\0\r\n");
                    thread::sleep(Duration::from_millis(number as u64));
                }
                self.state.cancelled.fetch_add(1, Ordering::SeqCst);
                false
            }
        }
    }

    fn misbehave(&mut self, path: &str, number: usize) -> bool {
        match path {
            // Never answers; notices when the connection is closed.
            "/hang" => {
                while self.fill().is_some() {}
                self.state.cancelled.fetch_add(1, Ordering::SeqCst);
                false
            }
            "/slow" => {
                thread::sleep(Duration::from_millis(number as u64));
                self.plain(200, "slow")
            }
            "/status" => self.plain(u16::try_from(number).unwrap(), "as asked"),
            "/cut" => self.last("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf"),
            "/cut-chunk" => {
                let head = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n";
                self.write(head) && self.last("5\r\nhello\r\n")
            }
            "/garbage" => self.last("SSH-2.0-OpenSSH_9.2\r\n\r\n"),
            _ => false,
        }
    }

    fn plain(&mut self, status: u16, text: &str) -> bool {
        self.answer(status, text, false)
    }

    fn answer(&mut self, status: u16, text: &str, without_body: bool) -> bool {
        let length = text.len();
        let version = self.state.version.clone();
        let head = format!(
            "HTTP/1.1 {status} As Asked\r\nx-version: {version}\r\ncontent-length: {length}\r\n\r\n"
        );
        self.write(&if without_body { head } else { head + text })
    }

    fn big(&mut self, bytes: usize) -> bool {
        let chunk = vec![b'x'; 64 * 1024];
        let mut open = self.write(&format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n"));
        let mut left = bytes;
        while open && left > 0 {
            let part = left.min(chunk.len());
            open = self.stream.write_all(&chunk[..part]).is_ok();
            left -= part;
            if open {
                self.state.body_bytes.fetch_add(part as u64, Ordering::SeqCst);
            }
        }
        open
    }

    /// A body in which each byte tells its place, and so many bytes of it.
    fn counted(&mut self, bytes: usize, sent: usize) -> bool {
        let body = counted(sent);
        self.write(&format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n"))
            && self.stream.write_all(&body).is_ok()
    }

    /// Reads the body and says how long it was, and its trailers.
    fn sink(&mut self, head: &str) -> bool {
        let Some((bytes, trailers)) = self.body(head) else {
            self.state.cancelled.fetch_add(1, Ordering::SeqCst);
            return false;
        };
        self.plain(200, &format!("{bytes} {trailers}"))
    }

    fn body(&mut self, head: &str) -> Option<(usize, String)> {
        if let Some(length) = field(head, "content-length:") {
            let length: usize = length.parse().unwrap();
            let mut read = 0;
            while read < length {
                if self.buffer.is_empty() {
                    self.fill()?;
                }
                let part = self.buffer.len().min(length - read);
                self.buffer.drain(..part);
                read += part;
                self.state.body_bytes.fetch_add(part as u64, Ordering::SeqCst);
            }
            return Some((length, String::new()));
        }
        if field(head, "transfer-encoding:").is_none() {
            return Some((0, String::new()));
        }
        self.chunks()
    }

    fn chunks(&mut self) -> Option<(usize, String)> {
        let mut total = 0;
        loop {
            let size = usize::from_str_radix(self.line()?.trim(), 16).unwrap();
            if size == 0 {
                let mut trailers = String::new();
                loop {
                    match self.line()?.trim() {
                        "" => return Some((total, trailers)),
                        line => trailers.push_str(line),
                    }
                }
            }
            while self.buffer.len() < size + 2 {
                self.fill()?;
            }
            self.buffer.drain(..size + 2);
            total += size;
        }
    }

    fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                return Some(String::from_utf8_lossy(&line).into_owned());
            }
            self.fill()?;
        }
    }

    fn echo(&mut self) -> bool {
        loop {
            let bytes = std::mem::take(&mut self.buffer);
            self.state.tunnelled.lock().unwrap().extend_from_slice(&bytes);
            if self.stream.write_all(&bytes).is_err() || self.fill().is_none() {
                self.state.cancelled.fetch_add(1, Ordering::SeqCst);
                return false;
            }
        }
    }
}

/// So many bytes, of which each tells its place.
pub fn counted(bytes: usize) -> Vec<u8> {
    // A prime, so that no two blocks of a power of two are alike.
    (0..bytes).map(|place| u8::try_from(place % 251).unwrap()).collect()
}

/// The field of a head whose line begins with `name`.
fn field(head: &str, name: &str) -> Option<String> {
    let line = head.lines().find(|line| line.to_lowercase().starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim().to_owned())
}

/// What a server of web sockets answers to `key` (RFC 6455, section 1.3).
fn accepts(key: &str) -> String {
    const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let salted = format!("{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    let kind = &aws_lc_rs::digest::SHA1_FOR_LEGACY_USE_ONLY;
    let digest = aws_lc_rs::digest::digest(kind, salted.as_bytes());
    let bits: Vec<String> = digest.as_ref().iter().map(|byte| format!("{byte:08b}")).collect();
    let bits = bits.concat();
    let digits = format!("{bits:0<162}");
    let digit = |six: &[u8]| {
        let six = std::str::from_utf8(six).unwrap();
        char::from(DIGITS[usize::from_str_radix(six, 2).unwrap()])
    };
    let text: String = digits.as_bytes().chunks(6).map(digit).collect();
    text + "="
}
