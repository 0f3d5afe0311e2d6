//! Node's `ws` as client and as server, with the real program between them.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::node::{self, Node};
use crate::support::certificates::Authority;
use crate::support::program::{Program, free_address};

/// Users with a socket each, a half of them on the canary, give or take.
const USERS: usize = 80;

/// How long something may take that takes a moment.
const SOON: Duration = Duration::from_mins(2);

/// Two versions of an app, and Weir before them.
struct Stage {
    program: Program,
    file: String,
    door: SocketAddr,
    stable: Node,
    canary: Node,
}

impl Stage {
    /// Nobody is on the canary yet. `more` is more of the file: keys of the tier,
    /// then tables; DOOR stands for where Weir listens.
    fn open(more: &str) -> Self {
        let (stable, first) = Node::serve("1.0");
        let (canary, second) = Node::serve("1.1");
        let door = free_address();
        let file = format!(
            r#"[admin]
listen = "ADMIN"

[rollout]
stages = [{{ weight = "50%", bake = "1h" }}]

[[tier]]
name     = "web"
listen   = "{door}"
stable   = "1.0"
releases = [
  {{ version = "1.0", upstreams = ["{first}"] }},
  {{ version = "1.1", upstreams = ["{second}"] }},
]
sticky   = {{ header = "x-user" }}
{}"#,
            more.replace("DOOR", &door.to_string())
        );
        Self { program: Program::start(&file), file, door, stable, canary }
    }

    /// Half of the users are to be on the canary, and a crowd of users comes.
    fn with_crowd(more: &str, way: Way) -> (Self, Crowd) {
        let stage = Self::open(more);
        stage.program.say(&["start", "web", "1.1", "--wait", "30s"]);
        let (bridge, url) = match way {
            Way::Plain => (None, format!("ws://{}", stage.door)),
            Way::Tls => (None, format!("wss://{}", stage.door)),
            Way::Http2 => {
                let (bridge, address) = Node::listen("bridge.mjs", &stage.door.to_string());
                (Some(bridge), format!("ws://{address}"))
            }
        };
        let node = Node::start("crowd.mjs", &[&url, &USERS.to_string()]);
        let lines = node.wait_for(USERS, |line| line["version"].is_string());
        let on = |version: &str| {
            let theirs = lines.iter().filter(|line| line["version"] == version);
            theirs.map(|line| line["user"].clone()).collect()
        };
        let crowd = Crowd { node, _bridge: bridge, stable: on("1.0"), canary: on("1.1") };
        let least = USERS / 5;
        assert!(crowd.canary.len() >= least && crowd.stable.len() >= least, "{lines:?}");
        stage.until("all are counted", || {
            stage.open_on("1.0") == crowd.stable.len() && stage.open_on("1.1") == crowd.canary.len()
        });
        (stage, crowd)
    }

    /// What `status` says is open on `version`.
    fn open_on(&self, version: &str) -> usize {
        let status = self.program.status();
        let releases = status["tiers"][0]["releases"].as_array().expect("releases").clone();
        let release = releases.iter().find(|release| release["version"] == version);
        let open = release.and_then(|release| release["upgraded_open"].as_u64());
        usize::try_from(open.expect("a number")).expect("a small one")
    }

    /// The line of `status` about them, for people.
    fn line(&self) -> String {
        let status = self.program.say(&["status"]);
        let line = status.lines().find_map(|line| line.trim_start().strip_prefix("upgraded"));
        line.unwrap_or_default().trim().to_owned()
    }

    fn until(&self, what: &str, holds: impl Fn() -> bool) {
        let since = Instant::now();
        while !holds() {
            assert!(since.elapsed() < SOON, "not {what}: {}", self.program.status());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Everybody on the canary was told to go, the app as well; nobody else.
    fn expect_goodbyes(&self, crowd: &Crowd) -> Vec<u64> {
        let is_end = |line: &Value| line["code"].is_u64() || line["error"].is_string();
        let ends = crowd.node.wait_for(crowd.canary.len(), is_end);
        let upstream = self.canary.wait_for(crowd.canary.len(), is_end);
        for end in ends.iter().chain(&upstream) {
            assert!(crowd.canary.contains(&end["user"]), "{end} was on stable");
            assert_eq!(end["code"], 1001, "{end}");
            assert_eq!(end["reason"], "going away, connect again", "{end}");
        }
        assert_eq!((ends.len(), upstream.len()), (crowd.canary.len(), crowd.canary.len()));
        assert!(!self.stable.lines().iter().any(is_end), "{:?}", self.stable.lines());
        ends.iter().map(|end| end["at"].as_u64().expect("a time")).collect()
    }

    /// All others are still connected, and are heard.
    fn expect_the_others(&self, crowd: &mut Crowd) {
        self.until("only stable's are left", || {
            self.line() == format!("{} on 1.0", crowd.stable.len())
        });
        crowd.node.tell("still there");
        let back = crowd.node.wait_for(1, |line| line["line"] == "still there").remove(0);
        assert_eq!(back["open"], back["back"], "{back}");
        let busy = |user: &&Value| user.as_str().is_some_and(|user| user.ends_with('0'));
        let busy = crowd.stable.iter().filter(busy).count();
        assert_eq!(back["open"], crowd.stable.len() - busy, "{back}");
    }
}

/// How the clients come.
#[derive(Clone, Copy)]
enum Way {
    /// By Upgrade.
    Plain,
    /// By Upgrade, within TLS.
    Tls,
    /// By extended CONNECT, by means of a bridge.
    Http2,
}

/// Users with a socket each.
struct Crowd {
    node: Node,
    _bridge: Option<Node>,
    stable: Vec<Value>,
    canary: Vec<Value>,
}

#[test]
fn messages_of_every_kind_go_through() {
    if crate::support::quick::is_quick("a site of WebSockets of node") {
        return;
    }
    let stage = Stage::open("");
    let (_bridge, bridge) = Node::listen("bridge.mjs", &stage.door.to_string());
    for address in [stage.door, bridge] {
        let said = node::run("client.mjs", &[&format!("ws://{address}")]);
        assert_eq!(said.lines().filter(|line| line.ends_with(": ok")).count(), 7, "{said}");
    }
    let errors = |line: &Value| line["error"].is_string();
    assert!(!stage.stable.lines().iter().any(errors), "{:?}", stage.stable.lines());
}

#[test]
fn a_rollback_closes_those_of_the_canary_over_the_drain_time() {
    if crate::support::quick::is_quick("a site of WebSockets of node") {
        return;
    }
    let (stage, mut crowd) = Stage::with_crowd("timeouts = { drain = \"5s\" }\n", Way::Plain);
    let (stable, canary) = (crowd.stable.len(), crowd.canary.len());
    assert_eq!(stage.line(), format!("{stable} on 1.0, {canary} on 1.1"));
    let said = stage.program.say(&["rollback"]);
    let left = format!(
        "{canary} upgraded connections on the version that was left are closed over the drain time; \
         `weir status` counts them"
    );
    assert!(said.contains(&left), "{said}");
    stage.until("some are left, and fewer and fewer", || {
        let line = stage.line();
        let left = line.strip_prefix(&format!("{stable} on 1.0, "));
        let left = left.and_then(|left| left.strip_suffix(" left on 1.1")?.parse::<usize>().ok());
        left.is_some_and(|left| (1..canary).contains(&left))
    });
    let times = stage.expect_goodbyes(&crowd);
    let (first, last) = (times.iter().min().unwrap(), times.iter().max().unwrap());
    // Of sixteen or more random moments within 5 s the first and the last lie closer together once
    // in a hundred thousand times.
    assert!(last - first > 2_000, "within {} ms", last - first);
    let middle = times.iter().filter(|at| **at > first + 500 && **at < last - 500).count();
    assert!(middle > canary / 4, "{middle} of {canary} were closed in between");
    stage.expect_the_others(&mut crowd);
}

#[test]
fn a_rollback_now_closes_them_at_once_through_tls() {
    if crate::support::quick::is_quick("a site of WebSockets of node") {
        return;
    }
    let files = tempfile::tempdir().unwrap();
    Authority::new().sign(&["127.0.0.1"]).write(files.path(), "web");
    let path = files.path().display();
    let tls = format!("{{ chain = \"{path}/web.pem\", key = \"{path}/web.key\" }}");
    let more = format!(
        "timeouts = {{ drain = \"1h\" }}\n\n[[listener]]\nlisten = \"DOOR\"\n\
         tls = {{ certificates = [{tls}] }}\n"
    );
    let (stage, mut crowd) = Stage::with_crowd(&more, Way::Tls);
    let canary = crowd.canary.len();
    let said = stage.program.say(&["rollback"]);
    assert!(
        said.contains(" on the version that was left are closed over the drain time"),
        "{said}"
    );
    let left = stage.open_on("1.1");
    assert!(left + 3 >= canary, "{left} of {canary}: nearly all have an hour");
    // Twice the same order changes nothing, and says how things stand.
    let answer = stage.program.say(&["rollback", "--json"]);
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["events"].as_array().map(Vec::len), Some(0), "{answer}");
    assert!(answer["connections_left"].as_u64() >= Some(canary as u64 - 3), "{answer}");
    // Those of a version that has left the file are counted as well.
    let without = |line: &&str| !line.contains("version = \"1.1\"");
    let file: Vec<&str> = stage.file.lines().filter(without).collect();
    stage.program.write_file(&file.join("\n"));
    stage.program.say(&["reload"]);
    stage.until("it is gone from the file", || stage.program.say(&["status"]).contains("gone "));
    assert!(stage.open_on("1.1") + 3 >= canary, "{}", stage.program.status());
    let since = Instant::now();
    let said = stage.program.say(&["rollback", "--now"]);
    assert!(said.contains(" on the version that was left are being closed"), "{said}");
    stage.expect_goodbyes(&crowd);
    assert!(since.elapsed() < SOON, "{:?}", since.elapsed());
    stage.expect_the_others(&mut crowd);
    let said = stage.program.say(&["rollback", "--now"]);
    assert!(!said.contains("upgraded"), "{said}");
}

#[test]
fn a_rollback_now_closes_those_of_http_2_at_once() {
    if crate::support::quick::is_quick("a site of WebSockets of node") {
        return;
    }
    let (stage, mut crowd) = Stage::with_crowd("timeouts = { drain = \"1h\" }\n", Way::Http2);
    let said = stage.program.say(&["rollback", "--now"]);
    // Some may be closed before they are counted.
    let left = said.split(" upgraded connections on the version").next().unwrap_or_default();
    let left = left.lines().last().and_then(|number| number.parse::<usize>().ok());
    assert!(left.is_some_and(|left| left > 0 && left <= crowd.canary.len()), "{said}");
    stage.expect_goodbyes(&crowd);
    stage.expect_the_others(&mut crowd);
}
