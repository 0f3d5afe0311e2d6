//! A canary is asked what stable was asked lately before it gets users.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::support::client::Client;
use super::support::http2::Http2;
use super::support::program::{Program, free_address};
use super::support::upstream::Upstream;

/// How long anything may take on a busy machine.
const SOON: Duration = Duration::from_mins(2);

struct World {
    program: Program,
    stable: Upstream,
    canary: Upstream,
    door: SocketAddr,
}

impl World {
    fn start(within: &str) -> Self {
        let canary = Upstream::start("1.1.0");
        let there = canary.address.to_string();
        Self::with(within, canary, &there)
    }

    /// The same with the canary `there`.
    fn with(within: &str, canary: Upstream, there: &str) -> Self {
        let stable = Upstream::start("1.0.0");
        let door = free_address();
        let program = Program::start(&format!(
            r#"
[admin]
listen = "ADMIN"
[[tier]]
name     = "web"
listen   = "{door}"
stable   = "1.0.0"
sticky   = "none"
warm     = {{ requests = 20, within = "{within}" }}
releases = [
  {{ version = "1.0.0", upstreams = ["{}"] }},
  {{ version = "1.1.0", upstreams = ["{there}"] }},
]
[rollout]
stages = [{{ weight = "50%", bake = "1h" }}]
"#,
            stable.address
        ));
        let world = Self { program, stable, canary, door };
        eventually("both are well", || {
            let status = world.program.status().to_string();
            status.matches("\"healthy\"").count() >= 2
        });
        world
    }

    fn visit(&self, path: &str, headers: &str) {
        Client::to(self.door).get(path, headers);
    }

    /// The lines of requests that the canary got, checks of its health left out.
    fn asked(&self) -> Vec<String> {
        let heads = self.canary.state.heads.lock().unwrap();
        heads.iter().filter_map(|head| head.lines().next().map(str::to_owned)).collect()
    }
}

impl World {
    /// Whether a user got the canary.
    fn has_users(&self) -> bool {
        let heads = self.canary.state.heads.lock().unwrap();
        heads.iter().any(|head| head.starts_with("GET /user ") && !head.contains("weir-warm-up"))
    }
}

fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let since = Instant::now();
    while !holds() {
        assert!(since.elapsed() < SOON, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn what_anybody_asked_stable_is_asked_of_the_canary_before_it_gets_users() {
    let world = World::start("30s");
    for _ in 0..3 {
        world.visit("/often?page=1", "");
    }
    world.visit("/once", "");
    world.visit("/mine", "Cookie: session=1\r\n");
    world.visit("/secret", "Authorization: Basic YQ==\r\n");
    world.visit("/stream", "Accept: text/event-stream\r\n");
    let said = world.program.say(&["start", "web"]);
    assert!(said.contains("1.1.0 is warmed with requests that stable had lately"), "{said}");
    eventually("it is warm", || world.program.log().contains("the canary is warmed"));
    let mut asked = world.asked();
    asked.sort();
    assert_eq!(
        asked,
        ["GET /often?page=1 HTTP/1.1", "GET /once HTTP/1.1"],
        "{}",
        world.program.log()
    );
    let head = world.canary.state.heads.lock().unwrap()[0].clone().to_ascii_lowercase();
    for line in
        ["host: app\r\n", "user-agent: weir-warm-up\r\n", "x-weir-cache-namespace: 1.1.0\r\n"]
    {
        assert!(head.contains(line), "{head}");
    }
    // No user's request: nothing of it is counted.
    let status = world.program.status();
    let releases = status["tiers"][0]["releases"].as_array().unwrap();
    let canary = releases.iter().find(|release| release["version"] == "1.1.0").unwrap();
    assert_eq!(canary["requests"], 0, "{status}");
    eventually("users come", || {
        world.visit("/user", "");
        world.has_users()
    });
}

#[test]
fn a_warm_up_that_fails_is_said_and_delays_nothing() {
    if crate::support::quick::is_quick("a warm-up that fails") {
        return;
    }
    let world = World::start("2s");
    for number in 0..8 {
        world.visit(&format!("/page/{number}?token=secret"), "");
    }
    world.canary.state.failing.store(100, Ordering::Relaxed);
    world.program.say(&["start", "web"]);
    eventually("it is said", || world.program.log().contains("the warm-up is not whole"));
    eventually("it is shown", || {
        world.program.say(&["status"]).contains("1.1.0 is not warm: 8 of 8 requests got no answer")
    });
    let said = world.program.log() + &world.program.say(&["status", "--json"]);
    assert!(said.contains("/page/") && !said.contains("secret"), "what is a user's: {said}");
    // A roll back in the middle of the next one waits for nothing.
    world.program.say(&["rollback", "web"]);
    world.canary.state.failing.store(0, Ordering::Relaxed);
    world.canary.state.delay.store(5_000, Ordering::Relaxed);
    world.program.say(&["start", "web", "1.1.0", "--again"]);
    let said = world.program.say(&["rollback", "web"]);
    assert!(said.contains("rolled back, everybody is on 1.0.0"), "{said}");
    assert!(world.stable.requests() >= 8);
}

#[test]
fn an_advance_does_not_wait_for_the_warm_up() {
    let world = World::start("10m");
    world.visit("/slow", "");
    world.canary.state.delay.store(8_000, Ordering::Relaxed);
    world.program.say(&["start", "web"]);
    for _ in 0..20 {
        world.visit("/user", "");
    }
    let status = world.program.say(&["status"]);
    assert!(status.contains("users come when that is done"), "{status}");
    assert!(!world.has_users(), "nobody is on it meanwhile");
    world.program.say(&["advance", "web", "--to", "90%"]);
    world.canary.state.delay.store(0, Ordering::Relaxed);
    eventually("users come", || {
        world.visit("/user", "");
        world.has_users()
    });
}

#[test]
fn a_canary_that_speaks_http2_is_warmed_in_it() {
    let canary = Http2::start(100);
    let world = World::with("30s", Upstream::start("unused"), &format!("h2c://{}", canary.address));
    world.visit("/page?a=b", "");
    world.program.say(&["start", "web"]);
    eventually("it is warm", || world.program.log().contains("the canary is warmed"));
    let head = canary.last_head().to_ascii_lowercase();
    for part in ["/page?a=b", "weir-warm-up", "x-weir-cache-namespace", "x-forwarded-proto"] {
        assert!(head.contains(part), "{part}: {head}");
    }
}
