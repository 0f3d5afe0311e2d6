//! A real Celery with the tasks of `tests/redis/celery/tasks.py`, gone at the end.

use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};

use super::skipped;

/// Where the tasks stand.
const TASKS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/redis/celery");

/// Celery as `PyPI` has it, in the test cache.
pub struct Installed {
    python: PathBuf,
    packages: PathBuf,
}

impl Installed {
    /// Installs it where it is not yet; none: this machine cannot have it, which is said.
    pub fn find(test: &str) -> Option<Self> {
        let fits = |python: &&str| {
            let ask = "import sys, pip; sys.exit(sys.version_info < (3, 11))";
            let mut command = Command::new(python);
            command.args(["-c", ask]).stdout(Stdio::null()).stderr(Stdio::null());
            command.stdin(Stdio::null()).status().is_ok_and(|status| status.success())
        };
        let python = ["python3", "python3.11", "/usr/bin/python3"].into_iter().find(fits);
        let Some(python) = python else {
            skipped::say(test, "Python 3.11 or newer with pip (Debian: python3 and python3-pip)");
            return None;
        };
        let install = Path::new(TASKS).join("install");
        let installed = Command::new(install).arg(python).stdin(Stdio::null()).status();
        if !installed.expect("a shell").success() {
            skipped::say(test, "Celery from PyPI, which pip could not install");
            return None;
        }
        let cache = std::env::var_os("WEIR_TEST_CACHE").map(PathBuf::from);
        let cache = cache
            .unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target/test-cache"));
        Some(Self { python: python.into(), packages: cache.join("celery") })
    }

    /// What a shell starts a worker with, as the node `name`.
    pub fn command(&self, name: &str) -> String {
        let Self { python, packages } = self;
        let (python, packages) = (python.display(), packages.display());
        format!(
            "env PYTHONPATH={packages}:{TASKS} PYTHONDONTWRITEBYTECODE=1 {python} -m celery \
             -A tasks worker -c 2 -Q celery -n {name}@shop"
        )
    }

    fn python(&self, version: &str, redis: SocketAddr) -> Command {
        let mut command = Command::new(&self.python);
        command
            .env("PYTHONPATH", &self.packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("REDIS_URL", format!("redis://{redis}/0"))
            .env("VERSION", version)
            .current_dir(TASKS)
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }
}

/// A worker with two processes, and whatever they have started.
pub struct Celery(Child);

impl Celery {
    /// Starts it as `version` on the Redis at `port`.
    pub fn start(installed: &Installed, port: SocketAddr, version: &str) -> Self {
        let mut command = installed.python(version, port);
        let name = format!("{version}@shop");
        command.args(["-m", "celery", "-A", "tasks", "worker", "-c", "2", "-Q", "celery", "-n"]);
        command.arg(name).stdin(Stdio::null()).process_group(0);
        Self(command.spawn().expect("celery starts"))
    }
}

impl Drop for Celery {
    fn drop(&mut self) {
        let group = format!("-{}", self.0.id());
        let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
        let _ = self.0.wait();
    }
}

/// An app that sends tasks.
pub struct Sender {
    child: Child,
    tasks: Option<ChildStdin>,
}

impl Sender {
    /// One that sends to the Redis at `redis`.
    pub fn start(installed: &Installed, redis: SocketAddr) -> Self {
        let mut command = installed.python("", redis);
        let mut child = command.arg("tasks.py").stdin(Stdio::piped()).spawn().expect("it starts");
        let tasks = child.stdin.take();
        Self { child, tasks }
    }

    /// Sends the task `name` for `number`.
    pub fn send(&mut self, name: &str, number: u32) {
        let tasks = self.tasks.as_mut().expect("it is there");
        writeln!(tasks, "{name} {number}").and_then(|()| tasks.flush()).expect("it reads");
    }
}

impl Drop for Sender {
    /// Once it has sent what it was told.
    fn drop(&mut self) {
        drop(self.tasks.take());
        let _ = self.child.wait();
    }
}
