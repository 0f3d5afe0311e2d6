//! The real program keeps users out for as long as it was ordered, whatever happens beneath; and those
//! who wait during a hold all get answers.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::support::client::{Answer, Client};
use super::support::http2_client;
use super::support::program::{Program, free_address, get};
use super::support::upstream::Upstream;
use super::support::web_socket::GOODBYE;

/// Clients that wait at once.
const CROWD: usize = 200;

const SECRET: &str = "0123456789abcdef";

/// A program with a tier `web` in two versions, and a tier `api` that trusts no proxy.
struct World {
    program: Program,
    stable: Upstream,
    _canary: Upstream,
    web: SocketAddr,
    api: SocketAddr,
}

impl World {
    /// With `hold` in `[maintenance.hold]`.
    fn new(hold: &str) -> Self {
        let (stable, canary) = (Upstream::start("1.0.0"), Upstream::start("1.1.0"));
        let (web, api) = (free_address(), free_address());
        let (old, new) = (stable.address, canary.address);
        let program = Program::start(&format!(
            r#"
[admin]
listen = "ADMIN"
[state]
path = "weir.db"
[maintenance]
allow = ["192.0.2.7"]
bypass = {{ header = "x-operator", secret = "{SECRET}" }}
hold = {{ {hold} }}
[[tier]]
name     = "web"
listen   = "{web}"
stable   = "1.0.0"
health   = {{ path = "/health", interval = "200ms" }}
timeouts = {{ drain = "1s" }}
cache    = {{ size = "1MiB" }}
releases = [
  {{ version = "1.0.0", upstreams = ["{old}"] }},
  {{ version = "1.1.0", upstreams = ["{new}"] }},
]
[[tier]]
name     = "api"
listen   = "{api}"
stable   = "1"
trusted_proxies = ["192.0.2.200"]
maintenance = {{ retry_after = "7s" }}
releases = [{{ version = "1", upstreams = ["{old}"] }}]
[rollout]
stages = [{{ weight = "10%", bake = "1h" }}]
"#
        ));
        Self { program, stable, _canary: canary, web, api }
    }

    fn say(&self, line: &str) -> String {
        self.program.say(&line.split(' ').collect::<Vec<_>>())
    }

    fn ask(&self, lines: &str) -> Answer {
        Client::to(self.web).get("/", lines)
    }

    fn closed(&self) -> Value {
        self.program.status()["tiers"][0]["closed"].clone()
    }

    fn wait_until(&self, what: &str, holds: impl Fn(&Value) -> bool) {
        let since = Instant::now();
        loop {
            let closed = self.closed();
            if holds(&closed) {
                return;
            }
            assert!(since.elapsed() < Duration::from_mins(2), "not {what}: {closed}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until so many requests wait.
    fn waits(&self, count: usize) {
        self.wait_until(&format!("{count} waiting"), |closed| closed["waiting"] == count);
    }

    /// A client that asks for `path`, and what it will get.
    fn sends(&self, path: &str) -> JoinHandle<Answer> {
        let mut client = Client::to(self.web);
        client.send(&format!("GET {path} HTTP/1.1\r\nhost: app\r\n\r\n"));
        std::thread::spawn(move || client.answer("GET").expect("an answer"))
    }
}

#[test]
fn a_maintenance_stays_whatever_happens_beneath_it() {
    let mut world = World::new("");
    assert_eq!(world.ask("").status, 200);
    let mut before = Client::to(world.web);
    assert_eq!(before.get("/", "").status, 200);
    let said = world.program.say(&["maintenance", "on", "--message", "back <soon>"]);
    assert!(said.starts_with("all tiers: in maintenance by operator"), "{said}");
    let seen = world.stable.requests();
    let is_kept_out = |world: &World, when: &str| {
        let answer = world.ask("");
        assert_eq!((answer.status, answer.field("retry-after")), (503, Some("60")), "{when}");
        assert!(answer.text().contains("back &lt;soon&gt;"), "{when}: {}", answer.text());
        assert_eq!(world.stable.requests(), seen, "{when}");
    };
    is_kept_out(&world, "ordered");
    assert_eq!(before.get("/", "").status, 503, "a connection of before");
    world.say("start web 1.1.0 --wait 2m");
    is_kept_out(&world, "a rollout has begun");
    world.say("reload");
    is_kept_out(&world, "reloaded");
    world.say("rollback");
    is_kept_out(&world, "rolled back");
    world.program.kill();
    world.program.restart();
    is_kept_out(&world, "killed");
    world.say("maintenance off api");
    is_kept_out(&world, "another tier is open");
    assert_eq!(Client::to(world.api).get("/", "").status, 200);
    let screen = world.say("status");
    let line = screen.lines().find(|line| line.contains("in maintenance since"));
    assert!(line.is_some_and(|line| line.contains("by operator")), "{screen}");
    let off = world.say("maintenance off");
    assert!(off.contains("maintenance ended by operator; everybody is served again"), "{off}");
    assert_eq!(world.ask("").status, 200);
    assert_eq!(world.closed(), Value::Null);
}

#[test]
fn apps_get_json_and_operators_come_in() {
    let world = World::new("");
    // What is kept is not given in maintenance either.
    assert_eq!(Client::to(world.web).get("/public", "").status, 200);
    world.say("maintenance on --for 30m");
    let page = world.ask("accept: text/html\r\n");
    assert_eq!(page.field("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(page.field("cache-control"), Some("no-store"));
    assert!(page.text().contains("in about 30 minutes"), "{}", page.text());
    let json = world.ask("accept: application/json\r\n");
    let body: Value = serde_json::from_str(&json.text()).unwrap();
    assert_eq!((json.status, &body["error"]), (503, &"maintenance".into()));
    let left = body["retry_after"].as_u64().unwrap();
    assert!((1_700..=1_800).contains(&left) && body["until"].is_u64(), "{body}");
    assert_eq!(Client::to(world.web).get("/public", "").status, 503);
    let api = Client::to(world.api).get("/", "x-forwarded-for: 192.0.2.7\r\n");
    assert_eq!(api.status, 503, "nobody is trusted there");
    http2_client::run(async {
        let client = http2_client::Client::to(world.web).await;
        let answer = client.get("/", &[("accept", "application/json")]).await;
        assert_eq!((answer.status, answer.field("retry-after").is_some()), (503, true));
        let inside = client.get("/", &[("x-operator", SECRET)]).await;
        assert_eq!(inside.status, 200, "on the same connection");
    });
    assert_eq!(world.ask("x-forwarded-for: 192.0.2.7\r\n").status, 200);
    assert_eq!(world.ask("x-forwarded-for: 192.0.2.7, 192.0.2.8\r\n").status, 503);
    assert_eq!(world.ask("x-operator: 0123456789abcdeX\r\n").status, 503);
    assert_eq!(world.ask(&format!("x-operator: {SECRET}\r\n")).status, 200);
    assert!(!world.stable.last_head().contains(SECRET), "{}", world.stable.last_head());
    let metrics = get(world.program.admin(), "/metrics").unwrap();
    for line in [
        "weir_closed{tier=\"web\",purpose=\"maintenance\"} 1",
        "weir_maintenance_responses_total{tier=\"web\"} 6",
    ] {
        assert!(metrics.contains(line), "{line} in\n{metrics}");
    }
    let errors = world.program.status()["tiers"][0]["releases"][0]["errors"].clone();
    assert_eq!(errors, 0, "nobody's fault");
}

#[test]
fn a_time_that_is_given_ends_it_also_over_a_restart() {
    let mut world = World::new("");
    world.say("maintenance on web --for 20s");
    world.program.kill();
    world.program.restart();
    assert_eq!(world.ask("").status, 503);
    world.wait_until("open", Value::is_null);
    assert_eq!(world.ask("").status, 200);
    let log = world.say("log");
    assert!(log.contains("web: maintenance ended since its time is up"), "{log}");
}

#[test]
fn all_who_wait_get_answers() {
    let world = World::new("wait = \"5m\"");
    world.say("hold on web --for 5m");
    let seen = world.stable.requests();
    let crowd: Vec<_> = (0..CROWD).map(|_| world.sends("/")).collect();
    http2_client::run(async {
        let client = http2_client::Client::to(world.web).await;
        let waiting = tokio::spawn(async move { client.get("/", &[]).await.status });
        tokio::task::block_in_place(|| {
            world.waits(CROWD + 1);
            assert_eq!(world.stable.requests(), seen, "nobody has gone on");
            world.say("hold off web");
        });
        assert_eq!(waiting.await.unwrap(), 200);
    });
    for client in crowd {
        assert_eq!(client.join().unwrap().status, 200);
    }
    assert_eq!(world.stable.requests(), seen + CROWD as u64 + 1);
    let metrics = get(world.program.admin(), "/metrics").unwrap();
    let line = format!("weir_held_requests_total{{tier=\"web\",result=\"served\"}} {}", CROWD + 1);
    assert!(metrics.contains(&line), "{line} in\n{metrics}");
}

#[test]
fn they_go_on_in_the_order_in_which_they_came_at_the_pace() {
    let world = World::new("pace = 5, wait = \"5m\"");
    world.say("hold on");
    let mut clients = Vec::new();
    for number in 1..=6 {
        clients.push(world.sends(&format!("/number-{number}")));
        world.waits(number);
    }
    let since = Instant::now();
    world.say("hold off");
    for client in clients {
        assert_eq!(client.join().unwrap().status, 200);
    }
    assert!(since.elapsed() >= Duration::from_secs(1), "five more, at five a second");
    let heads = world.stable.state.heads.lock().unwrap();
    let came: Vec<&str> = heads.iter().filter_map(|head| head.split(' ').nth(1)).collect();
    let expected: Vec<String> = (1..=6).map(|number| format!("/number-{number}")).collect();
    assert_eq!(came, expected);
}

#[test]
fn who_finds_no_room_or_waits_for_too_long_is_told_to_come_again() {
    let world = World::new("requests = 2, wait = \"10s\"");
    world.say("hold on web");
    let waiting = [world.sends("/"), world.sends("/")];
    world.waits(2);
    let refused = world.ask("");
    assert_eq!((refused.status, refused.field("retry-after")), (503, Some("5")));
    for client in waiting {
        let expired = client.join().unwrap();
        assert_eq!((expired.status, expired.field("retry-after")), (503, Some("5")));
    }
    let patient = world.sends("/");
    world.waits(1);
    world.say("maintenance on web");
    assert_eq!(patient.join().unwrap().status, 503, "a maintenance takes its place");
    assert_eq!(world.stable.requests(), 0);
    let output = world.program.ask(&["hold", "on", "web"]);
    let error = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(error.contains("weir maintenance off web"), "{error}");
}

#[test]
fn open_web_sockets_stay_unless_they_are_to_be_closed() {
    let world = World::new("");
    let open = |lines: &str| {
        let mut client = Client::to(world.web);
        client.send(&format!(
            "GET /socket HTTP/1.1\r\nhost: app\r\nconnection: upgrade\r\nupgrade: websocket\r\n\
             sec-websocket-version: 13\r\nsec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\n{lines}\r\n"
        ));
        let status = client.head().unwrap().status;
        (status, client)
    };
    let (status, mut user) = open("");
    assert_eq!(status, 101);
    world.say("maintenance on web");
    assert_eq!(open("").0, 503, "a new one");
    let (status, mut operator) = open(&format!("x-operator: {SECRET}\r\n"));
    assert_eq!(status, 101);
    // Until it echoes, both ways are open.
    let echoes = |client: &mut Client| {
        client.send("\u{1}\u{1}x");
        while client.rest().is_empty() {
            assert!(client.fill(), "closed");
        }
    };
    echoes(&mut user);
    world.say("maintenance on web --close");
    while !user.rest().ends_with(GOODBYE) {
        assert!(user.fill(), "{:?}", user.rest());
    }
    // Longer than the drain time, over which all others end.
    std::thread::sleep(Duration::from_millis(1_200));
    echoes(&mut operator);
    let closed = world.stable.state.tunnelled.lock().unwrap().len();
    assert!(closed > 0, "the app has seen the goodbye, too");
    assert!(world.stable.state.requests.load(Ordering::SeqCst) >= 2);
}
