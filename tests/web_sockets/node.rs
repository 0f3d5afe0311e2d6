//! The scripts beside this file, run by node with the package `ws`.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use serde_json::Value;

/// How long a script may take to say what is waited for.
const PATIENCE: Duration = Duration::from_mins(3);

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/web_sockets")
}

/// Where tests keep what they install.
pub fn cache() -> PathBuf {
    let default = || Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-cache");
    std::env::var_os("WEIR_TEST_CACHE").map_or_else(default, PathBuf::from)
}

/// Node with `script`, where `ws` is installed.
fn node(script: &str) -> Command {
    static INSTALLED: OnceLock<Output> = OnceLock::new();
    let installed = INSTALLED.get_or_init(|| {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/npm_ci");
        let mut install = Command::new(script);
        install.arg(folder()).arg("web_sockets").stdin(Stdio::null());
        install.output().expect("tests/support/npm_ci runs")
    });
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let mut node = Command::new("node");
    node.arg(folder().join(script)).current_dir(cache().join("web_sockets"));
    node
}

/// Runs `script` to its end, which must be a good one; gives what it says.
pub fn run(script: &str, arguments: &[&str]) -> String {
    let output = node(script).args(arguments).stdin(Stdio::null()).output().expect("node runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = text(&output.stdout);
    assert!(output.status.success(), "{script} {arguments:?}: {said}{}", text(&output.stderr));
    said
}

/// A script that goes on until this is dropped, and says lines of JSON.
pub struct Node {
    child: Child,
    lines: Arc<Mutex<Vec<Value>>>,
}

impl Node {
    /// Starts `script`.
    pub fn start(script: &str, arguments: &[&str]) -> Self {
        let mut command = node(script);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("node starts");
        let output = BufReader::new(child.stdout.take().expect("its output"));
        let lines = Arc::new(Mutex::new(Vec::new()));
        let shared = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                let line = serde_json::from_str(&line).expect("a line of JSON");
                shared.lock().expect("nobody panics here").push(line);
            }
        });
        Self { child, lines }
    }

    /// The app that calls itself `version`, and its address.
    pub fn serve(version: &str) -> (Self, SocketAddr) {
        Self::listen("server.mjs", version)
    }

    /// A script that listens, and its address.
    pub fn listen(script: &str, argument: &str) -> (Self, SocketAddr) {
        let server = Self::start(script, &[argument]);
        let port = server.wait_for(1, |line| line["port"].is_u64())[0]["port"].as_u64();
        (server, format!("127.0.0.1:{}", port.expect("a port")).parse().expect("an address"))
    }

    /// What it has said so far.
    pub fn lines(&self) -> Vec<Value> {
        self.lines.lock().expect("nobody panics here").clone()
    }

    /// Waits until it has said so many lines that are `such`, and gives them.
    pub fn wait_for(&self, count: usize, such: impl Fn(&Value) -> bool) -> Vec<Value> {
        let since = Instant::now();
        loop {
            let mut lines = self.lines();
            lines.retain(&such);
            if lines.len() >= count {
                return lines;
            }
            let found = lines.len();
            assert!(since.elapsed() < PATIENCE, "{found} of {count} in {:#?}", self.lines());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Says `line` to it.
    pub fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("its input");
        writeln!(input, "{line}").expect("it listens");
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
