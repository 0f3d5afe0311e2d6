//! An app of HTTP/1.1 that a test writes as a function from requests to answers.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request without a body.
#[derive(Clone, Debug)]
pub struct Ask {
    /// Its method.
    pub method: String,
    /// Its target.
    pub path: String,
    /// Its head, as it came.
    pub head: String,
}

impl Ask {
    /// The values of all fields `name`.
    pub fn fields(&self, name: &str) -> Vec<&str> {
        let fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let fields = fields.filter(|(field, _)| field.eq_ignore_ascii_case(name));
        fields.map(|(_, value)| value.trim()).collect()
    }

    /// The cookie `name`.
    pub fn cookie(&self, name: &str) -> Option<&str> {
        let pairs = self.fields("cookie").into_iter().flat_map(|line| line.split(';'));
        let mut pairs = pairs.filter_map(|pair| pair.trim().split_once('='));
        pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
    }
}

/// A running app; it ends when it is dropped.
pub struct App {
    /// Where it listens.
    pub address: SocketAddr,
    /// What it was asked, health checks left out.
    pub asked: Arc<Mutex<Vec<Ask>>>,
    stopped: Arc<AtomicBool>,
}

/// An answer with further header `lines`, each ending in CRLF.
pub fn answer(status: u16, lines: &str, body: &str) -> String {
    let length = body.len();
    format!("HTTP/1.1 {status} Said\r\ncontent-length: {length}\r\n{lines}\r\n{body}")
}

impl App {
    /// Starts one that answers with the bytes that `serve` gives, and closes the connection without
    /// a word where it gives none.
    pub fn start(serve: impl Fn(&Ask) -> String + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (serve, asked) = (Arc::new(serve), Arc::<Mutex<Vec<Ask>>>::default());
        let stopped = Arc::new(AtomicBool::new(false));
        let (known, stop) = (Arc::clone(&asked), Arc::clone(&stopped));
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stop.load(Ordering::SeqCst) {
                    return;
                }
                let (serve, known, stop) =
                    (Arc::clone(&serve), Arc::clone(&known), Arc::clone(&stop));
                thread::spawn(move || run(stream.unwrap(), &*serve, &known, &stop));
            }
        });
        Self { address, asked, stopped }
    }

    /// How often it was asked for what begins with `path`.
    pub fn count(&self, path: &str) -> usize {
        self.asked.lock().unwrap().iter().filter(|ask| ask.path.starts_with(path)).count()
    }

    /// Does not answer any more; new connections are refused.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
        _ = TcpStream::connect(self.address);
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.stop();
    }
}

fn run(
    mut stream: TcpStream,
    serve: &dyn Fn(&Ask) -> String,
    known: &Mutex<Vec<Ask>>,
    stop: &AtomicBool,
) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    let mut buffer = Vec::new();
    loop {
        while let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            let head: Vec<u8> = buffer.drain(..end + 4).collect();
            let head = String::from_utf8_lossy(&head).into_owned();
            let mut words = head.split(' ').map(str::to_owned);
            let (method, path) = (words.next()?, words.next()?);
            let ask = Ask { method, path, head };
            if stop.load(Ordering::SeqCst) {
                return None;
            }
            let text = if ask.path == "/health" { answer(200, "", "well") } else { serve(&ask) };
            if ask.path != "/health" {
                known.lock().unwrap().push(ask.clone());
            }
            if text.is_empty() {
                return None;
            }
            let end = text.find("\r\n\r\n").map_or(text.len(), |end| end + 4);
            let sent = if ask.method == "HEAD" { &text[..end] } else { &text };
            stream.write_all(sent.as_bytes()).ok()?;
            if text.starts_with("HTTP/1.1 101") {
                return None;
            }
        }
        let mut chunk = [0; 16 * 1024];
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        buffer.extend_from_slice(&chunk[..read]);
    }
}
