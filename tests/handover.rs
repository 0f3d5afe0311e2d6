//! One Weir after another, the real binary: nobody is refused, nobody's request fails, every user
//! stays on a version, and exactly one process decides, also when either is killed in between.

mod crowd;
pub mod relay;
mod second;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::support::client::Client;
use super::support::disk::Disk;
use super::support::http2_client::{
    DATA, END_HEADERS, END_STREAM, GET, HEADERS, Wire, block, frame,
};
use super::support::program::{Program, free_address, get};
use super::support::upstream::Upstream;
use super::support::web_socket::GOODBYE;
use crowd::{Crowd, Met};
use relay::Relay;
use weir::handover::wire::{FromHeir, Link, ToHeir};
use weir::traffic::Generations;

/// How long something may take that takes a moment.
const SOON: Duration = Duration::from_mins(2);

/// A program before an app in two versions, a quarter of the users on the new one.
struct World {
    program: Program,
    _stable: Upstream,
    _canary: Upstream,
    door: SocketAddr,
}

fn file(door: SocketAddr, stable: &Upstream, canary: &Upstream) -> String {
    format!(
        r#"
[admin]
listen = "ADMIN"
[state]
path = "weir.db"
[proxy]
workers = 2
[[tier]]
name     = "web"
listen   = "{door}"
stable   = "1.0.0"
sticky   = {{ cookie = "uid" }}
health   = {{ path = "/health", interval = "200ms" }}
releases = [
  {{ version = "1.0.0", upstreams = ["{}"] }},
  {{ version = "1.1.0", upstreams = ["{}"] }},
]
[tier.timeouts]
drain = "3s"
[rollout]
stages = [
  {{ weight = "25%", bake = "1h" }},
  {{ weight = "50%", bake = "1h" }},
]
"#,
        stable.address, canary.address
    )
}

impl World {
    fn new(environment: &[(&str, &str)]) -> Self {
        let (stable, canary) = (Upstream::start("1.0.0"), Upstream::start("1.1.0"));
        let door = free_address();
        let program = Program::start_with(&file(door, &stable, &canary), &[], environment);
        let world = Self { program, _stable: stable, _canary: canary, door };
        world.say("start --wait 2m --reason quarter");
        assert_eq!(world.weight(), 2_500);
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

    /// Requests of the canary that the judge knows.
    fn judged(&self) -> u64 {
        self.tier()["rollout"]["report"]["stage_canary"]["requests"].as_u64().unwrap_or(0)
    }

    /// Waits until `holds`.
    fn until(&self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let since = Instant::now();
        while !holds(self) {
            assert!(since.elapsed() < SOON, "{what}\n{}", self.program.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Replaces the process, and gives its successor's number.
    fn replace(&mut self, arguments: &[&str]) -> u32 {
        let heir = self.program.another(&[&["--replace"], arguments].concat());
        let process = heir.id();
        let old = self.program.swap(heir).expect("one runs");
        assert!(ends(old), "the old process ends well\n{}", self.program.log());
        process
    }

    /// The events of the journal, by kind.
    fn events(&self) -> Vec<String> {
        let log = self.say("log --json");
        let kind = |line: &str| {
            let record: Value = serde_json::from_str(line).expect("a record");
            let change = record["change"].clone();
            let kind = change.as_object().and_then(|change| change.keys().next().cloned());
            kind.or_else(|| change.as_str().map(str::to_owned)).expect("a kind")
        };
        log.lines().map(kind).collect()
    }

    fn journal(&self) -> std::path::PathBuf {
        self.program.directory().join("weir.db")
    }
}

/// Waits for the end of a process; whether it ended well.
fn ends(mut child: Child) -> bool {
    let since = Instant::now();
    loop {
        match child.try_wait().expect("a child") {
            Some(status) => return status.success(),
            None if since.elapsed() > SOON => {
                _ = child.kill();
                _ = child.wait();
                return false;
            }
            None => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}

fn signal(name: &str, process: u32) {
    let sent = Command::new("kill").args([name, &process.to_string()]).status().expect("kill");
    assert!(sent.success());
}

fn nobody_noticed(met: &Met, when: &str) {
    assert_eq!((met.refused, &met.failed), (0, &vec![]), "{when}: {} answers", met.answers);
    assert_eq!(met.moved(), vec![], "{when}: a user was moved");
    assert!(met.canary > 0 && met.canary < met.answers, "{when}: {}", met.canary);
    eprintln!("{when}: {} answers, {} of them on kept connections", met.answers, met.kept);
}

fn is_quick() -> bool {
    crate::support::quick::is_quick("a test of a hand-over")
}

#[test]
fn one_program_replaces_another_and_nobody_notices() {
    if is_quick() {
        return;
    }
    let mut world = World::new(&[]);
    let crowd = Crowd::enter(world.door);
    world.until("the judge counts", |world| world.judged() > 20);
    // With fewer threads, with more, and by a signal, which keeps a service what it is.
    for arguments in [vec![], vec!["--workers", "1"], vec!["--workers", "4"]] {
        let before = world.judged();
        let process = world.replace(&arguments);
        world.until("the heir answers", |world| {
            world.program.log().contains("the weir before has ended")
        });
        assert_eq!(world.program.pid(), process);
        assert_eq!(world.weight(), 2_500);
        let after = world.judged();
        assert!(after >= before, "evidence was lost: {after} after {before}");
        world.until("the judge goes on", |world| world.judged() > after);
    }
    let judged = world.judged();
    crowd.is_served();
    let met = crowd.leave();
    nobody_noticed(&met, "three replacements");
    assert!(judged <= met.canary as u64, "{judged} judged, {} there were", met.canary);
    assert_eq!(world.events(), ["adopted", "started"]);
    // And it is a Weir like any other.
    world.program.restart();
    assert_eq!(world.weight(), 2_500);
}

#[test]
fn a_signal_starts_the_successor() {
    if is_quick() {
        return;
    }
    let mut world = World::new(&[]);
    let crowd = Crowd::enter(world.door);
    let first = world.program.pid();
    signal("-USR2", first);
    world.until("the old process ends", |world| {
        world.program.log().contains("the weir before has ended")
    });
    // The successor is no child of this test: it is found by what it says.
    let log = world.program.log();
    let before = log.split(" is to take over").next().expect("a text");
    let process = before.rsplit("process ").next();
    let process: u32 = process.and_then(|text| text.parse().ok()).expect("its number");
    assert!(ends(world.program.leave().expect("the first")));
    crowd.is_served();
    let crowd = crowd.leave();
    let weight = world.weight();
    signal("-TERM", process);
    world.until("the successor ends", |world| get(world.program.admin(), "/healthz").is_none());
    assert_eq!(weight, 2_500);
    nobody_noticed(&crowd, "by a signal");
}

/// Starts `program` as a service manager does that has opened `sockets`, at most two.
fn activate(world: &World, sockets: &[&TcpListener]) -> Child {
    let copy = |at: usize| -> Stdio {
        match sockets.get(at) {
            Some(socket) => OwnedFd::from(socket.try_clone().expect("a copy")).into(),
            None => Stdio::null(),
        }
    };
    let log = world.program.directory().join("log");
    let log = File::options().append(true).create(true).open(log).expect("a log");
    let script = format!(
        "exec 3<&0 4<&1; LISTEN_PID=$$ LISTEN_FDS={} LISTEN_FDNAMES={} exec \"$0\" \"$@\"",
        sockets.len(),
        vec!["weir.socket"; sockets.len()].join(":"),
    );
    Command::new("sh")
        .args(["-c", &script, env!("CARGO_BIN_EXE_weir"), "run", "--config"])
        .arg(world.program.directory().join("weir.toml"))
        .stdin(copy(0))
        .stdout(copy(1))
        .stderr(log)
        .spawn()
        .expect("sh")
}

#[test]
fn a_restart_behind_sockets_of_the_service_manager_refuses_nobody() {
    if is_quick() {
        return;
    }
    let mut world = World::new(&[]);
    world.program.kill();
    let door = TcpListener::bind(world.door).unwrap();
    let admin = TcpListener::bind(world.program.admin()).unwrap();
    let child = activate(&world, &[&door, &admin]);
    world.program.swap(child);
    let crowd = Crowd::enter(world.door);
    world.until("the judge counts", |world| world.judged() > 20);
    for _ in 0..2 {
        let before = world.judged();
        signal("-TERM", world.program.pid());
        assert!(ends(world.program.leave().unwrap()), "{}", world.program.log());
        let child = activate(&world, &[&door, &admin]);
        world.program.swap(child);
        let after = world.judged();
        assert!(after >= before, "evidence was lost: {after} after {before}");
        world.until("the judge goes on", |world| world.judged() > after);
    }
    // Replaced, it still has the sockets of the service manager.
    world.replace(&[]);
    world.until("the judge goes on", |world| world.judged() > 0);
    crowd.is_served();
    nobody_noticed(&crowd.leave(), "two restarts and a replacement");
    assert_eq!(world.weight(), 2_500);
}

#[test]
fn a_socket_that_nothing_listens_at_is_refused_with_what_to_do() {
    let world = {
        let (stable, canary) = (Upstream::start("1.0.0"), Upstream::start("1.1.0"));
        let door = free_address();
        let mut program = Program::start(&file(door, &stable, &canary));
        program.kill();
        World { program, _stable: stable, _canary: canary, door }
    };
    let stranger = TcpListener::bind("127.0.0.1:0").unwrap();
    let stray = stranger.local_addr().unwrap().to_string();
    assert!(!ends(activate(&world, &[&stranger])));
    let log = world.program.log();
    let wanted = format!("listen = \"{stray}\"");
    assert!(log.contains(&wanted) && log.contains(".socket unit"), "{log}");
}

/// Which of the two is killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Victim {
    Heir,
    Old,
}

/// The messages, in order.
const STEPS: [&str; 8] =
    ["hello", "sockets", "prepared", "released", "opened", "go", "serving", "draining"];

/// Kills one of the two while the message `say` is on its way, and checks who goes on.
fn killed_at(world: &mut World, say: &'static str, victim: Victim) {
    let when = format!("{victim:?} killed at {say}");
    let crowd = Crowd::enter(world.door);
    let relay = Relay::at(&world.journal(), say);
    let mut heir = world.program.another(&["--replace"]);
    relay.wait();
    match victim {
        Victim::Heir => {
            heir.kill().expect("it lives");
            heir.wait().expect("it ends");
        }
        Victim::Old => {
            let mut old = world.program.swap(heir).expect("it lives");
            old.kill().expect("it lives");
            old.wait().expect("it ends");
        }
    }
    let said = relay.end();
    world.until(&when, |world| {
        get(world.program.admin(), "/readyz").is_some_and(|a| a.starts_with("HTTP/1.1 200"))
    });
    // Whoever is left decides.
    world.until(&when, |world| world.ask("pause").status.success());
    world.until(&when, |world| world.ask("resume").status.success());
    crowd.is_served();
    let met = crowd.leave();
    eprintln!(
        "{when}: {said:?}: {} answers, {} refused, {} failed",
        met.answers,
        met.refused,
        met.failed.len()
    );
    match victim {
        // The heir took no connection before it served.
        Victim::Heir if say != "serving" => nobody_noticed(&met, &when),
        // Without the sockets nobody listens until the heir has bound its own.
        Victim::Old if ["hello", "sockets"].contains(&say) => {}
        Victim::Heir | Victim::Old => assert_eq!(met.refused, 0, "{when}"),
    }
    assert_eq!(met.moved(), vec![], "{when}: a user was moved");
    assert_eq!(world.weight(), 2_500, "{when}");
    let crowd = Crowd::enter(world.door);
    crowd.is_served();
    nobody_noticed(&crowd.leave(), &format!("after {when}"));
}

#[test]
fn an_heir_killed_at_any_step_leaves_the_old_one_deciding() {
    if is_quick() {
        return;
    }
    let mut world = World::new(&[]);
    let first = world.program.pid();
    for say in STEPS.into_iter().filter(|say| *say != "draining") {
        killed_at(&mut world, say, Victim::Heir);
        assert_eq!(world.program.pid(), first);
    }
    let events = world.events();
    assert_eq!(events.len(), 2 + 2 * (STEPS.len() - 1), "{events:?}");
    // The next one takes over as if nothing had been.
    let crowd = Crowd::enter(world.door);
    world.replace(&[]);
    crowd.is_served();
    nobody_noticed(&crowd.leave(), "after all");
}

#[test]
fn an_heir_takes_over_from_one_that_is_killed_at_any_step() {
    if is_quick() {
        return;
    }
    let mut world = World::new(&[]);
    for say in STEPS {
        killed_at(&mut world, say, Victim::Old);
    }
    let events = world.events();
    assert_eq!(events.len(), 2 + 2 * STEPS.len(), "{events:?}");
    let crowd = Crowd::enter(world.door);
    world.replace(&[]);
    crowd.is_served();
    nobody_noticed(&crowd.leave(), "after all");
}

#[test]
fn an_heir_that_cannot_serve_leaves_the_old_one_as_it_was() {
    if is_quick() {
        return;
    }
    let mut world = World::new(&[]);
    let path = world.program.directory().join("weir.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    // A tier more, at an address that somebody has: seen only once the journal has changed hands.
    let other = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = other.local_addr().unwrap();
    let app = free_address();
    let tier = format!(
        "[[tier]]\nname = \"more\"\nlisten = \"{taken}\"\nstable = \"1\"\n\
         releases = [{{ version = \"1\", upstreams = [\"{app}\"] }}]\n"
    );
    std::fs::write(&path, text.replace("[rollout]", &format!("{tier}[rollout]"))).unwrap();
    let crowd = Crowd::enter(world.door);
    assert!(!ends(world.program.another(&["--replace"])));
    let log = world.program.log();
    assert!(log.contains(&format!("cannot listen at {taken}")), "{log}");
    std::fs::write(&path, text).unwrap();
    world.until("the old one decides", |world| world.ask("pause").status.success());
    // It can still be asked.
    world.replace(&[]);
    crowd.is_served();
    nobody_noticed(&crowd.leave(), "an heir that failed, and one that did not");
    assert_eq!(world.weight(), 2_500);
}

#[test]
fn a_rollback_in_the_middle_acts_at_once_and_survives() {
    if is_quick() {
        return;
    }
    for say in STEPS {
        let mut world = World::new(&[]);
        let relay = Relay::at(&world.journal(), say);
        let heir = world.program.another(&["--replace"]);
        relay.wait();
        // From Go on the heir has to confirm it, which the test does not hold up for ever.
        let confirms = ["go", "serving", "draining"].contains(&say);
        let answer = std::thread::scope(|scope| {
            let order = scope.spawn(|| world.say("rollback --reason enough"));
            if confirms {
                std::thread::sleep(Duration::from_millis(300));
                relay.release();
            }
            order.join().expect("an answer")
        });
        assert!(answer.contains("1.0.0"), "{say}: {answer}");
        assert_eq!(served(&world), (200, 0), "{say}");
        let old = world.program.swap(heir).expect("the old one");
        relay.release();
        assert!(ends(old), "{say}\n{}", world.program.log());
        relay.end();
        world.until(say, |world| world.tier()["rollout"].is_null());
        assert_eq!(served(&world), (200, 0), "{say}");
        // What lowers is written after it has acted.
        world.until(say, |world| world.events().len() > 2);
        assert_eq!(world.events(), ["adopted", "started", "rolled_back"], "{say}");
        world.program.restart();
        assert_eq!((served(&world), world.weight()), ((200, 0), 0), "{say}");
    }
}

/// How many of 200 users are served, and how many of them by the canary.
fn served(world: &World) -> (usize, usize) {
    let mut answers = (0, 0);
    for user in 0..200 {
        let lines = format!("cookie: uid=user-{user}\r\nconnection: close\r\n");
        let answer = Client::to(world.door).get("/", &lines);
        answers.0 += usize::from(answer.status == 200);
        answers.1 += usize::from(answer.text().starts_with("1.1.0"));
    }
    answers
}

#[test]
fn a_raise_in_the_middle_is_asked_again_and_done_once() {
    if is_quick() {
        return;
    }
    let mut world = World::new(&[]);
    let relay = Relay::at(&world.journal(), "opened");
    let heir = world.program.another(&["--replace"]);
    relay.wait();
    let answer = world.program.order(&json!({"order": "advance", "to": "50%"}));
    let trouble: Value = serde_json::from_str(&answer.text()).unwrap();
    assert_eq!((answer.status, &trouble["kind"]), (503, &json!("handing_over")));
    assert_eq!(answer.field("retry-after"), Some("1"));
    assert!(trouble["error"].as_str().unwrap().contains("takes over"), "{trouble}");
    let said = std::thread::scope(|scope| {
        let order = scope.spawn(|| world.say("advance --to 50%"));
        std::thread::sleep(Duration::from_millis(500));
        relay.release();
        order.join().unwrap()
    });
    assert!(said.contains("50%"), "{said}");
    let old = world.program.swap(heir).unwrap();
    assert!(ends(old));
    relay.end();
    assert_eq!(world.weight(), 5_000);
    assert_eq!(world.events(), ["adopted", "started", "advanced"]);
}

#[test]
fn of_two_heirs_one_is_refused_with_a_sentence() {
    if is_quick() {
        return;
    }
    let mut world = World::new(&[]);
    let relay = Relay::at(&world.journal(), "sockets");
    let first = world.program.another(&["--replace"]);
    relay.wait();
    let real = weir::handover::place(&world.journal()).unwrap();
    // The relay listens for one only: the second one meets the program itself.
    std::fs::rename(real.with_extension("real"), &real).unwrap();
    let second = world.program.another(&["--replace"]);
    assert!(!ends(second));
    let log = world.program.log();
    assert!(log.contains("does not hand over: process"), "{log}");
    assert!(log.contains("takes over already; wait for it"), "{log}");
    relay.release();
    let old = world.program.swap(first).unwrap();
    assert!(ends(old));
    assert_eq!(world.weight(), 2_500);
}

#[test]
fn what_is_left_on_the_old_one_follows_the_new_one() {
    if is_quick() {
        return;
    }
    let mut world = World::new(&[]);
    // Users of the canary, with a connection each on the process that will be replaced.
    let mut kept: Vec<(Client, String)> = (0..60)
        .map(|user| (Client::to(world.door), format!("cookie: uid=user-{user}\r\n")))
        .filter_map(|(mut client, cookie)| {
            client.get("/", &cookie).text().starts_with("1.1.0").then_some((client, cookie))
        })
        .collect();
    assert!(kept.len() > 3, "{} users on the canary", kept.len());
    let (mut tunnel, cookie) = kept.pop().unwrap();
    tunnel.send(&format!(
        "GET /tunnel HTTP/1.1\r\nhost: app\r\n{cookie}connection: upgrade\r\nupgrade: websocket\r\n\r\n"
    ));
    assert_eq!(tunnel.head().unwrap().status, 101);
    // A whole frame, which comes back; the answer to a goodbye goes the same way.
    tunnel.send("\u{1}\u{2}hi");
    while tunnel.rest().len() < 4 {
        assert!(tunnel.fill());
    }
    let heir = world.program.another(&["--replace"]);
    let old = world.program.swap(heir).unwrap();
    world.until("it drains", |world| world.program.log().contains("1 upgraded connection"));
    // Nobody was moved by that.
    let (mut one, cookie) = kept.pop().unwrap();
    world.until("the last answer says so", |_| {
        let answer = one.get("/", &cookie);
        assert!(answer.text().starts_with("1.1.0"), "{}", answer.text());
        answer.field("connection") == Some("close")
    });
    world.say("rollback --now");
    for (mut client, cookie) in kept {
        let answer = client.get("/", &cookie);
        assert!(answer.text().starts_with("1.0.0"), "{}", answer.text());
    }
    // The tunnel on the release that lost is closed at once: 1001, going away.
    while tunnel.fill() {}
    assert_eq!(tunnel.rest()[4..], *GOODBYE);
    assert!(ends(old));
}

#[test]
fn an_old_one_that_has_lost_its_heir_serves_stable_alone() {
    if is_quick() {
        return;
    }
    let mut world = World::new(&[]);
    let mut kept: Vec<(Client, String)> = (0..40)
        .map(|user| (Client::to(world.door), format!("cookie: uid=user-{user}\r\n")))
        .filter_map(|(mut client, cookie)| {
            client.get("/", &cookie).text().starts_with("1.1.0").then_some((client, cookie))
        })
        .collect();
    let heir = world.program.another(&["--replace"]);
    let old = world.program.swap(heir).unwrap();
    world.until("it drains", |world| world.program.log().contains("drains: "));
    world.program.kill();
    world.until("it notices", |world| world.program.log().contains("goes to stable"));
    for (client, cookie) in &mut kept {
        assert!(client.get("/", cookie).text().starts_with("1.0.0"));
    }
    assert!(ends(old));
}

#[test]
fn a_proof_that_the_heir_owes_is_given_on_a_connection_of_the_old_one() {
    let (stable, canary) = (Upstream::start("1.0.0"), Upstream::start("1.1.0"));
    let door = free_address();
    let text = file(door, &stable, &canary).replace("drain = \"3s\"", "drain = \"10m\"");
    let program = Program::start(&text);
    let place = weir::handover::place(&program.directory().join("weir.db")).unwrap();
    // Busy for a minute, and so it stays open; as it never says that it was told to leave, it may ask
    // for more.
    let mut wire = Wire::to(door);
    let fields = |path| block(&[&GET[..3], &[(":path", path)]].concat());
    wire.send(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &fields("/hang")));
    let since = Instant::now();
    while stable.requests() == 0 {
        assert!(since.elapsed() < SOON, "{}", program.log());
        std::thread::sleep(Duration::from_millis(5));
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let proofs = BTreeMap::from([("token-1".to_owned(), "token-1.of the heir".to_owned())]);
    let follow =
        FromHeir::Follow { epoch: 1, tiers: vec![], generations: Generations::default(), proofs };
    let hello = FromHeir::Hello { protocol: 1, weir: "9.9.9".into() };
    let words = [hello, FromHeir::Prepared, FromHeir::Opened, FromHeir::Serving, follow];
    let link = runtime.block_on(async {
        let link = Link::to(&place).unwrap();
        for word in words {
            link.send(&word, &[]).await.unwrap();
            let heard = link.receive_within::<ToHeir>(SOON).await.unwrap();
            assert!(!matches!(heard, None | Some((ToHeir::Refused { .. }, _))), "{heard:?}");
        }
        link
    });
    let asked = fields("/.well-known/acme-challenge/token-1");
    wire.send(&frame(HEADERS, END_STREAM | END_HEADERS, 3, &asked));
    let proof = wire.read_until(DATA).expect("an answer");
    assert_eq!((proof.stream, &*proof.payload), (3, &b"token-1.of the heir"[..]));
    drop(link);
}

/// What the program says of a hand-over that `speak` asks for, as an heir that is none.
fn conversation(world: &World, words: &[FromHeir]) -> Vec<ToHeir> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let link = Link::to(&weir::handover::place(&world.journal()).unwrap()).unwrap();
        let mut heard = Vec::new();
        for word in words {
            link.send(word, &[]).await.unwrap();
            match link.receive_within(SOON).await.unwrap() {
                Some((message, _)) => heard.push(message),
                None => break,
            }
        }
        heard
    })
}

#[test]
fn an_heir_that_says_what_it_should_not_is_refused_and_nothing_changes() {
    if is_quick() {
        return;
    }
    let world = World::new(&[]);
    let hello = |protocol| FromHeir::Hello { protocol, weir: "9.9.9".into() };
    let heard = conversation(&world, &[hello(2)]);
    let [ToHeir::Refused { because }] = &heard[..] else { panic!("{heard:?}") };
    assert!(because.contains("9.9.9") && because.contains("protocol 2"), "{because}");
    let heard = conversation(&world, &[FromHeir::Serving]);
    assert!(matches!(heard[..], [ToHeir::Refused { .. }]), "{heard:?}");
    let heard = conversation(&world, &[hello(1), FromHeir::Serving]);
    assert!(matches!(heard[..], [ToHeir::Sockets { .. }, ToHeir::Refused { .. }]), "{heard:?}");
    let heard = conversation(&world, &[hello(1), FromHeir::Prepared, FromHeir::Serving]);
    let refused =
        matches!(heard[..], [ToHeir::Sockets { .. }, ToHeir::Released, ToHeir::Refused { .. }]);
    assert!(refused, "{heard:?}");
    world.until("it decides again", |world| world.ask("pause").status.success());
    assert_eq!((world.weight(), world.tier()["rollout"]["paused"].clone()), (2_500, json!(true)));
}

#[test]
fn an_heir_that_errs_when_it_may_serve_is_ended() {
    if is_quick() {
        return;
    }
    let world = World::new(&[]);
    let crowd = Crowd::enter(world.door);
    let heir = Command::new("/usr/bin/python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/handover/heir.py"))
        .arg(weir::handover::place(&world.journal()).unwrap())
        .arg(world.journal().with_extension("db.lock"))
        .spawn()
        .expect("Debian: python3");
    let process = heir.id();
    // By a signal: it would hold on to the journal for ten minutes.
    assert!(!ends(heir), "{}", world.program.log());
    world.until("the old one decides", |world| world.ask("pause").status.success());
    let log = world.program.log();
    assert!(log.contains(&format!("process {process} was ended: it said what it")), "{log}");
    crowd.is_served();
    nobody_noticed(&crowd.leave(), "an heir that erred");
    assert_eq!(world.weight(), 2_500);
}

#[test]
fn a_disk_that_hangs_keeps_the_journal_and_no_roll_back_from_anybody() {
    if is_quick() {
        return;
    }
    let disk = Disk::new();
    let environment = disk.environment();
    let environment: Vec<(&str, &str)> =
        environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let mut world = World::new(&environment);
    disk.begins("hang");
    let crowd = Crowd::enter(world.door);
    std::thread::scope(|scope| {
        let raise = scope.spawn(|| world.ask("advance --to 50%"));
        world.until("the raise waits", |world| {
            world.program.status()["journal_trouble"].is_string()
        });
        assert!(!ends(world.program.another(&["--replace"])));
        let log = world.program.log();
        assert!(log.contains("does not hand over: a raise waits for the journal's disk"), "{log}");
        assert!(world.say("rollback").contains("rolled back"));
        let refused = raise.join().unwrap();
        assert!(!refused.status.success());
    });
    assert_eq!(served(&world), (200, 0));
    disk.ends("hang");
    world.until("the disk is back", |world| world.program.status()["journal_trouble"].is_null());
    // The evidence alone, which is written each second.
    disk.begins("hang");
    std::thread::sleep(Duration::from_millis(1_500));
    assert!(!ends(world.program.another(&["--replace"])));
    let log = world.program.log();
    assert!(log.contains("its journal cannot be written and closed within 5 s"), "{log}");
    disk.ends("hang");
    let met = crowd.leave();
    assert_eq!((met.refused, met.failed.len()), (0, 0));
    world.replace(&[]);
    assert_eq!(served(&world), (200, 0));
}

#[test]
fn a_unix_socket_is_handed_over_too() {
    if is_quick() {
        return;
    }
    let (stable, canary) = (Upstream::start("1.0.0"), Upstream::start("1.1.0"));
    let (door, folder) = (free_address(), tempfile::tempdir().unwrap());
    let path = folder.path().join("app.sock");
    let place = format!("unix:{}", path.display());
    let text = file(door, &stable, &canary).replace(&format!("\"{door}\""), &format!("{place:?}"));
    let program = Program::start(&text);
    let mut world = World { program, _stable: stable, _canary: canary, door };
    let asks = || {
        let mut stream = UnixStream::connect(&path).expect("somebody listens");
        let request = "GET / HTTP/1.1\r\nhost: app\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).expect("it takes a request");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    };
    asks();
    for _ in 0..2 {
        world.replace(&[]);
        asks();
    }
    // What is left of it keeps nobody from starting.
    world.program.restart();
    asks();
}

#[test]
fn an_heir_that_does_not_go_on_is_ended() {
    if std::env::var_os("WEIR_LONG").is_none() {
        eprintln!("skipped: takes half a minute");
        return;
    }
    let world = World::new(&[]);
    let mut heir = world.program.another(&["--replace"]);
    world.until("it begins", |world| world.program.log().contains("taking over from process"));
    signal("-STOP", heir.id());
    let since = Instant::now();
    let status = loop {
        if let Some(status) = heir.try_wait().unwrap() {
            break status;
        }
        assert!(since.elapsed() < Duration::from_mins(2), "{}", world.program.log());
        std::thread::sleep(Duration::from_millis(50));
    };
    assert!(since.elapsed() > Duration::from_secs(25), "it has its time");
    assert!(!status.success() && world.program.log().contains("was ended"));
    world.until("the old one decides", |world| world.ask("pause").status.success());
    assert_eq!(world.weight(), 2_500);
}

#[test]
fn a_journal_in_memory_cannot_change_hands_and_without_a_weir_one_starts() {
    let app = Upstream::start("1.0.0");
    let stable = app.address.to_string();
    let (door, admin) = (free_address().to_string(), free_address());
    let mut command = Command::new(env!("CARGO_BIN_EXE_weir"));
    command.args(["run", "--replace", "--listen", &door, "--stable"]);
    let output = command.arg(&stable).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("in memory cannot change hands"), "{said}");
    let folder = tempfile::tempdir().unwrap();
    let mut alone = Command::new(env!("CARGO_BIN_EXE_weir"))
        .args(["run", "--replace", "--listen", &door, "--admin", &admin.to_string()])
        .args(["--stable", &format!("1.0.0={stable}"), "--state"])
        .arg(folder.path().join("weir.db"))
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let since = Instant::now();
    while get(admin, "/readyz").is_none() && since.elapsed() < SOON {
        std::thread::sleep(Duration::from_millis(20));
    }
    let ready = get(admin, "/readyz");
    let _ = (alone.kill(), alone.wait());
    assert!(ready.is_some());
}

#[test]
fn the_service_manager_is_told() {
    if is_quick() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    let hears = |wanted: &str| {
        let (mut heard, mut packet) = (Vec::new(), [0; 4096]);
        loop {
            let read =
                socket.recv(&mut packet).unwrap_or_else(|e| panic!("{wanted}: {e}: {heard:?}"));
            let text = String::from_utf8_lossy(&packet[..read]).into_owned();
            if text.lines().any(|line| line.starts_with(wanted)) {
                return text;
            }
            heard.push(text);
        }
    };
    let environment = [("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "600000")];
    let mut world = World::new(&environment);
    hears("READY=1");
    hears("STATUS=web: 25% on 1.1.0, the others on 1.0.0");
    hears("WATCHDOG=1");
    world.say("reload");
    assert!(hears("RELOADING=1").contains("MONOTONIC_USEC="));
    hears("READY=1");
    let process = world.replace(&[]);
    assert_eq!(hears("MAINPID=").trim(), format!("MAINPID={process}"));
    signal("-TERM", process);
    hears("STOPPING=1");
}
