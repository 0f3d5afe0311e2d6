//! The real program, started with a file of its own in a directory of its own.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::client::{Answer, Client};

/// How long the program may take until it is ready.
const READY_MAX: Duration = Duration::from_mins(2);

/// An address of the loopback that was free a moment ago.
pub fn free_address() -> SocketAddr {
    /// The system soon gives a port again that nobody listens at yet.
    static GIVEN: Mutex<BTreeSet<SocketAddr>> = Mutex::new(BTreeSet::new());
    loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("its address");
        if GIVEN.lock().expect("nobody panics here").insert(address) {
            return address;
        }
    }
}

/// A running `weir run`, killed at the end whatever happens.
pub struct Program {
    child: Option<Child>,
    directory: tempfile::TempDir,
    admin: SocketAddr,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Program {
    /// Starts the program with `file`, in which `ADMIN` stands for a free address of the admin,
    /// and waits until it is ready.
    pub fn start(file: &str) -> Self {
        Self::start_with(file, &[], &[])
    }

    /// The same with further `arguments` and `environment`.
    pub fn start_with(file: &str, arguments: &[&str], environment: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut program = Self {
            child: None,
            directory,
            admin: free_address(),
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            environment: environment
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        program.write_file(file);
        program.restart();
        program
    }

    /// Where everything of it lies: `weir.toml`, `weir.db`, `log`.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Writes the file `name` there.
    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.directory().join(name), text).unwrap();
    }

    /// Removes the file `name` there.
    pub fn remove(&self, name: &str) {
        fs::remove_file(self.directory().join(name)).unwrap();
    }

    /// What stands in the file `name` there; nothing where it is not.
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.directory().join(name)).unwrap_or_default()
    }

    /// The address of its admin.
    pub const fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Writes `weir.toml` anew; takes effect by `reload` or `restart`.
    pub fn write_file(&self, file: &str) {
        let text = file.replace("ADMIN", &self.admin.to_string());
        fs::write(self.path("weir.toml"), text).expect("the file is written");
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// `SIGKILL`, as a crash would have it.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Starts it (again) and waits until it is ready.
    pub fn restart(&mut self) {
        self.kill();
        self.launch();
        let since = Instant::now();
        while !self.is_ready() {
            let ended = self.child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            assert!(ended.is_none(), "weir ended with {ended:?}\n{}", self.log());
            assert!(since.elapsed() < READY_MAX, "weir is not ready\n{}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Starts it without waiting.
    pub fn launch(&mut self) {
        self.child = Some(self.another(&[]));
    }

    /// Starts another process with the same file and further `arguments`.
    pub fn another(&self, arguments: &[&str]) -> Child {
        let log = File::options().create(true).append(true).open(self.path("log")).expect("a log");
        Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(["run", "--config"])
            .arg(self.path("weir.toml"))
            .args(&self.arguments)
            .args(arguments)
            .envs(self.environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a log"))
            .stderr(log)
            .spawn()
            .expect("weir starts")
    }

    /// Has no process from now on; gives the one before.
    pub fn leave(&mut self) -> Option<Child> {
        self.child.take()
    }

    /// Takes `child` for the process from now on, and gives the one before.
    pub fn swap(&mut self, child: Child) -> Option<Child> {
        self.child.replace(child)
    }

    fn is_ready(&self) -> bool {
        get(self.admin, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    /// What it logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Runs a verb against it: `weir VERB ... --config FILE`.
    pub fn ask(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_weir"))
            .args(arguments)
            .arg("--config")
            .arg(self.path("weir.toml"))
            .env_remove("WEIR_ADMIN")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .output()
            .expect("weir runs")
    }

    /// Runs a verb that must succeed, and gives what it prints.
    pub fn say(&self, arguments: &[&str]) -> String {
        let output = self.ask(arguments);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert!(
            output.status.success(),
            "weir {arguments:?}: {}\n{}{}\n--- log\n{}",
            output.status,
            text(&output.stdout),
            text(&output.stderr),
            self.log()
        );
        text(&output.stdout)
    }

    /// Gives an order as the command line sends it, without the time a process needs to start.
    pub fn order(&self, order: &serde_json::Value) -> Answer {
        let token = fs::read_to_string(self.path("operator.token")).expect("a token");
        let body = order.to_string();
        let mut client = Client::to(self.admin);
        client.send(&format!(
            "POST /api/v1/orders HTTP/1.1\r\nhost: {}\r\nauthorization: Bearer {}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            self.admin,
            token.trim(),
            body.len()
        ));
        client.answer("POST").expect("an answer")
    }

    /// `weir status --json`.
    pub fn status(&self) -> serde_json::Value {
        serde_json::from_str(&self.say(&["status", "--json"])).expect("status is JSON")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A GET on a connection of its own; the whole answer, head and body.
pub fn get(address: SocketAddr, path: &str) -> Option<String> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(20)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).ok()?;
    Some(String::from_utf8_lossy(&answer).into_owned())
}
