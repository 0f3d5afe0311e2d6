//! The site on both versions of Django, a Redis, Weir, and browsers.

use std::cell::RefCell;
use std::fs::File;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::client::{Answer, Client};
use crate::support::jar::Jar;
use crate::support::memcached::Memcached;
use crate::support::program::{Program, free_address, get};
use crate::support::redis::Redis;
use crate::support::skipped;

/// How long a Django may take until it answers, on a busy machine.
const READY_MAX: Duration = Duration::from_mins(3);

/// How long a deletion may take to reach the other version.
const SEEN_MAX: Duration = Duration::from_mins(2);

/// Where sessions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sessions {
    Cache,
    Database,
}

/// What the cache is.
pub enum Server {
    Memcached(Memcached),
    Redis(Redis),
}

impl Server {
    /// A memcached with nothing in it.
    pub fn memcached() -> Self {
        Self::Memcached(Memcached::start(&[]))
    }

    /// A Redis with nothing in it.
    pub fn redis() -> Self {
        Self::Redis(Redis::start(&[]))
    }

    const fn kind(&self) -> &'static str {
        match self {
            Self::Memcached(_) => "memcached",
            Self::Redis(_) => "redis",
        }
    }

    const fn address(&self) -> SocketAddr {
        match self {
            Self::Memcached(memcached) => memcached.address,
            Self::Redis(redis) => redis.address,
        }
    }

    /// How a Django is told of it, or of a port that leads to it.
    fn told(&self, address: SocketAddr) -> (&'static str, String) {
        match self {
            Self::Memcached(_) => ("CACHE_SERVER", address.to_string()),
            Self::Redis(_) => ("CACHE_URL", format!("redis://{address}/0")),
        }
    }
}

/// A Python that both versions run on, unless the test is left out: 3.2 does not know 3.12, nor 5.2
/// anything before 3.10.
pub fn python(test: &str) -> Option<PathBuf> {
    if crate::support::quick::is_quick(test) {
        return None;
    }
    let fits = |python: &&str| {
        let ask = "import sys, pip; sys.exit(sys.version_info[:2] != (3, 11))";
        let mut command = Command::new(python);
        command.args(["-c", ask]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let python = ["python3.11", "python3", "/usr/bin/python3"].into_iter().find(fits);
    if python.is_none() {
        skipped::say(test, "Python 3.11 with pip (Debian 12: python3 and python3-pip)");
    }
    python.map(PathBuf::from)
}

/// Both versions, behind Weir.
pub struct Site {
    pub old: Django,
    pub new: Django,
    program: Program,
    address: SocketAddr,
    _server: Server,
    _folder: tempfile::TempDir,
}

/// The site on one version of Django.
pub struct Django {
    child: Child,
    address: SocketAddr,
    log: PathBuf,
}

/// What a Django is started with.
struct Recipe<'a> {
    python: &'a Path,
    database: PathBuf,
    sessions: Sessions,
}

impl Site {
    /// Starts it; each version on its own part of the cache if that is `apart`.
    pub fn start(python: &Path, server: Server, sessions: Sessions, apart: bool) -> Self {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/django");
        let install = Command::new(here.join("install")).arg(python).stdin(Stdio::null()).status();
        assert!(install.expect("a shell").success(), "Django is not installed");
        let folder = tempfile::tempdir().unwrap();
        let recipe = Recipe { python, database: folder.path().join("site.sqlite"), sessions };
        let migrated = recipe.command("3.2").arg("migrate").status().unwrap();
        assert!(migrated.success(), "the database is made");
        let (address, upstreams) = (free_address(), [free_address(), free_address()]);
        let ports = [free_address(), free_address()];
        let caches = if apart { ports } else { [server.address(); 2] };
        let program = Program::start(&format!(
            r#"
[admin]
listen = "ADMIN"
[[tier]]
name = "web"
listen = "{address}"
stable = "3.2"
show_version = true
releases = [
  {{ version = "3.2", upstreams = ["{}"] }},
  {{ version = "5.2", upstreams = ["{}"] }},
]
health = {{ path = "/health", interval = "200ms", timeout = "10s", boot_grace = "0s" }}
[rollout]
stages = [{{ weight = "50%", bake = "1h" }}]
[[cache]]
name = "pages"
kind = "{kind}"
upstream = "{kind}://{}"
ports = {{ "3.2" = "{}", "5.2" = "{}" }}
"#,
            upstreams[0],
            upstreams[1],
            server.address(),
            ports[0],
            ports[1],
            kind = server.kind(),
        ));
        let start = |version, place: usize| {
            let told = server.told(caches[place]);
            recipe.start(version, upstreams[place], told, folder.path())
        };
        let (old, new) = (start("3.2", 0), start("5.2", 1));
        old.wait();
        new.wait();
        let site = Self { old, new, program, address, _server: server, _folder: folder };
        site.wait_until_healthy();
        site
    }

    fn wait_until_healthy(&self) {
        let since = Instant::now();
        loop {
            let metrics = get(self.program.admin(), "/metrics").unwrap();
            let is_well = |line: &str| line.contains("health=\"healthy\"") && line.ends_with(" 1");
            let health = metrics.lines().filter(|line| line.starts_with("weir_upstream_health"));
            if health.filter(|line| is_well(line)).count() == 2 {
                return;
            }
            assert!(since.elapsed() < READY_MAX, "{}", self.program.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Gives Weir an order.
    pub fn say(&self, arguments: &[&str]) {
        self.program.say(arguments);
    }

    /// The browser of a user, at an address of its own.
    pub fn browser(&self, user: usize) -> Browser<'_> {
        Browser::at(
            self.address,
            &format!("x-forwarded-for: 10.0.{user}.1\r\n"),
            &[&self.old, &self.new],
        )
    }

    /// Answers of 500 and more that users have got.
    pub fn errors(&self) -> u64 {
        self.sum("weir_responses_total", |line| line.contains("class=\"5xx\""))
    }

    /// What each version has found in the cache.
    pub fn hits(&self) -> [u64; 2] {
        ["3.2", "5.2"].map(|version| {
            self.sum("weir_cache_hits_total", |line| line.contains(&format!("\"{version}\"")))
        })
    }

    fn sum(&self, family: &str, counts: impl Fn(&str) -> bool) -> u64 {
        let metrics = get(self.program.admin(), "/metrics").unwrap();
        let lines = metrics.lines().filter(|line| line.starts_with(family) && counts(line));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

impl Recipe<'_> {
    fn command(&self, version: &str) -> Command {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let cache = std::env::var_os("WEIR_TEST_CACHE");
        let cache = cache.map_or_else(|| here.join("target/test-cache"), PathBuf::from);
        let mut command = Command::new(self.python);
        command
            .arg(here.join("tests/django/site.py"))
            .env("PYTHONPATH", cache.join("django").join(version))
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("DATABASE", &self.database)
            .env("SESSIONS", if self.sessions == Sessions::Cache { "cache" } else { "database" })
            .stdin(Stdio::null());
        command
    }

    fn start(
        &self,
        version: &str,
        address: SocketAddr,
        (name, cache): (&str, String),
        folder: &Path,
    ) -> Django {
        let log = folder.join(format!("{version}.log"));
        let mut command = self.command(version);
        command.arg(address.port().to_string()).env(name, cache);
        let output = File::create(&log).unwrap();
        let child = command.stdout(output.try_clone().unwrap()).stderr(output).spawn().unwrap();
        Django { child, address, log }
    }
}

impl Django {
    fn wait(&self) {
        let since = Instant::now();
        while TcpStream::connect(self.address).is_err() {
            assert!(since.elapsed() < READY_MAX, "{}", self.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// A browser that asks it without Weir.
    pub fn browser(&self) -> Browser<'_> {
        Browser::at(self.address, "", &[self])
    }

    /// The same with the cookies of `other`.
    pub fn browser_with(&self, other: &Browser<'_>) -> Browser<'_> {
        let browser = self.browser();
        browser.jar.replace(other.jar.borrow().clone());
        browser
    }
}

impl Drop for Django {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A browser with its cookies.
pub struct Browser<'a> {
    address: SocketAddr,
    lines: String,
    jar: RefCell<Jar>,
    version: RefCell<String>,
    apps: Vec<&'a Django>,
}

impl<'a> Browser<'a> {
    fn at(address: SocketAddr, lines: &str, apps: &[&'a Django]) -> Self {
        let lines = format!("{lines}accept: text/html\r\nconnection: close\r\n");
        let (jar, version) = (RefCell::default(), RefCell::default());
        Self { address, lines, jar, version, apps: apps.to_vec() }
    }

    /// The status and the text of a page.
    pub fn get(&self, path: &str) -> (u16, String) {
        let answer = self.ask("GET", path, "");
        (answer.status, answer.text())
    }

    /// Fills the form at `path` in and sends it; the status.
    pub fn post(&self, path: &str, fields: &str) -> u16 {
        let (status, form) = self.get(path);
        assert_eq!(status, 200, "{path}: {form}");
        let (_, rest) = form.split_once("name=\"csrfmiddlewaretoken\" value=\"").expect("a token");
        let token = rest.split('"').next().unwrap_or_default();
        let body = format!("csrfmiddlewaretoken={token}&{fields}").replace(' ', "+");
        self.ask("POST", path, &body).status
    }

    /// Logs in.
    pub fn enter(&self, name: &str) -> u16 {
        self.post("/login", &format!("name={name}"))
    }

    /// Waits until the page says `text`: a deletion follows the answer that it was made in.
    pub fn sees(&self, path: &str, text: &str) {
        let since = Instant::now();
        loop {
            let (status, said) = self.get(path);
            assert_eq!(status, 200, "{said}");
            if said == text {
                return;
            }
            assert!(since.elapsed() < SEEN_MAX, "{said:?} instead of {text:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The version that answered last.
    pub fn version(&self) -> String {
        self.version.borrow().clone()
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut client = Client::to(self.address);
        let cookies = self.jar.borrow().line();
        let kind = "content-type: application/x-www-form-urlencoded\r\n";
        let length = format!("content-length: {}\r\n", body.len());
        let form = if body.is_empty() { String::new() } else { format!("{kind}{length}") };
        client.send(&format!(
            "{method} {path} HTTP/1.1\r\nhost: shop.test\r\n{}{cookies}{form}\r\n{body}",
            self.lines
        ));
        let answer = client.answer(method).unwrap_or_else(|| {
            let logs: Vec<String> = self.apps.iter().map(|app| app.log()).collect();
            panic!("no answer to {method} {path}\n{}", logs.join("\n"))
        });
        self.jar.borrow_mut().take(&answer.head);
        let version = answer.field("x-weir-version").unwrap_or_default();
        self.version.replace(version.to_owned());
        answer
    }
}
