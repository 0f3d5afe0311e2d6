//! The life of a namespace along a rollout, in a memcached.

use std::time::Duration;

use super::conversations::eventually;
use super::{Memcached, Scene, file, free_address};
use crate::support::program::Program;
use crate::support::upstream::Upstream;

/// Two healthy versions before one memcached.
fn started(more: &str) -> (Scene, [Upstream; 2]) {
    let apps = ["1.0.0", "1.1.0"].map(Upstream::start);
    let (memcached, ports) = (Memcached::start(&[]), [free_address(), free_address()]);
    let file = file(memcached.address, ports, more)
        .replace("127.0.0.1:1\"", &format!("{}\"", apps[0].address))
        .replace("127.0.0.1:2\"", &format!("{}\"", apps[1].address));
    let program = Program::start(&file);
    let scene = Scene { memcached, program, ports, file };
    eventually("it is started", || scene.program.ask(&["start", "web"]).status.success());
    (scene, apps)
}

#[test]
fn what_a_release_that_is_rolled_back_has_is_gone_at_once() {
    let (mut scene, _apps) = started("");
    let [mut one, mut two] = scene.versions();
    assert_eq!(one.ask("set k 0 0 3\r\none"), "STORED");
    assert_eq!(two.ask("set k 0 0 3\r\ntwo"), "STORED");
    let said = scene.program.say(&["rollback", "web"]);
    assert!(said.contains("web: what 1.1.0 has in the cache pages is thrown away"), "{said}");
    // The same connections, and from here on.
    assert_eq!(two.get("k"), None);
    assert_eq!(one.get("k"), Some("one".into()));
    assert_eq!(two.ask("set later 0 0 1\r\nx"), "STORED");
    assert_eq!(two.get("later"), Some("x".into()));
    // What it writes without users is gone when it gets them again, and stays gone.
    scene.program.say(&["start", "web", "1.1.0", "--again"]);
    assert_eq!(two.get("later"), None);
    assert_eq!(two.ask("set k 0 0 3\r\nnew"), "STORED");
    scene.program.kill();
    scene.program.restart();
    let [mut one, mut two] = scene.versions();
    assert_eq!((one.get("k"), two.get("k")), (Some("one".into()), Some("new".into())));
    assert_eq!(two.get("later"), None);
    // A delete reaches the part as it is now.
    assert_eq!(one.ask("delete k"), "DELETED");
    eventually("it is deleted for the other", || two.get("k").is_none());
}

#[test]
fn users_who_come_back_find_nothing_old() {
    let (scene, _apps) = started("stale_after = \"500ms\"");
    let [mut one, _] = scene.versions();
    assert_eq!(one.ask("set price 0 0 3\r\nold"), "STORED");
    scene.program.say(&["promote", "web", "--yes"]);
    // So long nobody uses 1.0.0, while others change its records.
    std::thread::sleep(Duration::from_millis(600));
    let said = scene.program.say(&["rollback", "web"]);
    assert!(said.contains("web: 1.0.0 begins with nothing in the cache pages"), "{said}");
    assert_eq!(one.get("price"), None);
    assert_eq!(one.ask("set price 0 0 3\r\nnew"), "STORED");
    assert_eq!(one.get("price"), Some("new".into()));
}
