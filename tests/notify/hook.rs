//! A receiver of webhooks that keeps what it gets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// A request that was answered well.
#[derive(Clone, Debug)]
pub struct Letter {
    pub head: String,
    pub body: String,
}

impl Letter {
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().skip(1).filter_map(|line| line.split_once(':'));
        let found = fields.find(|(field, _)| field.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.trim())
    }

    fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).expect("JSON")
    }
}

/// A receiver; its thread ends with the test.
pub struct Hook {
    pub address: SocketAddr,
    letters: Arc<Mutex<Vec<Letter>>>,
    status: Arc<AtomicU16>,
    tries: Arc<AtomicUsize>,
}

impl Hook {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let hook = Self {
            address: listener.local_addr().unwrap(),
            letters: Arc::default(),
            status: Arc::new(AtomicU16::new(200)),
            tries: Arc::default(),
        };
        let (letters, status, tries) =
            (Arc::clone(&hook.letters), Arc::clone(&hook.status), Arc::clone(&hook.tries));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let Some(letter) = take(&stream) else { continue };
                let status = status.load(Ordering::SeqCst);
                if status < 300 {
                    letters.lock().unwrap().push(letter);
                }
                tries.fetch_add(1, Ordering::SeqCst);
                let answer = format!("HTTP/1.1 {status} Said\r\ncontent-length: 2\r\n\r\nok");
                let _ = (&stream).write_all(answer.as_bytes());
            }
        });
        hook
    }

    /// Answers with `status` from now on.
    pub fn answers(&self, status: u16) {
        self.status.store(status, Ordering::SeqCst);
    }

    pub fn tries(&self) -> usize {
        self.tries.load(Ordering::SeqCst)
    }

    pub fn letters(&self) -> Vec<Letter> {
        self.letters.lock().unwrap().clone()
    }

    /// The names of the events, as they came.
    pub fn events(&self) -> Vec<String> {
        let event = |letter: &Letter| letter.json()["event"].as_str().unwrap().to_owned();
        self.letters().iter().map(event).collect()
    }

    /// The ids, each once.
    pub fn ids(&self) -> std::collections::BTreeSet<String> {
        let id = |letter: &Letter| letter.field("webhook-id").unwrap().to_owned();
        self.letters().iter().map(id).collect()
    }

    /// The places of the records, as they came.
    pub fn places(&self) -> Vec<u64> {
        let places = |letter: &Letter| {
            let records = letter.json()["records"].clone();
            let records = records.as_array().unwrap().clone();
            records.iter().map(|record| record["seq"].as_u64().unwrap()).collect::<Vec<_>>()
        };
        self.letters().iter().flat_map(places).collect()
    }
}

fn take(mut stream: &TcpStream) -> Option<Letter> {
    let mut text = String::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let letter = Letter { head: head.to_owned(), body: body.to_owned() };
            let length: usize = letter.field("content-length")?.parse().ok()?;
            if body.len() >= length {
                return Some(letter);
            }
        }
        let read = stream.read(&mut chunk).ok().filter(|read| *read > 0)?;
        text.push_str(std::str::from_utf8(&chunk[..read]).ok()?);
    }
}
