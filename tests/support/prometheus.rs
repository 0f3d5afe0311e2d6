//! A real Prometheus that scrapes one page each second, in a directory of its own, gone at the end.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::client::Client;
use super::program::{free_address, get};

/// How long it may take until it answers.
const READY_MAX: Duration = Duration::from_mins(3);

/// A running `prometheus`.
pub struct Prometheus {
    child: Child,
    /// Where it is asked.
    pub address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Prometheus {
    /// Starts it, to scrape `/metrics` of `target`.
    pub fn start(target: SocketAddr) -> Self {
        Self::start_with(&format!(
            "global: {{ scrape_interval: 1s }}\nscrape_configs:\n  - job_name: app\n    \
             static_configs: [{{ targets: ['{target}'] }}]\n"
        ))
    }

    /// Starts it with this file.
    pub fn start_with(text: &str) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("prometheus.yml");
        std::fs::write(&file, text).expect("its file is written");
        let address = free_address();
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!("--storage.tsdb.path={}", directory.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts; tests/run installs it");
        let prometheus = Self { child, address, _directory: directory };
        let since = Instant::now();
        while !get(address, "/-/ready").is_some_and(|answer| answer.starts_with("HTTP/1.1 200")) {
            assert!(since.elapsed() < READY_MAX, "prometheus does not answer");
            std::thread::sleep(Duration::from_millis(50));
        }
        prometheus
    }

    /// What it says to `query`; `path` has what else belongs to the question.
    pub fn ask(&self, path: &str, query: &str) -> Value {
        let mut encoded = String::new();
        for byte in query.bytes() {
            if byte.is_ascii_alphanumeric() {
                encoded.push(char::from(byte));
            } else {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
        let path = format!("{path}{}query={encoded}", if path.contains('?') { '&' } else { '?' });
        let answer = Client::to(self.address).get(&path, "");
        serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{query}: {answer:?}"))
    }

    /// Its time, in seconds.
    pub fn now(&self) -> f64 {
        let answer = self.ask("/api/v1/query", "time()");
        let value = answer.pointer("/data/result/1").and_then(Value::as_str);
        value.and_then(|value| value.parse().ok()).expect("a time")
    }

    /// Ends it at once.
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.kill();
    }
}
