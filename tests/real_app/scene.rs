//! The stage of every test: both registries, Weir before them, npm and the crowd; and what the
//! journal says about the rollout.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

use super::crowd::{CANARY, Crowd, STABLE, Visit};
use super::registry::{Npm, Registries, user};
use crate::support::program::{Program, free_address};

/// Clients with a token.
const USERS: usize = 100;

/// Clients without.
const ANONYMOUS: usize = 300;

/// Requests per second of all of them: about half of what two cores can do, npm and Weir beside.
const RATE: u32 = 240;

/// How long clients come before the rollout, so that Weir knows how fast stable usually is.
const WARM_UP: Duration = Duration::from_secs(10);

/// How long after an event of the journal the last request may still be placed by the table before:
/// it is decided, then written, then published, and a request may be on its way meanwhile.
pub const SLACK: u64 = 2_000;

/// Everything that runs; what is named first is ended first.
pub struct Scene {
    /// The plain clients.
    pub crowd: Crowd,
    /// Users of npm.
    pub npms: Vec<Npm>,
    /// Weir.
    pub program: Program,
    directory: TempDir,
    _registries: Registries,
}

impl Scene {
    /// Weir before both versions, `[rollout]` and `[analysis]` as in `plan`; everybody is there
    /// and 5.33.0 serves.
    pub fn open(downloads: bool, plan: &str) -> Self {
        let registries = Registries::start(downloads);
        let directory = tempfile::tempdir().expect("a temporary directory");
        let door = free_address();
        let record = directory.path().join("trace.ndjson");
        let record = record.to_str().expect("a path of text");
        let program =
            Program::start_with(&file(door, &registries, plan), &["--record", record], &[]);
        let npms: Vec<Npm> = (0..4).map(|n| Npm::of(door, &format!("npm-{n}"))).collect();
        npms[0].publish("1.0.0");
        let tokens = (0..USERS).map(|n| user(door, &format!("user-{n}"))).collect();
        let crowd = Crowd::enter(door, tokens, ANONYMOUS, RATE);
        std::thread::sleep(WARM_UP);
        Self { crowd, npms, program, directory, _registries: registries }
    }

    /// Where the windows of the judge are recorded.
    pub fn trace(&self) -> PathBuf {
        self.directory.path().join("trace.ndjson")
    }

    /// What `weir wait` says and ends with.
    pub fn wait(&self) -> Option<i32> {
        let output = self.program.ask(&["wait", "--timeout", "2m"]);
        eprintln!("$ weir wait\n{}", String::from_utf8_lossy(&output.stdout));
        output.status.code()
    }

    /// Says a verb and shows it, for whoever writes the page about it.
    pub fn show(&self, arguments: &[&str]) -> String {
        let said = self.program.say(arguments);
        eprintln!("$ weir {}\n{said}", arguments.join(" "));
        said
    }

    /// Replays the recorded trace with the settings of the file.
    pub fn replay(&self) -> Value {
        let trace = self.trace();
        let said = self.show(&["replay", trace.to_str().expect("a path of text"), "--json"]);
        serde_json::from_str(&said).expect("one line of JSON")
    }

    /// The events of the journal.
    pub fn events(&self) -> Vec<Event> {
        let log = self.program.say(&["log", "-n", "100", "--json"]);
        log.lines().map(|line| Event(serde_json::from_str(line).expect("JSON"))).collect()
    }

    /// The stages that the rollout went through.
    pub fn stages(&self) -> Vec<Stage> {
        let events = self.events();
        let raises = events.iter().filter(|event| event.is("started") || event.is("advanced"));
        let end = events.iter().find(|event| event.is("promoted") || event.is("rolled_back"));
        let mut stages: Vec<Stage> =
            raises.map(|event| Stage { from: event.at(), to: u64::MAX }).collect();
        for n in 0..stages.len() {
            let next = stages.get(n + 1).map(|stage| stage.from);
            stages[n].to = next.or(end.map(Event::at)).expect("every stage has an end");
        }
        stages
    }
}

/// A stage as it was.
#[derive(Clone, Copy, Debug)]
pub struct Stage {
    /// When it began.
    pub from: u64,
    /// When it ended.
    pub to: u64,
}

/// A line of the journal.
pub struct Event(Value);

impl Event {
    /// Whether it is of this kind.
    pub fn is(&self, kind: &str) -> bool {
        !self.0["change"][kind].is_null() || self.0["change"] == kind
    }

    /// When it was decided.
    pub fn at(&self) -> u64 {
        self.0["at"].as_u64().expect("a time")
    }

    /// What it says.
    pub fn sentence(&self) -> &str {
        self.0["sentence"].as_str().expect("a sentence")
    }
}

fn file(door: SocketAddr, registries: &Registries, plan: &str) -> String {
    let (five, six) = (registries.five, registries.six);
    format!(
        r#"[admin]
listen = "ADMIN"

[[tier]]
name     = "registry"
listen   = "{door}"
stable   = "{STABLE}"
releases = [
  {{ version = "{STABLE}", upstreams = ["{five}"] }},
  {{ version = "{CANARY}",  upstreams = ["{six}"] }},
]
sticky          = {{ header = "authorization" }}
trusted_proxies = ["127.0.0.1"]
show_version    = true
health          = {{ path = "/-/ping", interval = "1s" }}

{plan}"#
    )
}

/// The visits of each client, in order.
pub fn by_client(visits: &[Visit], clients: usize) -> Vec<Vec<&Visit>> {
    let mut sorted = vec![vec![]; clients];
    for visit in visits {
        sorted[visit.client].push(visit);
    }
    sorted
}
