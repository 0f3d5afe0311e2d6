//! What a running program takes over, what it refuses, and how it runs without a file: the real
//! binary.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use super::support::client::Client;
use super::support::program::{Program, free_address, get};
use super::support::upstream::Upstream;

fn file(listen: SocketAddr, stable: SocketAddr, more: &str) -> String {
    format!(
        "[admin]\nlisten = \"ADMIN\"\n[[tier]]\nname = \"web\"\nlisten = \"{listen}\"\nstable = \
         \"1.0.0\"\nreleases = [{{ version = \"1.0.0\", upstreams = [\"{stable}\"] }}, {{ version \
         = \"1.1.0\", upstreams = [\"127.0.0.1:1\"] }}]\n{more}"
    )
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn eventually(what: &str, within: Duration, holds: impl Fn() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < within, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn signal(name: &str, pid: u32) {
    let sent = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(sent.success());
}

#[test]
fn another_listen_needs_a_restart_and_a_busy_one_of_a_new_tier_is_said_until_it_is_free() {
    let app = Upstream::start("1.0.0");
    let listen = free_address();
    let program = Program::start(&file(listen, app.address, ""));
    let busy = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = busy.local_addr().unwrap();

    program.write_file(&file(taken, app.address, ""));
    let refused = program.ask(&["reload"]);
    assert_eq!(refused.status.code(), Some(1), "{}", text(&refused.stdout));
    assert!(text(&refused.stderr).contains("needs a restart"), "{}", text(&refused.stderr));
    assert_eq!(Client::to(listen).get("/", "").status, 200, "the old door stays open");

    let api = format!(
        "[[tier]]\nname = \"api\"\nlisten = \"{taken}\"\nstable = \"1\"\nreleases = \
         [{{ version = \"1\", upstreams = [\"{}\"] }}]\n",
        app.address
    );
    program.write_file(&file(listen, app.address, &api));
    let answer = program.say(&["reload"]);
    assert!(answer.contains("api is not served: cannot listen at"), "{answer}");
    let ready = || get(program.admin(), "/readyz").unwrap();
    assert!(ready().starts_with("HTTP/1.1 503") && ready().contains(&taken.to_string()));
    drop(busy);
    eventually("ready", Duration::from_mins(1), || ready().starts_with("HTTP/1.1 200"));
    assert_eq!(Client::to(taken).get("/", "").status, 200);
}

#[test]
fn the_level_of_the_log_changes_at_once() {
    let app = Upstream::start("1.0.0");
    let listen = free_address();
    let program = Program::start(&file(listen, app.address, "[log]\nlevel = \"error\"\n"));
    program.say(&["adopt", "web", "1.1.0"]);
    assert!(!program.log().contains("adopted"), "{}", program.log());
    program.write_file(&file(listen, app.address, "[log]\nlevel = \"info\"\n"));
    program.say(&["reload"]);
    program.say(&["adopt", "web", "1.0.0"]);
    assert!(program.log().contains("1.0.0 adopted"), "{}", program.log());
}

#[test]
fn the_drain_is_that_of_the_file_as_it_was_read_last() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = free_address();
    let with_drain = |drain: &str| {
        let more = format!("[tier.timeouts]\ndrain = \"{drain}\"\n");
        file(listen, silent.local_addr().unwrap(), &more)
    };
    let program = Program::start(&with_drain("1m"));
    program.write_file(&with_drain("100ms"));
    program.say(&["reload"]);
    let mut client = Client::to(listen);
    client.send("GET / HTTP/1.1\r\nhost: app\r\n\r\n");
    std::thread::sleep(Duration::from_millis(300));
    signal("-TERM", program.pid());
    eventually("the admin is gone", Duration::from_secs(45), || {
        get(program.admin(), "/healthz").is_none()
    });
}

#[test]
fn a_reload_behind_a_hanging_disk_says_so_and_is_known_when_it_is_done() {
    if std::env::var_os("WEIR_QUICK").is_some() {
        return;
    }
    let (app, other) = (Upstream::start("1.0.0"), Upstream::start("1.0.0"));
    let listen = free_address();
    let program = Program::start(&file(listen, app.address, ""));
    let journal = rusqlite::Connection::open(program.directory().join("weir.db")).unwrap();
    journal.busy_timeout(Duration::from_secs(5)).unwrap();
    journal.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        // Each waits two seconds for the lock, one after the other.
        for _ in 0..8 {
            scope.spawn(|| program.ask(&["adopt", "web", "1.1.0"]));
        }
        std::thread::sleep(Duration::from_millis(500));
        program.write_file(&file(listen, other.address, ""));
        let waiting = program.ask(&["reload"]);
        let said = text(&waiting.stderr);
        assert_eq!(waiting.status.code(), Some(1), "{}", text(&waiting.stdout));
        assert!(said.contains("taken over as soon as the journal is back"), "{said}");
        journal.execute_batch("ROLLBACK").unwrap();
    });
    let served = || text(&program.ask(&["log"]).stdout).contains("now runs at");
    eventually("taken over", Duration::from_mins(1), served);
    let again = program.say(&["reload"]);
    assert!(!again.contains("upstreams"), "it is known to be applied: {again}");
}

#[test]
fn a_reload_behind_a_hanging_disk_keeps_nobody_from_stopping() {
    if std::env::var_os("WEIR_QUICK").is_some() {
        return;
    }
    let (app, other) = (Upstream::start("1.0.0"), Upstream::start("1.0.0"));
    let listen = free_address();
    let program = Program::start(&file(listen, app.address, ""));
    let journal = rusqlite::Connection::open(program.directory().join("weir.db")).unwrap();
    journal.busy_timeout(Duration::from_secs(5)).unwrap();
    journal.execute_batch("BEGIN IMMEDIATE").unwrap();
    std::thread::scope(|scope| {
        for _ in 0..12 {
            scope.spawn(|| program.ask(&["adopt", "web", "1.1.0"]));
        }
        std::thread::sleep(Duration::from_millis(500));
        program.write_file(&file(listen, other.address, ""));
        signal("-HUP", program.pid());
        std::thread::sleep(Duration::from_millis(200));
        signal("-TERM", program.pid());
        eventually("stopping", Duration::from_secs(15), || program.log().contains("stopping"));
        journal.execute_batch("ROLLBACK").unwrap();
    });
}

/// `weir run` without a file, killed at the end whatever happens.
struct Bare(Child, SocketAddr);

impl Bare {
    fn start(folder: &Path, arguments: &[&str]) -> Self {
        let admin = free_address();
        let mut child = bare(folder, arguments);
        let child = child.args(["--admin", &admin.to_string()]).stderr(Stdio::null()).spawn();
        let this = Self(child.unwrap(), admin);
        eventually("ready", Duration::from_mins(2), || {
            get(admin, "/readyz").is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
        });
        this
    }

    fn status(&self) -> String {
        get(self.1, "/api/v1/status").unwrap()
    }
}

impl Drop for Bare {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn bare(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.arg("run").args(arguments).current_dir(folder).env("XDG_RUNTIME_DIR", folder);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Runs what must not run for long.
fn refused(folder: &Path, arguments: &[&str]) -> String {
    let mut child = bare(folder, arguments).spawn().unwrap();
    let since = Instant::now();
    while child.try_wait().unwrap().is_none() {
        if since.elapsed() > Duration::from_mins(1) {
            child.kill().unwrap();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    let Output { status, stderr, .. } = child.wait_with_output().unwrap();
    assert_eq!(status.code(), Some(1), "{arguments:?}: {}", text(&stderr));
    text(&stderr)
}

#[test]
fn versions_are_named_where_the_journal_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (listen, admin) = (free_address().to_string(), free_address().to_string());
    let run = |stable, canary| {
        let arguments = ["--listen", &listen, "--admin", &admin, "--state", "weir.db"];
        refused(
            folder.path(),
            &[&arguments[..], &["--stable", stable, "--canary", canary]].concat(),
        )
    };
    let said = run("127.0.0.1:3000", "127.0.0.1:3001");
    assert!(said.contains("write --stable VERSION=127.0.0.1:3000"), "{said}");
    let said = run("1.0.0=127.0.0.1:3000", "127.0.0.1:3001");
    assert!(said.contains("write --canary VERSION=127.0.0.1:3001"), "{said}");
}

#[test]
fn a_loop_made_by_an_argument_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (listen, app) = (free_address(), free_address());
    let without_file = ["--listen", &listen.to_string(), "--stable", &app.to_string(), "--admin"];
    for admin in [listen, app] {
        let said = refused(folder.path(), &[&without_file[..], &[&admin.to_string()]].concat());
        assert!(said.contains("--admin: "), "{said}");
    }
    let written = file(listen, app, "").replace("ADMIN", &free_address().to_string());
    let mut weir = std::fs::File::create(folder.path().join("weir.toml")).unwrap();
    weir.write_all(written.as_bytes()).unwrap();
    let said = refused(folder.path(), &["--config", "weir.toml", "--admin", &app.to_string()]);
    assert!(said.contains("where 1.0.0 runs, would lead to"), "{said}");
}

#[test]
fn a_start_that_waits_for_the_canary_is_said_only_until_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let (app, canary) = (Upstream::start("old"), TcpListener::bind("127.0.0.1:0").unwrap());
    let (listen, place) = (free_address().to_string(), canary.local_addr().unwrap());
    let (stable, new) = (app.address.to_string(), place.to_string());
    drop(canary);
    let run =
        Bare::start(folder.path(), &["--listen", &listen, "--stable", &stable, "--canary", &new]);
    assert!(run.status().contains("starts by itself"), "{}", run.status());
    let canary = TcpListener::bind(place).unwrap();
    eventually("started", Duration::from_mins(1), || run.status().contains("\"attempt\":1"));
    assert!(!run.status().contains("starts by itself"), "{}", run.status());
    drop(canary);
}
