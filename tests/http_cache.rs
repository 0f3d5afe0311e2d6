//! The cache of answers, in the real program: what it keeps, for whom, and what it never does.

mod asking;
mod crowd;
mod keeping;
mod purging;
mod suite;
mod versions;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::support::app::{App, Ask};
use crate::support::client::{Answer, Client};
use crate::support::program::{Program, free_address};

/// How long something may take that takes a moment.
const SOON: Duration = Duration::from_mins(2);

/// Versions of an app behind a Weir that keeps answers.
struct Scene {
    apps: Vec<App>,
    program: Program,
    address: SocketAddr,
    file: String,
}

impl Scene {
    /// One version, `1.0.0`.
    fn start(serve: impl Fn(&Ask) -> String + Send + Sync + 'static) -> Self {
        Self::with("size = \"64MiB\"", vec![App::start(serve)])
    }

    /// Two versions; `serve` is told which one is asked.
    fn pair(serve: impl Fn(&str, &Ask) -> String + Send + Sync + 'static) -> Self {
        let serve = Arc::new(serve);
        let app = |version: &'static str| {
            let serve = Arc::clone(&serve);
            App::start(move |ask| serve(version, ask))
        };
        Self::with("size = \"64MiB\"", vec![app("1.0.0"), app("1.1.0")])
    }

    /// Versions `1.0.0` and on, and what `cache` of their tier says.
    fn with(cache: &str, apps: Vec<App>) -> Self {
        let addresses: Vec<_> = apps.iter().map(|app| app.address).collect();
        let (program, address, file) = weir(cache, &addresses);
        Self { apps, program, address, file }
    }

    fn client(&self) -> Client {
        Client::to(self.address)
    }

    /// What one who has just come gets.
    fn get(&self, path: &str, lines: &str) -> Answer {
        self.client().get(path, lines)
    }

    /// Asks until the answer is `such`.
    fn until(&self, path: &str, lines: &str, such: impl Fn(&Answer) -> bool) -> Answer {
        let since = Instant::now();
        loop {
            let answer = self.get(path, lines);
            if such(&answer) {
                return answer;
            }
            assert!(since.elapsed() < SOON, "{answer:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// A counter of the tier's cache, of `version`.
    fn counted(&self, name: &str, version: &str) -> u64 {
        let listed: serde_json::Value =
            serde_json::from_str(&self.program.say(&["cache", "--json"])).unwrap();
        let parts = listed["http"].as_array().unwrap();
        let part = parts.iter().find(|part| part["version"] == version).unwrap();
        part[name].as_u64().unwrap()
    }
}

fn weir(cache: &str, apps: &[SocketAddr]) -> (Program, SocketAddr, String) {
    let address = free_address();
    let release = |(number, app): (usize, &SocketAddr)| {
        format!("  {{ version = \"1.{number}.0\", upstreams = [\"{app}\"] }},\n")
    };
    let releases: String = apps.iter().enumerate().map(release).collect();
    let file = format!(
        r#"[admin]
listen = "ADMIN"
[analysis]
warm_up = "0s"
[rollout]
stages = [{{ weight = "50%", bake = "1h" }}]
[[tier]]
name = "web"
listen = "{address}"
stable = "1.0.0"
sticky = {{ header = "x-user" }}
health = {{ path = "/health", interval = "100ms" }}
cache = {{ {cache} }}
releases = [
{releases}]
"#
    );
    (Program::start(&file), address, file)
}

/// A server that does with each connection what `serve` does, which gets the path that is asked for.
fn raw(serve: impl Fn(&str, &mut TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, serve) = (stream.unwrap(), Arc::clone(&serve));
            std::thread::spawn(move || {
                let (mut head, mut byte) = (Vec::new(), [0; 1]);
                while !head.ends_with(b"\r\n\r\n") {
                    if stream.read(&mut byte).unwrap_or(0) == 0 {
                        return;
                    }
                    head.push(byte[0]);
                }
                let head = String::from_utf8_lossy(&head).into_owned();
                let path = head.split(' ').nth(1).unwrap_or("/");
                if path == "/health" {
                    _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
                } else {
                    serve(path, &mut stream);
                }
            });
        }
    });
    address
}

/// What Cache-Status of Weir says.
fn status(answer: &Answer) -> String {
    answer.field("cache-status").unwrap_or_default().to_owned()
}

fn is_hit(answer: &Answer) -> bool {
    status(answer).starts_with("weir; hit")
}
