//! Users who come without a pause, on new connections and on kept ones, and remember every answer.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Users of one thread.
const USERS: usize = 40;

/// Good answers of each version that are seen before anything is said of them.
const ANSWERS_SEEN: usize = 20;

/// How long those may take.
const SEEN_WITHIN: Duration = Duration::from_mins(2);

/// What the users met.
#[derive(Debug, Default)]
pub struct Met {
    /// The versions that served each user, in order, repetitions left out.
    pub versions: BTreeMap<usize, Vec<String>>,
    /// Answers.
    pub answers: usize,
    /// Answers on a connection that was used before.
    pub kept: usize,
    /// Answers of the canary.
    pub canary: usize,
    /// Connections that nobody took.
    pub refused: usize,
    /// Requests without a good answer, and why.
    pub failed: Vec<String>,
}

/// Users until they are told to go.
pub struct Crowd {
    now: Arc<Now>,
    threads: Vec<JoinHandle<Met>>,
}

/// What all of them see of each other.
#[derive(Debug, Default)]
struct Now {
    stop: AtomicBool,
    stable: AtomicUsize,
    canary: AtomicUsize,
}

impl Crowd {
    /// Four threads of users: two connect anew for each request, two keep their connections.
    pub fn enter(door: SocketAddr) -> Self {
        let now = Arc::<Now>::default();
        let user = |thread: usize| {
            let now = Arc::clone(&now);
            std::thread::spawn(move || visits(door, thread, &now))
        };
        Self { threads: (0..4).map(user).collect(), now }
    }

    /// Waits until both versions have answered some more requests, from here on.
    pub fn is_served(&self) {
        let seen = || [&self.now.stable, &self.now.canary].map(|seen| seen.load(Ordering::Relaxed));
        let (before, since) = (seen(), Instant::now());
        while seen().iter().zip(before).any(|(now, before)| now - before < ANSWERS_SEEN) {
            assert!(since.elapsed() < SEEN_WITHIN, "{:?} of both versions", seen());
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What they met.
    pub fn leave(mut self) -> Met {
        self.now.stop.store(true, Ordering::Relaxed);
        let mut all = Met::default();
        for thread in self.threads.drain(..) {
            let met = thread.join().expect("a user");
            all.versions.extend(met.versions);
            all.answers += met.answers;
            all.kept += met.kept;
            all.canary += met.canary;
            all.refused += met.refused;
            all.failed.extend(met.failed);
        }
        all
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.now.stop.store(true, Ordering::Relaxed);
    }
}

impl Met {
    /// Users who were served by more than one version.
    pub fn moved(&self) -> Vec<(&usize, &Vec<String>)> {
        self.versions.iter().filter(|(_, versions)| versions.len() > 1).collect()
    }
}

fn visits(door: SocketAddr, thread: usize, now: &Now) -> Met {
    let (mut met, mut kept) = (Met::default(), None);
    let keeps = thread % 2 == 1;
    for turn in 0.. {
        if now.stop.load(Ordering::Relaxed) {
            return met;
        }
        let user = thread * 1_000 + turn % USERS;
        let again = kept.is_some();
        match visit(door, user, &mut kept, keeps) {
            Ok(version) => {
                met.answers += 1;
                met.kept += usize::from(again);
                let canary = version == "1.1.0";
                met.canary += usize::from(canary);
                let seen = if canary { &now.canary } else { &now.stable };
                seen.fetch_add(1, Ordering::Relaxed);
                let versions = met.versions.entry(user).or_default();
                if versions.last() != Some(&version) {
                    versions.push(version);
                }
            }
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
                met.refused += 1;
                std::thread::sleep(Duration::from_millis(5));
            }
            Err(error) => {
                let how = if again { "a kept" } else { "a new" };
                met.failed.push(format!("on {how} connection: {error}"));
                kept = None;
            }
        }
    }
    met
}

/// One request; the version that answered. The connection is kept where both sides like to.
fn visit(
    door: SocketAddr,
    user: usize,
    kept: &mut Option<TcpStream>,
    keeps: bool,
) -> std::io::Result<String> {
    let connect = || {
        let stream = TcpStream::connect(door)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_mins(1)))?;
        Ok::<_, std::io::Error>(stream)
    };
    let mut stream = kept.take().map_or_else(connect, Ok)?;
    let close = if keeps { "" } else { "connection: close\r\n" };
    write!(stream, "GET / HTTP/1.1\r\nhost: app\r\ncookie: uid=user-{user}\r\n{close}\r\n")?;
    let since = Instant::now();
    let (mut text, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        if let Some((version, last)) = answer(&text)? {
            *kept = Some(stream).filter(|_| keeps && !last);
            return Ok(version);
        }
        let read = stream.read(&mut chunk)?;
        if read == 0 {
            let after = since.elapsed();
            let what = format!("closed after {} bytes and {after:?}", text.len());
            return Err(std::io::Error::new(ErrorKind::UnexpectedEof, what));
        }
        text.extend_from_slice(&chunk[..read]);
    }
}

/// The version that a whole answer is of, and whether it is the last on its connection.
fn answer(text: &[u8]) -> std::io::Result<Option<(String, bool)>> {
    let text = String::from_utf8_lossy(text);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return Ok(None) };
    let head = head.to_ascii_lowercase();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
    let length: usize = length.and_then(|text| text.parse().ok()).unwrap_or(0);
    if body.len() < length {
        return Ok(None);
    }
    if !head.starts_with("http/1.1 200") {
        return Err(std::io::Error::other(head));
    }
    let version = body.lines().next().unwrap_or_default().to_owned();
    Ok(Some((version, head.contains("connection: close"))))
}
