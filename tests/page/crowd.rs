//! Users who come again and again, from many addresses, until it is dropped.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::support::client::Client;

/// Users of one thread.
const USERS: usize = 100;

/// Rest of a thread between two requests.
const REST: Duration = Duration::from_millis(12);

pub struct Crowd {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Crowd {
    /// Two threads of them at `door`.
    pub fn enter(door: SocketAddr) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let thread = |place: usize| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || visits(door, place, &stop))
        };
        Self { threads: (0..2).map(thread).collect(), stop }
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn visits(door: SocketAddr, place: usize, stop: &AtomicBool) {
    let mut user = 0;
    while !stop.load(Ordering::SeqCst) {
        std::thread::sleep(REST);
        // While the program is away nobody is served, and everybody comes again.
        let Ok(stream) = TcpStream::connect(door) else { continue };
        user = (user + 1) % USERS;
        let mut client = Client::on(stream);
        client.send(&format!(
            "GET /page HTTP/1.1\r\nhost: app\r\nx-forwarded-for: 10.{place}.0.{user}\r\n\
             connection: close\r\n\r\n"
        ));
        while client.fill() {}
    }
}
