//! The first story: admin, web, workers and api in order, where a class of jobs fails on the new version
//! alone. The workers are real ones, on a real Redis.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use weir::namespace::resp::Value;

use crate::redis::Client;
use crate::support::program::{Program, free_address};
use crate::support::quick::is_quick;
use crate::support::redis::Redis;
use crate::support::sidekiq::Sidekiq;
use crate::support::upstream::Upstream;

/// Ruby takes seconds to start, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_mins(3);

/// How `$1` is moved to the version `$3`: its Sidekiq ends, and another one begins.
const WORKER: &str = r#"
runs() { test -n "$(readlink "/proc/$1/exe" 2>/dev/null)"; }
pid=$(cat "$1.pid" 2>/dev/null)
case $2 in
switch)
    if test -n "$pid" && runs "$pid"; then
        kill -TERM "$pid"
        while runs "$pid"; do sleep 0.05; done
    fi
    case $3 in 1.0.0) port=OLD_PORT ;; *) port=NEW_PORT ;; esac
    if test -e mended; then export MENDED=1; fi
    VERSION=$3 REDIS_URL=redis://$port/0 setsid /usr/bin/sidekiq -r JOBS -c 2 -q default \
        </dev/null >"$1.log" 2>&1 &
    echo $! > "$1.pid"
    echo "$1 to $3" >> moves ;;
well) runs "$pid" ;;
esac
"#;

const TIERS: [&str; 3] = ["admin", "web", "api"];

/// Tiers in two versions, and workers that are moved between them.
struct Shop {
    program: Program,
    redis: Redis,
    _apps: Vec<Upstream>,
}

impl Shop {
    /// One whose workers on the old version are at work; `on_failure` is what the file says of them.
    fn open(on_failure: &str) -> Self {
        let redis = Redis::start(&[]);
        let ports = [free_address(), free_address()];
        let mut apps = Vec::new();
        let mut tiers = String::new();
        for name in TIERS {
            let [old, new] = ["1.0.0", "1.1.0"].map(Upstream::start);
            let listen = free_address();
            let _ = write!(
                tiers,
                r#"
[[tier]]
name = "{name}"
listen = "{listen}"
stable = "1.0.0"
releases = [
  {{ version = "1.0.0", upstreams = ["{}"] }},
  {{ version = "1.1.0", upstreams = ["{}"] }},
]
"#,
                old.address, new.address
            );
            apps.extend([old, new]);
        }
        let program = Program::start(&file(&tiers, redis.address, ports, on_failure));
        let shop = Self { program, redis, _apps: apps };
        let jobs = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/redis/ruby/jobs.rb");
        let script = WORKER
            .replace("OLD_PORT", &ports[0].to_string())
            .replace("NEW_PORT", &ports[1].to_string())
            .replace("JOBS", jobs);
        std::fs::write(shop.path("worker.sh"), script).unwrap();
        for instance in ["work-1", "work-2"] {
            let moved = Command::new("sh")
                .args(["worker.sh", instance, "switch", "1.0.0"])
                .current_dir(shop.program.directory())
                .status();
            assert!(moved.unwrap().success());
        }
        std::fs::remove_file(shop.path("moves")).unwrap();
        shop
    }

    fn path(&self, name: &str) -> PathBuf {
        self.program.directory().join(name)
    }

    fn say(&self, line: &str) -> String {
        self.program.say(&line.split(' ').collect::<Vec<_>>())
    }

    fn moves(&self) -> Vec<String> {
        let moves = std::fs::read_to_string(self.path("moves")).unwrap_or_default();
        moves.lines().map(str::to_owned).collect()
    }

    fn until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let since = Instant::now();
        while !is_so(self) {
            let seen = || format!("{}\n{}", self.say("status"), self.say("log -n 99"));
            assert!(since.elapsed() <= PATIENCE, "not {what}\n{}", seen());
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until the journal has `said`.
    fn until_log(&self, said: &str) {
        self.until(said, |shop| shop.say("log -n 200").contains(said));
    }

    fn waits_for(&self) -> String {
        self.program.status()["upgrade"]["waits_for"].as_str().unwrap_or_default().to_owned()
    }

    fn serves(&self) -> Vec<String> {
        let status = self.program.status();
        let stable = |tier: &serde_json::Value| tier["stable"].as_str().unwrap().to_owned();
        status["tiers"].as_array().unwrap().iter().map(stable).collect()
    }

    /// Admin and web get the new version, and the turn of the workers comes.
    fn up_to_the_workers(&self) {
        self.say("start --wait 20s");
        for tier in ["admin", "web"] {
            self.until(tier, |shop| shop.waits_for().contains(&format!("the judge of {tier}")));
            self.say("promote --yes");
        }
    }

    /// That every job that cannot fail was done, and none twice.
    fn all_done_once(&self, jobs: &Jobs) {
        let pushed = jobs.stop();
        let mut server = Client::new(self.redis.address);
        self.until("all jobs to be done", |shop| {
            let done = Client::new(shop.redis.address).ask("LLEN done");
            done.integer() == Some(i64::from(pushed))
        });
        let done = server.ask("LRANGE done 0 -1");
        let mut numbers = std::collections::BTreeSet::new();
        for one in done.list().unwrap().iter().filter_map(Value::text) {
            let one = String::from_utf8_lossy(one).into_owned();
            let (_, number) = one.split_once(' ').unwrap();
            assert!(numbers.insert(number.to_owned()), "{one} was done twice");
        }
        assert_eq!(numbers.len(), usize::try_from(pushed).unwrap());
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        // First of all nobody starts another one.
        self.program.kill();
        for instance in ["work-1", "work-2"] {
            let pid = std::fs::read_to_string(self.path(&format!("{instance}.pid")));
            let _ = Command::new("kill").args(["-KILL", pid.unwrap_or_default().trim()]).status();
        }
    }
}

fn file(tiers: &str, redis: SocketAddr, [old, new]: [SocketAddr; 2], on_failure: &str) -> String {
    format!(
        r#"
[admin]
listen = "ADMIN"
[state]
path = "weir.db"
{tiers}
[[cache]]
name = "jobs"
kind = "redis"
mode = "observe"
upstream = "redis://{redis}"
ports = {{ "1.0.0" = "{old}", "1.1.0" = "{new}" }}
[[worker]]
name = "worker"
follows = "web"
instances = ["work-1", "work-2"]
switch = ["sh", "worker.sh", "{{instance}}", "switch", "{{version}}"]
health = ["sh", "worker.sh", "{{instance}}", "well"]
bake = "2s"
on_failure = "{on_failure}"
jobs = "jobs"
[rollout]
name = "rails-4.2"
order = ["admin", "web", "worker", "api"]
stages = [{{ weight = "5%", bake = "1h" }}]
[[step]]
name = "announce"
when = "on rollback"
run = ["true"]
"#
    )
}

/// Jobs that come all the time: every second one is of a class that the new version cannot do.
struct Jobs {
    ended: Arc<AtomicBool>,
    pushed: Arc<AtomicU32>,
    thread: std::cell::Cell<Option<JoinHandle<()>>>,
}

impl Jobs {
    fn come(redis: SocketAddr) -> Self {
        let (ended, pushed) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (told, counted) = (Arc::clone(&ended), Arc::clone(&pushed));
        let thread = std::thread::spawn(move || {
            let mut server = Client::new(redis);
            while !told.load(Ordering::SeqCst) {
                let number = counted.fetch_add(1, Ordering::SeqCst);
                server.ask(&Sidekiq::push("Good", number));
                server.ask(&Sidekiq::push("Picky", 1_000_000 + number));
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        Self { ended, pushed, thread: std::cell::Cell::new(Some(thread)) }
    }

    /// Ends them; gives how many of those have come that every version can do.
    fn stop(&self) -> u32 {
        self.ended.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
        self.pushed.load(Ordering::SeqCst)
    }
}

impl Drop for Jobs {
    fn drop(&mut self) {
        self.stop();
    }
}

#[test]
fn a_class_of_jobs_that_fails_on_the_new_version_takes_everything_back() {
    if is_quick("a class of jobs that fails") {
        return;
    }
    let shop = Shop::open("rollback");
    let jobs = Jobs::come(shop.redis.address);
    shop.up_to_the_workers();
    shop.until_log("is over: everybody and everything is back");
    assert_eq!(shop.serves(), ["1.0.0"; 3]);
    assert_eq!(shop.moves(), ["work-1 to 1.1.0", "work-1 to 1.0.0"], "the second never moved");
    shop.all_done_once(&jobs);
    let log = shop.say("log -n 200");
    let place = |said: &str| log.find(said).unwrap_or_else(|| panic!("no {said:?} in\n{log}"));
    let users = place("web: rolled back, everybody is on 1.0.0");
    assert!(users < place("step worker-work-1-back-switch begins"), "users first: {log}");
    assert!(log.contains("jobs fail more often"), "{log}");
    assert!(!log.contains("api: 1.1.0 started"), "{log}");
    let report = shop.say("report");
    for said in ["rails-4.2", "jobs fail more often", "failed on the new version"] {
        assert!(report.contains(said), "{said}: {report}");
    }
}

#[test]
fn workers_that_are_held_go_back_alone_and_follow_once_the_jobs_are_mended() {
    if is_quick("workers that are held") {
        return;
    }
    let mut shop = Shop::open("hold");
    let jobs = Jobs::come(shop.redis.address);
    shop.up_to_the_workers();
    shop.until("seen to fail", |shop| shop.waits_for().contains("once more?"));
    assert_eq!(shop.serves(), ["1.1.0", "1.1.0", "1.0.0"], "users stay where they are");
    assert_eq!(shop.moves(), ["work-1 to 1.1.0", "work-1 to 1.0.0"]);
    std::fs::write(shop.path("mended"), "").unwrap();
    shop.say("approve");
    shop.until("on trial", |shop| shop.waits_for().contains("on the new version"));
    // What was seen of the jobs so far is not lost.
    shop.program.kill();
    shop.program.restart();
    shop.until_log("nothing speaks against the jobs of work-1: ");
    shop.until("the turn of api", |shop| shop.waits_for().contains("the judge of api"));
    let moves = shop.moves();
    assert_eq!(moves[2..], ["work-1 to 1.1.0", "work-2 to 1.1.0"], "{moves:?}");
    let log = shop.say("log -n 200");
    assert!(log.contains("nothing speaks against the jobs of work-2: "), "{log}");
    jobs.stop();
}
