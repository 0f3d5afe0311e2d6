//! nginx, HAProxy and Weir, each in front of servers that record what reaches them.

use std::any::Any;
use std::fmt::Write as _;
use std::io::{ErrorKind, Read, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use super::reader::{End, read};
use crate::support::program::{Program, free_address};

/// Requests that are sent at the same time.
pub const LANES: usize = 6;

/// How long a server waits for the rest of a request. No law depends on it: who waits has neither
/// refused nor passed.
const PATIENCE: Duration = Duration::from_millis(900);

/// How long an exchange may take before it counts as waiting.
const EXCHANGE: Duration = Duration::from_secs(3);

/// What is sent behind each request, to see where the servers find its end.
pub const TAIL: &[u8] = b"GET /tail HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n";

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It reached the server behind, whole.
    Passed,
    /// It was answered by the proxy, or the connection closed.
    Refused,
    /// The proxy waited for more of it.
    Waited,
}

/// What one proxy made of a request.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// In one word.
    pub fate: Fate,
    /// What reached the server behind, one connection after the other.
    pub received: Vec<Vec<u8>>,
    /// The status of each answer.
    pub statuses: Vec<u16>,
}

/// A server that takes one request a connection, answers, and records all bytes.
pub struct Recorder {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    connections: Mutex<Vec<Arc<Mutex<Vec<u8>>>>>,
    open: AtomicUsize,
    stopped: AtomicBool,
}

impl Recorder {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if shared.stopped.load(Ordering::SeqCst) {
                    return;
                }
                let (stream, shared) = (stream.unwrap(), Arc::clone(&shared));
                shared.open.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || {
                    record(stream, &shared);
                    shared.open.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
        Self { address, state }
    }

    /// What came since the last time, once nothing more comes.
    fn take(&self) -> Vec<Vec<u8>> {
        let start = Instant::now();
        while self.state.open.load(Ordering::SeqCst) > 0 && start.elapsed() < EXCHANGE {
            thread::sleep(Duration::from_millis(1));
        }
        let connections = std::mem::take(&mut *self.state.connections.lock().unwrap());
        connections.iter().map(|bytes| bytes.lock().unwrap().clone()).collect()
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.state.stopped.store(true, Ordering::SeqCst);
        _ = TcpStream::connect(self.address);
    }
}

fn record(mut stream: TcpStream, state: &State) {
    stream.set_read_timeout(Some(EXCHANGE)).unwrap();
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let (mut chunk, mut answered) = ([0; 16 * 1024], false);
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        let mut bytes_now = bytes.lock().unwrap();
        if bytes_now.is_empty() {
            // A check of health sends nothing.
            state.connections.lock().unwrap().push(Arc::clone(&bytes));
        }
        bytes_now.extend_from_slice(&chunk[..count]);
        if !answered && is_whole(&bytes_now) {
            answered = true;
            drop(bytes_now);
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
            _ = stream.write_all(answer);
            _ = stream.shutdown(Shutdown::Write);
        }
    }
}

/// Whether a server would answer by now.
fn is_whole(bytes: &[u8]) -> bool {
    let (requests, end) = read(bytes);
    match end {
        End::Clean => true,
        End::Early => !requests.is_empty(),
        End::Wrong(_) => bytes.windows(4).any(|four| four == b"\r\n\r\n"),
    }
}

/// A proxy, one port and one server behind it for each lane.
pub struct Proxy {
    ports: Vec<SocketAddr>,
    behind: Vec<Recorder>,
    _running: Running,
}

/// What ends a program when it is dropped.
type Running = Box<dyn Any + Send + Sync>;

/// A process that is killed at the end.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        _ = self.0.kill();
        _ = self.0.wait();
    }
}

impl Proxy {
    fn start(name: &str, run: impl FnOnce(&[(SocketAddr, SocketAddr)]) -> Running) -> Self {
        let behind: Vec<Recorder> = (0..LANES).map(|_| Recorder::start()).collect();
        let ports: Vec<SocketAddr> = (0..LANES).map(|_| free_address()).collect();
        let lanes: Vec<_> =
            ports.iter().zip(&behind).map(|(port, behind)| (*port, behind.address)).collect();
        let running = run(&lanes);
        let start = Instant::now();
        for port in &ports {
            while TcpStream::connect(port).is_err() {
                assert!(start.elapsed() < Duration::from_mins(2), "{name} does not listen");
                thread::sleep(Duration::from_millis(10));
            }
        }
        for recorder in &behind {
            recorder.take();
        }
        Self { ports, behind, _running: running }
    }

    /// nginx, as Debian has it.
    pub fn nginx() -> Self {
        Self::start("nginx", |lanes| {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().display().to_string();
            let mut http = String::new();
            for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
                _ = writeln!(http, "{kind}_temp_path {path}/{kind};");
            }
            for kind in ["client_header_timeout", "client_body_timeout", "keepalive_timeout"] {
                _ = writeln!(http, "{kind} {}ms;", PATIENCE.as_millis());
            }
            for (port, behind) in lanes {
                _ = writeln!(
                    http,
                    "server {{ listen {port}; location / {{ proxy_pass http://{behind}; \
                     proxy_http_version 1.1; proxy_set_header Host $http_host; }} }}"
                );
            }
            let file = format!(
                "daemon off; master_process off; worker_processes 1; pid {path}/pid;\n\
                 error_log {path}/error.log; events {{ worker_connections 512; }}\n\
                 http {{ access_log off; lingering_timeout 100ms;\n{http}}}\n"
            );
            let place = directory.path().join("nginx.conf");
            std::fs::write(&place, file).unwrap();
            spawn("nginx", &["-p", &path, "-c"], &place, directory)
        })
    }

    /// HAProxy, as Debian has it.
    pub fn haproxy() -> Self {
        Self::start("haproxy", |lanes| {
            let directory = tempfile::tempdir().unwrap();
            let patience = PATIENCE.as_millis();
            let mut file = format!(
                "global\n maxconn 500\n nbthread 1\ndefaults\n mode http\n timeout connect 5s\n \
                 timeout server 10s\n timeout client {patience}ms\n \
                 timeout http-request {patience}ms\n timeout http-keep-alive {patience}ms\n \
                 http-reuse never\n"
            );
            for (lane, (port, behind)) in lanes.iter().enumerate() {
                _ = writeln!(file, "listen lane{lane}\n bind {port}\n server app {behind}");
            }
            let place = directory.path().join("haproxy.cfg");
            std::fs::write(&place, file).unwrap();
            spawn("haproxy", &["-db", "-f"], &place, directory)
        })
    }

    /// The program itself.
    pub fn weir() -> Self {
        Self::start("weir", |lanes| {
            let mut file = "[admin]\nlisten = \"ADMIN\"\n".to_owned();
            let patience = PATIENCE.as_millis();
            for (lane, (port, behind)) in lanes.iter().enumerate() {
                _ = writeln!(
                    file,
                    "[[tier]]\nname = \"lane{lane}\"\nlisten = \"{port}\"\nstable = \"1.0\"\n\
                     releases = [{{ version = \"1.0\", upstreams = [\"{behind}\"] }}]\n\
                     [tier.timeouts]\nrequest_head = \"{patience}ms\"\n\
                     client_idle = \"{patience}ms\"\nbody_idle = \"{patience}ms\""
                );
            }
            Box::new(Program::start(&file))
        })
    }

    /// Sends `request` and [`TAIL`] on one of the lanes; nobody else may use it meanwhile.
    pub fn ask(&self, lane: usize, request: &[u8]) -> Outcome {
        let mut client = TcpStream::connect(self.ports[lane]).unwrap();
        client.set_nodelay(true).unwrap();
        // Who refuses closes, maybe before all is sent.
        let sent = client.write_all(&[request, TAIL].concat());
        let (answer, closed) = if sent.is_ok() { answers(&mut client) } else { (vec![], true) };
        drop(client);
        let received = self.behind[lane].take();
        let statuses = statuses(&answer);
        let passed =
            received.iter().any(|bytes| is_whole(bytes) && !bytes.starts_with(b"GET /tail "));
        let first = statuses.iter().find(|status| **status >= 200);
        let fate = match first {
            _ if passed => Fate::Passed,
            // Its patience was at an end.
            Some(408) => Fate::Waited,
            Some(_) => Fate::Refused,
            None if closed => Fate::Refused,
            None => Fate::Waited,
        };
        Outcome { fate, received, statuses }
    }
}

fn spawn(program: &str, arguments: &[&str], file: &Path, directory: tempfile::TempDir) -> Running {
    // Debian has both where only root looks.
    let path = format!("{}:/usr/sbin", std::env::var("PATH").unwrap_or_default());
    let mut command = Command::new("/usr/bin/env");
    command.arg(program).args(arguments).arg(file).env("PATH", path);
    let log = std::fs::File::create(directory.path().join("log")).unwrap();
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Box::new((Killed(command.spawn().unwrap()), directory))
}

/// All that is answered, and whether the other side has closed.
fn answers(client: &mut TcpStream) -> (Vec<u8>, bool) {
    let (start, mut answers) = (Instant::now(), Vec::new());
    let mut chunk = [0; 16 * 1024];
    loop {
        let Some(left) = EXCHANGE.checked_sub(start.elapsed()).filter(|left| !left.is_zero())
        else {
            return (answers, false);
        };
        client.set_read_timeout(Some(left)).unwrap();
        match client.read(&mut chunk) {
            Ok(0) => return (answers, true),
            Ok(count) => answers.extend_from_slice(&chunk[..count]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return (answers, false),
            Err(_) => return (answers, true),
        }
    }
}

fn statuses(answers: &[u8]) -> Vec<u16> {
    let starts = (0..answers.len()).filter(|at| answers[*at..].starts_with(b"HTTP/1."));
    let status = |at: usize| std::str::from_utf8(answers.get(at + 9..at + 12)?).ok()?.parse().ok();
    starts.filter_map(status).collect()
}
