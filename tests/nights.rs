//! Nights of maintenance with the real program: tiers in order with a runbook between, until everybody
//! has the new version, or everybody and everything is back.

mod interrupted;
mod runbook;
mod stories;
mod workers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::client::Client;
use super::support::program::{Program, free_address};
use super::support::upstream::Upstream;

/// How long something may take that takes a second on a machine with nothing else to do.
const PATIENCE: Duration = Duration::from_mins(2);

const OLD: &str = "3.2";
const NEW: &str = "4.2";

/// A program in front of tiers in two versions.
struct Night {
    program: Program,
    tiers: Vec<Tier>,
}

struct Tier {
    name: &'static str,
    listen: SocketAddr,
    old: Upstream,
    new: Upstream,
}

impl Tier {
    fn start(name: &'static str) -> Self {
        let (old, new) = (Upstream::start(OLD), Upstream::start(NEW));
        Self { name, listen: free_address(), old, new }
    }

    fn lines(&self) -> String {
        let Self { name, listen, old, new } = self;
        let (old, new) = (old.address, new.address);
        format!(
            r#"
[[tier]]
name     = "{name}"
listen   = "{listen}"
stable   = "{OLD}"
sticky   = {{ cookie = "uid" }}
health   = {{ path = "/health", interval = "2s" }}
releases = [
  {{ version = "{OLD}", upstreams = ["{old}"] }},
  {{ version = "{NEW}", upstreams = ["{new}"] }},
]
"#
        )
    }
}

impl Night {
    /// With tiers of these `names`, and `rest` after them in the file.
    fn new(names: &[&'static str], rest: &str) -> Self {
        let tiers: Vec<Tier> = names.iter().copied().map(Tier::start).collect();
        let program = Program::start(&file(&tiers, rest));
        let night = Self { program, tiers };
        night.until("both versions to be healthy", |night| {
            let healthy =
                night.program.status()["tiers"].to_string().matches("\"healthy\"").count();
            healthy == 2 * night.tiers.len()
        });
        night
    }

    fn write_file(&self, rest: &str) {
        self.program.write_file(&file(&self.tiers, rest));
    }

    fn tier(&self, name: &str) -> &Tier {
        self.tiers.iter().find(|tier| tier.name == name).expect("a tier of that name")
    }

    fn say(&self, line: &str) -> String {
        self.program.say(&line.split(' ').collect::<Vec<_>>())
    }

    fn ask(&self, line: &str) -> Output {
        self.program.ask(&line.split(' ').collect::<Vec<_>>())
    }

    /// Orders what must be refused; gives why.
    fn refused(&self, line: &str) -> String {
        let output = self.ask(line);
        assert!(!output.status.success(), "{line}: {output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.program.directory().join(name)
    }

    /// What a command of a step has written into the file `name`; empty: nothing yet.
    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// What the rollout waits for; empty: it goes on at once, or none is open.
    fn waits_for(&self) -> String {
        self.program.status()["upgrade"]["waits_for"].as_str().unwrap_or_default().to_owned()
    }

    fn until_it_waits_for(&self, words: &str) -> String {
        self.until(words, |night| night.waits_for().contains(words));
        self.waits_for()
    }

    /// Waits until it is so; says what was awaited, and how things stand, where it never is.
    fn until(&self, what: &str, look: impl Fn(&Self) -> bool) {
        self.within(PATIENCE, what, look);
    }

    fn within(&self, patience: Duration, what: &str, look: impl Fn(&Self) -> bool) {
        let since = Instant::now();
        while !look(self) {
            if since.elapsed() > patience {
                let (status, log) = (self.say("status"), self.say("log"));
                panic!("awaited {what}\n{status}\n{log}\n{}", self.program.log());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until no rollout over tiers is open any more.
    fn until_it_is_over(&self) {
        self.until("the end", |night| night.program.status()["upgrade"].is_null());
    }

    /// Who serves in each tier, and its weight.
    fn standing(&self) -> Vec<(String, u64)> {
        let status = self.program.status();
        let tier = |tier: &Value| {
            (tier["stable"].as_str().unwrap().to_owned(), tier["weight"].as_u64().unwrap())
        };
        status["tiers"].as_array().unwrap().iter().map(tier).collect()
    }

    /// Whether everybody is on `version` everywhere.
    fn everybody_is_on(&self, version: &str) -> bool {
        self.standing().iter().all(|(stable, weight)| stable == version && *weight == 0)
    }

    /// That of many users of each tier all get `version`, as they see it.
    fn everybody_gets(&self, version: &str) {
        for tier in &self.tiers {
            let mut client = Client::to(tier.listen);
            for user in 0..40 {
                let answer = client.get("/", &format!("cookie: uid=user-{user}\r\n"));
                let text = answer.text();
                assert!(text.starts_with(version), "user {user} in {}: {text}", tier.name);
            }
        }
    }
}

fn file(tiers: &[Tier], rest: &str) -> String {
    let tiers: String = tiers.iter().map(Tier::lines).collect();
    format!(
        "zone = \"Europe/Berlin\"\n[admin]\nlisten = \"ADMIN\"\n[state]\npath = \"weir.db\"\n{tiers}{rest}"
    )
}

/// Users of one tier, many and busy, until they are sent home.
struct Users {
    home: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Users {
    fn of(tier: &Tier) -> Self {
        let home = Arc::new(AtomicBool::new(false));
        let (seen, listen) = (Arc::clone(&home), tier.listen);
        let thread = std::thread::spawn(move || {
            let mut client = Client::to(listen);
            for user in 0.. {
                if seen.load(Ordering::SeqCst) {
                    return;
                }
                let _ = client.get("/", &format!("cookie: uid=user-{user}\r\n"));
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        Self { home, thread: Some(thread) }
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.home.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
