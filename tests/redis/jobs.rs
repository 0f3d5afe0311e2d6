//! Jobs in queues that both versions share: what workers say of them is counted for each version, and
//! the canary gets its share of them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use weir::namespace::resp::Value;

use super::client::Client;
use super::conversations::{eventually, number, text, texts};
use super::{Redis, Scene, differential, file, free_address, is_quick};
use crate::support::program::{Program, get};
use crate::support::sidekiq::Sidekiq;
use crate::support::upstream::Upstream;

/// Two healthy versions before one Redis that is observed, the second one the canary.
pub struct World {
    pub scene: Scene,
    _apps: [Upstream; 2],
}

impl World {
    pub fn start(more: &str) -> Self {
        let apps = ["1.0.0", "1.1.0"].map(Upstream::start);
        let (redis, ports) = (Redis::start(&[]), [free_address(), free_address()]);
        let listen = free_address();
        let file = file(listen, redis.address, ports, &format!("mode = \"observe\"\n{more}"))
            .replace("127.0.0.1:1\"", &format!("{}\"", apps[0].address))
            .replace("127.0.0.1:2\"", &format!("{}\"", apps[1].address));
        let world = Self {
            scene: Scene { redis, program: Program::start(&file), ports, listen },
            _apps: apps,
        };
        eventually("the canary is healthy", || {
            world.scene.program.ask(&["start", "web"]).status.success()
        });
        world
    }

    pub fn server(&self) -> Client {
        Client::new(self.scene.redis.address)
    }

    /// Jobs numbered up to `count` wait in the queue.
    fn push(&self, class: &str, count: u32) {
        let mut server = self.server();
        for number in 0..count {
            server.ask(&Sidekiq::push(class, number));
        }
    }

    pub fn counted(&self, line: &str) -> u64 {
        counted(&self.scene.program, line)
    }
}

fn counted(program: &Program, line: &str) -> u64 {
    let page = get(program.admin(), "/metrics").unwrap_or_default();
    let value = page.lines().find_map(|one| one.strip_prefix(line)?.trim().parse().ok());
    value.unwrap_or(0)
}

/// A worker that fetches by `command` until `ends`, and counts what it gets.
fn worker(port: SocketAddr, command: &str, got: &Arc<AtomicU64>, ends: &Arc<AtomicU64>) {
    let (command, got, ends) = (command.to_owned(), Arc::clone(got), Arc::clone(ends));
    std::thread::spawn(move || {
        let mut client = Client::new(port);
        let words: Vec<&str> = command.split(' ').collect();
        while ends.load(Ordering::Relaxed) == 0 {
            client.send(&weir::namespace::resp::command(&words));
            // Weir ends with the test.
            let Some(answer) = client.answer() else { return };
            got.fetch_add(u64::from(answer != Value::Null), Ordering::Relaxed);
        }
    });
}

#[test]
fn what_sidekiq_says_of_its_jobs_is_counted_for_each_version() {
    if is_quick("what_sidekiq_says_of_its_jobs_is_counted_for_each_version") {
        return;
    }
    let scene = Scene::start_with("mode = \"observe\"");
    let mut server = Client::new(scene.redis.address);
    for class in ["Good", "Picky"] {
        for number in 0..30 {
            server.ask(&Sidekiq::push(class, number));
        }
    }
    let _worker = Sidekiq::start(scene.ports[1], "1.1.0");
    let jobs = |version: &str, outcome: &str| {
        let labels = format!("cache=\"pages\",version=\"{version}\",outcome=\"{outcome}\"");
        counted(&scene.program, &format!("weir_jobs_total{{{labels}}}"))
    };
    eventually("all are done", || server.ask("LLEN done") == number(30));
    eventually("they are counted", || jobs("1.1.0", "processed") == 60);
    assert_eq!(jobs("1.1.0", "failed"), 30, "those that only the new version cannot do");
    assert_eq!(jobs("1.0.0", "processed"), 0);
    let fetches =
        "weir_job_fetches_total{cache=\"pages\",version=\"1.1.0\",queue=\"queue:default\"}";
    assert_eq!(counted(&scene.program, fetches), 60);
    // What Celery says in a transaction, that counts if it is carried out.
    let [mut celery, _] = scene.versions();
    for (status, end) in [("SUCCESS", "EXEC"), ("FAILURE", "EXEC"), ("FAILURE", "DISCARD")] {
        celery.ask("MULTI");
        celery
            .ask(&format!("SETEX celery-task-meta-1 60 {{\"status\":\"{status}\",\"result\":1}}"));
        celery.ask(&format!("PUBLISH celery-task-meta-1 {{\"status\":\"{status}\",\"result\":1}}"));
        celery.ask(end);
    }
    eventually("they are counted", || jobs("1.0.0", "processed") == 2);
    assert_eq!(jobs("1.0.0", "failed"), 1);
}

#[test]
fn jobs_that_fail_on_the_canary_alone_roll_it_back() {
    if is_quick("jobs_that_fail_on_the_canary_alone_roll_it_back") {
        return;
    }
    let signal = "[[analysis.signal]]\nname = \"work\"\ntier = \"web\"\nsource = \"jobs\"\n\
                  cache = \"pages\"\nevery = \"1s\"\non_fail = \"rollback\"";
    let world = World::start(signal);
    let _workers =
        [0, 1].map(|place| Sidekiq::start(world.scene.ports[place], ["1.0.0", "1.1.0"][place]));
    let mut pushed = 0;
    eventually_in(Duration::from_mins(2), "it is rolled back", || {
        for class in ["Good", "Picky"] {
            world.server().ask(&Sidekiq::push(class, pushed));
        }
        pushed += 1;
        world.scene.program.status()["tiers"][0]["rollout"].is_null()
    });
    let log = world.scene.program.say(&["log"]);
    assert!(log.contains("work: canary ") && log.contains("0 user requests failed"), "{log}");
    let signals = world.scene.program.status()["tiers"][0]["signals"].clone();
    assert_eq!(signals[0]["blind"], serde_json::Value::Null, "{signals}");
}

#[test]
fn the_canary_gets_its_share_of_ten_thousand_jobs_and_none_is_lost() {
    if is_quick("the_canary_gets_its_share_of_ten_thousand_jobs_and_none_is_lost") {
        return;
    }
    let world = World::start("jobs = \"10%\"");
    world.push("Good", 10_000);
    let _workers =
        [0, 1].map(|place| Sidekiq::start(world.scene.ports[place], ["1.0.0", "1.1.0"][place]));
    let mut server = world.server();
    eventually_in(Duration::from_mins(4), "all are done", || {
        server.ask("LLEN done") == number(10_000)
    });
    let done = server.ask("LRANGE done 0 -1");
    let mut seen = std::collections::BTreeSet::new();
    let mut canary = 0;
    for one in done.list().unwrap().iter().filter_map(Value::text) {
        let one = String::from_utf8_lossy(one).into_owned();
        let (version, job) = one.split_once(' ').unwrap();
        canary += u32::from(version == "1.1.0");
        assert!(seen.insert(job.to_owned()), "{one} was done twice");
    }
    assert_eq!(seen.len(), 10_000);
    println!("the canary did {canary} of 10 000 jobs");
    assert!((500..=1500).contains(&canary), "{canary} of 10 000");
    let fetched = |version: &str| {
        let labels = format!("cache=\"pages\",version=\"{version}\",queue=\"queue:default\"");
        world.counted(&format!("weir_job_fetches_total{{{labels}}}"))
    };
    assert_eq!(fetched("1.0.0") + fetched("1.1.0"), 10_000);
    assert_eq!(fetched("1.1.0"), u64::from(canary));
}

pub fn eventually_in(most: Duration, what: &str, mut holds: impl FnMut() -> bool) {
    let since = std::time::Instant::now();
    while !holds() {
        assert!(since.elapsed() < most, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn every_way_to_fetch_is_held() {
    let world = World::start("jobs = \"0%\"");
    world.push("Good", 20);
    let [mut one, mut two] = world.scene.versions();
    // In vain, and as Redis says that there is nothing.
    let mut direct = world.server();
    for command in [
        "BRPOP queue:default 0.05",
        "BLPOP queue:default queue:other 0.05",
        "BRPOPLPUSH queue:default mine 0.05",
        "BLMOVE queue:default mine LEFT RIGHT 0.05",
        "RPOP queue:default",
        "LPOP queue:default 3",
        "RPOPLPUSH queue:default mine",
        "LMOVE queue:default mine LEFT LEFT",
    ] {
        for protocol in ["2", "3"] {
            for client in [&mut two, &mut direct] {
                client.ask(&format!("HELLO {protocol}"));
            }
            let nothing = command.replace("queue:default", "queue:empty");
            assert_eq!(two.ask(command), direct.ask(&nothing), "{command}");
        }
    }
    assert_eq!(two.ask("RPOP no-queue"), Value::Null);
    assert_eq!(direct.ask("LLEN queue:default"), number(20), "nothing was fetched");
    // Requests behind one that waits come after it, and in order.
    two.send(&weir::namespace::resp::command(&["BRPOP", "queue:default", "0.2"]));
    two.send(&weir::namespace::resp::command(&["PING"]));
    assert_eq!(two.answer(), Some(Value::Null));
    assert_eq!(two.answer(), Some(Value::Line(b'+', b"PONG".to_vec())));
    assert_ne!(one.ask("RPOP queue:default"), Value::Null, "stable is not held");
    // A reload gives it more at once, and a promotion all.
    let mut held = Client::new(world.scene.ports[1]);
    let waits = std::thread::spawn(move || held.ask("BRPOP queue:default 0"));
    let file = std::fs::read_to_string(world.scene.program.directory().join("weir.toml")).unwrap();
    world.scene.program.write_file(&file.replace("jobs = \"0%\"", "jobs = \"50%\""));
    world.scene.program.say(&["reload"]);
    assert_ne!(one.ask("LPOP queue:default"), Value::Null);
    assert_ne!(waits.join().unwrap(), Value::Null, "stable has fetched one, so the canary may");
    assert_eq!(two.ask("RPOP queue:default"), Value::Null);
    world.scene.program.say(&["promote", "web", "--yes"]);
    assert_ne!(two.ask("RPOP queue:default"), Value::Null);
    assert_eq!(one.ask("RPOP queue:default"), Value::Null, "who was left gets none");
}

#[test]
fn no_job_is_fetched_for_who_is_gone() {
    let mut world = World::start("jobs = \"0%\"");
    world.push("Good", 5);
    let brpop = |queue: &str| weir::namespace::resp::command(&["BRPOP", queue, "0"]);
    let blocked = |world: &World| {
        let info = world.server().ask("INFO clients");
        let info = String::from_utf8_lossy(info.text().unwrap()).into_owned();
        let line = info.lines().find_map(|line| line.strip_prefix("blocked_clients:"));
        line.unwrap().trim().parse::<u32>().unwrap()
    };
    // A worker is killed whose fetch Weir holds, and one whose fetch Redis holds.
    let (mut held, mut waits) =
        (Client::new(world.scene.ports[1]), Client::new(world.scene.ports[0]));
    held.send(&brpop("queue:default"));
    waits.send(&brpop("queue:empty"));
    eventually("it waits", || blocked(&world) == 1);
    drop((held, waits));
    eventually("nobody waits", || blocked(&world) == 0);
    world.server().ask("LPUSH queue:empty job");
    assert_eq!(world.server().ask("LLEN queue:empty"), number(1));
    assert_eq!(world.server().ask("RPOP queue:empty"), text("job"));
    // Weir is killed.
    let (mut held, mut waits) =
        (Client::new(world.scene.ports[1]), Client::new(world.scene.ports[0]));
    held.send(&brpop("queue:default"));
    waits.send(&brpop("queue:empty"));
    eventually("it waits", || blocked(&world) == 1);
    world.scene.program.kill();
    eventually("nobody waits", || blocked(&world) == 0);
    world.server().ask("LPUSH queue:empty job");
    assert_eq!(world.server().ask("LRANGE queue:empty 0 -1"), texts(&["job"]));
    assert_eq!(world.server().ask("LLEN queue:default"), number(5));
}

#[test]
fn killed_workers_leave_their_share_to_others_and_every_job_is_fetched_once() {
    let world = World::start("jobs = \"50%\"");
    let (got, ends) = ([0, 0].map(|_| Arc::new(AtomicU64::new(0))), Arc::default());
    for (place, got) in got.iter().enumerate() {
        worker(world.scene.ports[place], "BRPOP queue:default 1", got, &ends);
        worker(world.scene.ports[place], "RPOPLPUSH queue:default moved", got, &ends);
    }
    for _ in 0..20 {
        // They go while their fetch is paid for.
        let mut gone = Client::new(world.scene.ports[1]);
        gone.send(&weir::namespace::resp::command(&["BRPOP", "queue:none", "0"]));
        world.push("Good", 100);
        drop(gone);
    }
    let sum = || got.iter().map(|got| got.load(Ordering::Relaxed)).sum::<u64>();
    eventually("all are fetched", || sum() == 2000);
    ends.store(1, Ordering::Relaxed);
    let canary = got[1].load(Ordering::Relaxed);
    assert!((500..=1032).contains(&canary), "{canary} of 2000");
}

#[test]
fn where_fetches_may_be_held_everything_else_passes_as_it_is() {
    if is_quick("where_fetches_may_be_held_everything_else_passes_as_it_is") {
        return;
    }
    let (direct, scene) =
        (Redis::start(&[]), Scene::start_with("mode = \"observe\"\njobs = \"10%\""));
    for seed in 201..=203 {
        let played = differential::difference(direct.address, scene.ports[0], seed, 50);
        assert_eq!(played, Ok(()));
    }
}
