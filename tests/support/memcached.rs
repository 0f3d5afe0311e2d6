//! A real memcached with nothing in it, gone at the end.

use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::program::free_address;

/// How long it may take until it answers.
const READY_MAX: Duration = Duration::from_mins(2);

/// A running `memcached`.
pub struct Memcached {
    child: Option<Child>,
    /// Where it listens.
    pub address: SocketAddr,
    arguments: Vec<String>,
}

impl Memcached {
    /// Starts it with `more` arguments.
    pub fn start(more: &[&str]) -> Self {
        let arguments = more.iter().map(|text| (*text).to_owned()).collect();
        let mut started = Self { child: None, address: free_address(), arguments };
        started.restart();
        started
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it anew, with nothing in it.
    pub fn restart(&mut self) {
        self.kill();
        let child = Command::new("memcached")
            .args(["-l", "127.0.0.1", "-U", "0", "-m", "256"])
            // Only heard as root.
            .args(["-u", "root", "-p", &self.address.port().to_string()])
            .args(&self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("memcached starts; tests/run installs it");
        self.child = Some(child);
        let since = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            assert!(since.elapsed() < READY_MAX, "memcached does not answer");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        self.kill();
    }
}
