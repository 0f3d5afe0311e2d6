//! Stands between two processes that hand over, and holds one of their messages, so that either
//! can be ended just there.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};
use tokio::runtime::Builder;
use weir::handover::wire::Link;

/// What is waited for at most.
const WAIT_MAX: Duration = Duration::from_mins(2);

/// The relay, until the two have parted.
pub struct Relay {
    path: PathBuf,
    held: mpsc::Receiver<()>,
    go: mpsc::Sender<bool>,
    thread: Option<JoinHandle<Vec<String>>>,
}

impl Relay {
    /// Takes the place of the socket beside `journal`, and holds the message `say`.
    pub fn at(journal: &Path, say: &'static str) -> Self {
        let path = weir::handover::place(journal).expect("a path");
        let real = path.with_extension("real");
        std::fs::rename(&path, &real).expect("the socket of a running weir");
        let listener = listen(&path);
        let (told, held) = mpsc::channel();
        let (go, may_go) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(pass(listener, &real, say, &told, &may_go))
        });
        Self { path, held, go, thread: Some(thread) }
    }

    /// Waits until the message is held.
    pub fn wait(&self) {
        self.held.recv_timeout(WAIT_MAX).expect("the message comes");
    }

    /// Lets the message go.
    pub fn release(&self) {
        _ = self.go.send(true);
    }

    /// Puts the socket back, and tells what was said, and before it `proofs` where there were some. A
    /// message that is held is lost.
    pub fn end(mut self) -> Vec<String> {
        let real = self.path.with_extension("real");
        // While the message is held: an heir that learns of the death of the other makes a socket
        // of its own there, which is not to be replaced by the dead one.
        if real.exists() {
            _ = std::fs::rename(real, &self.path);
        }
        _ = self.go.send(false);
        self.thread.take().expect("once").join().expect("no panic")
    }
}

/// A socket like that beside a journal.
pub fn listen(path: &Path) -> UnixListener {
    let socket = Socket::new(Domain::UNIX, Type::SEQPACKET, None).expect("a socket");
    socket.set_nonblocking(true).expect("a socket");
    socket.bind(&SockAddr::unix(path).expect("a path")).expect("a free path");
    socket.listen(8).expect("a socket");
    socket.into()
}

async fn pass(
    listener: UnixListener,
    real: &Path,
    say: &str,
    told: &mpsc::Sender<()>,
    may_go: &mpsc::Receiver<bool>,
) -> Vec<String> {
    let mut said = Vec::new();
    let listener = tokio::net::UnixListener::from_std(listener).expect("a listener");
    let accepted = tokio::time::timeout(WAIT_MAX, listener.accept()).await.expect("an heir");
    let heir = Link::new(accepted.expect("an heir").0);
    let old = Link::to(real).expect("the real socket");
    loop {
        let (message, to) = tokio::select! {
            message = heir.receive::<Value>() => (message, &old),
            message = old.receive::<Value>() => (message, &heir),
        };
        let Ok(Some((message, sockets))) = message else { return said };
        let word = message["say"].as_str().unwrap_or_default().to_owned();
        if word == say {
            told.send(()).expect("the test waits");
            // The runtime has nothing else to do.
            if may_go.recv_timeout(WAIT_MAX) != Ok(true) {
                return said;
            }
        }
        if message["proofs"].as_object().is_some_and(|proofs| !proofs.is_empty()) {
            said.push("proofs".to_owned());
        }
        said.push(word);
        let sockets: Vec<OwnedFd> = sockets;
        if to.send(&message, &sockets).await.is_err() {
            return said;
        }
    }
}
