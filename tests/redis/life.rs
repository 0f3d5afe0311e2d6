//! The life of a namespace along a rollout: thrown away, emptied, reaped.

use std::time::Duration;

use weir::namespace::resp::Value;

use super::client::Client;
use super::conversations::eventually;
use super::{Redis, Scene, file, free_address, is_quick};
use crate::support::program::{Program, get};
use crate::support::upstream::Upstream;

/// Two healthy versions before one Redis, and a journal that survives.
struct World {
    scene: Scene,
    _apps: [Upstream; 2],
}

impl World {
    fn start(more: &str, redis: &[&str]) -> Self {
        let apps = ["1.0.0", "1.1.0"].map(Upstream::start);
        let (redis, ports) = (Redis::start(redis), [free_address(), free_address()]);
        let listen = free_address();
        let file = file(listen, redis.address, ports, more)
            .replace("127.0.0.1:1\"", &format!("{}\"", apps[0].address))
            .replace("127.0.0.1:2\"", &format!("{}\"", apps[1].address));
        let file = format!("[state]\npath = \"weir.db\"\n{file}");
        let world = Self {
            scene: Scene { redis, program: Program::start(&file), ports, listen },
            _apps: apps,
        };
        eventually("the canary is healthy", || {
            world.program().ask(&["start", "web"]).status.success()
        });
        world
    }

    const fn program(&self) -> &Program {
        &self.scene.program
    }

    /// Keys of the server that begin with `prefix`.
    fn keys(&self, prefix: &str) -> usize {
        let keys = Client::new(self.scene.redis.address).ask(&format!("KEYS {prefix}*"));
        keys.list().map_or(0, <[Value]>::len)
    }
}

fn text(text: &str) -> Value {
    Value::Bulk(text.as_bytes().to_vec())
}

fn line(text: &str) -> Value {
    Value::Line(text.as_bytes()[0], text.as_bytes()[1..].to_vec())
}

#[test]
fn what_a_release_that_is_rolled_back_has_is_gone_at_once_and_deleted_by_and_by() {
    let world = World::start("", &[]);
    let [mut one, mut two] = world.scene.versions();
    one.ask("SET k one");
    two.ask("SELECT 3");
    for number in 0..50 {
        two.ask(&format!("SET key:{number} v"));
    }
    let said = world.program().say(&["rollback", "web"]);
    assert!(said.contains("web: what 1.1.0 has in the cache pages is thrown away"), "{said}");
    // The same connection, and from here on.
    assert_eq!(two.ask("GET key:1"), Value::Null);
    assert_eq!(two.ask("DBSIZE"), line(":0"));
    assert_eq!(two.ask("SET later 1"), line("+OK"));
    assert_eq!(one.ask("GET k"), text("one"));
    eventually("its keys are deleted", || {
        let metrics = get(world.program().admin(), "/metrics").unwrap();
        metrics.contains("weir_cache_reaped_keys_total{cache=\"pages\",version=\"1.1.0\"} 50")
    });
    let mut server = Client::new(world.scene.redis.address);
    assert_eq!(server.ask("DBSIZE"), line(":1"));
    server.ask("SELECT 3");
    assert_eq!(server.ask("DBSIZE"), line(":1"));
    // What it writes without users is gone when it gets them again, and a delete reaches it there.
    world.program().say(&["start", "web", "1.1.0", "--again"]);
    assert_eq!(two.ask("GET later"), Value::Null);
    two.ask("SELECT 0");
    assert_eq!(two.ask("SET k two"), line("+OK"));
    assert_eq!(one.ask("DEL k"), line(":1"));
    eventually("it is deleted for the other", || two.ask("GET k") == Value::Null);
    let listed = world.program().say(&["cache"]);
    assert!(listed.contains("pages  1.0.0    1.0.0 "), "{listed}");
    assert!(listed.contains("pages  1.1.0    1.1.0.g1"), "{listed}");
}

#[test]
fn what_is_kept_is_there_after_the_roll_back() {
    let world = World::start("on_rollback = \"keep\"", &[]);
    let [_, mut two] = world.scene.versions();
    two.ask("SET k two");
    let said = world.program().say(&["rollback", "web"]);
    assert!(!said.contains("cache"), "{said}");
    assert_eq!(two.ask("GET k"), text("two"));
    world.program().say(&["start", "web", "1.1.0", "--again"]);
    assert_eq!(two.ask("GET k"), text("two"));
}

#[test]
fn users_who_come_back_find_nothing_old() {
    if is_quick("users_who_come_back_find_nothing_old") {
        return;
    }
    let world = World::start("stale_after = \"500ms\"", &[]);
    let [mut one, mut waiting] = [world.scene.ports[0]; 2].map(Client::new);
    let mut listening = Client::new(world.scene.ports[0]);
    one.ask("SET price old");
    listening.ask("SUBSCRIBE news");
    waiting.send(b"BLPOP queue 0\r\n");
    world.program().say(&["promote", "web", "--yes"]);
    // So long nobody uses 1.0.0, while others change its records.
    std::thread::sleep(Duration::from_millis(600));
    let said = world.program().say(&["rollback", "web"]);
    assert!(said.contains("web: what 1.1.0 has in the cache pages is thrown away"), "{said}");
    let begins = "web: 1.0.0 begins with nothing in the cache pages, since nobody used it for";
    assert!(said.contains(begins), "{said}");
    assert_eq!(one.ask("GET price"), Value::Null);
    assert_eq!(one.ask("SET price new"), line("+OK"));
    // Who waits or listens under the old name would do so for ever.
    assert_eq!(waiting.answer(), None);
    assert_eq!(listening.answer(), None);
    eventually("what is old is deleted", || world.keys("1.0.0:") == 0);
    assert_eq!(one.ask("GET price"), text("new"));
    let log = world.program().say(&["log"]);
    assert!(log.contains(begins), "{log}");
    let status = world.program().say(&["status"]);
    let remark = "1.0.0 has just begun with nothing in the caches: pages";
    assert!(status.contains(remark), "{status}");
}

#[test]
fn users_who_come_back_soon_find_what_they_had() {
    let world = World::start("", &[]);
    let [mut one, _] = world.scene.versions();
    one.ask("SET k one");
    world.program().say(&["promote", "web", "--yes"]);
    let said = world.program().say(&["rollback", "web"]);
    assert!(!said.contains("begins with nothing"), "{said}");
    assert_eq!(one.ask("GET k"), text("one"));
}

#[test]
fn what_was_thrown_away_is_deleted_by_a_weir_that_was_killed_meanwhile() {
    if is_quick("what_was_thrown_away_is_deleted_by_a_weir_that_was_killed_meanwhile") {
        return;
    }
    let mut world = World::start("", &["--enable-debug-command", "yes"]);
    let mut server = Client::new(world.scene.redis.address);
    server.ask("DEBUG POPULATE 60000 1.1.0:k 4");
    server.ask("SET 1.0.0:k one");
    world.program().say(&["rollback", "web"]);
    eventually("it has begun", || server.ask("DBSIZE") != line(":60001"));
    world.scene.program.kill();
    let Value::Line(b':', left) = server.ask("DBSIZE") else { panic!("a number") };
    assert_ne!(left, b"1", "killed in the middle");
    world.scene.program.restart();
    assert_eq!(world.scene.versions()[1].ask("GET k:1"), Value::Null);
    eventually("it is finished", || server.ask("DBSIZE") == line(":1"));
    eventually("it is said", || {
        world.program().log().contains("what it had before it began anew is deleted")
    });
}

#[test]
fn who_waits_or_watches_under_the_old_name_is_not_kept_there() {
    let world = World::start("", &[]);
    let [mut one, mut two] = world.scene.versions();
    let mut waiting = Client::new(world.scene.ports[1]);
    waiting.ask("PING");
    waiting.send(b"BLPOP list 0\r\n");
    assert_eq!(two.ask("WATCH k"), line("+OK"));
    let mut done = Client::new(world.scene.ports[1]);
    for command in ["WATCH k", "MULTI", "EXEC"] {
        done.ask(command);
    }
    world.program().say(&["rollback", "web"]);
    assert_eq!([waiting.answer(), two.answer()], [None, None], "{}", world.program().log());
    assert_eq!(done.ask("PING"), line("+PONG"));
    assert_eq!(one.ask("PING"), line("+PONG"));
}

#[test]
fn a_connection_to_the_process_before_follows_a_roll_back_in_the_next() {
    if is_quick("a_connection_to_the_process_before_follows_a_roll_back_in_the_next") {
        return;
    }
    let mut world = World::start("", &[]);
    let [mut one, mut two] = world.scene.versions();
    two.ask("SET k two");
    // A request under way, so that the process before does not end.
    let mut held = std::net::TcpStream::connect(world.scene.listen).unwrap();
    std::io::Write::write_all(
        &mut held,
        b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab",
    )
    .unwrap();
    let heir = world.program().another(&["--replace"]);
    let mut old = world.scene.program.swap(heir).expect("one runs");
    eventually("the next one decides", || world.program().log().contains("this one drains"));
    world.program().say(&["rollback", "web"]);
    assert_eq!(two.ask("GET k"), Value::Null, "{}", world.program().log());
    assert_eq!(one.ask("PING"), line("+PONG"));
    drop(held);
    let ended = old.wait().expect("a child");
    assert!(ended.success(), "{}", world.program().log());
}
