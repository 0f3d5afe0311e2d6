//! The real program moves the instances of a tier with traffic: processes that a command ends and
//! begins again with another version, under users who must not notice.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep};
use std::time::{Duration, Instant};

use super::support::program::{Program, free_address, get};

/// How long anything may take on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_secs(90);

/// Users at once, each with connections of their own.
const CROWD: usize = 4;

const INSTANCES: [&str; 3] = ["api-1", "api-2", "api-3"];

/// An app that ends at once, whatever is under way, and says which version it was begun with.
const SERVER: &str = r#"
import os, signal, sys, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
port, name = int(sys.argv[1]), sys.argv[2]
version = open(name + ".version").read().strip()
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
class App(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/slow":
            time.sleep(0.2)
        while self.path == "/long" and os.path.exists("long"):
            time.sleep(0.05)
        sick = self.path == "/health" and os.path.exists(version + ".sick")
        body = version.encode()
        self.send_response(500 if sick else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
class Server(ThreadingHTTPServer):
    request_queue_size = 128
    daemon_threads = True
Server(("127.0.0.1", port), App).serve_forever()
"#;

/// Brings `$1` to version `$2`; may be done twice.
const SWITCH: &str = r#"
echo "$1 to $2" >> moves
while test -e "$1.slow"; do sleep 0.05; done
if test -e "$1.pid"; then
    pid=$(cat "$1.pid")
    kill "$pid" 2>/dev/null
    while test -d "/proc/$pid" && ! grep -q '^State:.Z' "/proc/$pid/status"; do sleep 0.05; done
fi
echo "$2" > "$1.version"
setsid python3 server.py "$(cat "$1.port")" "$1" </dev/null >/dev/null 2>&1 &
echo $! > "$1.pid"
"#;

/// A program before three instances, which it moves.
struct World {
    program: Program,
    listen: SocketAddr,
}

impl World {
    fn new(more: &str) -> Self {
        let listen = free_address();
        let places = INSTANCES.map(|name| (name, free_address()));
        let line = |(name, address): (&str, SocketAddr)| {
            format!("  {{ name = \"{name}\", address = \"{address}\" }},\n")
        };
        let instances: String = places.map(line).concat();
        let program = Program::start(&format!(
            r#"
[admin]
listen = "ADMIN"
[[tier]]
name = "api"
listen = "{listen}"
stable = "1.0.0"
releases = [{{ version = "1.0.0" }}, {{ version = "1.1.0" }}]
sticky = {{ cookie = "uid" }}
[tier.health]
path = "/health"
interval = "100ms"
[tier.rolling]
instances = [
{instances}]
switch = ["sh", "switch.sh", "{{instance}}", "{{version}}"]
reports = ["sh", "-c", "cat {{instance}}.version"]
bake = "0s"
{more}"#
        ));
        let world = Self { program, listen };
        world.program.write("server.py", SERVER);
        world.program.write("switch.sh", SWITCH);
        for (name, address) in places {
            world.program.write(&format!("{name}.port"), &address.port().to_string());
            let switched = Command::new("sh")
                .args(["switch.sh", name, "1.0.0"])
                .current_dir(world.program.directory())
                .status();
            assert!(switched.unwrap().success());
        }
        world.program.remove("moves");
        world.eventually("all are there", || {
            let status = world.program.status();
            let upstreams = status["tiers"][0]["releases"][0]["upstreams"].as_array().unwrap();
            upstreams.len() == 3 && upstreams.iter().all(|one| one["health"] == "healthy")
        });
        world
    }

    fn say(&self, line: &str) -> String {
        self.program.say(&line.split(' ').collect::<Vec<_>>())
    }

    fn eventually(&self, what: &str, is: impl Fn() -> bool) {
        let since = Instant::now();
        while !is() {
            assert!(since.elapsed() < PATIENCE, "not {what}\n{}", self.say("log -n 200"));
            sleep(Duration::from_millis(50));
        }
    }

    /// Waits until the journal has `said` so many times.
    fn until(&self, said: &str, times: usize) {
        let has = || self.say("log -n 200").matches(said).count() >= times;
        self.eventually(said, has);
    }

    /// The versions of the instances, as the program has them; none: it is being moved.
    fn has(&self) -> [Option<String>; 3] {
        let status = self.program.status();
        let instances = &status["tiers"][0]["instances"];
        [0, 1, 2].map(|index| instances[index]["version"].as_str().map(str::to_owned))
    }

    /// Of three one has the new version, by the families that docs/metrics.md tells of.
    fn counts_its_instances(&self) {
        let metrics = get(self.program.admin(), "/metrics").unwrap();
        for line in [
            "weir_instances{tier=\"api\",version=\"1.0.0\"} 2",
            "weir_instances{tier=\"api\",version=\"1.1.0\"} 1",
            "weir_instances_moving{tier=\"api\"} 0",
            "weir_instance_version{tier=\"api\",instance=\"api-1\",version=\"1.0.0\"} 0",
            "weir_instance_version{tier=\"api\",instance=\"api-1\",version=\"1.1.0\"} 1",
            "weir_instance_version{tier=\"api\",instance=\"api-2\",version=\"1.0.0\"} 1",
        ] {
            assert!(metrics.lines().any(|shown| shown == line), "{line}\n{metrics}");
        }
        let shown = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let shown: BTreeSet<&str> = shown
            .filter_map(|line| line.split(' ').next())
            .filter(|name| name.starts_with("weir_instance"))
            .collect();
        let page = include_str!("../docs/metrics.md");
        let told = page.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
        let told: BTreeSet<&str> = told.filter(|name| name.starts_with("weir_instance")).collect();
        assert_eq!(shown, told, "left: /metrics, right: docs/metrics.md");
    }

    fn runs(&self) -> [String; 3] {
        INSTANCES.map(|name| self.program.read(&format!("{name}.version")).trim().to_owned())
    }

    fn weight(&self) -> u64 {
        self.program.status()["tiers"][0]["weight"].as_u64().unwrap_or(u64::MAX)
    }

    /// Requests that are under way until there is no file `long`, some at each instance.
    fn long(&self) -> Vec<JoinHandle<Result<String, String>>> {
        self.program.write("long", "");
        let listen = self.listen;
        let long = (0..6).map(|user| std::thread::spawn(move || ask(listen, user, "/long")));
        let long: Vec<_> = long.collect();
        let under_way = || -> u64 {
            let status = self.program.status();
            let releases = status["tiers"][0]["releases"].as_array().unwrap();
            releases.iter().map(|release| release["in_flight"].as_u64().unwrap()).sum()
        };
        self.eventually("all are under way", || under_way() == 6);
        long
    }

    fn crowd(&self) -> Crowd {
        let (stop, down) = (Arc::<AtomicBool>::default(), Arc::<AtomicBool>::default());
        let listen = self.listen;
        let user = |number| {
            let (stop, down) = (Arc::clone(&stop), Arc::clone(&down));
            std::thread::spawn(move || uses(listen, number, &stop, &down))
        };
        let users = (0..CROWD).map(user).collect();
        Crowd { stop, down, users }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        for name in INSTANCES {
            let pid = self.program.read(&format!("{name}.pid"));
            let _ = Command::new("kill").arg(pid.trim()).status();
        }
    }
}

/// Users, some of whom always wait for an answer.
struct Crowd {
    stop: Arc<AtomicBool>,
    /// Whether nobody can answer.
    down: Arc<AtomicBool>,
    users: Vec<JoinHandle<Used>>,
}

/// What became of requests.
#[derive(Default)]
struct Used {
    answered: usize,
    failed: Vec<String>,
    /// The versions that a user had, one after the other.
    versions: BTreeMap<usize, Vec<String>>,
}

impl Crowd {
    /// All of it, once they have stopped.
    fn found(self) -> Used {
        self.stop.store(true, Ordering::SeqCst);
        let mut all = Used::default();
        for user in self.users {
            let found = user.join().unwrap();
            all.answered += found.answered;
            all.failed.extend(found.failed);
            all.versions.extend(found.versions);
        }
        all
    }
}

/// Five users of one browser, one request after the other.
fn uses(listen: SocketAddr, number: usize, stop: &AtomicBool, down: &AtomicBool) -> Used {
    let mut found = Used::default();
    for turn in 0.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let user = number * 5 + turn % 5;
        let path = if turn % 2 == 0 { "/slow" } else { "/" };
        let was_down = down.load(Ordering::SeqCst);
        match ask(listen, user, path) {
            Ok(version) => {
                found.answered += 1;
                let versions = found.versions.entry(user).or_default();
                if versions.last() != Some(&version) {
                    versions.push(version);
                }
            }
            Err(_) if was_down || down.load(Ordering::SeqCst) => {}
            Err(error) => found.failed.push(error),
        }
        sleep(Duration::from_millis(5));
    }
    found
}

/// What `user` gets: the version, or what else.
fn ask(listen: SocketAddr, user: usize, path: &str) -> Result<String, String> {
    let told = |error: std::io::Error| error.to_string();
    let mut stream = TcpStream::connect(listen).map_err(told)?;
    stream.set_read_timeout(Some(Duration::from_secs(30))).map_err(told)?;
    let head = format!("GET {path} HTTP/1.1\r\nhost: app\r\ncookie: uid={user}\r\n");
    stream.write_all(format!("{head}connection: close\r\n\r\n").as_bytes()).map_err(told)?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).map_err(told)?;
    match answer.split_once("\r\n\r\n") {
        // A kill may come between the head and the body.
        Some((head, body)) if head.starts_with("HTTP/1.1 200") && !body.is_empty() => {
            Ok(body.to_owned())
        }
        _ => Err(format!("user {user} got {answer:?} for {path}")),
    }
}

/// Whether every user had versions in the order of `allowed`, and none twice.
fn in_order(found: &Used, allowed: &[&str]) -> bool {
    found.versions.values().all(|versions| {
        let mut allowed = allowed.iter();
        versions.iter().all(|version| allowed.any(|next| next == version))
    })
}

fn versions(list: [&str; 3]) -> [Option<String>; 3] {
    list.map(|version| (version != "-").then(|| version.to_owned()))
}

#[test]
fn instances_are_moved_and_moved_back_and_no_request_fails() {
    let world = World::new("");
    let crowd = world.crowd();
    world.say("start");
    world.until("started at 33.33%", 1);
    assert_eq!(world.has(), versions(["1.1.0", "1.0.0", "1.0.0"]));
    assert_eq!(world.weight(), 3_333);
    let status = world.say("status");
    assert!(status.contains("api-1 1.1.0, api-2 1.0.0, api-3 1.0.0"), "{status}");
    world.counts_its_instances();
    world.say("advance");
    world.until("advanced to 66.66%", 1);
    assert_eq!(world.has(), versions(["1.1.0", "1.1.0", "1.0.0"]));
    world.say("promote --yes");
    world.until("everybody has the new version everywhere", 1);
    assert_eq!(world.runs(), ["1.1.0"; 3].map(str::to_owned));
    // Nobody has the version before any more: one instance goes first, its users follow.
    world.say("rollback");
    world.until("everybody and everything is back", 1);
    assert_eq!(world.has(), versions(["1.0.0"; 3]));
    assert_eq!(world.runs(), ["1.0.0"; 3].map(str::to_owned));
    let log = world.say("log -n 200");
    let place = |said: &str| log.find(said).unwrap_or_else(|| panic!("no {said:?} in\n{log}"));
    let first = place("api-3 gets those of 1.0.0");
    let users = place("rolled back, everybody is on 1.0.0");
    assert!(first < users && users < place("api-2 gets those of 1.0.0"), "{log}");
    let found = crowd.found();
    assert!(found.failed.is_empty(), "{:?}\n{log}", found.failed);
    assert!(found.answered > 100, "{}", found.answered);
    assert!(in_order(&found, &["1.0.0", "1.1.0", "1.0.0"]), "{:?}", found.versions);
    let came = |found: &Used| found.versions.values().filter(|had| had.len() == 3).count();
    assert_eq!(came(&found), CROWD * 5, "everybody had both: {:?}", found.versions);
}

#[test]
fn weir_is_killed_while_an_instance_is_switched_and_goes_on_and_back() {
    let mut world = World::new("");
    let crowd = world.crowd();
    world.program.write("api-2.slow", "");
    world.say("start");
    world.until("started at 33.33%", 1);
    world.say("advance");
    world
        .eventually("api-2 is switched", || world.program.read("moves").contains("api-2 to 1.1.0"));
    crowd.down.store(true, Ordering::SeqCst);
    world.program.kill();
    world.program.restart();
    // It has served for a moment already: from here on nothing may fail.
    crowd.down.store(false, Ordering::SeqCst);
    world.until("step api-api-2-switch begins, run 2", 1);
    assert_eq!(world.has(), versions(["1.1.0", "-", "1.0.0"]));
    assert_eq!(world.weight(), 3_333);
    world.program.remove("api-2.slow");
    world.until("advanced to 66.66%", 1);
    assert_eq!(world.has(), versions(["1.1.0", "1.1.0", "1.0.0"]));
    // One still has the version before: users go back at once, the instances after them.
    let said = world.say("rollback");
    assert!(said.contains("everybody is on 1.0.0"), "{said}");
    assert_eq!(world.weight(), 0);
    world.until("everybody and everything is back", 1);
    assert_eq!(world.has(), versions(["1.0.0"; 3]));
    assert_eq!(world.runs(), ["1.0.0"; 3].map(str::to_owned));
    let found = crowd.found();
    assert!(found.failed.is_empty(), "{:?}\n{}", found.failed, world.say("log -n 200"));
    assert!(in_order(&found, &["1.0.0", "1.1.0", "1.0.0"]), "{:?}", found.versions);
}

#[test]
fn an_instance_that_is_not_healthy_is_moved_back_before_anybody_is_sent_to_it() {
    let world = World::new("ready = \"4s\"\n");
    world.program.write("1.1.0.sick", "");
    let crowd = world.crowd();
    world.say("start");
    world.until("everybody and everything is back", 1);
    let log = world.say("log -n 200");
    assert!(log.contains("step api-api-1-well failed"), "{log}");
    assert_eq!(world.program.read("moves"), "api-1 to 1.1.0\napi-1 to 1.0.0\n");
    assert_eq!(world.has(), versions(["1.0.0"; 3]));
    let found = crowd.found();
    assert!(found.failed.is_empty(), "{:?}\n{log}", found.failed);
    assert!(in_order(&found, &["1.0.0"]), "{:?}", found.versions);
}

#[test]
fn a_rollback_does_not_wait_for_the_drain_of_an_instance_and_switches_none() {
    let world =
        World::new("drain = \"10m\"\n[tier.timeouts]\ndrain = \"5m\"\nfirst_byte = \"5m\"\n");
    let users = world.long();
    world.say("start");
    world.until("step api-api-1-idle begins", 1);
    assert_eq!(world.has(), versions(["-", "1.0.0", "1.0.0"]));
    world.say("rollback");
    world.until("everybody and everything is back", 1);
    assert_eq!(world.has(), versions(["1.0.0"; 3]));
    let log = world.say("log -n 200");
    assert!(!log.contains("api-api-1-switch begins"), "{log}");
    world.program.remove("long");
    for user in users {
        let answer = user.join().unwrap();
        assert!(answer.is_ok(), "{answer:?}\n{}", world.program.log());
    }
}

#[test]
fn no_instance_is_switched_while_the_weir_before_finishes_requests_there() {
    let mut world =
        World::new("drain = \"10m\"\n[tier.timeouts]\ndrain = \"5m\"\nfirst_byte = \"5m\"\n");
    world.say("start");
    world.until("started at 33.33%", 1);
    // Some of them are at the instance that is moved next.
    let long = world.long();
    let heir = world.program.another(&["--replace"]);
    let mut old = world.program.swap(heir).unwrap();
    world.eventually("the heir serves", || world.program.log().contains(" drains: 6 requests"));
    world.say("advance");
    world.until("step api-api-2-idle begins", 1);
    let waits = |text: &str| world.program.status()["upgrade"].to_string().contains(text);
    world.eventually("it waits", || waits("the weir before still finishes requests"));
    assert_eq!(world.has(), versions(["1.1.0", "-", "1.0.0"]));
    assert!(!world.program.read("moves").contains("api-2"), "{}", world.program.read("moves"));
    assert!(old.try_wait().unwrap().is_none(), "it finishes what it has");
    world.program.remove("long");
    for user in long {
        let answer = user.join().unwrap();
        assert!(answer.is_ok(), "{answer:?}\n{}", world.program.log());
    }
    world.until("advanced to 66.66%", 1);
    assert_eq!(world.has(), versions(["1.1.0", "1.1.0", "1.0.0"]));
    assert!(old.wait().unwrap().success());
}
