//! Figures from outside, with the real program: statsd, pages of metrics, and a real Prometheus. Jobs
//! that fail on the canary alone roll it back although no request fails, and silence holds.

mod workers;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::client::Client;
use super::support::over::Over;
use super::support::program::{Program, free_address};
use super::support::prometheus::Prometheus;
use super::support::quick;
use super::support::upstream::Upstream;

/// How long what must come may take, on a machine that does other things beside.
const PATIENCE: Duration = Duration::from_mins(4);

/// A program before an app in two versions, with users.
struct World {
    users: Users,
    program: Program,
    canary: Upstream,
    _stable: Upstream,
}

impl World {
    /// One with a rollout open at 50 %, whose only stage may end after ten seconds; `signals` are the
    /// signals of the file.
    fn at_half(signals: &str) -> Self {
        let (stable, canary) = (Upstream::start("1.0.0"), Upstream::start("1.1.0"));
        let listen = free_address();
        let file = format!(
            r#"
[admin]
listen = "ADMIN"
[state]
path = "weir.db"
[[tier]]
name = "web"
listen = "{listen}"
stable = "1.0.0"
sticky = {{ cookie = "uid" }}
health = {{ interval = "200ms" }}
releases = [
  {{ version = "1.0.0", upstreams = ["{}"] }},
  {{ version = "1.1.0", upstreams = ["{}"] }},
]
[rollout]
stages = [{{ weight = "50%", bake = "10s" }}]
[analysis]
grace = "0s"
warm_up = "0s"
slow = {{ tolerated = "100pp", margin = "50pp" }}
{signals}
"#,
            stable.address, canary.address
        );
        let program = Program::start(&file);
        program.say(&["start", "--wait", "2m"]);
        Self { users: Users::of(listen), program, canary, _stable: stable }
    }

    fn tier(&self) -> Value {
        self.program.status()["tiers"][0].clone()
    }

    /// Waits until `is` so, and gives the tier as it is then.
    fn wait(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let since = Instant::now();
        loop {
            let tier = self.tier();
            if is(&tier) {
                return tier;
            }
            assert!(since.elapsed() < PATIENCE, "not {what}: {tier:#}\n{}", self.program.log());
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Waits until the canary is rolled back because of `signal`, without one failed request.
    fn rolled_back(&self, signal: &str) {
        self.wait("rolled back", |tier| tier["rollout"].is_null());
        let tier = self.tier();
        assert_eq!(tier["stable"], "1.0.0");
        let log = self.program.say(&["log"]);
        assert!(log.contains(&format!("{signal}: canary ")), "{log}");
        assert!(log.contains("0 user requests failed on the canary"), "{log}");
    }

    /// Waits until errors and slow answers are proven to be none, so that nothing but the signal
    /// keeps the stage; gives what the judge says.
    fn proven(&self) -> Value {
        let is_proven = |metric: &Value| {
            metric["needed_for_advance"] == false
                || metric["log_e_advance"].as_f64() >= metric["advance_at"].as_f64()
        };
        let tier = self.wait("proven", |tier| {
            let report = &tier["rollout"]["report"];
            report["metrics"].as_array().is_some_and(|all| all.iter().all(is_proven))
        });
        tier["rollout"]["report"].clone()
    }
}

/// Users who ask all the time.
struct Users {
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Users {
    fn of(listen: SocketAddr) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&stopped);
        let thread = std::thread::spawn(move || {
            let mut client = Client::to(listen);
            for user in (0..200).cycle() {
                if told.load(Ordering::SeqCst) {
                    return;
                }
                client.get("/", &format!("cookie: uid=user-{user}\r\n"));
                std::thread::sleep(Duration::from_millis(1));
            }
        });
        Self { stopped, thread: Some(thread) }
    }
}

impl Drop for Users {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// Workers of both versions: jobs done, and jobs of the canary that failed.
#[derive(Default)]
struct Jobs {
    stable: u64,
    canary: u64,
    failed: u64,
}

/// A server of pages, each made when it is asked for; 404 where there is none.
struct Pages {
    address: SocketAddr,
    silent: Arc<AtomicBool>,
}

impl Pages {
    fn serve(page: impl Fn(&str) -> Option<String> + Send + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let silent = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&silent);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                let mut head = [0; 4096];
                let length = stream.read(&mut head).unwrap_or(0);
                let head = String::from_utf8_lossy(&head[..length]).into_owned();
                let path = head.split(' ').nth(1).unwrap_or_default();
                let page = page(path).filter(|_| !told.load(Ordering::SeqCst));
                let (status, body) =
                    page.map_or(("404 No", String::new()), |page| ("200 OK", page));
                let answer = format!(
                    "HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\n\
                     content-length: {}\r\nconnection: close\r\n\r\n{body}",
                    body.len()
                );
                let _ = stream.write_all(answer.as_bytes());
            }
        });
        Self { address, silent }
    }
}

#[test]
fn jobs_told_by_statsd_over_udp_and_tcp_roll_back_though_no_request_fails() {
    if quick::is_quick("jobs by statsd") {
        return;
    }
    let statsd = free_address();
    let world = World::at_half(&format!(
        r#"
[statsd]
listen = "{statsd}"
[[analysis.signal]]
name = "jobs"
tier = "web"
source = "statsd"
total = "app.rails-{{version}}.job.*"
bad = "app.rails-{{version}}.job.failed"
on_fail = "rollback"
"#
    ));
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut stream = TcpStream::connect(statsd).unwrap();
    let stopped = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !stopped.load(Ordering::SeqCst) {
                let packet =
                    b"app.rails-1-0-0.job.done:3|c\nno figure\napp.rails-1-0-0.job.done:1|c|@0.5";
                let _ = datagrams.send_to(packet, statsd);
                let _ = stream.write_all(
                    b"app.rails-1-1-0.job.done:3|c|#queue:mail\napp.rails-1-1-0.job.failed:2|c\n",
                );
                std::thread::sleep(Duration::from_millis(200));
            }
        });
        let _over = Over(&stopped);
        world.rolled_back("jobs");
    });
    let metrics = super::support::program::get(world.program.admin(), "/metrics").unwrap();
    let malformed = metrics.lines().find(|line| line.contains("result=\"malformed\"")).unwrap();
    assert!(!malformed.ends_with(" 0"), "{malformed}");
}

#[test]
fn while_statsd_says_nothing_a_good_canary_is_held_and_goes_on_when_it_does() {
    if quick::is_quick("silence of statsd") {
        return;
    }
    let statsd = free_address();
    let world = World::at_half(&format!(
        r#"
[statsd]
listen = "{statsd}"
[[analysis.signal]]
name = "jobs"
tier = "web"
source = "statsd"
total = "jobs"
bad = "jobs.failed"
version_tag = "version"
silent_after = "5s"
on_fail = "rollback"
"#
    ));
    let report = world.proven();
    assert_eq!(report["verdict"]["why"], "blind", "{report:#}");
    let reason = report["verdict"]["reason"].as_str().unwrap();
    assert!(reason.contains("jobs of 1.1.0: nothing was heard yet"), "{reason}");
    assert!(world.program.say(&["explain"]).contains("blind         jobs of 1.0.0: nothing"));
    assert!(world.program.say(&["status"]).contains("jobs of 1.1.0: blind: nothing was heard"));
    std::thread::sleep(Duration::from_secs(3));
    assert_eq!(world.tier()["weight"], 5_000, "it is held, however good it is");
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    world.wait("promoted", |tier| {
        let packet = b"jobs:1|c|#version:1.0.0\njobs:1|c|#version:1_1_0";
        let _ = datagrams.send_to(packet, statsd);
        tier["stable"] == "1.1.0"
    });
}

#[test]
fn jobs_counted_by_a_real_prometheus_roll_back() {
    if quick::is_quick("jobs by Prometheus") {
        return;
    }
    let jobs = Arc::new(Mutex::new(Jobs::default()));
    let theirs = Arc::clone(&jobs);
    let pages = Pages::serve(move |path| {
        let mut jobs = theirs.lock().unwrap();
        (jobs.stable, jobs.canary, jobs.failed) =
            (jobs.stable + 20, jobs.canary + 20, jobs.failed + 10);
        let Jobs { stable, canary, failed } = *jobs;
        (path == "/metrics").then(|| {
            format!(
                "# TYPE jobs_total counter\njobs_total{{version=\"1.0.0\"}} {stable}\n\
                 jobs_total{{version=\"1.1.0\"}} {canary}\n# TYPE jobs_failed_total counter\n\
                 jobs_failed_total{{version=\"1.1.0\"}} {failed}\n"
            )
        })
    });
    let mut prometheus = Prometheus::start(pages.address);
    let world = World::at_half(&format!(
        r#"
[[analysis.signal]]
name = "jobs"
tier = "web"
source = "promql"
url = "http://{}"
total = 'sum(jobs_total{{version="{{version}}"}})'
bad = 'sum(jobs_failed_total{{version="{{version}}"}}) or vector(0)'
every = "1s"
silent_after = "5s"
on_fail = "rollback"
"#,
        prometheus.address
    ));
    world.rolled_back("jobs");
    // The next try is held while nobody can be asked.
    prometheus.kill();
    world.program.say(&["start", "1.1.0", "--again", "--wait", "2m"]);
    let held = world.wait("blind", |tier| {
        tier["rollout"]["report"]["blind"].as_array().is_some_and(|blind| blind.len() == 2)
    });
    let blind = held["rollout"]["report"]["blind"].to_string();
    assert!(
        blind.contains("cannot connect to http://") || blind.contains("nothing was heard"),
        "{blind}"
    );
}

#[test]
fn pages_of_metrics_are_read_and_a_page_that_is_gone_leaves_the_guard_on_requests() {
    if quick::is_quick("pages of metrics") {
        return;
    }
    let pages = Pages::serve(|path| {
        let good = "jobs_total 5\nqueue_seconds 3\n".to_owned();
        ["/1.0.0/metrics", "/1.1.0/metrics"].contains(&path).then_some(good)
    });
    let world = World::at_half(&format!(
        r#"
[[analysis.signal]]
name = "queue latency"
tier = "web"
source = "scrape"
url = "http://{}/{{version}}/metrics"
value = "queue_seconds"
above = 30
beyond = 2
samples = 3
every = "1s"
silent_after = "2s"
[[analysis.signal]]
name = "no such counter"
tier = "web"
source = "scrape"
url = "http://{}/{{version}}/metrics"
total = "mails_total"
bad = "mails_failed_total"
every = "1s"
silent_after = "2s"
"#,
        pages.address, pages.address
    ));
    let report = world.proven();
    assert_eq!(report["checks"][0]["canary"], 3.0, "{report:#}");
    let blind = report["blind"].to_string();
    assert!(blind.contains("/1.1.0/metrics has no mails_total"), "{blind}");
    assert!(!blind.contains("queue latency"), "{blind}");
    pages.silent.store(true, Ordering::SeqCst);
    world.wait("blind", |tier| {
        tier["rollout"]["report"]["blind"].to_string().contains("queue latency of 1.1.0: ")
    });
    assert_eq!(world.tier()["weight"], 5_000);
    world.canary.state.failing.store(100, Ordering::SeqCst);
    world.wait("rolled back by its errors", |tier| tier["rollout"].is_null());
    let log = world.program.say(&["log"]);
    assert!(log.contains("errors: canary "), "{log}");
}

#[test]
fn a_number_beyond_its_limit_on_the_canary_alone_rolls_back() {
    if quick::is_quick("a number of statsd") {
        return;
    }
    let statsd = free_address();
    let world = World::at_half(&format!(
        r#"
[statsd]
listen = "{statsd}"
[[analysis.signal]]
name = "queue latency"
tier = "web"
source = "statsd"
value = "app.{{version}}.queue.seconds"
above = 30
every = "1s"
on_fail = "rollback"
"#
    ));
    let datagrams = UdpSocket::bind("127.0.0.1:0").unwrap();
    world.wait("rolled back", |tier| {
        let packet = b"app.1-0-0.queue.seconds:4|g\napp.1-1-0.queue.seconds:45|g";
        let _ = datagrams.send_to(packet, statsd);
        tier["rollout"].is_null()
    });
    let log = world.program.say(&["log"]);
    assert!(log.contains("queue latency: canary 45, stable 4; 3 of the last"), "{log}");
    drop(world.users);
}
