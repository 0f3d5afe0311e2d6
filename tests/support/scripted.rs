//! Servers that answer byte for byte what a test has written down: one of HTTP/1.1, which keeps all
//! that it gets, and one of HTTP/2.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::http2_client::{ACK, HEADERS, PING, PREFACE, SETTINGS, frame};

/// What the server of HTTP/1.1 answers unless a test says otherwise.
const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/// A server of HTTP/1.1.
pub struct Scripted {
    /// Where it listens.
    pub address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    /// All bytes that came in, by connection.
    came: Mutex<Vec<Vec<u8>>>,
    /// What is answered, and then the connection is closed.
    answer: Mutex<Option<Vec<u8>>>,
}

impl Scripted {
    /// Starts one.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::<State>::default();
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, state) = (stream.unwrap(), Arc::clone(&shared));
                thread::spawn(move || state.serve(stream));
            }
        });
        Self { address, state }
    }

    /// Answers each request with `bytes` from now on, and closes.
    pub fn answers(&self, bytes: &[u8]) {
        *self.state.answer.lock().unwrap() = Some(bytes.to_vec());
    }

    /// Answers as it did at first.
    pub fn answers_plainly(&self) {
        *self.state.answer.lock().unwrap() = None;
    }

    /// What came in since the last look, by connection.
    pub fn came(&self) -> Vec<Vec<u8>> {
        let mut came = self.state.came.lock().unwrap();
        came.iter_mut().map(std::mem::take).filter(|bytes| !bytes.is_empty()).collect()
    }
}

impl State {
    fn serve(&self, mut stream: TcpStream) {
        let place = {
            let mut came = self.came.lock().unwrap();
            came.push(Vec::new());
            came.len() - 1
        };
        let mut request = Vec::new();
        let mut chunk = [0; 16 * 1024];
        while let Ok(read @ 1..) = stream.read(&mut chunk) {
            self.came.lock().unwrap()[place].extend(&chunk[..read]);
            request.extend(&chunk[..read]);
            while let Some(length) = whole(&request) {
                request.drain(..length);
                let answer = self.answer.lock().unwrap().clone();
                let written = stream.write_all(answer.as_deref().unwrap_or(PLAIN));
                if answer.is_some() || written.is_err() {
                    return;
                }
            }
        }
    }
}

/// How long the request is that `bytes` begin with, if all of it is there: as RFC 9112, section 6
/// says it, and nothing else.
pub fn whole(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
    let field = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().to_owned())
    };
    if let Some(coding) = field("transfer-encoding:") {
        assert_eq!((coding.as_str(), field("content-length:")), ("chunked", None), "{text}");
        let mut at = head;
        loop {
            let line = bytes[at..].windows(2).position(|two| two == b"\r\n")?;
            let size = std::str::from_utf8(&bytes[at..at + line]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap();
            at += line + 2;
            if size == 0 {
                break;
            }
            at += size + 2;
            bytes.get(..at)?;
        }
        loop {
            let line = bytes[at..].windows(2).position(|two| two == b"\r\n")?;
            at += line + 2;
            if line == 0 {
                return Some(at);
            }
        }
    }
    let length = field("content-length:").map_or(0, |length| length.parse::<usize>().unwrap());
    bytes.get(..head + length).map(<[u8]>::len)
}

/// Frames of an answer: kind, flags, payload.
pub type Frames = Vec<(u8, u8, Vec<u8>)>;

/// A server of HTTP/2 without TLS.
pub struct Scripted2 {
    /// Where it listens.
    pub address: SocketAddr,
    answer: Arc<Mutex<Frames>>,
}

impl Scripted2 {
    /// Starts one.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let answer = Arc::<Mutex<Frames>>::default();
        let shared = Arc::clone(&answer);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, answer) = (stream.unwrap(), Arc::clone(&shared));
                thread::spawn(move || serve(stream, &answer));
            }
        });
        Self { address, answer }
    }

    /// Answers each request with `frames` from now on.
    pub fn answers(&self, frames: Frames) {
        *self.answer.lock().unwrap() = frames;
    }
}

fn serve(mut stream: TcpStream, answer: &Mutex<Frames>) -> Option<()> {
    stream.read_exact(&mut [0; PREFACE.len()]).ok()?;
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).ok()?;
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).ok()?;
        let (kind, flags) = (head[3], head[4]);
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let id = u32::from_be_bytes(head[5..].try_into().unwrap());
        let mut payload = vec![0; length as usize];
        stream.read_exact(&mut payload).ok()?;
        let reply = match kind {
            SETTINGS if flags & ACK == 0 => frame(SETTINGS, ACK, 0, &[]),
            PING if flags & ACK == 0 => frame(PING, ACK, 0, &payload),
            HEADERS => {
                let frames = answer.lock().unwrap().clone();
                frames
                    .iter()
                    .flat_map(|(kind, flags, payload)| frame(*kind, *flags, id, payload))
                    .collect()
            }
            _ => continue,
        };
        stream.write_all(&reply).ok()?;
    }
}
