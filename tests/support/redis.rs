//! A real Redis with nothing in it, in a directory of its own, gone at the end.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::program::free_address;

/// How long it may take until it answers.
const READY_MAX: Duration = Duration::from_mins(2);

/// A running `redis-server`.
pub struct Redis {
    child: Child,
    /// Where it listens.
    pub address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Redis {
    /// Starts it, with events of keys, and `more` arguments.
    pub fn start(more: &[&str]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let address = free_address();
        let child = Command::new("redis-server")
            .args(["--bind", "127.0.0.1", "--save", "", "--notify-keyspace-events", "KEA"])
            .args(["--port", &address.port().to_string()])
            .arg("--dir")
            .arg(directory.path())
            .args(more)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("redis-server starts; tests/run installs it");
        let since = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(since.elapsed() < READY_MAX, "redis-server does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self { child, address, _directory: directory }
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        self.kill();
    }
}
