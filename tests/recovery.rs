//! The real program: killed after each event it is what it was, and a roll back keeps the law of
//! order under live load, whatever the disk does.

mod steps;

use std::net::SocketAddr;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use serde_json::{Value, json};

use super::support::client::Client;
use super::support::disk::Disk;
use super::support::program::{Program, free_address};
use super::support::upstream::Upstream;

/// Users whose version is compared before and after a kill.
const USERS: usize = 300;

/// A program before an app in two versions.
struct World {
    program: Program,
    stable: Upstream,
    canary: Upstream,
    listen: SocketAddr,
    disk: Disk,
}

impl World {
    fn new() -> Self {
        let (stable, canary) = (Upstream::start("1.0.0"), Upstream::start("1.1.0"));
        let (listen, disk) = (free_address(), Disk::new());
        let environment = disk.environment();
        let environment: Vec<(&str, &str)> =
            environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let file = file(listen, stable.address, canary.address);
        let program = Program::start_with(&file, &[], &environment);
        Self { program, stable, canary, listen, disk }
    }

    /// A program with a rollout open at 50 %.
    fn at_half() -> Self {
        let world = Self::new();
        world.say("start --wait 2m --reason half");
        world.say("advance --to 50%");
        assert_eq!(world.weight(), 5_000);
        world
    }

    fn say(&self, line: &str) -> String {
        self.program.say(&line.split(' ').collect::<Vec<_>>())
    }

    fn ask(&self, line: &str) -> Output {
        self.program.ask(&line.split(' ').collect::<Vec<_>>())
    }

    fn tier(&self) -> Value {
        self.program.status()["tiers"][0].clone()
    }

    fn weight(&self) -> u64 {
        self.tier()["weight"].as_u64().expect("a weight")
    }

    /// Waits until the checks of both versions have passed.
    fn healthy(&self) {
        let since = Instant::now();
        loop {
            let text = self.tier()["releases"].to_string();
            if text.matches("\"healthy\"").count() == 2 {
                return;
            }
            assert!(since.elapsed() < Duration::from_mins(2), "{text}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The version that each user gets, one letter each.
    fn split(&self) -> String {
        let mut client = Client::to(self.listen);
        (0..USERS)
            .map(|user| if version(&mut client, user) == "1.1.0" { 'c' } else { 's' })
            .collect()
    }

    /// What must be the same after a kill.
    fn standing(&self) -> Value {
        let tier = self.tier();
        let open = &tier["rollout"];
        json!({
            "stable": tier["stable"],
            "previous": tier["previous"],
            "weight": tier["weight"],
            "rollout": [open["id"], open["release"], open["attempt"], open["paused"], open["plan"]],
        })
    }

    fn post(&self, order: &Value) -> String {
        let answer = self.program.order(order);
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.text()
    }

    /// Rolls back under load; checks the law, which is one of order, and prints what it measured: from
    /// the order to the last choice of the canary 10 ms are allowed on a machine that has time.
    fn law_of_order(&self, when: &str) {
        let users = Users::start(self.listen);
        users.come(150);
        let ordered = Instant::now();
        let answer = self.post(&json!({"order": "rollback", "tier": "web"}));
        let answered = Instant::now();
        users.come(150);
        let visits = users.end();
        assert!(answer.contains("rolled back"), "{answer}");
        let on_canary = |visit: &&Visit| visit.version == "1.1.0";
        let after: Vec<&Visit> =
            visits.iter().filter(|visit| visit.sent > answered).filter(on_canary).collect();
        assert!(after.is_empty(), "{when}: {} requests sent after the answer", after.len());
        assert!(visits.iter().all(|visit| !visit.version.is_empty()), "{when}: a request failed");
        let last = visits.iter().filter(on_canary).map(|visit| visit.sent).max().expect("a canary");
        let last = last.saturating_duration_since(ordered);
        let (all, took) = (visits.len(), answered - ordered);
        eprintln!("{when}: {all} requests, last choice after {last:?}, answer after {took:?}");
        assert!(all > 200, "{when}: only {all} requests");
    }

    /// The same while the disk takes nothing: all was done before it is written.
    fn law_of_order_before_the_disk(&self, when: &str) {
        self.law_of_order(when);
        assert_eq!(self.weight(), 0, "{when}");
        let journal = Connection::open(self.program.directory().join("weir.db")).unwrap();
        let kept = "SELECT count(*) FROM events WHERE event LIKE '%rolled_back%'";
        let kept: i64 = journal.query_row(kept, [], |row| row.get(0)).unwrap();
        assert_eq!(kept, 0, "{when}: the disk took it");
    }

    /// Waits until the journal has said that it is well.
    fn journal_is_well(&self) {
        let since = Instant::now();
        while !self.program.status()["journal_trouble"].is_null() {
            assert!(since.elapsed() < Duration::from_mins(2), "{}", self.program.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Killed and started again, nobody is on the canary.
    fn stays_rolled_back(&mut self) {
        self.journal_is_well();
        self.program.restart();
        let tier = self.tier();
        assert_eq!((&tier["stable"], &tier["weight"]), (&json!("1.0.0"), &json!(0)));
        assert!(tier["rollout"].is_null() && !self.split().contains('c'));
    }
}

fn file(listen: SocketAddr, stable: SocketAddr, canary: SocketAddr) -> String {
    format!(
        r#"
[admin]
listen = "ADMIN"
[state]
path = "weir.db"
[[tier]]
name     = "web"
listen   = "{listen}"
stable   = "1.0.0"
sticky   = {{ cookie = "uid" }}
health   = {{ path = "/health", interval = "200ms" }}
releases = [
  {{ version = "1.0.0", upstreams = ["{stable}"] }},
  {{ version = "1.1.0", upstreams = ["{canary}"] }},
]
[rollout]
stages = [
  {{ weight = "10%", bake = "1h" }},
  {{ weight = "30%", bake = "1h" }},
]
"#
    )
}

/// The version that serves `user`.
fn version(client: &mut Client, user: usize) -> String {
    let answer = client.get("/", &format!("cookie: uid=user-{user}\r\n"));
    assert_eq!(answer.status, 200, "{}", answer.text());
    answer.text().lines().next().unwrap_or_default().to_owned()
}

/// One request of the load.
struct Visit {
    /// Just before its head was sent.
    sent: Instant,
    version: String,
}

/// Clients that ask without a pause.
struct Users {
    stop: Arc<AtomicBool>,
    visits: Arc<Mutex<Vec<Visit>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Users {
    fn start(listen: SocketAddr) -> Self {
        let (stop, visits) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Vec::new())));
        let user = |first: usize| {
            let (stop, visits) = (Arc::clone(&stop), Arc::clone(&visits));
            std::thread::spawn(move || {
                let mut client = Client::to(listen);
                for user in (first..).step_by(7) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let sent = Instant::now();
                    let version = version(&mut client, user);
                    visits.lock().unwrap().push(Visit { sent, version });
                }
            })
        };
        let threads = (0..4).map(user).collect();
        Self { stop, visits, threads }
    }

    /// Waits until so many more have come.
    fn come(&self, count: usize) {
        let visits = || self.visits.lock().unwrap().len();
        let (since, before) = (Instant::now(), visits());
        while visits() < before + count {
            assert!(since.elapsed() < Duration::from_mins(2), "{} of {count}", visits() - before);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn end(mut self) -> Vec<Visit> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            thread.join().expect("every request was answered");
        }
        std::mem::take(&mut *self.visits.lock().unwrap())
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Says stop when it goes, also where a test fails.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn is_quick() -> bool {
    crate::support::quick::is_quick("a test of recovery")
}

#[test]
fn killed_after_each_event_the_program_is_what_it_was() {
    if is_quick() {
        return;
    }
    let mut world = World::new();
    let mut told = String::new();
    for line in [
        "start --wait 2m --reason first",
        "advance",
        "pause",
        "resume",
        "advance --to 60%",
        "rollback --reason enough",
        "rollback",
        "start web 1.1.0 --again --wait 2m",
        "promote web --yes",
        "rollback web",
        "adopt web 1.1.0",
        "adopt web 1.0.0",
    ] {
        told += &world.say(line);
        world.healthy();
        let (standing, split) = (world.standing(), world.split());
        world.program.restart();
        world.healthy();
        assert_eq!(world.standing(), standing, "after `weir {line}` and a kill");
        assert_eq!(world.split(), split, "after `weir {line}` and a kill");
    }
    let log = world.say("log --json");
    let events = log.matches("\"seq\"").count();
    assert_eq!(events, 12, "the first start, eleven orders that changed something: {log}\n{told}");
}

#[test]
fn killed_in_the_middle_of_its_evidence_the_judge_goes_on() {
    if is_quick() {
        return;
    }
    let mut world = World::at_half();
    let requests = |world: &World| {
        let report = &world.tier()["rollout"]["report"];
        report["canary"]["requests"]
            .as_u64()
            .or_else(|| report["stage_canary"]["requests"].as_u64())
    };
    let users = Users::start(world.listen);
    users.come(400);
    let since = Instant::now();
    while requests(&world).is_none_or(|count| count <= 100) {
        assert!(since.elapsed() < Duration::from_mins(2), "{:?} are judged", requests(&world));
        std::thread::sleep(Duration::from_millis(50));
    }
    drop(users.end());
    // The last of them are judged, and it is written: each takes a second.
    std::thread::sleep(Duration::from_secs(5));
    let before = requests(&world).expect("the judge's counts");
    assert!(before > 100, "{before} requests on the canary");
    world.program.restart();
    world.healthy();
    let after = requests(&world).expect("the judge's counts");
    assert_eq!(after, before, "evidence of one second at most may be lost, and none was new");
}

#[test]
fn a_roll_back_keeps_the_law_of_order_under_load() {
    if is_quick() {
        return;
    }
    let mut world = World::at_half();
    world.law_of_order("at leisure");
    world.stays_rolled_back();
}

#[test]
fn a_roll_back_keeps_the_law_of_order_while_paused() {
    if is_quick() {
        return;
    }
    let mut world = World::at_half();
    world.say("pause");
    world.law_of_order("paused");
    world.stays_rolled_back();
}

#[test]
fn a_roll_back_keeps_the_law_of_order_with_a_full_disk() {
    if is_quick() {
        return;
    }
    let mut world = World::at_half();
    world.disk.begins("full");
    let refused = world.ask("advance --to 60%");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1));
    assert!(said.contains("disk is full") && said.contains("nothing was raised"), "{said}");
    assert_eq!(world.weight(), 5_000);
    world.law_of_order_before_the_disk("full disk");
    assert!(!world.program.status()["journal_trouble"].is_null());
    world.disk.ends("full");
    world.stays_rolled_back();
}

#[test]
fn a_roll_back_keeps_the_law_of_order_with_a_disk_that_hangs() {
    if is_quick() {
        return;
    }
    let mut world = World::at_half();
    world.disk.begins("hang");
    let began = Instant::now();
    // A raise that waits for the disk, and a reload behind it.
    let raise = std::thread::scope(|scope| {
        let raise = scope.spawn(|| world.ask("advance --to 60%"));
        let reload = scope.spawn(|| world.ask("reload"));
        std::thread::sleep(Duration::from_millis(500));
        world.law_of_order_before_the_disk("a disk that hangs, a raise and a reload waiting");
        reload.join().expect("an answer");
        raise.join().expect("an answer")
    });
    let said = String::from_utf8_lossy(&raise.stderr).into_owned();
    assert!(!raise.status.success() && said.contains("hangs"), "{said}");
    if std::env::var_os("WEIR_LONG").is_some() {
        std::thread::sleep(Duration::from_secs(30).saturating_sub(began.elapsed()));
    }
    assert_eq!(world.weight(), 0);
    world.disk.ends("hang");
    world.stays_rolled_back();
}

#[test]
fn a_roll_back_keeps_the_law_of_order_during_reloads() {
    if is_quick() {
        return;
    }
    let mut world = World::at_half();
    let (stop, reloads) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0_u64.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                let text = file(world.listen, world.stable.address, world.canary.address);
                let interval = format!("\"{}ms\"", 200 + round % 2);
                world.program.write_file(&text.replace("\"200ms\"", &interval));
                world.say("reload");
                reloads.fetch_add(1, Ordering::Relaxed);
            }
        });
        let stop = Stop(&stop);
        world.law_of_order("during reloads");
        let since = Instant::now();
        while reloads.load(Ordering::Relaxed) < 2 {
            assert!(since.elapsed() < Duration::from_mins(2), "no reload");
            std::thread::sleep(Duration::from_millis(5));
        }
        drop(stop);
    });
    assert!(reloads.load(Ordering::Relaxed) > 1);
    world.stays_rolled_back();
}
