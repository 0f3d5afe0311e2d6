//! A program in front of two versions, users, and a terminal in which somebody looks on.

use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::tmux::Tmux;
use crate::support::program::{Program, free_address};
use crate::support::upstream::Upstream;

/// The program, for a shell.
pub const WEIR: &str = env!("CARGO_BIN_EXE_weir");

/// A program, its versions, its users, and a terminal.
pub struct Scene {
    pub tmux: Tmux,
    pub program: Program,
    pub new: Upstream,
    _old: Upstream,
    _users: Users,
}

impl Scene {
    /// All of it, nothing being rolled out; none where there is no tmux.
    pub fn start(size: (u16, u16)) -> Option<Self> {
        let (old, new) = (Upstream::start("1.0.0"), Upstream::start("1.1.0"));
        let door = free_address();
        let file = format!(
            "[admin]\nlisten = \"ADMIN\"\n[[tier]]\nname = \"web\"\nlisten = \"{door}\"\nstable = \
             \"1.0.0\"\nreleases = [{{ version = \"1.0.0\", upstreams = [\"{}\"] }}, {{ version = \
             \"1.1.0\", upstreams = [\"{}\"] }}]\nsticky = {{ header = \"x-user\" }}\n\
             [[tier]]\nname = \"api\"\nlisten = \"{}\"\nstable = \"1.0.0\"\nreleases = [{{ version \
             = \"1.0.0\", upstreams = [\"{}\"] }}]\n\
             [rollout]\nstages = [{{ weight = \"50%\", bake = \"1h\" }}]\n\
             [analysis]\ngrace = \"0s\"\n",
            old.address,
            new.address,
            free_address(),
            old.address,
        );
        let program = Program::start(&file);
        let tmux = Tmux::start(program.directory(), size)?;
        Some(Self { tmux, program, new, _old: old, _users: Users::enter(door) })
    }

    /// Has somebody look on, told how it ended.
    pub fn watch(&self, before: &str) {
        self.tmux.types(&format!("clear; {before} {WEIR} watch; echo ended with $?"));
        self.tmux.shows("everybody is on 1.0.0");
    }

    /// Opens a rollout.
    pub fn open(&self) {
        self.program.say(&["start", "web", "1.1.0", "--wait", "2m"]);
    }
}

/// The processes that look on at `program`.
pub fn watchers(program: &Program) -> Vec<u32> {
    let folder = program.directory().canonicalize().unwrap();
    let all = std::fs::read_dir("/proc").unwrap().filter_map(|entry| {
        let path = entry.ok()?.path();
        let line = std::fs::read(path.join("cmdline")).ok()?;
        let place: PathBuf = std::fs::read_link(path.join("cwd")).ok()?;
        let watches = String::from_utf8_lossy(&line).ends_with("weir\0watch\0");
        (watches && place == folder).then(|| path.file_name()?.to_str()?.parse().ok())?
    });
    all.collect()
}

/// People who come again and again, until they are dropped.
struct Users {
    leave: Arc<AtomicBool>,
    all: Vec<JoinHandle<()>>,
}

impl Users {
    fn enter(door: SocketAddr) -> Self {
        let leave = Arc::new(AtomicBool::new(false));
        let user = |first: u32| {
            let leave = Arc::clone(&leave);
            thread::spawn(move || {
                for number in (first..).step_by(2) {
                    if leave.load(Ordering::SeqCst) {
                        return;
                    }
                    visit(door, number % 400);
                    thread::sleep(Duration::from_millis(8));
                }
            })
        };
        let all = vec![user(0), user(1)];
        Self { leave, all }
    }
}

fn visit(door: SocketAddr, user: u32) {
    use std::io::{Read, Write};
    let Ok(mut stream) = TcpStream::connect(door) else { return };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    let head = format!(
        "GET / HTTP/1.1\r\nhost: {door}\r\nx-user: user-{user}\r\nconnection: close\r\n\r\n"
    );
    let _ = stream.write_all(head.as_bytes());
    let _ = stream.read_to_end(&mut Vec::new());
}

impl Drop for Users {
    fn drop(&mut self) {
        self.leave.store(true, Ordering::SeqCst);
        for user in self.all.drain(..) {
            let _ = user.join();
        }
    }
}
