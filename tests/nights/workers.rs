//! The first story: admin, web, workers and api in order, where a class of jobs fails on the new version
//! alone. The workers are real ones, Sidekiq's and Celery's, on a real Redis.

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
use crate::support::celery::{Installed, Sender};
use crate::support::program::{Program, free_address, get};
use crate::support::quick::is_quick;
use crate::support::redis::Redis;
use crate::support::sidekiq::Sidekiq;
use crate::support::upstream::Upstream;

/// Ruby takes seconds to start, on a machine that does other things as well.
const PATIENCE: Duration = Duration::from_mins(3);

/// How `$1` is moved to the version `$3`: its worker ends, and another one begins.
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
    VERSION=$3 REDIS_URL=redis://$port/0 setsid COMMAND </dev/null >"$1.log" 2>&1 &
    echo $! > "$1.pid"
    echo "$1 to $3" >> moves ;;
well) runs "$pid" ;;
esac
"#;

const TIERS: [&str; 3] = ["admin", "web", "api"];

/// What does the jobs.
enum Kind {
    Celery(Installed),
    Sidekiq,
}

impl Kind {
    /// What a shell starts the worker `$1` with.
    fn command(&self) -> String {
        let jobs = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/redis/ruby/jobs.rb");
        match self {
            Self::Celery(installed) => installed.command("$1"),
            Self::Sidekiq => format!("/usr/bin/sidekiq -r {jobs} -c 2 -q default"),
        }
    }
}

/// Tiers in two versions, and workers that are moved between them.
struct Shop {
    kind: Kind,
    program: Program,
    redis: Redis,
    _apps: Vec<Upstream>,
}

impl Shop {
    /// One whose workers on the old version are at work; `on_failure` is what the file says of them.
    fn open(kind: Kind, on_failure: &str) -> Self {
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
        let shop = Self { kind, program, redis, _apps: apps };
        let script = WORKER
            .replace("OLD_PORT", &ports[0].to_string())
            .replace("NEW_PORT", &ports[1].to_string())
            .replace("COMMAND", &shop.kind.command());
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
        self.say("start --wait 2m");
        for tier in ["admin", "web"] {
            self.until(tier, |shop| shop.waits_for().contains(&format!("the judge of {tier}")));
            self.say("promote --yes");
        }
    }

    /// Waits until as many jobs are done as have come.
    fn all_done(&self, jobs: &Jobs) {
        self.until("all jobs to be done", |shop| {
            let done = Client::new(shop.redis.address).ask("LLEN done");
            done.integer() == Some(i64::from(jobs.sent.pushed.load(Ordering::SeqCst)))
        });
    }

    /// That every job that cannot fail was done, and none twice.
    fn all_done_once(&self, jobs: &Jobs) {
        let pushed = jobs.stop();
        let mut server = Client::new(self.redis.address);
        self.all_done(jobs);
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
            let group = format!("-{}", pid.unwrap_or_default().trim());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
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
    sent: Arc<Sent>,
    thread: std::cell::Cell<Option<JoinHandle<()>>>,
}

#[derive(Default)]
struct Sent {
    ended: AtomicBool,
    /// None comes for now.
    rests: AtomicBool,
    /// Those of the class are left out.
    spares: AtomicBool,
    pushed: AtomicU32,
}

/// Has a job of this class done, with this number.
type Push = Box<dyn FnMut(&str, u32) + Send>;

impl Jobs {
    fn come(shop: &Shop, sent: Sent) -> Self {
        let sent = Arc::new(sent);
        let mut push: Push = match &shop.kind {
            Kind::Celery(installed) => {
                let mut app = Sender::start(installed, shop.redis.address);
                Box::new(move |class: &str, number| app.send(&class.to_lowercase(), number))
            }
            Kind::Sidekiq => {
                let mut server = Client::new(shop.redis.address);
                Box::new(move |class: &str, number| drop(server.ask(&Sidekiq::push(class, number))))
            }
        };
        let told = Arc::clone(&sent);
        let thread = std::thread::spawn(move || {
            while !told.ended.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(50));
                if told.rests.load(Ordering::SeqCst) {
                    continue;
                }
                let number = told.pushed.fetch_add(1, Ordering::SeqCst);
                push("Good", number);
                if !told.spares.load(Ordering::SeqCst) {
                    push("Picky", 1_000_000 + number);
                }
            }
        });
        Self { sent, thread: std::cell::Cell::new(Some(thread)) }
    }

    /// Ends them; gives how many of those have come that every version can do.
    fn stop(&self) -> u32 {
        self.sent.ended.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
        self.sent.pushed.load(Ordering::SeqCst)
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
    let shop = Shop::open(Kind::Sidekiq, "rollback");
    let jobs = Jobs::come(&shop, Sent::default());
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
    let mut shop = Shop::open(Kind::Sidekiq, "hold");
    let jobs = Jobs::come(&shop, Sent::default());
    shop.up_to_the_workers();
    shop.until("seen to fail", |shop| shop.waits_for().contains("once more?"));
    assert_eq!(shop.serves(), ["1.1.0", "1.1.0", "1.0.0"], "users stay where they are");
    assert_eq!(shop.moves(), ["work-1 to 1.1.0", "work-1 to 1.0.0"]);
    std::fs::write(shop.path("mended"), "").unwrap();
    shop.say("approve");
    shop.until("on trial", |shop| shop.waits_for().contains("on the new version"));
    let told = shop.say("explain worker");
    assert!(told.contains("work-1 on 1.1.0, 1 of 2 are moved"), "{told}");
    assert!(told.contains("\njobs ") && told.contains(" vs stable "), "{told}");
    let page = get(shop.program.admin(), "/metrics").unwrap();
    let odds = "weir_evidence_log_odds{tier=\"worker\",metric=\"jobs\"} ";
    assert!(page.contains(odds), "{page}");
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

#[test]
fn tasks_of_celery_that_fail_on_the_new_version_take_everything_back() {
    if is_quick("tasks of Celery that fail") {
        return;
    }
    let Some(celery) = Installed::find("the night with Celery") else { return };
    let mut shop = Shop::open(Kind::Celery(celery), "rollback");
    let jobs = Jobs::come(&shop, Sent { spares: true.into(), ..Sent::default() });
    shop.up_to_the_workers();
    shop.until("on trial", |shop| shop.waits_for().contains("the jobs of worker"));
    shop.say("pause");
    jobs.sent.rests.store(true, Ordering::SeqCst);
    shop.all_done(&jobs);
    // Tasks come while nobody can fetch them.
    shop.program.kill();
    jobs.sent.rests.store(false, Ordering::SeqCst);
    std::thread::sleep(Duration::from_secs(1));
    shop.program.restart();
    jobs.sent.spares.store(false, Ordering::SeqCst);
    shop.until_log("is over: everybody and everything is back");
    assert_eq!(shop.serves(), ["1.0.0"; 3]);
    assert_eq!(shop.moves(), ["work-1 to 1.1.0", "work-1 to 1.0.0"], "the second never moved");
    shop.all_done_once(&jobs);
    assert!(shop.say("log -n 200").contains("jobs fail more often"));
}
